"""Paths that other systems wrote, and the ids (paths below a folder) that they mean.

A path is tried as it is, then percent-decoded, with ``/`` for ``\\``, and where one id alone is
meant by it in any Unicode form, letter case and kind of slashes; and below what the paths begin
with.
"""

from __future__ import annotations

import functools
import posixpath
import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from typing import Protocol
from urllib.parse import unquote

import numpy as np

DRIVE = re.compile(r"[A-Za-z]:[\\/]")
SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:(?=\S)")
ADDRESS = re.compile(r"(?!file:)[A-Za-z][A-Za-z0-9+.-]+:(?://|\w+:)", re.IGNORECASE)
DECODED, SLASHES, UNICODE, CASE, BELOW = (
    "percent-decoded", "with / for \\", "in another Unicode form", "in another letter case",
    "below {}",
)  # fmt: skip
SEVERAL = "not found differ by letter case only, from several tracks"
ADDRESSES = "not found are addresses, not paths"
ELSEWHERE = "not found are paths elsewhere; --path-prefix sets what they begin with"
OUTSIDE = ("/", "\\", "../", "..\\", "file:")
"""Beginnings of paths that lie below no folder that is known."""
NEEDLESS = ("//", "./", "/.")
"""Signs of what may be left out of a path."""
FEWEST_FOR_PREFIX = 2
MOST_LOOKED_AT, LONGEST, MOST_FOLDERS = 4096, 1024, 64
"""Paths that a prefix is looked for in, their characters and folders."""


class KnownIds(Protocol):
    """Ids, and the row of each."""

    @property
    def track_ids(self) -> Sequence[str]:
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
    if not (path.endswith("/") or any(sign in path for sign in NEEDLESS)):
        return path
    start = "//" if path.startswith("//") else ""
    return start + posixpath.normpath(path).lstrip("/" if start else "") if path else path


def _composed(text: str) -> str:
    return unicodedata.normalize("NFC", text)


def _folded(text: str) -> str:
    """``text`` without what systems write in several ways: slashes, Unicode forms, letter case."""
    text = text.replace("\\", "/")
    return text.casefold() if text.isascii() else _composed(_composed(text).casefold())


def _difference(asked: str, found: str) -> str:
    """Difference of two texts that are the same when folded, as a report names it."""
    if asked == found:
        return ""
    asked, found = _composed(asked), _composed(found)
    if asked == found:
        return UNICODE
    return SLASHES if asked.replace("\\", "/") == found.replace("\\", "/") else CASE


class _Alike:
    """Ids that are the same when folded, by sorted hashes: 12 bytes an id."""

    def __init__(self, ids: Sequence[str]):
        self._ids = ids
        hashes = np.fromiter((hash(_folded(one)) for one in ids), np.int64, len(ids))
        self._rows = np.argsort(hashes, kind="stable").astype(np.int32)
        self._hashes = hashes[self._rows]

    def __call__(self, texts: Sequence[str]) -> Iterator[tuple[int, list[str]]]:
        """Place of each of ``texts`` that some ids are like, and these ids."""
        keys = [_folded(text) for text in texts]
        hashes = np.fromiter(map(hash, keys), np.int64, len(keys))
        first, last = (np.searchsorted(self._hashes, hashes, side) for side in ("left", "right"))
        for i in np.flatnonzero(first < last).tolist():
            likely = (self._ids[row] for row in self._rows[first[i] : last[i]].tolist())
            if alike := [one for one in likely if _folded(one) == keys[i]]:
                yield i, alike


