"""Table 1: pairs of an epoch and steps of each pairing, from the pairings' own counts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

COUNTS = {
    "tracks": "tracks",
    "pairs_per_epoch": "pairs an epoch",
    "batch": "pairs a step",
    "steps_per_epoch": "steps an epoch",
    "epochs": "epochs",
    "steps": "steps",
}
"""Keys and titles, in the order of the columns."""
OF_PAPER = ("pairs_per_epoch", "steps")


@dataclass(frozen=True)
class PairCounts:
    """A row of Table 1.

    Attributes
    ----------
    id, title : str
        Of the pairing.
    counts : mapping of str to float
        Means over the runs, for the keys of :data:`COUNTS`.
    runs : int
    paper : mapping of str to int
        The paper's, for some of these keys.
    """

    id: str
    title: str
    counts: Mapping[str, float]
    runs: int
    paper: Mapping[str, int]


def pair_counts(
    id: str, title: str, found: Sequence[Mapping[str, float]], paper: Mapping[str, int]
) -> PairCounts:
    """Mean counts of the pre-trainings of one pairing.

    Parameters
    ----------
    id, title : str
    found : sequence of mapping
        The counts of each pre-training; at least one.
    paper : mapping
        See :class:`PairCounts`.
    """
    means = {name: sum(one[name] for one in found) / len(found) for name in COUNTS}
    return PairCounts(id, title, means, len(found), paper)


def count_text(value: float) -> str:
    """A count, with a digit after the point where it is no whole number."""
    return f"{value:,.0f}" if value == int(value) else f"{value:,.1f}"
