"""Tables as Markdown, CSV and LaTeX."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence

from playlist_pretrain.evaluation.pair_counts import COUNTS, OF_PAPER, PairCounts, count_text
from playlist_pretrain.evaluation.tables import Entry, TableColumn, TableRow, Tables

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
