"""What a space of embeddings is like: how alike all are, who is a hub, what the nearest share."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from playlist_pretrain.errors import EmbeddingsError
from playlist_pretrain.evaluation.neighbours import (
    Neighbours,
    Retrieval,
    hubness,
    mates_among,
    occurrences,
    retrieval,
    unit_vectors,
)
from playlist_pretrain.playlists.match import shown

if TYPE_CHECKING:
    from playlist_pretrain.playlists.groups import TrackGroups

KS = (1, 10, 100)
LARGEST_WHOLE, SAMPLE = 20_000, 5_000
"""Of more tracks than the first, so many are asked for their nearest: the others still answer."""
HUBS = 5
COLLAPSED = 0.99
"""Mean similarity of all pairs from which a report warns."""


class Search(Protocol):
    """What finds the nearest: ``ExactSearch`` or ``FaissSearch``."""

    def of_tracks(
        self,
        k: int,
        queries: Sequence[int] | np.ndarray | None,
        advance: Callable[[int], object],
    ) -> Neighbours:
        """See ``ExactSearch.of_tracks``."""

    def of_vectors(
        self, vectors: np.ndarray, k: int, left_out: Sequence[int] | np.ndarray = ()
    ) -> tuple[np.ndarray, np.ndarray]:
        """See ``ExactSearch.of_vectors``."""


@dataclass(frozen=True)
class GroupsFound:
    """How groups show in a space.

    Attributes
    ----------
    name : str
        Of the groups.
    share, share_chance : float
        Of the k nearest of all queries, those that share a group with their query, and how many
        would if the nearest were any tracks.
    retrieval : Retrieval
        Of the queries that have mates.
    """

    name: str
    share: float
    share_chance: float
    retrieval: Retrieval


@dataclass(frozen=True)
class SpaceReport:
    """What :func:`space_report` found.

    Attributes
    ----------
    tracks, dim : int
    queries : int
        Tracks that were asked for their nearest.
    k : int
        Neighbours that hubs and shares are counted among.
    mean_cosine : float
        Of all pairs of tracks.
    hubness, hubness_chance : float
        Skewness of the k-occurrence, and that of a binomial: what neighbours drawn at random give.
    nobodys : int
        Tracks among the k nearest of no query.
    hubs : list of (int, int)
        Rows that are among the k nearest most often, and how often.
    groups : list of GroupsFound
    without_mates : list of str
        Groups of which no query has a mate.
    """

    tracks: int
    dim: int
    queries: int
    k: int
    mean_cosine: float
    hubness: float
    hubness_chance: float
    nobodys: int
    hubs: list[tuple[int, int]]
    groups: list[GroupsFound]
    without_mates: list[str]

    def text(self, track_ids: Sequence[str]) -> str:
        """The figures as lines; ``track_ids`` has the id of every row."""
        asked = f"{self.queries:,} tracks drawn of {self.tracks:,}"
        if self.queries == self.tracks:
            asked = f"all {self.tracks:,} tracks"
        hubs = ", ".join(f"{shown(track_ids[row])} {times:,}" for row, times in self.hubs)
        alike = "  nearly all are alike: the space may have collapsed"
        lines = [
            f"the space: {self.tracks:,} tracks, {self.dim} values; {self.k} nearest of {asked}",
            f"  mean cosine of two tracks  {self.mean_cosine:.4f}"
            + (alike if self.mean_cosine > COLLAPSED else ""),
            f"  hubness                    {self.hubness:.2f}; {self.hubness_chance:.2f} by "
            "chance, several where a few are near to everything",
            f"  most often near            {hubs} times",
            f"  near to none               {self.nobodys / self.tracks:.1%} of the tracks",
        ]
        for found in self.groups:
            lines.append(
                f"  same {found.name:<22}{found.share:.1%} of the nearest; "
                f"{found.share_chance:.1%} by chance"
            )
        lines += [f"  same {name:<22}no track has a mate" for name in self.without_mates]
        return "\n".join([*lines, *self._table()])

    def _table(self) -> list[str]:
        header = ("mates of", "tracks", "k", "recall@k", "95 %", "chance", "MAP@k", "95 %")
        rows = [header]
        for found in self.groups:
            for k, recall in found.retrieval.recall.items():
                means = (recall, found.retrieval.average_precision[k])
                intervals = (
                    f"{low:.4f}–{high:.4f}"
                    for low, high in (
                        found.retrieval.intervals[f"{name}@{k}"] for name in ("recall", "map")
                    )
                )
                first, second = zip(means, intervals, strict=True)
                chance = f"{k / (self.tracks - 1):.4f}"
                number = f"{found.retrieval.queries:,}"
                rows.append((found.name, number, str(k), f"{first[0]:.4f}", first[1], chance,
                             f"{second[0]:.4f}", second[1]))  # fmt: skip
        if len(rows) == 1:
            return []
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        return [
            "  "
            + "  ".join(
                cell.rjust(width) if place else cell.ljust(width)
                for place, (cell, width) in enumerate(zip(row, widths, strict=True))
            )
            for row in rows
        ]

    def to_dict(self, track_ids: Sequence[str]) -> dict[str, Any]:
        """All figures, ready for JSON."""
        hubs = [{"track_id": track_ids[row], "times": times} for row, times in self.hubs]
        return {**dataclasses.asdict(self), "hubs": hubs}


def space_report(
    search: Search,
    embeddings: np.ndarray,
    groups: Sequence[TrackGroups] = (),
    *,
    k: int = 10,
    seed: int = 0,
    advance: Callable[[int], object] = lambda queries: None,
) -> SpaceReport:
    """Measure a space.

    Parameters
    ----------
    search : Search
        Of the same embeddings; what it misses is missing here too.
    embeddings : np.ndarray float [tracks, dim]
    groups : sequence of TrackGroups
        Over the same tracks: artists, playlists, tags.
    k : int
        Neighbours that hubs and shares are counted among; recall and MAP are at ``KS``, as far as
        there are so many others.
    seed : int
        Of the queries drawn where there are more than ``LARGEST_WHOLE`` tracks, and of the
        bootstrap.
    advance : callable
        Told how many more queries have been answered.

    Raises
    ------
    EmbeddingsError
        As ``neighbours.nearest``; groups of another number of tracks.
    """
    tracks, dim = embeddings.shape
    if not 1 <= k < tracks:
        raise EmbeddingsError(f"{k} nearest of {tracks} tracks: between 1 and {tracks - 1} can be")
    ks = [one for one in KS if one < tracks]
    queries = report_queries(tracks, seed)
    found = search.of_tracks(max(*ks, k), queries, advance)
    near = dataclasses.replace(
        found, rows=found.rows[:, :k], similarities=found.similarities[:, :k]
    )
    times = occurrences(near)
    hubs = np.lexsort((np.arange(tracks), -times))[:HUBS]
    shown_groups, without = [], []
    for one in groups:
        mates = mates_among(found, one)
        if not mates.there.any():
            without.append(one.name)
            continue
        shown_groups.append(
            GroupsFound(
                one.name,
                share=float(mates.found[:, :k].mean()),
                share_chance=float(mates.there.mean() / (tracks - 1)),
                retrieval=retrieval(mates, ks, seed=seed),
            )
        )
    chance = k / (tracks - 1)
    spread = (len(found.queries) * chance * (1 - chance)) ** 0.5
    return SpaceReport(
        tracks=tracks,
        dim=dim,
        queries=len(found.queries),
        k=k,
        mean_cosine=mean_cosine(embeddings),
        hubness=hubness(near),
        hubness_chance=(1 - 2 * chance) / spread if spread else 0.0,
        nobodys=int(np.count_nonzero(times == 0)),
        hubs=[(int(row), int(times[row])) for row in hubs],
        groups=shown_groups,
        without_mates=without,
    )


def report_queries(tracks: int, seed: int) -> np.ndarray:
    """Rows of the tracks that a report asks for their nearest, int64, rising."""
    if tracks <= LARGEST_WHOLE:
        return np.arange(tracks)
    return np.sort(np.random.default_rng(seed).choice(tracks, SAMPLE, replace=False))


def mean_cosine(embeddings: np.ndarray) -> float:
    """Mean similarity of all pairs of two different tracks, of at least two.

    Near 0 where embeddings point everywhere; near 1 they are all alike, and what tells them apart
    is in the last digits.
    """
    units = unit_vectors(embeddings)
    total = units.sum(axis=0)
    return float((total @ total - len(units)) / (len(units) * (len(units) - 1)))
