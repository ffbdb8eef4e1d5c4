"""Named choices: playlist readers, pairings, backbones, tasks. One anatomy, one error."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Generic, TypeVar

from playlist_pretrain.errors import PlaylistPretrainError

T = TypeVar("T")


class Registry(Generic[T]):
    """Mapping from a name that users type to an object, in order of registration.

    The names are those of a ``kind``; an unknown one raises ``error``, whose message says it.
    """

    def __init__(self, kind: str, error: type[PlaylistPretrainError]):
        self.kind = kind
        self._error = error
        self._items: dict[str, T] = {}

    def register(self, name: str, item: T) -> T:
        """Add ``item`` under ``name`` and return it; a name is taken once."""
        if name in self._items:
            raise ValueError(f"{self.kind} {name!r} is registered already")
        self._items[name] = item
        return item

    def get(self, name: str) -> T:
        """Return the item called ``name`` or raise an error that lists the names there are."""
        if name not in self._items:
            known = ", ".join(self._items)
            raise self._error(f"unknown {self.kind} {name!r}; there are: {known}")
        return self._items[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._items)
