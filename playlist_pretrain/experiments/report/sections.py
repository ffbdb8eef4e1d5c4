"""Finished cells of a plan by what a section shows of them.

Recipes, environments and run folders.

Curves, tags and similarities: what the run folders of finished cells come to.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

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
from playlist_pretrain.experiments.report import figures, folders
from playlist_pretrain.experiments.report.figures import Figure, Line, Section, Table
from playlist_pretrain.experiments.report.folders import TagScore, value_text

if TYPE_CHECKING:
    from playlist_pretrain.experiments.collect import Collected


class DoneCells:
    """The cells that are done, their folders and titles.

    Parameters
    ----------
    collected : Collected
    """

    def __init__(self, collected: Collected):
        self.collected, self.plan = collected, collected.plan
        self.rows = rows_of(collected.plan)

    def of(self, kind: str, task: str, row: Row) -> list[Cell]:
        """Those of a row."""
        found = self.collected.of(kind, task, row)
        return [cell for cell in found if self.collected.done[cell.id] is not None]

    def folder(self, cell: Cell) -> Path:
        """Its run folder."""
        return self.collected.state.folder(cell)

    def title(self, row: Row) -> str:
        """Backbone, where there are several, and start."""
        several = len(self.plan.backbones) > 1
        backbone = f"{NAMES[row.backbone]}, " if several and row.backbone else ""
        return backbone + STARTS[row.start]

    def backbones(self) -> Iterator[tuple[str, list[Row]]]:
        """Name of each backbone, empty where there is one, and its rows; those of none are with
        the first."""
        for number, backbone in enumerate(self.plan.backbones):
            rows = [
                row for row in self.rows if row.backbone == backbone or not (row.backbone or number)
            ]
            yield NAMES[backbone] if len(self.plan.backbones) > 1 else "", rows


def recipes(done: DoneCells) -> Section:
    """Settings of each row, those of its first finished cell."""
    asked = [("Pre-training", PRETRAIN, "")]
    asked += [(f"Fine-tuning, {task.title or task.name}", TAGS, task.name)
              for task in done.plan.tags]  # fmt: skip
    asked += [(f"Triplets, {task.title or task.name}", TRIPLETS, task.name)
              for task in done.plan.triplets]  # fmt: skip
    tables = []
    for title, kind, task in asked:
        found = {
            done.title(row): _settings(done, cells[0])
            for row in done.rows
            if (cells := done.of(kind, task, row))
        }
        tables += _tables(title, found)
    about = []
    if tables:
        about = ["Of each row the settings of its first finished cell, as its run folder has them; "
                 "those of other seeds and worlds differ in seed and folders."]  # fmt: skip
    return Section("recipes", "Recipes", about, tables=tables)


def _settings(done: DoneCells, cell: Cell) -> dict[str, Any]:
    if cell.kind == TRIPLETS:  # its folder has results alone
        given = {"model": cell.spec["model"], **cell.spec["options"]}
        return {name: value for name, value in given.items() if value is not None}
    return folders.recipe(done.folder(cell))


def _tables(title: str, found: Mapping[str, Mapping[str, Any]]) -> list[Table]:
    """What all rows share, and what differs between them."""
    names = list(dict.fromkeys(name for settings in found.values() for name in settings))
    texts = {
        name: [value_text(settings.get(name)) for settings in found.values()] for name in names
    }
    same = [[name, values[0]] for name, values in texts.items() if len(set(values)) == 1]
    differing = [[name, *values] for name, values in texts.items() if len(set(values)) > 1]
    tables = []
    if same:
        shared = f"{title}: what {'all share' if len(found) > 1 else next(iter(found)) + ' has'}"
        tables.append(Table(shared, ["setting", "value"], same))
    if differing:
        tables.append(Table(f"{title}: what differs", ["setting", *found], differing))
    return tables


def environments(done: DoneCells) -> Section:
    """Programs and machines, as the runs recorded them."""
    found: dict[tuple[tuple[str, str], ...], int] = {}
    for row in done.rows:
        for kind, tasks in ((PRETRAIN, [""]), (TAGS, [task.name for task in done.plan.tags])):
            for cell in (cell for task in tasks for cell in done.of(kind, task, row)):
                key = tuple(folders.environment(done.folder(cell)).items())
                found[key] = found.get(key, 0) + 1
    names = list(dict.fromkeys(name for key in found for name, _ in key))
    sides = [dict(key) for key in found]
    rows = [[name, *(side.get(name, "–") for side in sides)] for name in names]
    tables = []
    if rows:
        heads = ["", *(f"{count} run folder{'s' if count > 1 else ''}" for count in found.values())]
        tables = [Table("As recorded when the runs were made", heads, rows, folded=False)]
    return Section("environment", "Environment", tables=tables)


OF_PRETRAINING = ("step", "loss", "probe_top1", "probe_top10", "probe_chance1", "probe_chance10")
OF_FINETUNING = ("epoch", "loss", "validation_average_precision")


def pretraining(done: DoneCells) -> Section:
    """Loss and retrieval probe of pre-training."""
    drawn, ends = [], []
    for backbone, rows in done.backbones():
        losses, probes, chances = [], [], []
        for row in rows:
            cells = done.of(PRETRAIN, "", row)
            runs = [folders.history(done.folder(cell), OF_PRETRAINING) for cell in cells]
            for run in runs:
                losses.append(Line(row.start, STARTS[row.start], run["step"], run["loss"]))
                probes.append(Line(row.start, STARTS[row.start], run["step"], run["probe_top1"]))
                chances += _known(run["probe_chance1"])
            if runs:
                ends.append([done.title(row), str(len(runs)), *_ends(runs)])
        if losses:
            title = f"{backbone}: loss" if backbone else "Loss"
            drawn.append(
                Figure(title, _lines_text(losses), figures.curves(losses, "step", "NT-Xent"))
            )
        if chances:
            title = "retrieval of held-out pairs"
            chance = float(np.mean(chances))
            drawn.append(Figure(
                f"{backbone}: {title}" if backbone else title.capitalize(),
                "Share of held-out pairs whose positive is the nearest of its batch; the dotted "
                f"line is chance, {chance:.3f}.",
                figures.probe_curves(probes, "step", "top 1 of the probe", chance),
            ))  # fmt: skip
    tables = []
    if ends:
        heads = ["starts from", "runs", "last loss", "probe, top 1", "by chance", "top 10",
                 "by chance"]  # fmt: skip
        tables = [Table("At the end of pre-training, means over runs", heads, ends, folded=False)]
    return Section("pretraining", "Pre-training", figures=drawn, tables=tables)


def _ends(runs: Sequence[Mapping[str, np.ndarray]]) -> Iterator[str]:
    for name in ("loss", "probe_top1", "probe_chance1", "probe_top10", "probe_chance10"):
        last = [known[-1] for run in runs if (known := _known(run[name]))]
        yield f"{np.mean(last):.3f}" if last else "–"


def _known(values: np.ndarray) -> list[float]:
    return values[np.isfinite(values)].tolist()


def _lines_text(lines: Sequence[Line]) -> str:
    return f"{len(lines)} runs, a line each."


def finetuning(done: DoneCells) -> Section:
    """Loss and validation of fine-tuning, task by task."""
    drawn = []
    for task in done.plan.tags:
        for backbone, rows in done.backbones():
            losses, validated = [], []
            for row in rows:
                for cell in done.of(TAGS, task.name, row):
                    for number in range(1, len(done.collected.runs(cell)) + 1):
                        run = folders.history(done.folder(cell) / f"run-{number}", OF_FINETUNING)
                        start = (row.start, STARTS[row.start], run["epoch"])
                        losses.append(Line(*start, run["loss"]))
                        validated.append(Line(*start, run["validation_average_precision"]))
            if not losses:
                continue
            name = ", ".join(filter(None, [task.title or task.name, backbone]))
            for lines, what, axis in (
                (losses, "loss in training", "loss"),
                (validated, "validation", "Average Precision"),
            ):
                drawn.append(Figure(
                    f"{name}: {what}", _lines_text(lines), figures.curves(lines, "epoch", axis)
                ))  # fmt: skip
    return Section("finetuning", "Fine-tuning", figures=drawn)


def tags(done: DoneCells) -> Section:
    """Average Precision tag by tag."""
    drawn, tables = [], []
    for task in done.plan.tags:
        for backbone, rows in done.backbones():
            found = {
                row: scores
                for row in rows
                if (scores := _tag_means(done, done.of(TAGS, task.name, row)))
            }
            if not found:
                continue
            name = ", ".join(filter(None, [task.title or task.name, backbone]))
            order, values = _sorted(found)
            bars = next(
                (row for row in found if row.start == done.plan.baseline), next(iter(found))
            )
            titles = {row.start: STARTS[row.start] for row in found}
            drawn.append(Figure(
                name,
                f"Bars: {STARTS[bars.start]}; marks: what else there is. Means over runs, the tags "
                "that are easiest on average on top.",
                figures.tag_bars(
                    order, {row.start: values[row] for row in found}, titles, bars.start
                ),
            ))  # fmt: skip
            support = {tag: score.support for one in found.values() for tag, score in one.items()}
            tables.append(Table(
                f"{name}: Average Precision by tag",
                ["tag", "test tracks", *titles.values()],
                [[tag, f"{support[tag]:,}", *(_digits(values[row][k]) for row in found)]
                 for k, tag in enumerate(order)],
            ))  # fmt: skip
    return Section("tags", "Average Precision by tag", figures=drawn, tables=tables)


def _tag_means(done: DoneCells, cells: Sequence[Cell]) -> dict[str, TagScore]:
    """Means over cells; tests of different worlds may have different tags."""
    found: dict[str, list[TagScore]] = {}
    for cell in cells:
        for tag, score in folders.per_tag(done.folder(cell)).items():
            found.setdefault(tag, []).append(score)
    means = {}
    for tag, scores in found.items():
        known = [s.average_precision for s in scores if np.isfinite(s.average_precision)]
        mean = float(np.mean(known)) if known else float("nan")
        means[tag] = TagScore(sum(score.support for score in scores), mean)
    return means


def _sorted(found: Mapping[Row, Mapping[str, TagScore]]) -> tuple[list[str], dict]:
    """Tags by their mean over rows, the greatest first, and the values of each row in that order;
    a tag that no row measured is left out."""
    names = list(dict.fromkeys(tag for scores in found.values() for tag in scores))
    nothing = TagScore(0, float("nan"))
    table = np.array(
        [[scores.get(tag, nothing).average_precision for tag in names] for scores in found.values()]
    )
    names_there = np.flatnonzero(np.isfinite(table).any(axis=0))
    means = np.nanmean(table[:, names_there], axis=0)
    order = names_there[np.argsort(-means, kind="stable")]
    return [names[k] for k in order], dict(zip(found, table[:, order], strict=True))


def _digits(value: float) -> str:
    return f"{value:.3f}" if np.isfinite(value) else "–"


def similarities(done: DoneCells) -> Section:
    """Histograms of what triplets are judged by."""
    drawn, without = [], []
    for task in done.plan.triplets:
        for row in done.rows:
            cells = done.of(TRIPLETS, task.name, row)
            if not cells:
                continue
            name = done.title(row)
            if len(done.plan.triplets) > 1:
                name = f"{task.title or task.name}: {name}"
            values = np.concatenate([folders.margins(done.folder(cell)) for cell in cells])
            right = float(np.mean(np.where(values == 0, 0.5, values > 0)))
            drawn.append(Figure(
                f"{name}: difference",
                f"{len(values):,} triplets, {right:.1%} right (blue), mean {values.mean():+.4f}.",
                figures.margin_histogram(values),
            ))  # fmt: skip
            pairs = [folders.cosines(done.folder(cell)) for cell in cells]
            if any(one is None for one in pairs):
                without += [c.id for c, one in zip(cells, pairs, strict=True) if one is None]
                continue
            both = np.concatenate(pairs)
            means = both.mean(axis=0)
            drawn.append(Figure(
                f"{name}: cosine",
                f"Mean of positive pairs {means[0]:.3f}, of negative ones {means[1]:.3f}.",
                figures.cosine_histogram(both),
            ))  # fmt: skip
    about = []
    if drawn:
        about = ["Of each triplet, the cosine distance of the anchor to the negative less that to "
                 "the positive: it is right where the difference is above 0. Scales differ between "
                 "the figures."]  # fmt: skip
    if without:
        about.append(folders.no_embeddings("cosines", without))
    return Section("similarities", "Similarities", about, drawn, small=True)
