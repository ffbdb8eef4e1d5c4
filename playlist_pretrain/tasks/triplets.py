"""Triplets: two excerpts, and which of them people find more similar to a third.

Format: a table (see ``playlist_pretrain.delimited``) with one of two sets of columns; others are
ignored.

* dim-sim's: ``anchor_id, anchor_start_seconds, song1_id, song1_start_seconds, song2_id,
  song2_start_seconds, song1_vote`` and, if there, ``song2_vote``. With ``song1_vote`` alone, 1 says
  that song 1 is the positive, 0 that song 2 is; with both columns the song with more votes is.
  Whatever says neither is refused with its line: equal votes, an empty cell, NaN, a number below
  0, and without ``song2_vote`` any other than 0 and 1.
* your own: ``anchor, positive, negative``; if there, ``anchor_start_seconds,
  positive_start_seconds, negative_start_seconds`` (all or none), and ``agreement``, from 0 to 1.

The agreement of dim-sim's triplets is the share of the votes that the positive has. A table in
which every vote is 1 to 0 gives verdicts, not counts, and so no agreement.

A clip is a track id and, where the table has starts, a start. A triplet that names a clip twice
is refused; two excerpts of one track are two clips, which people can compare.

Provenance: dim-sim's ids are those of tracks of the Million Song Dataset, its excerpts last 3 s;
the 879 triplets of ``clean-dim-sim.csv`` are those that arXiv 2304.12257 tests on.
Citation: Lee, Bryan, Salamon, Jin, Nam, Disentangled multidimensional metric learning for music
similarity, ICASSP 2020 (arXiv 2008.03720).
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from playlist_pretrain.delimited import read_columns, read_header
from playlist_pretrain.errors import TableError
from playlist_pretrain.files import content_key

ROLES = ("anchor", "positive", "negative")
SONGS = ("anchor", "song1", "song2")
START = "_start_seconds"
OWN_COLUMNS = ROLES
DIM_SIM_COLUMNS = (*(f"{song}{what}" for song in SONGS for what in ("_id", START)), "song1_vote")
LATEST_START, MOST_VOTES = 1e6, 1e9
SECOND_VOTE, AGREEMENT = "song2_vote", "agreement"
NEEDED = f"needed are {', '.join(OWN_COLUMNS)}, or {', '.join(DIM_SIM_COLUMNS)}"
CITATION = (
    "J. Lee, N. J. Bryan, J. Salamon, Z. Jin, J. Nam: Disentangled multidimensional metric "
    "learning for music similarity. ICASSP 2020"
)


@dataclass(frozen=True, slots=True)
class Clip:
    """A track, or an excerpt of one."""

    track_id: str
    start: float | None = None
    """Seconds from the beginning of the track; None for the whole track."""

    def __str__(self) -> str:
        return repr(self.track_id) + (
            "" if self.start is None else f" at {seconds_text(self.start)} s"
        )


@dataclass(frozen=True, eq=False)
class Triplets:
    """Triplets of clips, as a table has them."""

    path: Path
    clips: tuple[Clip, ...]
    """Each once, in the order in which the table names them. All have a start, or none has."""
    rows: np.ndarray
    """Positions in ``clips`` of anchor, positive and negative, int32 [triplets, 3]."""
    lines: np.ndarray
    """Line of the table (the header is line 1) in which each triplet starts, int64 [triplets]."""
    agreement: np.ndarray | None
    """0 to 1: how far people agree, float64 [triplets]; None where the table does not say."""
    dim_sim: bool
    """Whether the table has dim-sim's columns."""

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def has_starts(self) -> bool:
        """Whether clips are excerpts."""
        return self.clips[0].start is not None

    @property
    def named(self) -> np.ndarray:
        """Positions in ``clips`` of those that triplets name [clips named], ascending."""
        return np.unique(self.rows)

    @property
    def key(self) -> str:
        """Changes when a triplet, their order or an agreement does."""
        clips = json.dumps([[clip.track_id, clip.start] for clip in self.clips])
        agreement = b"" if self.agreement is None else self.agreement.tobytes()
        return content_key(clips.encode(), self.rows.tobytes(), agreement)

    def without(self, lacking: Sequence[int]) -> Triplets:
        """Those triplets that name none of the clips at the positions ``lacking``."""
        kept = ~np.isin(self.rows, np.asarray(lacking, np.int64)).any(axis=1)
        return dataclasses.replace(
            self,
            rows=self.rows[kept],
            lines=self.lines[kept],
            agreement=None if self.agreement is None else self.agreement[kept],
        )