class PathIds:
    """Rows of ids that are paths, however they are written; counts what had to be changed.

    With ``every`` all ids are paths, else those with a slash are; ``strip`` makes the id of a path
    below the folder, if that is not the path itself. ``prefix`` is what the paths begin with in
    place of the folder that ids are below; without it, the one is found that makes most of the
    first paths match that do not as they are. ``matched`` has the number of ids asked for by what
    was changed, ``missed`` the number by what they are like.
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
        self.found = ""
        """Evidence for a prefix that was found; empty if it was given."""
        self.matched: Counter[str] = Counter()
        self.missed: Counter[str] = Counter()
        self._answers: dict[str, tuple[int, str]] = {}
        self._given, self._looked = prefix is not None, False

    @functools.cached_property
    def _alike(self) -> _Alike:
        return _Alike(self._known.track_ids)

    def rows(self, ids: Sequence[str]) -> np.ndarray:
        """Row of every id [int32]; see :class:`KnownIds`."""
        found = self._known.rows(ids)
        missing = np.flatnonzero(found < 0).tolist()
        if self._every:
            self.missed[ADDRESSES] += sum(not self._is_path(ids[i]) for i in missing)
        # What a prefix that is given makes of a path goes before the path as it is.
        asked = [i for i in (range(len(ids)) if self._given else missing) if self._is_path(ids[i])]
        new = [one for one in dict.fromkeys(ids[i] for i in asked) if one not in self._answers]
        self._resolve(new)
        for i in asked:
            row, how = self._answers[ids[i]]
            if row >= 0:
                found[i] = row
                if how:
                    self.matched[how] += 1
            elif found[i] < 0 and (how or ids[i].startswith(OUTSIDE) or DRIVE.match(ids[i])):
                self.missed[how or ELSEWHERE] += 1
        return found

    def notes(self) -> list[str]:
        """Sentences on what was changed to match, and what the others are like."""
        notes = []
        if self.found:
            notes.append(f"paths begin with {self.prefix!r}: {self.found}; --path-prefix sets it")
        for how, count in sorted(self.matched.items()):
            notes.append(f"{count:,} matched {how}")
        notes += [f"{count:,} {how}" for how, count in sorted(self.missed.items()) if count]
        return notes

    def _is_path(self, one: str) -> bool:
        path = self._every or "/" in one or "\\" in one
        return path and not (":" in one and ADDRESS.match(one))

    def _resolve(self, ids: Sequence[str]) -> None:
        self._answers.update(dict.fromkeys(ids, (-1, "")))
        if self._given:
            ids = self._try(ids, self.prefix)
        ids = self._try(ids)
        if not (self._given or self._looked) and len(ids) >= FEWEST_FOR_PREFIX:
            self._looked = True
            self._find_prefix(ids)
        if self.found:
            self._try(ids, self.prefix)

    def _try(self, ids: Sequence[str], prefix: str | None = None) -> list[str]:
        """Look up what ``ids`` may mean, below ``prefix`` if it is given; those that are not there.

        Ids that are the same when folded count where there is one, or one in this letter case.
        """
        readings = [(one, *reading) for one in ids for reading in self._readings(one, prefix)]
        others = [reading for reading in readings if reading[1] != reading[0]]
        rows = self._known.rows([text for _, text, _ in others]).tolist() if others else []
        for (one, _, how), row in zip(others, rows, strict=True):
            if row >= 0 and self._answers[one][0] < 0:
                self._answers[one] = row, how
        if others:  # those with a backslash come again without
            readings = [
                (one, text, how)
                for one, text, how in readings
                if self._answers[one][0] < 0 and "\\" not in text
            ]
        chosen: dict[str, tuple[str, str]] = {}
        for i, alike in self._alike([text for _, text, _ in readings]) if readings else ():
            one, text, how = readings[i]
            nearest = [id_ for id_ in alike if _difference(text, id_) != CASE]
            if len(alike) > 1 and len(nearest) != 1:
                self._answers[one] = -1, SEVERAL
            elif one not in chosen:
                id_ = (nearest or alike)[0]
                hows = dict.fromkeys([*how.split(", "), _difference(text, id_)])
                chosen[one] = id_, ", ".join(filter(None, hows))
        found = self._known.rows([id_ for id_, _ in chosen.values()]).tolist() if chosen else []
        for (one, (_, how)), row in zip(chosen.items(), found, strict=True):
            self._answers[one] = row, how if row >= 0 else ""
        return [one for one in ids if self._answers[one][0] < 0]

    def _readings(self, one: str, prefix: str | None) -> Iterator[tuple[str, str]]:
        """Ids that a path may mean, and what is changed for each, the least first."""
        texts = [(one, "")]
        if one.lower().startswith("file:"):
            texts = [(path_of_uri(one), DECODED)]
        elif "%" in one:
            texts.append((unquote(one), DECODED))
        for text, how in texts:
            plain = slashed(text)
            if prefix is not None:
                parts, cut = plain.split("/"), prefix.count("/")
                start, rest = "/".join([*parts[:cut], ""]), "/".join(parts[cut:])
                if rest and _folded(start) == _folded(prefix):
                    changed = [BELOW.format(repr(prefix)), _difference(start, prefix)]
                    yield self._strip(rest), ", ".join(filter(None, changed))
                continue
            yield self._strip(text), how
            if plain != text:
                changed = [how, SLASHES if "\\" in text else ""]
                yield self._strip(plain), ", ".join(filter(None, changed))

    def _find_prefix(self, ids: Sequence[str]) -> None:
        """Find what most of ``ids`` have before the id that they mean."""
        ids = [one for one in ids[:: len(ids) // MOST_LOOKED_AT + 1] if len(one) < LONGEST]
        cuts: list[tuple[str, str]] = []
        for one in ids:
            parts = self._strip(_plain(one)).split("/")
            cuts += [
                ("/".join(parts[:cut]) + "/", "/".join(parts[cut:]))
                for cut in range(1, min(len(parts), MOST_FOLDERS))
            ]
        hits = [(*cuts[i], len(alike)) for i, alike in self._alike([rest for _, rest in cuts])]
        folders: defaultdict[str, set[str]] = defaultdict(set)
        for prefix, rest, _ in hits:
            folders[_folded(rest)].add(prefix)
        votes: Counter[str] = Counter()
        by_folder: set[str] = set()
        for prefix, rest, alike in hits:
            # A name alone that comes in several folders does not tell which file is meant.
            if alike == 1 and ("/" in rest or len(folders[_folded(rest)]) == 1):
                votes[prefix] += 1
                if "/" in rest:
                    by_folder.add(prefix)
        # Of two that fit as well the shorter one leaves more of the path to agree.
        best = max(votes, key=lambda prefix: (votes[prefix], -len(prefix)), default="")
        if votes[best] >= FEWEST_FOR_PREFIX and 2 * votes[best] > len(ids):
            self.prefix = best
            self.found = "found" if best in by_folder else "found by the names of files alone"


def _plain(path: str) -> str:
    """A path as people read it: no address, decoded, with ``/``."""
    path = path_of_uri(path) if path.lower().startswith("file:") else unquote(path)
    return slashed(path)
