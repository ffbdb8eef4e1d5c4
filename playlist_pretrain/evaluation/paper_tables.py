"""Table 1: pairs of an epoch and steps of each pairing, from the pairings' own counts.

The tables of arXiv 2304.12257 from measured numbers, with its statistics and what it lacks.

:func:`build` works out, for every row and column, mean ± sample standard deviation over the units
(runs, or worlds), which row is the best of its column (bold), and which is better than the
baseline by a one-sided t-test (grey). What the paper lacks stands beside it: the difference from
the baseline with a paired bootstrap interval, and an effect size.

Tables for programs.

Tables as Markdown, CSV and LaTeX.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from playlist_pretrain.evaluation.bootstrap import mean_intervals
from playlist_pretrain.evaluation.statistics import (
    LEVEL,
    Comparison,
    RunsSummary,
    compare_runs,
    hedges_g,
    hedges_g_paired,
    summarise_runs,
)

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
        Hedges' g; see :mod:`~playlist_pretrain.evaluation.statistics`.
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


def document(tables: Tables) -> dict[str, Any]:
    """Rows, columns and entries, ready for JSON; infinite numbers become None.

    Returns
    -------
    dict
        ``rows`` and ``columns``: lists of the fields of :class:`TableRow` and
        :class:`TableColumn`. ``entries``: a list of ``row``, ``column`` (ids), ``values``,
        ``units``, ``folders``, ``mean``, ``std``, ``text``, ``best``, ``grey``; ``test``
        (``statistic``, ``degrees_of_freedom``, ``p_value``, …) or None; ``against_baseline``
        (``difference``, ``interval``, ``over``, ``count``) or None; ``effect_size`` or None;
        ``paper`` (mean and standard deviation, which may be None) or None.
        ``unit``, ``paired``, ``level``: as in :class:`Tables`.
    """
    return {
        "unit": tables.unit,
        "paired": tables.paired,
        "level": tables.level,
        "rows": [asdict(row) for row in tables.rows],
        "columns": [asdict(column) for column in tables.columns],
        "entries": [
            {
                "row": row,
                "column": column,
                **{name: list(value) for name, value in asdict(entry.measured).items()},
                "mean": entry.summary.mean,
                "std": entry.summary.std,
                "text": entry.text,
                "best": entry.best,
                "grey": entry.grey,
                "test": None if entry.test is None else _finite(asdict(entry.test)),
                "against_baseline": None if entry.against is None else asdict(entry.against),
                "effect_size": entry.effect,
                "paper": list(tables.paper[row, column]) if (row, column) in tables.paper else None,
            }
            for (row, column), entry in tables.entries.items()
        ],
    }


def _finite(values: dict[str, Any]) -> dict[str, Any]:
    odd = (float("inf"), float("-inf"))
    return {name: None if value in odd else value for name, value in values.items()}


TITLES = {2: "tagging", 3: "triplets"}
CSV_COLUMNS = (
    "table", "row", "backbone", "start", "task", "metric", "mean", "std", "units", "values", "best",
    "grey", "t", "p_value", "difference", "difference_low", "difference_high", "effect_size",
    "paper_mean", "paper_std",
)  # fmt: skip
GREY = "†"
NOTHING = "–"
LATEX = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_",
    "{": r"\{", "}": r"\}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "±": r"$\pm$",
    "–": "--", "−": "$-$", "†": r"$\dagger$",
}  # fmt: skip


def notes(tables: Tables) -> list[str]:
    """What a reader has to know, a sentence or two each."""
    baselines = {row.baseline for row in tables.rows}
    names = " / ".join(dict.fromkeys(r.start for r in tables.rows if r.id in baselines))
    found = [
        f"Mean ± sample standard deviation over {tables.unit}s: the unit of all statistics is a "
        f"{tables.unit}. Bold: the best of its column. Grey ({GREY} in text): better than {names} "
        f"by a one-sided t-test of independent samples (Student's), p < {tables.level:g}.",
        "The tests are not corrected for their number.",
    ]
    if tables.paired:
        found.append(
            f"Differences are of the same {tables.unit}s, with 95 % percentile intervals from "
            f"resampling {tables.unit}s; of so few they are narrower than they should be. Effect "
            "sizes are mean differences in standard deviations of the differences (Cohen's d_z), "
            "with Hedges' correction (Lakens 2013)."
        )
    else:
        found.append(
            "Differences have 95 % percentile intervals from resampling what both models were "
            "tested on, in pairs: they say how much depends on these items, not how runs scatter. "
            f"Effect sizes are Hedges' g over {tables.unit}s (Hedges 1981)."
        )
    return found


def markdown(tables: Tables, counts: Sequence[PairCounts], title: str, about: str) -> str:
    """One page with all tables."""
    lines = [f"# {title}", "", *([about.strip(), ""] if about.strip() else [])]
    if counts:
        lines += ["## Table 1: pairs", "", *_markdown_counts(counts), ""]
    for number, name in TITLES.items():
        if rows := tables.rows_of_table(number):
            lines += [f"## Table {number}: {name}", "", *_markdown_table(tables, number, rows), ""]
            against = list(_markdown_against(tables, number, rows))
            if len(against) > 2:
                lines += [f"### Table {number}, against the baseline", "", *against, ""]
    if tables.entries:
        for note in notes(tables):
            lines += [note, ""]
    return "\n".join(lines)


def _markdown_counts(counts: Sequence[PairCounts]) -> Iterator[str]:
    with_paper = any(row.paper for row in counts)
    heads = ["pairing", *COUNTS.values()]
    heads += [f"paper: {COUNTS[name]}" for name in OF_PAPER if with_paper]
    yield _line(heads)
    yield "|" + "---|" * len(heads)
    for row in counts:
        cells = [_escaped(row.title), *(count_text(row.counts[name]) for name in COUNTS)]
        if with_paper:
            cells += [
                count_text(row.paper[name]) if name in row.paper else NOTHING for name in OF_PAPER
            ]
        yield _line(cells)


def _markdown_table(tables: Tables, number: int, rows: Sequence[TableRow]) -> Iterator[str]:
    columns = tables.of_table(number)
    heads = [f"{_escaped(c.task)}: {_escaped(c.metric)}" for c in columns]
    yield _line(["backbone", "starts from", *heads])
    yield "|" + "---|" * (len(heads) + 2)
    for row in rows:
        cells = [_markdown_cell(tables, row, column) for column in columns]
        yield _line([_escaped(row.backbone), _escaped(row.start), *cells])


def _markdown_cell(tables: Tables, row: TableRow, column: TableColumn) -> str:
    entry = tables.entries.get((row.id, column.id))
    text = NOTHING
    if entry is not None:
        text = f"**{entry.text}**" if entry.best else entry.text
        text += f" {GREY}" if entry.grey else ""
    paper = paper_text(tables, row, column)
    return f"{text} (paper: {paper})" if paper else text


def paper_text(tables: Tables, row: TableRow, column: TableColumn) -> str:
    """The paper's figure, empty where it has none."""
    if (row.id, column.id) not in tables.paper:
        return ""
    mean, std = tables.paper[row.id, column.id]
    return f"{mean:g}" if std is None else f"{mean:g} ± {std:g}"


