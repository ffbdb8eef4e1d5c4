"""What came of a build: for the caller, and as ``build_report.tsv`` for people."""

from __future__ import annotations

import csv
import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from playlist_pretrain.errors import CollectionError
from playlist_pretrain.files import atomic_write

if TYPE_CHECKING:
    from playlist_pretrain.records.collection import Collection

REPORT_FILE = "build_report.tsv"


@dataclass(frozen=True)
class Note:
    """One line of the build report.

    Attributes
    ----------
    track_id, source : str
    status : {"unreadable", "skipped", "silent", "short"}
        Unreadable tracks, and those skipped without a look, are not in the collection; silent
        ones, and those shorter than the front end's own window, are.
    reason : str
        For people.
    """

    track_id: str
    source: str
    status: str
    reason: str


_COLUMNS = [field.name for field in dataclasses.fields(Note)]


@dataclass(frozen=True)
class BuildReport:
    """What came of a build.

    Attributes
    ----------
    collection : Collection
        The finished collection, open.
    notes : list of Note
        Tracks that are left out or special, as in ``build_report.tsv``.
    made, kept : int
        Shards made now, and shards that an earlier, interrupted call had finished.
    seconds : float
        Time this call took.
    """

    collection: Collection
    notes: list[Note]
    made: int
    kept: int
    seconds: float

    @property
    def tracks(self) -> int:
        """Tracks in the collection."""
        return len(self.collection)

    @property
    def failed(self) -> list[tuple[str, str, str]]:
        """(track id, source, reason) of tracks that could not be read and are left out."""
        return self._of("unreadable")

    @property
    def skipped(self) -> list[tuple[str, str, str]]:
        """(track id, source, reason) of tracks that are left out without being read."""
        return self._of("skipped")

    @property
    def silent(self) -> list[tuple[str, str, str]]:
        """(track id, source, reason) of tracks without any sound, which are kept."""
        return self._of("silent")

    @property
    def short(self) -> list[tuple[str, str, str]]:
        """(track id, source, reason) of tracks shorter than a window, which are kept."""
        return self._of("short")

    def _of(self, status: str) -> list[tuple[str, str, str]]:
        return [(n.track_id, n.source, n.reason) for n in self.notes if n.status == status]


def write_report(path: Path, notes: Sequence[Note]) -> None:
    """Write ``notes`` as a tab-separated table with a header."""
    with atomic_write(path, "w") as stream:
        table = csv.writer(stream, delimiter="\t", lineterminator="\n")
        table.writerow(_COLUMNS)
        table.writerows(dataclasses.astuple(note) for note in notes)


def read_report(path: Path) -> list[Note]:
    """Read what :func:`write_report` wrote; CollectionError when it is something else."""
    try:
        with open(path, encoding="utf-8", newline="") as stream:
            header, *rows = list(csv.reader(stream, delimiter="\t")) or [[]]
        if header != _COLUMNS or any(len(row) != len(_COLUMNS) for row in rows):
            raise CollectionError(f"{path} is not a build report; it was damaged or edited")
    except FileNotFoundError:
        return []  # a collection does not need it, and it is for people: they may remove it
    except (UnicodeDecodeError, csv.Error) as error:
        raise CollectionError(f"{path} is not a build report ({error})") from error
    return [Note(*row) for row in rows]
