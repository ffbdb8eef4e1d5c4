"""From finished cells to tables, beside the figures of the paper.

A file of the paper's figures is TOML (those of tags and triplets in this example are made up)::

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
"""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from playlist_pretrain.errors import PlanError, RunError
from playlist_pretrain.evaluation import paper_tables
from playlist_pretrain.evaluation.bootstrap import METRICS, mean_intervals, resampled_means
from playlist_pretrain.evaluation.paper_tables import (
    RESAMPLES,
    Difference,
    Measured,
    PairCounts,
    TableColumn,
    TableRow,
    Tables,
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
from playlist_pretrain.experiments.plan import PAIRINGS, Plan, load, read_table, subtable
from playlist_pretrain.files import atomic_write, load_json, whole, write_json
from playlist_pretrain.version import __version__

logger = logging.getLogger(__name__)

FORMAT = 1
METRIC_TITLES = {
    TAGS: {"roc_auc": "ROC-AUC", "average_precision": "AP"},
    TRIPLETS: {
        "accuracy": "accuracy",
        "difference": "average difference",
        "centred_difference": "average difference, centred",
    },
}
FILES = ("tables.md", "tables.csv", "tables.tex", "tables.json")
KEYS = ("source", "pairs", "tags", "triplets")


@dataclass(frozen=True)
class PaperPairs:
    """Figures of one pairing."""

    pairs_per_epoch: int
    steps: int


@dataclass(frozen=True)
class PaperTags:
    """Figures of one row and tagging task."""

    roc_auc: tuple[float, ...] = ()
    average_precision: tuple[float, ...] = ()


@dataclass(frozen=True)
class PaperTriplets:
    """Figures of one row and triplet task."""

    accuracy: tuple[float, ...] = ()
    difference: tuple[float, ...] = ()


@dataclass(frozen=True)
class PaperNumbers:
    """Figures of the paper: (mean, standard deviation or None) by (row id, column id)."""

    source: str
    pairs: Mapping[str, PaperPairs]
    figures: Mapping[tuple[str, str], tuple[float, float | None]]


def read_paper(plan: Plan) -> PaperNumbers | None:
    """Read the file of figures that a plan names, if it names one.

    Raises PlanError: with file, table and key of what is not of the format, or is in no table of
    the plan.
    """
    if plan.paper is None:
        return None
    path = plan.paper.numbers
    content = load(path)
    if unknown := [key for key in content if key not in KEYS]:
        raise PlanError(f"{path}: unknown key {unknown[0]!r}; there are: {', '.join(KEYS)}")
    source = content.get("source")
    if not isinstance(source, str) or not source:
        raise PlanError(f"{path}: source = {source!r}: where the figures are from")
    pairs = {}
    for pairing, table in subtable(content, "pairs", path).items():
        where = f"{path}: [pairs.{pairing}]"
        if pairing not in PAIRINGS:
            raise PlanError(f"{where}: one of {', '.join(PAIRINGS)}")
        pairs[pairing] = read_table(PaperPairs, table, where)
    rows, found = {row.id for row in rows_of(plan)}, {}
    for kind, cls in ((TAGS, PaperTags), (TRIPLETS, PaperTriplets)):
        of_kind = subtable(content, kind, path)
        for task in of_kind:
            if task not in {one.name for one in getattr(plan, kind)}:
                raise PlanError(f"{path}: [{kind}.{task}]: the plan has no such task")
            for row, figures in subtable(of_kind, task, path).items():
                where = f"{path}: [{kind}.{task}.{row}]"
                if row not in rows:
                    raise PlanError(f"{where}: the plan has no such row")
                for metric, figure in vars(read_table(cls, figures, where)).items():
                    if len(figure) > 2:
                        raise PlanError(f"{where}: {metric} = {list(figure)}: mean and deviation")
                    if figure:
                        found[row, f"{kind}/{task}/{metric}"] = (*figure, None)[:2]
    return PaperNumbers(source, pairs, found)


def read_json(file: Path, *keys: str) -> Any:
    """Read a JSON file that a run has left, or the value of nested ``keys`` in it.

    Raises RunError: if it cannot be read.
    """
    with _whole(file):
        found = load_json(file)
        for key in keys:
            found = found[key]
        return found


def _whole(file: Path) -> AbstractContextManager[None]:
    return whole(file, "record of a run", RunError, f"; {mend(file)}")


def mend(file: Path) -> str:
    """Advice about a damaged file of a cell: without its run folder the cell is made anew."""
    folder = file.parent
    folder = folder.parent if folder.name.startswith("run-") else folder  # one run of a fine-tuning
    return f"remove {folder} to have it made anew"


class Collected:
    """Results of the finished cells of a plan, of which ``cells`` are all."""

    def __init__(
        self, plan: Plan, cells: Sequence[Cell], state: State, paper: PaperNumbers | None = None
    ):
        self.plan, self.cells, self.state, self.paper = plan, cells, state, paper
        self.rows = rows_of(plan)
        self.done = {cell.id: state.done(cell) for cell in cells}
        self.unit = "run" if len(plan.pretrain.seeds) == 1 else "pre-training"
        if plan.worlds and len(plan.worlds.seeds) > 1:
            self.unit = "world"

    @property
    def not_done(self) -> list[dict[str, str]]:
        """Cells that are not done, and why."""
        lost: dict[str, str] = {}
        for cell in self.cells:
            if self.done[cell.id] is None:
                needed = [id for id in cell.needs if id in lost]
                reason = self.state.failed(cell) or (f"needs {needed[0]}" if needed else NOT_YET)
                lost[cell.id] = reason
        return [{"cell": id, "why": reason} for id, reason in lost.items()]

    def of(self, kind: str, task: str, row: Row, *, finished: bool = False) -> list[Cell]:
        """Cells of a row, or those of them that are done."""
        found = [c for c in self.cells if (c.kind, c.task, c.row) == (kind, task, row)]
        return [c for c in found if not finished or self.done[c.id] is not None]

    def baseline(self, row: Row) -> Row:
        """The row that another is compared with: of its backbone, or of the first."""
        return Row(row.backbone or self.plan.backbones[0], self.plan.baseline)

    def runs(self, cell: Cell) -> list[dict[str, Any]]:
        """Results of the runs of a cell."""
        name, key = ("summary", "runs") if cell.kind == TAGS else ("results", "models")
        file = self.state.folder(cell) / f"{name}.json"
        found = read_json(file, key)
        with _whole(file):
            for run in found:
                for metric in METRIC_TITLES[cell.kind]:
                    run[metric] = 0.0 + run[metric]  # a number, or a TypeError
            return found

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
                found.append(paper_tables.pair_counts(pairing, STARTS[pairing], counts, figures))
        return found

    @cached_property
    def tables(self) -> Tables:
        """Tables 2 and 3.

        Raises RunError: for results that cannot be read.
        """
        columns, measured = [], {}
        for table, (kind, metrics) in enumerate(METRIC_TITLES.items(), 2):
            for task in getattr(self.plan, kind):
                for name, title in metrics.items():
                    id = f"{kind}/{task.name}/{name}"
                    columns.append(TableColumn(id, table, task.title or task.name, title))
                for row in self.rows:
                    for name, one in self._measured(kind, task.name, row).items():
                        measured[row.id, f"{kind}/{task.name}/{name}"] = one
        worlds = self.unit == "world"
        table_rows = [
            TableRow(r.id, NAMES.get(r.backbone, ""), STARTS[r.start], self.baseline(r).id)
            for r in self.rows
        ]
        return paper_tables.build(
            table_rows,
            columns,
            measured,
            unit=self.unit,
            paired=worlds,
            level=self.plan.level,
            differences=None if worlds else self._differences(),
            paper=self.paper.figures if self.paper else None,
        )

    def _measured(self, kind: str, task: str, row: Row) -> dict[str, Measured]:
        """Values of a row by metric, one a unit; a unit of which something lacks is left out."""
        units: dict[str, list[Cell]] = {}
        for cell in self.of(kind, task, row):
            name = f"world {cell.world}" if self.unit == "world" else f"seed {cell.seed}"
            units.setdefault(name, []).append(cell)
        metrics = METRIC_TITLES[kind]
        found: dict[str, Any] = {}
        folders: dict[str, None] = {}
        for name, cells in units.items():
            if not all(self.done[cell.id] for cell in cells):
                continue
            runs = [run for cell in cells for run in self.runs(cell)]
            folders |= {f"cells/{cell.id}": None for cell in cells}
            if self.unit == "run":
                found |= {f"run {k}": run for k, run in enumerate(runs, 1)}
            else:
                found[name] = {m: np.mean([run[m] for run in runs]) for m in metrics}
        if not found:
            return {}
        return {
            m: Measured(tuple(float(v[m]) for v in found.values()), tuple(found), tuple(folders))
            for m in metrics
        }

    def _differences(self) -> dict[tuple[str, str], Difference]:
        """Bootstrap intervals of the differences from the baseline, runs taken together.

        They are over the tracks and triplets that a row and its baseline were both tested on.
        """
        found: dict[tuple[str, str], Difference] = {}
        for kind, compare, samples in (
            (TAGS, _over_tracks, "tracks"),
            (TRIPLETS, _over_triplets, "triplets"),
        ):
            for task in getattr(self.plan, kind):
                tested: dict[Row, Tested | None] = {}
                for row in self.rows:
                    base = self.baseline(row)
                    for one in (base, row):
                        if one not in tested:
                            tested[one] = self._tested(kind, task.name, one)
                    mine, other = tested[row], tested[base]
                    if row == base or mine is None or other is None:
                        continue
                    if mine.samples != other.samples:
                        logger.warning(
                            f"{task.name}: {row.id} and {base.id} were tested on different "
                            f"{samples}: no interval"
                        )
                        continue
                    for metric, (apart, interval) in compare(mine, other).items():
                        found[row.id, f"{kind}/{task.name}/{metric}"] = Difference(
                            apart, interval, samples, mine.count
                        )
        return found

    def _tested(self, kind: str, task: str, row: Row) -> Tested | None:
        """Results of a row sample by sample; None where a cell lacks."""
        cells = self.of(kind, task, row)
        if not cells or not all(self.done[cell.id] for cell in cells):
            return None
        if kind == TRIPLETS:
            files = [self.state.folder(cell) / "results.json" for cell in cells]
            lines, right = read_json(files[0], "lines"), []
            for file in files:
                with _whole(file):
                    right.append(np.array(read_json(file, "models")[0]["right"], np.float64))
                    if right[-1].shape != (len(lines),):
                        raise ValueError(f"{right[-1].size} results of {len(lines)} triplets")
            return Tested(lines, len(lines), np.mean(right, axis=0))
        means, points, samples, count = [], [], None, 0
        for cell in cells:
            for number, run in enumerate(self.runs(cell), 1):
                scores = load_scores(self.state.folder(cell) / f"run-{number}" / "scores.npz")
                order = np.argsort(np.array(scores.track_ids, object))
                targets = scores.targets[order]
                ids = [scores.track_ids[place] for place in order.tolist()]
                samples, count = (ids, targets.tobytes()), len(ids)
                means.append(resampled_means(targets, scores.scores[order]))
                points.append([run[name] for name in METRICS])
        return Tested(samples, count, np.mean(means, axis=0), np.mean(points, axis=0))

    def write(self) -> list[Path]:
        """Write all files; see :meth:`document` for ``tables.json``."""
        tables, counts = self.tables, self.counts
        title = f"Tables of the plan {self.plan.name}"
        page = paper_tables.markdown(tables, counts, title, self.plan.about)
        if lacking := self.not_done:
            page += "\n".join(
                ["", "## Not done", "", *(f"- {n['cell']}: {n['why']}" for n in lacking), ""]
            )
        contents = {
            "tables.md": page,
            "tables.csv": paper_tables.csv_text(tables, counts),
            "tables.tex": paper_tables.latex(tables, counts),
        }
        for name, text in contents.items():
            with atomic_write(self.state.out / name, "w") as stream:
                stream.write(text)
        write_json(self.state.out / "tables.json", self.document())
        return [self.state.out / name for name in FILES]

    def document(self) -> dict[str, Any]:
        """Content of ``tables.json``: everything that a page about the tables needs.

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
            "tables": paper_tables.document(self.tables),
            "notes": paper_tables.notes(self.tables) if self.tables.entries else [],
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


@dataclass(frozen=True)
class Tested:
    """Results of a row on the samples of a task, means over its runs.

    ``values`` of tags are the metrics of resampled tracks [resamples, metrics], those of triplets
    the share of runs that had each of them right [triplets].
    """

    samples: Any  # which they are, to compare
    count: int
    values: np.ndarray
    points: np.ndarray | None = None  # of tags: the metrics themselves


Interval = tuple[float, tuple[float, float]]


def _over_tracks(one: Tested, base: Tested) -> dict[str, Interval]:
    low, high = np.percentile(one.values - base.values, [2.5, 97.5], axis=0)
    point = one.points - base.points
    return {
        name: (float(point[k]), (float(low[k]), float(high[k]))) for k, name in enumerate(METRICS)
    }


def _over_triplets(one: Tested, base: Tested) -> dict[str, Interval]:
    apart = one.values - base.values
    (interval,) = mean_intervals(apart[:, np.newaxis], resamples=RESAMPLES)
    return {"accuracy": (float(apart.mean()), interval)}
