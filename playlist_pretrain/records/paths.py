"""Paths that other systems wrote, and the ids (paths below a folder) that they mean.

A path is tried as it is, then percent-decoded, with ``/`` for ``\\``, in the other Unicode form,
and in any letter case where that leaves one id; and below what the paths begin with.
"""

from __future__ import annotations

import posixpath
import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Protocol
from urllib.parse import unquote

import numpy as np

DRIVE = re.compile(r"[A-Za-z]:[\\/]")
SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:")
ADDRESS = re.compile(r"(?!file:)[A-Za-z][A-Za-z0-9+.-]+:(?://|\w+:)", re.IGNORECASE)
DECODED, SLASHES, UNICODE, CASE, BELOW = (
    "percent-decoded", "with / for \\", "in another Unicode form", "in another letter case",
    "below {}",
)  # fmt: skip
SEVERAL = "not found differ by letter case only, from several tracks"
ADDRESSES = "not found are addresses, not paths"
ELSEWHERE = "not found are paths outside of the folder"
OUTSIDE = ("/", "\\", "../", "..\\", "file:")
"""Beginnings of paths that lie below no folder that is known."""
FEWEST_FOR_PREFIX = 2
MOST_FOLDERS = 64


class KnownIds(Protocol):
    """Ids, and the row of each."""

    @property
    def track_ids(self) -> Iterable[str]:
        """All of them."""

    def rows(self, ids: Sequence[str]) -> np.ndarray:
        """Row of every id [int32], below 0 for one that is not there."""


def path_of_uri(uri: str) -> str:
    """Path in a ``file:`` address; ``?`` and ``#``, as players write them, are signs of a name."""
    rest = uri[len("file:") :].replace("\\", "/")
    if rest.startswith("//"):
        host, _, rest = rest[2:].partition("/")
        rest = f"/{rest}" if host in ("", "localhost") else f"//{host}/{rest}"
    path = unquote(rest)
    return path[1:] if DRIVE.match(path[1:]) else path


def slashed(path: str) -> str:
    """``path`` with ``/`` between its folders, and without needless ones."""
    path = path.replace("\\", "/")
    start = "//" if path.startswith("//") else ""
    return start + posixpath.normpath(path).lstrip("/" if start else "") if path else path


def _folded(text: str) -> str:
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", text).casefold())


