"""Tables 1, 2 and 3 of arXiv 2304.12257 from measured numbers, as Markdown, CSV, LaTeX and JSON.

:func:`build` computes, for every row and column, mean ± sample standard deviation over the units
(runs, or worlds), which row is the best of its column (bold), and which is better than the
baseline by a one-sided t-test (grey). Beside what the paper has stand the difference from the
baseline with a paired bootstrap interval, and an effect size.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Mapping, Sequence
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
from playlist_pretrain.files import TableWriter

COUNTS = {
    "tracks": "tracks",
    "pairs_per_epoch": "pairs an epoch",
    "batch": "pairs a step",
    "steps_per_epoch": "steps an epoch",
    "epochs": "epochs",
    "steps": "steps",
}
"""Keys and titles of the columns of Table 1, in order."""
OF_PAPER = ("pairs_per_epoch", "steps")
TITLES = {2: "tagging", 3: "triplets"}
RESAMPLES = 10_000
GREY, NOTHING = "†", "–"
CSV_COLUMNS = (
    "table", "row", "backbone", "start", "task", "metric", "mean", "std", "units", "values", "best",
    "grey", "t", "p_value", "difference", "difference_low", "difference_high", "effect_size",
    "paper_mean", "paper_std",
)  # fmt: skip
LATEX = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_",
    "{": r"\{", "}": r"\}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "±": r"$\pm$",
    "–": "--", "−": "$-$", "†": r"$\dagger$",
}  # fmt: skip


@dataclass(frozen=True)
class PairCounts:
    """A row of Table 1: mean counts over ``runs`` by :data:`COUNTS`, and those of the paper."""

    id: str
    title: str
    counts: Mapping[str, float]
    runs: int
    paper: Mapping[str, int]

    def texts(self) -> list[str]:
        """The counts as text, in the order of :data:`COUNTS`."""
        return [count_text(self.counts[name]) for name in COUNTS]


@dataclass(frozen=True)
class TableRow:
    """A row of Tables 2 and 3; ``baseline`` is the id of the row that it is compared with."""

    id: str
    backbone: str
    start: str
    baseline: str


@dataclass(frozen=True)
class TableColumn:
    """A metric (greater is better) of a task, in table 2 or 3."""

    id: str
    table: int
    task: str
    metric: str


@dataclass(frozen=True)
class Measured:
    """Values of a row in a column, one a unit.

    Where units are paired, the same name is the same unit in another row. ``folders`` are the run
    folders that the values come from, below the folder of the results.
    """

    values: tuple[float, ...]
    units: tuple[str, ...]
    folders: tuple[str, ...] = ()


@dataclass(frozen=True)
class Difference:
    """Difference of a row from its baseline, with the 95 % interval of a paired bootstrap.

    ``over`` names what was resampled, ``count`` says how many there are.
    """

    difference: float
    interval: tuple[float, float]
    over: str
    count: int


@dataclass(frozen=True)
class Entry:
    """A row in a column; test, difference and effect size are against the row's baseline."""

    measured: Measured
    summary: RunsSummary
    best: bool  # no mean of the column is greater: bold
    test: Comparison | None = None
    against: Difference | None = None
    effect: float | None = None  # Hedges' g, or that of pairs

    @property
    def grey(self) -> bool:
        """True if it is better than the baseline by the test."""
        return self.test is not None and self.test.significant

    @property
    def text(self) -> str:
        """Mean ± standard deviation, three digits."""
        return self.summary.text()


@dataclass(frozen=True)
class Tables:
    """Tables 2 and 3; keys are (row id, column id)."""

    rows: Sequence[TableRow]
    columns: Sequence[TableColumn]
    entries: Mapping[tuple[str, str], Entry]  # what was not measured is not there
    unit: str  # name of what there is one value of: world, pre-training or run
    paired: bool  # whether the units of two rows belong together
    level: float  # level of the t-test
    # mean and standard deviation in the paper, where the dataset is the same
    paper: Mapping[tuple[str, str], tuple[float, float | None]]

    def of_table(self, number: int) -> list[TableColumn]:
        """Columns of a table."""
        return [column for column in self.columns if column.table == number]

    def rows_of_table(self, number: int) -> list[TableRow]:
        """Rows that have an entry in a table."""
        columns = self.of_table(number)
        return [r for r in self.rows if any((r.id, c.id) in self.entries for c in columns)]


