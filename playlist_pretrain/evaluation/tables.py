"""The tables of arXiv 2304.12257 from measured numbers, with its statistics and what it lacks.

:func:`build` works out, for every row and column, mean ± sample standard deviation over the units
(runs, or worlds), which row is the best of its column (bold), and which is better than the
baseline by a one-sided t-test (grey). What the paper lacks stands beside it: the difference from
the baseline with a paired bootstrap interval, and an effect size.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from playlist_pretrain.evaluation.bootstrap import mean_intervals
from playlist_pretrain.evaluation.effect_sizes import hedges_g, hedges_g_paired
from playlist_pretrain.evaluation.statistics import (
    LEVEL,
    Comparison,
    RunsSummary,
    compare_runs,
    summarise_runs,
)

RESAMPLES = 10_000


@dataclass(frozen=True)
class TableRow:
    """A row of Tables 2 and 3.

    Attributes
    ----------
    id : str
    backbone, start : str
        Titles; what it is, and what it starts from.
    baseline : str
        ``id`` of the row that it is compared with; its own for a baseline.
    """

    id: str
    backbone: str
    start: str
    baseline: str


@dataclass(frozen=True)
class TableColumn:
    """A metric of a task, greater is better.

    Attributes
    ----------
    id : str
    table : int
        2, tagging, or 3, triplets.
    task, metric : str
        Titles.
    """

    id: str
    table: int
    task: str
    metric: str


@dataclass(frozen=True)
class Measured:
    """A row in a column.

    Attributes
    ----------
    values : tuple of float
        One a unit.
    units : tuple of str
        Their names; where they are ``paired``, the same name is the same unit in another row.
    folders : tuple of str
        Run folders that the values come from, below the folder of the results.
    """

    values: tuple[float, ...]
    units: tuple[str, ...]
    folders: tuple[str, ...] = ()


@dataclass(frozen=True)
class Difference:
    """A row less its baseline.

    Attributes
    ----------
    difference : float
    interval : tuple of float
        95 %, percentile bootstrap of paired differences.
    over : str
        What was resampled.
    count : int
        How many of it.
    """

    difference: float
    interval: tuple[float, float]
    over: str
    count: int


@dataclass(frozen=True)
class Entry:
    """What a table shows of a row in a column.

    Attributes
    ----------
    measured : Measured
    summary : RunsSummary
    best : bool
        No mean of the column is greater: bold.
    test : Comparison or None
        Against the baseline; None for the baseline itself and where there are too few units.
    against : Difference or None
    effect : float or None
        Hedges' g; see :mod:`~playlist_pretrain.evaluation.effect_sizes`.
    """

    measured: Measured
    summary: RunsSummary
    best: bool
    test: Comparison | None
    against: Difference | None
    effect: float | None

    @property
    def grey(self) -> bool:
        """Whether it is better than the baseline by the test."""
        return self.test is not None and self.test.significant

    @property
    def text(self) -> str:
        """Mean ± standard deviation, three digits."""
        return self.summary.text()


@dataclass(frozen=True)
class Tables:
    """Tables 2 and 3.

    Attributes
    ----------
    rows, columns : sequence
        In their order.
    entries : mapping of (row id, column id) to Entry
        What was not measured is not there.
    unit : str
        What values are one of: "world", "pre-training" or "run".
    paired : bool
        Whether the units of two rows belong together.
    level : float
        Of the t-test.
    paper : mapping of (row id, column id) to (float, float or None)
        Mean and standard deviation in the paper, where the dataset is the same.
    """

    rows: Sequence[TableRow]
    columns: Sequence[TableColumn]
    entries: Mapping[tuple[str, str], Entry]
    unit: str
    paired: bool
    level: float
    paper: Mapping[tuple[str, str], tuple[float, float | None]]

    def of_table(self, number: int) -> list[TableColumn]:
        """Columns of a table."""
        return [column for column in self.columns if column.table == number]

    def rows_of_table(self, number: int) -> list[TableRow]:
        """Rows that have an entry in a table."""
        columns = self.of_table(number)
        return [r for r in self.rows if any((r.id, c.id) in self.entries for c in columns)]


def build(
    rows: Sequence[TableRow],
    columns: Sequence[TableColumn],
    measured: Mapping[tuple[str, str], Measured],
    *,
    unit: str,
    paired: bool = False,
    level: float = LEVEL,
    differences: Mapping[tuple[str, str], Difference] | None = None,
    paper: Mapping[tuple[str, str], tuple[float, float | None]] | None = None,
) -> Tables:
    """Work out the statistics of all rows and columns.

    Parameters
    ----------
    rows, columns : sequence
    measured : mapping of (row id, column id) to Measured
    unit : str
    paired : bool
        The t-test is the paper's, of independent runs, all the same. The intervals resample the
        paired differences of the units, and the effect size is that of pairs.
    level : float
    differences : mapping of (row id, column id) to Difference, optional
        Where units are not paired: intervals over what the models were measured on.
    paper : mapping, optional
        As in :class:`Tables`.

    Raises
    ------
    ScoresError
        For values that are not finite.
    """
    entries = {}
    for column in columns:
        found = {row.id: measured[row.id, column.id] for row in rows
                 if (row.id, column.id) in measured}  # fmt: skip
        summaries = {id: summarise_runs(one.values) for id, one in found.items()}
        best = max((summary.mean for summary in summaries.values()), default=None)
        for row in rows:
            if row.id not in found:
                continue
            key, test, against, effect = (row.id, column.id), None, None, None
            base = found.get(row.baseline)
            if base is not None and row.id != row.baseline:
                test = _test(found[row.id], base, level)
                against, effect = (differences or {}).get(key), hedges_g(
                    found[row.id].values, base.values
                )  # fmt: skip
                if paired:
                    against, effect = _paired(found[row.id], base, unit)
            summary = summaries[row.id]
            entries[key] = Entry(
                found[row.id], summary, summary.mean == best, test, against, effect
            )
    return Tables(tuple(rows), tuple(columns), entries, unit, paired, level, paper or {})


def _test(one: Measured, base: Measured, level: float) -> Comparison | None:
    if min(len(one.values), len(base.values)) < 2:
        return None
    return compare_runs(one.values, base.values, level=level)


def _paired(one: Measured, base: Measured, unit: str) -> tuple[Difference | None, float | None]:
    """Interval and effect size over the units that both rows have."""
    values, others = (dict(zip(m.units, m.values, strict=True)) for m in (one, base))
    common = [name for name in values if name in others]
    if len(common) < 2:
        return None, None
    pairs = np.array([[values[name], others[name]] for name in common])
    apart = pairs[:, 0] - pairs[:, 1]
    (interval,) = mean_intervals(apart[:, np.newaxis], resamples=RESAMPLES)
    difference = Difference(float(apart.mean()), interval, f"{unit}s", len(common))
    return difference, hedges_g_paired(pairs[:, 0], pairs[:, 1])