def _markdown_against(tables: Tables, number: int, rows: Sequence[TableRow]) -> Iterator[str]:
    yield _line(["backbone", "starts from", "of", "difference [95 %]", "effect size", "t-test p"])
    yield "|" + "---|" * 6
    for column in tables.of_table(number):
        for row in rows:
            entry = tables.entries.get((row.id, column.id))
            if entry is None or (entry.against is None and entry.test is None):
                continue
            of = f"{_escaped(column.task)}: {_escaped(column.metric)}"
            yield _line([_escaped(row.backbone), _escaped(row.start), of, *against_texts(entry)])


def against_texts(entry: Entry) -> list[str]:
    """Difference with its interval, effect size and p of the t-test."""
    apart, low_high = entry.against, NOTHING
    if apart is not None:
        low_high = "{:+.3f} [{:+.3f}, {:+.3f}]".format(apart.difference, *apart.interval)
    return [
        low_high,
        NOTHING if entry.effect is None else f"{entry.effect:+.2f}",
        NOTHING if entry.test is None else f"{entry.test.p_value:.2g}",
    ]


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace("|", "\\|").replace("\n", " ")


def csv_text(tables: Tables, counts: Sequence[PairCounts]) -> str:
    """All numbers in one long table; whole digits."""
    stream = io.StringIO()
    table = csv.DictWriter(stream, CSV_COLUMNS, lineterminator="\n", restval="")
    table.writeheader()
    for row in counts:
        for name in COUNTS:
            table.writerow({
                "table": 1, "row": row.id, "start": row.title, "metric": name,
                "mean": row.counts[name], "units": row.runs,
                "paper_mean": row.paper.get(name, ""),
            })  # fmt: skip
    for column in tables.columns:
        for row in tables.rows:
            entry = tables.entries.get((row.id, column.id))
            paper = tables.paper.get((row.id, column.id))
            if entry is None and paper is None:
                continue
            cells = {
                "table": column.table, "row": row.id, "backbone": row.backbone, "start": row.start,
                "task": column.task, "metric": column.metric,
            }  # fmt: skip
            if entry is not None:
                cells |= _csv_cells(entry)
            if paper is not None:
                cells |= {"paper_mean": paper[0], "paper_std": "" if paper[1] is None else paper[1]}
            table.writerow(cells)
    return stream.getvalue()