def pair_counts(
    id: str, title: str, found: Sequence[Mapping[str, float]], paper: Mapping[str, int]
) -> PairCounts:
    """Compute the mean counts of the pre-trainings of one pairing, at least one."""
    means = {name: sum(one[name] for one in found) / len(found) for name in COUNTS}
    return PairCounts(id, title, means, len(found), paper)


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
    """Compute the statistics of all rows and columns.

    Parameters
    ----------
    rows, columns, measured, unit, level, paper
        See :class:`Tables`; values have to be finite.
    paired : bool
        The intervals resample the paired differences of the units, and the effect size is that of
        pairs. The t-test is the paper's, of independent runs, all the same.
    differences : mapping of (row id, column id) to Difference, optional
        Where units are not paired: intervals over what the models were measured on.
    """
    entries = {}
    summaries = {key: summarise_runs(one.values) for key, one in measured.items()}
    for column in columns:
        of_column = [summaries[r.id, column.id] for r in rows if (r.id, column.id) in summaries]
        best = max((summary.mean for summary in of_column), default=None)
        for row in rows:
            key, base = (row.id, column.id), measured.get((row.baseline, column.id))
            if key not in measured:
                continue
            one, summary = measured[key], summaries[key]
            test = against = effect = None
            if base is not None and row.id != row.baseline:
                if min(len(one.values), len(base.values)) > 1:
                    test = compare_runs(one.values, base.values, level=level)
                if paired:
                    against, effect = _paired(one, base, unit)
                else:
                    against = (differences or {}).get(key)
                    effect = hedges_g(one.values, base.values)
            entries[key] = Entry(one, summary, summary.mean == best, test, against, effect)
    return Tables(tuple(rows), tuple(columns), entries, unit, paired, level, paper or {})


def _paired(one: Measured, base: Measured, unit: str) -> tuple[Difference | None, float | None]:
    """Difference and effect size over the units that both have; None for fewer than two."""
    values, others = (dict(zip(m.units, m.values, strict=True)) for m in (one, base))
    pairs = np.array([[values[name], others[name]] for name in values if name in others])
    if len(pairs) < 2:
        return None, None
    apart = pairs[:, 0] - pairs[:, 1]
    (interval,) = mean_intervals(apart[:, np.newaxis], resamples=RESAMPLES)
    difference = Difference(float(apart.mean()), interval, f"{unit}s", len(pairs))
    return difference, hedges_g_paired(pairs[:, 0], pairs[:, 1])


def document(tables: Tables) -> dict[str, Any]:
    """Rows, columns and entries, ready for JSON; infinite numbers become None.

    Where there is none, ``test``, ``against_baseline``, ``effect_size`` and ``paper`` (mean and
    standard deviation) of an entry are None.
    """
    infinite = (float("inf"), float("-inf"))
    return {
        "unit": tables.unit,
        "paired": tables.paired,
        "level": tables.level,
        "rows": [asdict(row) for row in tables.rows],
        "columns": [asdict(column) for column in tables.columns],
        "entries": [
            {
                "row": key[0],
                "column": key[1],
                **{name: list(value) for name, value in asdict(entry.measured).items()},
                "mean": entry.summary.mean,
                "std": entry.summary.std,
                "text": entry.text,
                "best": entry.best,
                "grey": entry.grey,
                "test": entry.test
                and {k: None if v in infinite else v for k, v in asdict(entry.test).items()},
                "against_baseline": entry.against and asdict(entry.against),
                "effect_size": entry.effect,
                "paper": list(tables.paper[key]) if key in tables.paper else None,
            }
            for key, entry in tables.entries.items()
        ],
    }


def notes(tables: Tables) -> list[str]:
    """Notes on the statistics for a reader, a sentence or two each."""
    baselines = {row.baseline for row in tables.rows}
    names = " / ".join(dict.fromkeys(r.start for r in tables.rows if r.id in baselines))
    differences = (
        "Differences have 95 % percentile intervals from resampling what both models were "
        "tested on, in pairs: they say how much depends on these items, not how runs scatter. "
        f"Effect sizes are Hedges' g over {tables.unit}s (Hedges 1981)."
    )
    if tables.paired:
        differences = (
            f"Differences are of the same {tables.unit}s, with 95 % percentile intervals from "
            f"resampling {tables.unit}s; of so few they are narrower than they should be. Effect "
            "sizes are mean differences in standard deviations of the differences (Cohen's d_z), "
            "with Hedges' correction (Lakens 2013)."
        )
    return [
        f"Mean ± sample standard deviation over {tables.unit}s: the unit of all statistics is a "
        f"{tables.unit}. Bold: the best of its column. Grey ({GREY} in text): better than {names} "
        f"by a one-sided t-test of independent samples (Student's), p < {tables.level:g}.",
        "The tests are not corrected for their number.",
        differences,
    ]