class PathIds:
    """Rows of ids that are paths, however they are written; counts what had to be changed.

    With ``every`` all ids are paths, else those with a slash are; ``strip`` makes the id of a path
    below the folder, if that is not the path itself. ``prefix`` is what the paths
    begin with in place of the folder that ids are below; without it, the one is found that makes
    most of the first paths that are asked for match. ``matched`` has the number of ids asked for
    by what was changed, ``missed`` the number by what they are like.
    """

    def __init__(
        self,
        known: KnownIds,
        *,
        every: bool = False,
        prefix: str | None = None,
        strip: Callable[[str], str] = str,
    ):
        self._known, self._every, self._strip = known, every, strip
        self.prefix = None if prefix is None else _plain(prefix).rstrip("/") + "/"
        self.found_prefix = False
        self.matched: Counter[str] = Counter()
        self.missed: Counter[str] = Counter()
        self._answers: dict[str, tuple[int, str]] = {}
        self._index: dict[str, str | None] | None = None
        self._given, self._looked = self.prefix, False

    def rows(self, ids: Sequence[str]) -> np.ndarray:
        """Row of every id [int32]; see :class:`KnownIds`."""
        found = self._known.rows(ids)
        missing = np.flatnonzero(found < 0).tolist()
        if self._every:
            self.missed[ADDRESSES] += sum(bool(ADDRESS.match(ids[i])) for i in missing)
        missing = [i for i in missing if self._is_path(ids[i])]
        new = [one for one in dict.fromkeys(ids[i] for i in missing) if one not in self._answers]
        self._resolve(new)
        for i in missing:
            row, how = self._answers[ids[i]]
            if row >= 0:
                found[i] = row
                self.matched[how] += 1
            elif how or ids[i].startswith(OUTSIDE) or DRIVE.match(ids[i]):
                self.missed[how or ELSEWHERE] += 1
        return found

    def notes(self, option: str = "--path-prefix") -> list[str]:
        """Sentences on what was changed to match, and what the others are like."""
        notes = []
        if self.found_prefix:
            notes.append(f"paths begin with {self.prefix!r}: found; {option} says it")
        for how, count in sorted(self.matched.items()):
            notes.append(f"{count:,} matched {how}")
        notes += [f"{count:,} {how}" for how, count in sorted(self.missed.items()) if count]
        return notes

    def _is_path(self, one: str) -> bool:
        return (self._every or "/" in one or "\\" in one) and not ADDRESS.match(one)

    def _resolve(self, ids: Sequence[str]) -> None:
        waiting = list(ids)
        for one in waiting:
            self._answers[one] = (-1, "")
        if self._given:
            waiting = self._try(waiting, self._given)
        waiting = self._try(waiting, "")
        if waiting and not (self._given or self._looked):
            self._find_prefix(waiting)
        if self.found_prefix and self.prefix:
            self._try(waiting, self.prefix)

    def _try(self, ids: Sequence[str], prefix: str) -> list[str]:
        """Look up the forms of ``ids``, below ``prefix`` if they are; those that are not there."""
        forms: list[tuple[str, str, str]] = []
        for one in ids:
            forms += [(one, form, how) for form, how in self._forms(one, prefix)]
        rows = self._known.rows([form for _, form, _ in forms]).tolist() if forms else []
        for (one, _, how), row in zip(forms, rows, strict=True):
            if row >= 0 and self._answers[one][0] < 0:
                self._answers[one] = (row, how)
        left = [one for one in ids if self._answers[one][0] < 0]
        for one in left:
            itself = [] if prefix else [(self._strip(one), "")]
            for form, how in [*itself, *self._forms(one, prefix)]:
                if (id_ := self._index_of_cases().get(_folded(form), "")) is None:
                    self._answers[one] = (-1, SEVERAL)
                elif id_:
                    row = int(self._known.rows([id_])[0])
                    self._answers[one] = (row, ", ".join(filter(None, [how, CASE])))
                    break
        return [one for one in left if self._answers[one][0] < 0]

    def _index_of_cases(self) -> dict[str, str | None]:
        if self._index is None:
            self._index = {}
            for one in self._known.track_ids:
                key = _folded(one)
                self._index[key] = one if key not in self._index else None
        return self._index

    def _find_prefix(self, ids: Sequence[str]) -> None:
        """Find what most of ``ids`` have before the id that they mean."""
        self._looked = True
        index = self._index_of_cases()
        votes: Counter[str] = Counter()
        for one in ids:
            parts = self._strip(_plain(one)).split("/")
            for cut in range(1, min(len(parts), MOST_FOLDERS)):
                if index.get(_folded("/".join(parts[cut:]))):
                    votes["/".join(parts[:cut]) + "/"] += 1
        # Of two that fit as well the shorter one leaves more of the path to agree.
        best = max(votes, key=lambda prefix: (votes[prefix], -len(prefix)), default="")
        if votes[best] >= FEWEST_FOR_PREFIX and 2 * votes[best] > len(ids):
            self.prefix, self.found_prefix = best, True

    def _forms(self, one: str, prefix: str) -> Iterator[tuple[str, str]]:
        """Ids that a path may mean, and what is changed for each, the least first."""
        if prefix:
            parts, cut = _plain(one).split("/"), prefix.count("/")
            if _folded("/".join([*parts[:cut], ""])) != _folded(prefix):
                return
            starts = [("/".join(parts[cut:]), BELOW.format(repr(prefix)))]
        else:
            starts = [(one, "")]
            if one.lower().startswith("file:"):
                starts.append((path_of_uri(one), DECODED))
            elif "%" in one:
                starts.append((unquote(one), DECODED))
            starts += [
                (slashed(text), ", ".join(filter(None, [how, SLASHES])))
                for text, how in starts
                if "\\" in text
            ]
        seen = {one}
        for start, how in starts:
            text = self._strip(start)
            for form in (text, *(unicodedata.normalize(kind, text) for kind in ("NFC", "NFD"))):
                if form and form not in seen:
                    seen.add(form)
                    yield form, how if form == text else ", ".join(filter(None, [how, UNICODE]))


def _plain(path: str) -> str:
    """A path as people read it: no address, decoded, with ``/``."""
    path = path_of_uri(path) if path.lower().startswith("file:") else unquote(path)
    return slashed(path)
