"""Report on an embedding space: mean cosine, hubness, groups among the nearest tracks."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from playlist_pretrain.evaluation.neighbours import (
    Retrieval,
    Search,
    hubness,
    mates_among,
    mean_cosine,
    occurrences,
    retrieval,
)
from playlist_pretrain.playlists.match import shown

if TYPE_CHECKING:
    from playlist_pretrain.playlists.groups import TrackGroups

KS = (1, 10, 100)
LARGEST_WHOLE, SAMPLE = 20_000, 5_000
"""Of more tracks than the first number, as many as the second are drawn as queries."""
HUBS = 5
COLLAPSED = 0.99
"""Mean similarity of all pairs from which a report warns."""


@dataclass(frozen=True)
class GroupsFound:
    """Groups (artists, playlists, tags) among the nearest tracks."""

    name: str
    share: float  # of the k nearest of all queries, those in a group with their query
    share_chance: float  # the same if the nearest were any tracks
    retrieval: Retrieval  # of the queries that have mates
    recall_chance: dict[int, float]  # its recall if the nearest were any tracks
    r_precision_chance: float


@dataclass(frozen=True)
class SpaceReport:
    """Figures of :func:`space_report`."""

    tracks: int
    dim: int
    queries: int  # tracks that were asked for their nearest
    k: int  # neighbours that hubs and shares are counted among
    places: int  # neighbours that were looked at for each query
    mean_cosine: float  # over all pairs of tracks
    hubness: float  # skewness of the k-occurrence
    hubness_chance: float  # that of a binomial, which neighbours drawn at random give
    nobodys: int  # tracks among the k nearest of no query
    hubs: list[tuple[int, int]]  # rows that are among the k nearest most often, and how often
    groups: list[GroupsFound]
    without_mates: list[str]  # names of groups in which no query has a mate

    def text(self, track_ids: Sequence[str]) -> str:
        """Format the figures as lines; ``track_ids`` has the id of every row."""
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
        lines += [
            f"  same {g.name:<22}{g.share:.1%} of the nearest; {g.share_chance:.1%} by chance"
            for g in self.groups
        ]
        lines += [f"  same {name:<22}no track has a mate" for name in self.without_mates]
        return "\n".join([*lines, *self._table()])

    def _table(self) -> list[str]:
        rows = [("mates of", "tracks", "k", "recall@k", "95 %", "chance", "MAP@k", "95 %")]
        cut = []
        for group in self.groups:
            found, spans = group.retrieval, group.retrieval.intervals
            for k in found.recall:
                rows.append((
                    group.name, f"{found.queries:,}", str(k), f"{found.recall[k]:.4f}",
                    _span(spans[f"recall@{k}"]), f"{group.recall_chance[k]:.4f}",
                    f"{found.average_precision[k]:.4f}", _span(spans[f"map@{k}"]),
                ))  # fmt: skip
            rows.append((
                group.name, f"{found.queries:,}", "R", f"{found.r_precision:.4f}",
                _span(spans["r_precision"]), f"{group.r_precision_chance:.4f}", "", "",
            ))  # fmt: skip
            cut += [f"{found.cut:,} of {group.name}"] if found.cut else []
        if not self.groups:
            return []
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        table = []
        for first, *others in rows:
            cells = [cell.rjust(width) for cell, width in zip(others, widths[1:], strict=True)]
            table.append("  " + "  ".join([first.ljust(widths[0]), *cells]))
        table += [
            "  recall@k: share of the mates that k places can hold; k = R, as many as a track has "
            "mates: R-precision",
            "  95 %: groups drawn anew, and their tracks with them",
        ]
        if cut:
            table.append(f"  R is more than the {self.places} places looked at: {', '.join(cut)}")
        return table

    def to_dict(self, track_ids: Sequence[str]) -> dict[str, Any]:
        """Return all figures, ready for JSON."""
        hubs = [{"track_id": track_ids[row], "times": times} for row, times in self.hubs]
        return {**dataclasses.asdict(self), "hubs": hubs}


def _span(interval: tuple[float, float] | None) -> str:
    return "one group" if interval is None else "{:.4f}–{:.4f}".format(*interval)


def space_report(
    search: Search,
    embeddings: np.ndarray,
    groups: Sequence[TrackGroups] = (),
    *,
    k: int = 10,
    seed: int = 0,
) -> SpaceReport:
    """Measure a space of embeddings [tracks, dim].

    ``search`` is among the same embeddings (what it misses is missing here too), ``groups`` are
    artists, playlists, tags of the same tracks. Recall and MAP are at ``KS``, as far as there are
    so many others, R-precision as far as the largest of them, the other figures at ``k``. ``seed``
    is that of the bootstrap, and of the queries drawn where there are more than ``LARGEST_WHOLE``
    tracks.
    """
    tracks, dim = embeddings.shape
    ks = [one for one in KS if one < tracks]
    queries = np.arange(tracks)
    if tracks > LARGEST_WHOLE:
        queries = np.sort(np.random.default_rng(seed).choice(tracks, SAMPLE, replace=False))
    places = max(k, min(KS[-1], tracks - 1))
    found = search.of_tracks(places, queries)
    near = dataclasses.replace(found, rows=found.rows[:, :k])
    times = occurrences(near)
    hubs = np.lexsort((np.arange(tracks), -times))[:HUBS]
    with_mates, without = [], []
    for one in groups:
        mates = mates_among(found, one)
        if not mates.there.any():
            without.append(one.name)
            continue
        share = float(mates.found[:, :k].mean())
        there = mates.there[mates.there > 0]
        # Of k places that any others take, k R / (tracks − 1) are mates', of min(k, R) at most.
        chances = {at: float(np.maximum(at, there).mean() / (tracks - 1)) for at in ks}
        with_mates.append(
            GroupsFound(
                one.name,
                share,
                share_chance=float(mates.there.mean() / (tracks - 1)),
                retrieval=retrieval(mates, ks, seed),
                recall_chance=chances,
                r_precision_chance=float(there.mean() / (tracks - 1)),
            )
        )
    chance = k / (tracks - 1)
    spread = (len(queries) * chance * (1 - chance)) ** 0.5
    return SpaceReport(
        tracks,
        dim,
        queries=len(queries),
        k=k,
        places=places,
        mean_cosine=mean_cosine(embeddings),
        hubness=hubness(near),
        hubness_chance=(1 - 2 * chance) / spread if spread else 0.0,
        nobodys=int(np.count_nonzero(times == 0)),
        hubs=[(int(row), int(times[row])) for row in hubs],
        groups=with_mates,
        without_mates=without,
    )