def paper_text(tables: Tables, row: TableRow, column: TableColumn) -> str:
    """The paper's figure, empty where it has none."""
    if (row.id, column.id) not in tables.paper:
        return ""
    mean, std = tables.paper[row.id, column.id]
    return f"{mean:g}" if std is None else f"{mean:g} ± {std:g}"


def against_texts(entry: Entry) -> list[str]:
    """Difference with its interval, effect size and p of the t-test."""
    apart, effect, test = entry.against, entry.effect, entry.test
    return [
        f"{apart.difference:+.3f} [{apart.interval[0]:+.3f}, {apart.interval[1]:+.3f}]"
        if apart is not None
        else NOTHING,
        NOTHING if effect is None else f"{effect:+.2f}",
        NOTHING if test is None else f"{test.p_value:.2g}",
    ]


def count_text(value: float) -> str:
    """Format a count, with a digit after the point where it is no whole number."""
    return f"{value:,.0f}" if value == int(value) else f"{value:,.1f}"


def markdown(tables: Tables, counts: Sequence[PairCounts], title: str, about: str) -> str:
    """One page with all tables."""
    lines = [f"# {title}", ""] + ([about.strip(), ""] if about.strip() else [])
    if counts:
        papers = OF_PAPER if any(row.paper for row in counts) else ()
        heads = ["pairing", *COUNTS.values(), *(f"paper: {COUNTS[name]}" for name in papers)]
        rows = [
            [row.title, *row.texts()]
            + [count_text(row.paper[n]) if n in row.paper else NOTHING for n in papers]
            for row in counts
        ]
        lines += ["## Table 1: pairs", "", *markdown_table(heads, rows), ""]
    for number, name in TITLES.items():
        rows, columns = tables.rows_of_table(number), tables.of_table(number)
        if not rows:
            continue
        heads = ["backbone", "starts from"]
        metrics = {column.id: f"{column.task}: {column.metric}" for column in columns}
        cells = [[r.backbone, r.start, *(_markdown_cell(tables, r, c) for c in columns)]
                 for r in rows]  # fmt: skip
        table = markdown_table([*heads, *metrics.values()], cells)
        lines += [f"## Table {number}: {name}", "", *table, ""]
        entries = [(r, c, tables.entries.get((r.id, c.id))) for c in columns for r in rows]
        against = [
            [row.backbone, row.start, metrics[column.id], *against_texts(entry)]
            for row, column, entry in entries
            if entry and (entry.against or entry.test)
        ]
        if against:
            heads += ["of", "difference [95 %]", "effect size", "t-test p"]
            table = markdown_table(heads, against)
            lines += [f"### Table {number}, against the baseline", "", *table, ""]
    for note in notes(tables) if tables.entries else ():
        lines += [note, ""]
    return "\n".join(lines)


def markdown_table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """Format a table as lines of Markdown, its cells escaped."""
    lines = []
    for cells in (heads, *rows):
        escaped = (c.replace("\\", "\\\\").replace("|", "\\|").replace("\n", " ") for c in cells)
        lines.append(f"| {' | '.join(escaped)} |")
    return [lines[0], "|" + "---|" * len(heads), *lines[1:]]


def _markdown_cell(tables: Tables, row: TableRow, column: TableColumn) -> str:
    entry, text = tables.entries.get((row.id, column.id)), NOTHING
    if entry is not None:
        text = f"**{entry.text}**" if entry.best else entry.text
        text += f" {GREY}" if entry.grey else ""
    paper = paper_text(tables, row, column)
    return f"{text} (paper: {paper})" if paper else text