def seconds_text(seconds: float) -> str:
    """A number of seconds with no more digits than it takes to tell it from others: 30, 27.5."""
    return repr(float(seconds)).removesuffix(".0")


def read_triplets(path: str | Path) -> Triplets:
    """Read a table of triplets; see the module for its columns, and what is refused.

    Raises TableError, with the file and the line.
    """
    path = Path(path)
    dim_sim = DIM_SIM_COLUMNS[0] in read_header(path, ())
    header = read_header(path, DIM_SIM_COLUMNS if dim_sim else OWN_COLUMNS, NEEDED)
    starts = [f"{role}{START}" for role in (SONGS if dim_sim else ROLES)]
    has_starts = _all_or_none(path, header, starts)
    ids = [f"{song}_id" for song in SONGS] if dim_sim else list(ROLES)
    extra = ["song1_vote", SECOND_VOTE] if dim_sim else [AGREEMENT]
    extra = [name for name in extra if name in header]
    columns = [*ids, *(starts if has_starts else ()), *extra]
    positions: dict[Clip, int] = {}
    rows, lines, agreement, verdicts = [], [], [], True
    for line, cells in read_columns(path, columns):
        where = f"{path}: line {line}"
        values = dict(zip(columns, cells, strict=True))
        clips = [
            Clip(
                values[name],
                _number(where, start, values[start], LATEST_START) if has_starts else None,
            )
            for name, start in zip(ids, starts, strict=True)
        ]
        for place, clip in enumerate(clips):
            if clip in clips[:place]:
                what = "an excerpt" if has_starts else "a track"
                raise TableError(f"{where}: {what} is named twice: {clip}")
        if dim_sim:
            votes = _votes(where, values)
            verdicts = verdicts and sorted(votes) == [0, 1]
            agreement.append(max(votes) / sum(votes))
            if votes[1] > votes[0]:
                clips[1:] = clips[:0:-1]
        elif extra:
            agreement.append(_number(where, AGREEMENT, values[AGREEMENT], 1))
        rows.append([positions.setdefault(clip, len(positions)) for clip in clips])
        lines.append(line)
    counted = bool(agreement) and not (dim_sim and verdicts)
    return Triplets(
        path,
        tuple(positions),
        np.array(rows, np.int32),
        np.array(lines, np.int64),
        np.array(agreement) if counted else None,
        dim_sim,
    )


def _all_or_none(path: Path, header: Sequence[str], names: Sequence[str]) -> bool:
    there = [name for name in names if name in header]
    if there and len(there) < len(names):
        missing = ", ".join(repr(name) for name in names if name not in there)
        raise TableError(f"{path}: column {there[0]!r}, but no {missing}: give all of them or none")
    return bool(there)


def _votes(where: str, values: dict[str, str]) -> tuple[float, float]:
    first = _number(where, "song1_vote", values["song1_vote"], MOST_VOTES)
    if SECOND_VOTE not in values:
        if first not in (0, 1):
            raise TableError(
                f"{where}: song1_vote {values['song1_vote']!r}: 1 says that song 1 is the more "
                f"similar, 0 that song 2 is; numbers of votes need a column {SECOND_VOTE!r} too"
            )
        return first, 1 - first
    second = _number(where, SECOND_VOTE, values[SECOND_VOTE], MOST_VOTES)
    if first == second:
        raise TableError(
            f"{where}: song1_vote and {SECOND_VOTE} are both {first:g}: this does not say which "
            "song is the more similar; remove the row"
        )
    return first, second


def _number(where: str, column: str, text: str, most: float) -> float:
    """A number from 0 to ``most``."""
    try:
        number = float(text) + 0.0  # −0 is 0
    except ValueError:
        number = math.nan
    if not 0 <= number <= most:
        raise TableError(
            f"{where}: column {column!r}: {text[:60]!r} is not a number from 0 to {most:,.0f}"
        )
    return number
