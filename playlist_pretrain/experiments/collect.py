"""From finished cells to tables."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from playlist_pretrain import __version__
from playlist_pretrain.evaluation import tables_text
from playlist_pretrain.evaluation.pair_counts import PairCounts, pair_counts
from playlist_pretrain.evaluation.tables import (
    Measured,
    TableColumn,
    TableRow,
    Tables,
    build,
)
from playlist_pretrain.evaluation.tables_document import document
from playlist_pretrain.experiments.cells import (
    NAMES,
    PRETRAIN,
    STARTS,
    TAGS,
    TRIPLETS,
    Cell,
    Row,
    rows_of,
)
from playlist_pretrain.experiments.paired_intervals import PairedIntervals, read_key
from playlist_pretrain.experiments.paper import PaperNumbers
from playlist_pretrain.experiments.plan import Plan
from playlist_pretrain.experiments.state import NOT_YET, State
from playlist_pretrain.files import atomic_write, write_json

FORMAT = 1
OF_TAGS = {"roc_auc": "ROC-AUC", "average_precision": "AP"}
OF_TRIPLETS = {
    "accuracy": "accuracy",
    "difference": "average difference",
    "centred_difference": "average difference, centred",
}
FILES = ("tables.md", "tables.csv", "tables.tex", "tables.json")


class Collected:
    """What the finished cells of a plan come to.

    Parameters
    ----------
    plan : Plan
    cells : sequence of Cell
        All of the plan.
    state : State
    paper : PaperNumbers or None
    say : callable
        Told why an interval is lacking.
    """

    def __init__(
        self,
        plan: Plan,
        cells: Sequence[Cell],
        state: State,
        paper: PaperNumbers | None,
        say: Callable[[str], None] = print,
    ):
        self.plan, self.cells, self.state, self.paper, self.say = plan, cells, state, paper, say
        self.done = {cell.id: state.done(cell) for cell in cells}
        worlds = len(plan.worlds.seeds) if plan.worlds else 1
        self.unit = "world" if worlds > 1 else "pre-training"
        if worlds == 1 and len(plan.pretrain.seeds) == 1:
            self.unit = "run"

    @property
    def not_done(self) -> list[dict[str, str]]:
        """Cells that are not done, and why."""
        lost: dict[str, str] = {}
        for cell in self.cells:
            if self.done[cell.id] is not None:
                continue
            needed = [id for id in cell.needs if id in lost]
            reason = self.state.failed(cell) or (f"needs {needed[0]}" if needed else NOT_YET)
            lost[cell.id] = reason
        return [{"cell": id, "why": reason} for id, reason in lost.items()]

    @cached_property
    def counts(self) -> list[PairCounts]:
        """Table 1."""
        found = []
        for pairing in self.plan.pairings:
            counts = [
                self.done[cell.id]["counts"]
                for cell in self.cells
                if cell.kind == PRETRAIN and cell.row.start == pairing and self.done[cell.id]
            ]
            paper = self.paper.pairs.get(pairing) if self.paper else None
            if counts:
                figures = vars(paper) if paper else {}
                found.append(pair_counts(pairing, STARTS[pairing], counts, figures))
        return found

    @cached_property
    def tables(self) -> Tables:
        """Tables 2 and 3.

        Raises
        ------
        RunError
            For results that cannot be read.
        """
        rows = rows_of(self.plan)
        columns, measured = [], {}
        for kind, table, metrics in ((TAGS, 2, OF_TAGS), (TRIPLETS, 3, OF_TRIPLETS)):
            for task in getattr(self.plan, kind):
                title = task.title or task.name
                ids = {name: f"{kind}/{task.name}/{name}" for name in metrics}
                columns += [TableColumn(ids[n], table, title, metrics[n]) for n in metrics]
                for row in rows:
                    for name, one in self._measured(kind, task.name, row, tuple(metrics)).items():
                        measured[row.id, ids[name]] = one
        worlds = self.unit == "world"
        table_rows = [
            TableRow(r.id, NAMES.get(r.backbone, ""), STARTS[r.start], self.baseline(r).id)
            for r in rows
        ]
        return build(
            table_rows,
            columns,
            measured,
            unit=self.unit,
            paired=worlds,
            level=self.plan.level,
            differences=None if worlds else PairedIntervals(self).of(rows),
            paper=self.paper.figures if self.paper else None,
        )

    def baseline(self, row: Row) -> Row:
        """The row that another is compared with: of its backbone, or of the first."""
        return Row(row.backbone or self.plan.backbones[0], self.plan.baseline)

    def of(self, kind: str, task: str, row: Row) -> list[Cell]:
        return [c for c in self.cells if c.kind == kind and c.task == task and c.row == row]

    def _measured(
        self, kind: str, task: str, row: Row, metrics: tuple[str, ...]
    ) -> dict[str, Measured]:
        """Values of a row by metric, one a unit; a unit of which something lacks is left out."""
        units: dict[str, list[Cell]] = {}
        for cell in self.of(kind, task, row):
            name = f"world {cell.world}" if self.unit == "world" else f"seed {cell.seed}"
            units.setdefault(name, []).append(cell)
        found: dict[str, Any] = {}
        for name, cells in units.items():
            if not all(self.done[cell.id] for cell in cells):
                continue
            runs = [run for cell in cells for run in self.runs(cell)]
            folders = tuple(f"cells/{cell.id}" for cell in cells)
            if self.unit == "run":
                found |= {f"run {k}": (run, folders) for k, run in enumerate(runs, 1)}
            else:
                means = {m: float(np.mean([run[m] for run in runs])) for m in metrics}
                found[name] = (means, folders)
        if not found:
            return {}
        folders = tuple(dict.fromkeys(f for _, several in found.values() for f in several))
        return {
            m: Measured(tuple(float(v[m]) for v, _ in found.values()), tuple(found), folders)
            for m in metrics
        }

    def runs(self, cell: Cell) -> list[dict[str, Any]]:
        """Results of the runs of a cell."""
        if cell.kind == TAGS:
            return read_key(self.state.folder(cell) / "summary.json", "runs")
        return read_key(self.state.folder(cell) / "results.json", "models")

    def write(self) -> list[Path]:
        """Write all files; see :meth:`document` for ``tables.json``."""
        tables, counts = self.tables, self.counts
        title = f"Tables of the plan {self.plan.name}"
        page = tables_text.markdown(tables, counts, title, self.plan.about)
        if lacking := self.not_done:
            page += "\n".join(
                ["", "## Not done", "", *(f"- {n['cell']}: {n['why']}" for n in lacking), ""]
            )
        contents = {
            "tables.md": page,
            "tables.csv": tables_text.csv_text(tables, counts),
            "tables.tex": tables_text.latex(tables, counts),
        }
        for name, text in contents.items():
            with atomic_write(self.state.out / name, "w") as stream:
                stream.write(text)
        write_json(self.state.out / "tables.json", self.document())
        return [self.state.out / name for name in FILES]

    def document(self) -> dict[str, Any]:
        """What ``tables.json`` holds: everything that a page about the tables needs.

        Returns
        -------
        dict
            ``format`` (1), ``version`` of the program, ``plan`` (all fields of
            :class:`~playlist_pretrain.experiments.plan.Plan`), ``pairs`` (Table 1: a list of
            ``id``, ``title``, ``counts``, ``runs``, ``paper``), ``tables`` (Tables 2 and 3: see
            :func:`playlist_pretrain.evaluation.tables.document`; ``folders`` are below the folder
            of the file), ``notes`` (sentences about the statistics), ``paper_source``,
            ``cells`` (a list of ``id``, ``kind``, ``row``, ``world``, ``seed``, ``task``,
            ``folder``, ``done``), ``not_done`` (a list of ``cell``, ``why``).
        """
        plan = dataclasses.asdict(self.plan)
        del plan["path"]  # another for another working directory
        return {
            "format": FORMAT,
            "version": __version__,
            "plan": plan,
            "pairs": [dataclasses.asdict(row) for row in self.counts],
            "tables": document(self.tables),
            "notes": tables_text.notes(self.tables) if self.tables.entries else [],
            "paper_source": self.paper.source if self.paper else None,
            "cells": [
                {
                    "id": cell.id,
                    "kind": cell.kind,
                    "row": cell.row.id if cell.row else None,
                    "world": cell.world,
                    "seed": cell.seed,
                    "task": cell.task,
                    "folder": f"cells/{cell.id}",
                    "done": self.done[cell.id] is not None,
                }
                for cell in self.cells
            ],
            "not_done": self.not_done,
        }