def csv_text(tables: Tables, counts: Sequence[PairCounts]) -> str:
    """All numbers in one long table; whole digits."""
    stream = io.StringIO()
    table = TableWriter(stream)
    table.writerow(CSV_COLUMNS)
    for one in counts:
        for name in COUNTS:
            cells: dict[str, Any] = {
                "table": 1, "row": one.id, "start": one.title, "metric": name,
                "mean": one.counts[name], "units": one.runs, "paper_mean": one.paper.get(name),
            }  # fmt: skip
            table.writerow(map(cells.get, CSV_COLUMNS))
    for column in tables.columns:
        for row in tables.rows:
            key = row.id, column.id
            if key not in tables.entries and key not in tables.paper:
                continue
            cells = {
                "table": column.table, "row": row.id, "backbone": row.backbone, "start": row.start,
                "task": column.task, "metric": column.metric,
            }  # fmt: skip
            if key in tables.entries:
                entry = tables.entries[key]
                test, against, summary = entry.test, entry.against, entry.summary
                cells |= {
                    "mean": summary.mean, "std": summary.std, "units": summary.runs,
                    "values": " ".join(map(repr, entry.measured.values)),
                    "best": int(entry.best), "grey": int(entry.grey), "effect_size": entry.effect,
                    "t": test and test.statistic, "p_value": test and test.p_value,
                    "difference": against and against.difference,
                    "difference_low": against and against.interval[0],
                    "difference_high": against and against.interval[1],
                }  # fmt: skip
            cells |= zip(("paper_mean", "paper_std"), tables.paper.get(key, ()), strict=False)
            table.writerow(map(cells.get, CSV_COLUMNS))  # None is written as an empty cell
    return stream.getvalue()


def latex(tables: Tables, counts: Sequence[PairCounts]) -> str:
    r"""Tables to be ``\input``; packages booktabs, and colortbl for grey cells."""
    lines = [r"% \usepackage{booktabs} and \usepackage{colortbl}, \input anywhere in the text"]
    if counts:
        head = [_tex_line(["pairing", *COUNTS.values()])]
        lines += _tabular(
            "l" + "r" * len(COUNTS), head, [_tex_line([row.title, *row.texts()]) for row in counts]
        )
    for number in TITLES:
        rows, columns = tables.rows_of_table(number), tables.of_table(number)
        if rows:
            body: list[str] = []
            for before, row in zip([None, *rows], rows, strict=False):
                if before is not None and row.backbone != before.backbone:
                    body.append(r"\midrule")
                cells = [_latex_cell(tables.entries.get((row.id, c.id))) for c in columns]
                body.append(" & ".join([tex(row.backbone), tex(row.start), *cells]) + r" \\")
            lines += _tabular("ll" + "r" * len(columns), _latex_head(columns), body)
    return "\n".join(lines)


def _tabular(columns: str, head: Sequence[str], body: Sequence[str]) -> list[str]:
    start = [rf"\begin{{tabular}}{{{columns}}}", r"\toprule"]
    return [*start, *head, r"\midrule", *body, r"\bottomrule", r"\end{tabular}", ""]


def _latex_head(columns: Sequence[TableColumn]) -> list[str]:
    """A line of tasks, the rules below them, a line of metrics."""
    tasks = [(column.id.rpartition("/")[0], column.task) for column in columns]
    heads, rules, place = ["", ""], [], 3
    for task in dict.fromkeys(tasks):
        width = tasks.count(task)
        heads.append(rf"\multicolumn{{{width}}}{{c}}{{{tex(task[1])}}}")
        rules.append(rf"\cmidrule(lr){{{place}-{place + width - 1}}}")
        place += width
    metrics = _tex_line(["backbone", "starts from", *(column.metric for column in columns)])
    return [" & ".join(heads) + r" \\", " ".join(rules), metrics]


def _latex_cell(entry: Entry | None) -> str:
    if entry is None:
        return tex(NOTHING)
    text = rf"\textbf{{{tex(entry.text)}}}" if entry.best else tex(entry.text)
    return rf"\cellcolor[gray]{{0.85}}{text}" if entry.grey else text


def _tex_line(cells: Sequence[str]) -> str:
    return " & ".join(map(tex, cells)) + r" \\"


def tex(text: str) -> str:
    """Escape every sign of ``text`` that LaTeX would not print as it is."""
    return "".join(LATEX.get(sign, sign if sign.isprintable() else " ") for sign in text)
