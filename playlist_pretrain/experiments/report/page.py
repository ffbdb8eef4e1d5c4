"""Write the file of a report by its template."""

from __future__ import annotations

from importlib import resources
from pathlib import Path
from typing import Any
from urllib.parse import quote

from playlist_pretrain.errors import printable
from playlist_pretrain.evaluation import paper_tables
from playlist_pretrain.evaluation.paper_tables import Entry, TableColumn, TableRow, Tables
from playlist_pretrain.experiments.cells import PRETRAIN, TAGS, TRIPLETS
from playlist_pretrain.experiments.collect import Collected
from playlist_pretrain.experiments.report.sections import all_sections
from playlist_pretrain.files import atomic_write
from playlist_pretrain.retrieval.map_page.page import script_hash, script_json, with_plain_ids
from playlist_pretrain.version import __version__

REPORT = "report.html"
FOLDERS = {PRETRAIN: "Pre-training", TAGS: "Fine-tuning", TRIPLETS: "Triplets"}
_JOINERS = "\u200c\u200d"  # invisible, but they make words of Persian and many an emoji


def write_report(collected: Collected) -> Path:
    """Write ``report.html`` beside the tables, whole or not at all.

    The page is one file that works without a network: Tables 1 to 3, what is not done, curves of
    pre-training and fine-tuning, Average Precision by tag, histograms of similarities, embedding
    maps, recipes, environment, and links to the run folders, which are relative to it. The same
    run folders give the same bytes.

    Raises
    ------
    RunError
        For a file of a run folder that is missing or damaged.
    OSError
        If it cannot be written.
    """
    text = _page(collected)
    path = collected.state.out / REPORT
    with atomic_write(path) as stream:
        stream.write(text.encode("utf-8", "backslashreplace"))
    return path


def _page(collected: Collected) -> str:
    from bokeh.embed import json_item
    from bokeh.resources import Resources
    from jinja2 import Environment, StrictUndefined
    from markupsafe import Markup

    sections = all_sections(collected)
    folder = resources.files(__package__)
    library = "\n".join(
        Resources(mode="inline", components=["bokeh"], log_level="error", minified=True).js_raw
    )
    own = folder.joinpath("page.js").read_text("utf-8")
    items = [
        with_plain_ids(json_item(figure.plot)) for section in sections for figure in section.figures
    ]
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, finalize=_seen, trim_blocks=True,
        lstrip_blocks=True,
    )  # fmt: skip
    template = environment.from_string(folder.joinpath("page.html").read_text("utf-8"))
    tables, plan = collected.tables, collected.plan
    return template.render(
        plan=plan.name,
        about=" ".join(plan.about.split()),
        version=__version__,
        counts=collected.counts,
        count_titles=paper_tables.COUNTS,
        of_paper=paper_tables.OF_PAPER if any(row.paper for row in collected.counts) else (),
        count_text=paper_tables.count_text,
        paper_source=collected.paper.source if collected.paper else "",
        tables=tables,
        numbers=[(n, t) for n, t in paper_tables.TITLES.items() if tables.rows_of_table(n)],
        tasks_of=lambda number: _tasks(tables, number),
        compared_of=lambda number: _compared(tables, number),
        paper_text=paper_tables.paper_text,
        against=paper_tables.against_texts,
        nothing=paper_tables.NOTHING,
        grey=paper_tables.GREY,
        notes=paper_tables.notes(tables) if tables.entries else [],
        not_done=collected.not_done,
        sections=sections,
        folders=_links(collected),
        style=Markup(folder.joinpath("page.css").read_text("utf-8")),
        library=Markup(library),
        script=Markup(own),
        # Nothing else runs, whatever a tag or a title may smuggle in.
        scripts=Markup(" ".join(map(script_hash, (library, own)))),
        items=Markup(script_json(items)),
    )


def _seen(value: Any) -> Any:
    """Escape characters that cannot be seen, or turn other text round, in anybody's text."""
    return printable(value, keep=_JOINERS) if type(value) is str else value


def _tasks(tables: Tables, number: int) -> list[tuple[str, list[TableColumn]]]:
    """Title and columns of each task of a table."""
    found: dict[str, tuple[str, list[TableColumn]]] = {}
    for column in tables.of_table(number):
        task = column.id.rpartition("/")[0]
        found.setdefault(task, (column.task, []))[1].append(column)
    return list(found.values())


def _compared(tables: Tables, number: int) -> list[tuple[TableRow, TableColumn, Entry]]:
    """Entries of a table that are compared with a baseline."""
    return [
        (row, column, entry)
        for column in tables.of_table(number)
        for row in tables.rows_of_table(number)
        if (entry := tables.entries.get((row.id, column.id))) is not None
        and (entry.against is not None or entry.test is not None)
    ]


def _links(collected: Collected) -> list[tuple[str, list[tuple[str, str]]]]:
    """Title of each kind of cell, and id and link of each of its finished run folders."""
    found = {
        title: [
            (cell.id, quote(f"cells/{cell.id}/"))
            for cell in collected.cells
            if cell.kind == kind and collected.done[cell.id] is not None
        ]
        for kind, title in FOLDERS.items()
    }
    return [(title, links) for title, links in found.items() if links]