def _csv_cells(entry: Entry) -> dict[str, object]:
    summary = entry.summary
    cells: dict[str, object] = {}
    if entry.test is not None:
        cells |= {"t": entry.test.statistic, "p_value": entry.test.p_value}
    if entry.against is not None:
        low, high = entry.against.interval
        cells |= {"difference": entry.against.difference, "difference_low": low,
                  "difference_high": high}  # fmt: skip
    return {
        "mean": summary.mean,
        "std": "" if summary.std is None else summary.std,
        "units": summary.runs,
        "values": " ".join(map(repr, entry.measured.values)),
        "best": int(entry.best),
        "grey": int(entry.grey),
        "effect_size": "" if entry.effect is None else entry.effect,
        **cells,
    }


def latex(tables: Tables, counts: Sequence[PairCounts]) -> str:
    r"""Tables to be ``\input``; packages booktabs, and colortbl for grey cells."""
    lines = [r"% \usepackage{booktabs} and \usepackage{colortbl}, \input anywhere in the text"]
    if counts:
        lines += [
            r"\begin{tabular}{l" + "r" * len(COUNTS) + "}", r"\toprule",
            _tex_line(["pairing", *COUNTS.values()]), r"\midrule",
            *(_tex_line([r.title, *(count_text(r.counts[name]) for name in COUNTS)])
              for r in counts),
            r"\bottomrule", r"\end{tabular}", "",
        ]  # fmt: skip
    for number in TITLES:
        if rows := tables.rows_of_table(number):
            lines += [*_latex_table(tables, number, rows), ""]
    return "\n".join(lines)


def _latex_table(tables: Tables, number: int, rows: Sequence[TableRow]) -> Iterator[str]:
    columns = tables.of_table(number)
    yield r"\begin{tabular}{ll" + "r" * len(columns) + "}"
    yield r"\toprule"
    tasks = [(c.table, c.id.rpartition("/")[0], c.task) for c in columns]
    heads, rules, place = ["", ""], [], 3
    for task in dict.fromkeys(tasks):
        width = tasks.count(task)
        heads.append(rf"\multicolumn{{{width}}}{{c}}{{{tex(task[2])}}}")
        rules.append(rf"\cmidrule(lr){{{place}-{place + width - 1}}}")
        place += width
    yield " & ".join(heads) + r" \\"
    yield " ".join(rules)
    yield _tex_line(["backbone", "starts from", *(column.metric for column in columns)])
    yield r"\midrule"
    before = None
    for row in rows:
        if before is not None and row.backbone != before:
            yield r"\midrule"
        before = row.backbone
        cells = [_latex_cell(tables.entries.get((row.id, c.id))) for c in columns]
        yield " & ".join([tex(row.backbone), tex(row.start), *cells]) + r" \\"
    yield r"\bottomrule"
    yield r"\end{tabular}"


def _latex_cell(entry: Entry | None) -> str:
    if entry is None:
        return tex(NOTHING)
    text = rf"\textbf{{{tex(entry.text)}}}" if entry.best else tex(entry.text)
    return rf"\cellcolor[gray]{{0.85}}{text}" if entry.grey else text


def _tex_line(cells: Sequence[str]) -> str:
    return " & ".join(map(tex, cells)) + r" \\"


def tex(text: str) -> str:
    """``text`` with every sign escaped that LaTeX would not print as it is."""
    return "".join(LATEX.get(sign, sign if sign.isprintable() else " ") for sign in text)
