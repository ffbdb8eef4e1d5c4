"""What a report is made of, as its template takes it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Figure:
    """A plot with words.

    Attributes
    ----------
    title, caption : str
    plot : bokeh model
    """

    title: str
    caption: str
    plot: Any


@dataclass(frozen=True)
class Table:
    """Text in rows; the first cell of a row is its head.

    Attributes
    ----------
    caption : str
    heads : sequence of str
    rows : sequence of sequence of str
    folded : bool
        Whether it is shown when it is asked for.
    """

    caption: str
    heads: Sequence[str]
    rows: Sequence[Sequence[str]]
    folded: bool = True


@dataclass(frozen=True)
class Key:
    """What a colour and a mark mean."""

    colour: str
    mark: str
    text: str


@dataclass(frozen=True)
class Section:
    """A chapter of the page.

    Attributes
    ----------
    id, title : str
    about : sequence of str
        Paragraphs.
    figures : sequence of Figure
    small : bool
        Whether figures may stand three in a line.
    keys : sequence of Key
        Of all figures.
    tables : sequence of Table
    """

    id: str
    title: str
    about: Sequence[str] = ()
    figures: Sequence[Figure] = ()
    small: bool = False
    keys: Sequence[Key] = ()
    tables: Sequence[Table] = field(default=())

    @property
    def empty(self) -> bool:
        """Whether there is nothing to show."""
        return not (self.about or self.figures or self.tables)
