"""How much a difference from the baseline depends on the tracks and triplets of a test.

The paper's own figures, to stand beside ours where the dataset is the same.

A TOML file::

    source = "arXiv 2304.12257"
    [pairs.artist_co]                    # a pairing
    pairs_per_epoch = 1014528
    steps = 132100
    [tags.jamendo-genre.vggish-artist_co]     # a task of the plan by its name, backbone and start
    roc_auc = [0.5, 0.1]                 # mean and standard deviation; [0.5] for a mean alone
    average_precision = [0.5, 0.1]
    [triplets.dim-sim.vggish-artist_co]
    accuracy = [0.5]
    difference = [0.1]

(the figures of tags and triplets in this example are made up).

From finished cells to tables.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from playlist_pretrain.errors import PlanError, RunError
from playlist_pretrain.evaluation import paper_tables as tables_text
from playlist_pretrain.evaluation.bootstrap import METRICS, mean_intervals, resampled_means
from playlist_pretrain.evaluation.paper_tables import (
    RESAMPLES,
    Difference,
    Measured,
    PairCounts,
    TableColumn,
    TableRow,
    Tables,
    build,
    document,
    pair_counts,
)
from playlist_pretrain.evaluation.scores import load_scores
from playlist_pretrain.experiments.cells import (
    NAMES,
    NOT_YET,
    PRETRAIN,
    STARTS,
    TAGS,
    TRIPLETS,
    Cell,
    Row,
    State,
    rows_of,
)
from playlist_pretrain.experiments.plan import PAIRINGS, Plan, load, read_content, read_table
from playlist_pretrain.files import atomic_write, write_json
from playlist_pretrain.version import __version__


class PairedIntervals:
    """Bootstrap over what two models were both tested on, their runs taken together.

    Parameters
    ----------
    collected : Collected
        Finished cells.
    """

    def __init__(self, collected: Collected):
        self._collected = collected
        self._resampled: dict[tuple[str, str], tuple | None] = {}

    def of(self, rows: Sequence[Row]) -> dict[tuple[str, str], Difference]:
        """Intervals of the differences from the baseline, over tracks and over triplets."""
        found: dict[tuple[str, str], Difference] = {}
        for row in rows:
            base = self._collected.baseline(row)
            if base == row:
                continue
            for task in self._collected.plan.tags:
                found |= self._over_tracks(task.name, row, base)
            for task in self._collected.plan.triplets:
                found |= self._over_triplets(task.name, row, base)
        return found

    def _over_tracks(self, task: str, row: Row, base: Row) -> dict[tuple[str, str], Difference]:
        one, other = (self._resamples(task, r) for r in (row, base))
        if one is None or other is None:
            return {}
        if one[0] != other[0] or not np.array_equal(one[1], other[1]):
            self._collected.say(
                f"{task}: {row.id} and {base.id} were tested on different tracks: no interval"
            )
            return {}
        apart = one[2] - other[2]
        point = one[3] - other[3]
        low, high = np.percentile(apart, [2.5, 97.5], axis=0)
        return {
            (row.id, f"{TAGS}/{task}/{name}"): Difference(
                float(point[k]), (float(low[k]), float(high[k])), "tracks", len(one[0])
            )
            for k, name in enumerate(METRICS)
        }

    def _resamples(self, task: str, row: Row) -> tuple | None:
        """Track ids, targets, and means over runs: of resampled tracks, and of the tracks."""
        if (task, row.id) not in self._resampled:
            cells = self._collected.of(TAGS, task, row)
            self._resampled[task, row.id] = None
            if cells and all(self._collected.done[cell.id] for cell in cells):
                runs = [(cell, self._collected.runs(cell)) for cell in cells]
                files = [
                    self._collected.state.folder(cell) / f"run-{number}" / "scores.npz"
                    for cell, found in runs
                    for number in range(1, len(found) + 1)
                ]
                points = np.mean(
                    [[run[name] for name in METRICS] for _, found in runs for run in found], axis=0
                )
                self._resampled[task, row.id] = (*_resampled_runs(files), points)
        return self._resampled[task, row.id]

    def _over_triplets(self, task: str, row: Row, base: Row) -> dict[tuple[str, str], Difference]:
        sides = []
        for one in (row, base):
            cells = self._collected.of(TRIPLETS, task, one)
            if not cells or not all(self._collected.done[cell.id] for cell in cells):
                return {}
            files = [self._collected.state.folder(cell) / "results.json" for cell in cells]
            lines = [read_key(file, "lines") for file in files]
            right = np.mean([read_key(file, "models")[0]["right"] for file in files], axis=0)
            sides.append((lines[0], right))
        if sides[0][0] != sides[1][0]:
            self._collected.say(
                f"{task}: {row.id} and {base.id} have different triplets: no interval"
            )
            return {}
        apart = sides[0][1] - sides[1][1]
        (interval,) = mean_intervals(apart[:, np.newaxis], resamples=RESAMPLES)
        difference = Difference(float(apart.mean()), interval, "triplets", len(apart))
        return {(row.id, f"{TRIPLETS}/{task}/accuracy"): difference}


def read_key(file: Path, key: str) -> Any:
    """A value of a JSON object in a file that a run has left.

    Raises
    ------
    RunError
        If it cannot be read.
    """
    try:
        return json.loads(file.read_text("utf-8"))[key]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise RunError(
            f"{file}: cannot be read ({error}); remove its folder to have it made anew"
        ) from error


def _resampled_runs(files: Sequence[Path]) -> tuple[list[str], np.ndarray, np.ndarray]:
    """Track ids and targets in the order of the ids, and the mean over runs of resampled means."""
    means, ids, targets = [], None, None
    for file in files:
        found = load_scores(file)
        order = sorted(range(len(found.track_ids)), key=found.track_ids.__getitem__)
        ids, targets = [found.track_ids[place] for place in order], found.targets[order]
        means.append(resampled_means(targets, found.scores[order]))
    return ids, targets, np.mean(means, axis=0)


KEYS = ("source", "pairs", "tags", "triplets")
Figure = tuple[float, float | None]


@dataclass(frozen=True)
class PaperPairs:
    """Of one pairing."""

    pairs_per_epoch: int
    steps: int


@dataclass(frozen=True)
class PaperTags:
    """Of one row and tagging task."""

    roc_auc: tuple[float, ...] = ()
    average_precision: tuple[float, ...] = ()


@dataclass(frozen=True)
class PaperTriplets:
    """Of one row and triplet task."""

    accuracy: tuple[float, ...] = ()
    difference: tuple[float, ...] = ()


@dataclass(frozen=True)
class PaperNumbers:
    """What the file says.

    Attributes
    ----------
    source : str
    pairs : mapping of pairing to PaperPairs
    figures : mapping of (row id, column id) to (mean, standard deviation or None)
    """

    source: str
    pairs: Mapping[str, PaperPairs]
    figures: Mapping[tuple[str, str], Figure]


def read_paper(plan: Plan) -> PaperNumbers | None:
    """The file that a plan names, or None when it names none.

    Raises
    ------
    PlanError
        With file, table and key of what is not of the format, or is in no table of the plan.
    """
    if plan.paper is None:
        return None
    path = plan.paper.numbers
    content = load(path)
    for key in content:
        if key not in ("source", "pairs", "tags", "triplets"):
            raise PlanError(
                f"{path}: unknown key {key!r}; there are: source, pairs, tags, triplets"
            )
    source = content.get("source")
    if not isinstance(source, str) or not source:
        raise PlanError(f"{path}: source = {source!r}: where the figures are from")
    pairs = {}
    for pairing, table in read_content(content, "pairs", path).items():
        where = f"{path}: [pairs.{pairing}]"
        if pairing not in PAIRINGS:
            raise PlanError(f"{where}: one of {', '.join(PAIRINGS)}")
        pairs[pairing] = read_table(PaperPairs, table, where)
    figures: dict[Any, Any] = {}
    for kind, cls in (("tags", PaperTags), ("triplets", PaperTriplets)):
        figures |= _figures(plan, content, kind, cls, path)
    return PaperNumbers(source, pairs, figures)


def _figures(
    plan: Plan, content: Mapping[str, Any], kind: str, cls: type, path: str
) -> dict[tuple[str, str], Figure]:
    rows = {row.id for row in rows_of(plan)}
    tasks = {task.name for task in getattr(plan, kind)}
    found = {}
    for task in read_content(content, kind, path):
        if task not in tasks:
            raise PlanError(f"{path}: [{kind}.{task}]: the plan has no such task")
        for row, figures in read_content(read_content(content, kind, path), task, path).items():
            where = f"{path}: [{kind}.{task}.{row}]"
            if row not in rows:
                raise PlanError(f"{where}: the plan has no such row")
            for metric, figure in vars(read_table(cls, figures, where)).items():
                if len(figure) > 2:
                    raise PlanError(f"{where}: {metric} = {list(figure)}: mean and deviation")
                if figure:
                    found[row, f"{kind}/{task}/{metric}"] = (*figure, None)[:2]
    return found


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
            :func:`playlist_pretrain.evaluation.paper_tables.document`; ``folders`` are below the
            folder of the file), ``notes`` (sentences about the statistics), ``paper_source``,
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
