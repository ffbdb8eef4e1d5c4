"""The cells of a plan: one run folder each, what decides it, and what it needs first."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from playlist_pretrain.experiments.plan import (
    AUDIOSET,
    MEAN_OF_MEL,
    RANDOM,
    SCRATCH,
    Plan,
    TagTask,
    TripletTask,
)

WORLD, PRETRAIN, TAGS, TRIPLETS = "world", "pretrain", "tags", "triplets"
STARTS = {
    MEAN_OF_MEL: "Mean of mel",
    AUDIOSET: "VGGish FT (AudioSet)",
    RANDOM: "Random weights, frozen",
    SCRATCH: "From Scratch",
    "simclr": "SimCLR",
    "artist_co": "Artist CO",
    "playlist_co": "Playlist CO",
    "playlist_tco": "Playlist TCO",
    "playlist_w2v": "Playlist W2V",
}
"""Titles of what a row starts from, in the order of the paper's tables."""
NAMES = {"vggish": "VGGish", "resnet50": "ResNet50"}


@dataclass(frozen=True)
class Row:
    """A row of the tables: a backbone (empty for the mean of the mel) and what it starts from."""

    backbone: str
    start: str

    @property
    def id(self) -> str:
        """Name in folders and files."""
        return "-".join(filter(None, (self.backbone, self.start)))


@dataclass(frozen=True)
class Cell:
    """Something to make.

    Attributes
    ----------
    id : str
        Path of its run folder below ``cells``.
    kind : str
        world, pretrain, tags or triplets.
    spec : dict
        What decides it, ready for JSON. ``options`` are those of the command; ``model`` of a task
        is ``{"cell": ID}`` for the model of that cell, or a name.
    family : str
        Cells of one family are done by one shard; empty for what every shard may make.
    row : Row or None
    world : int or None
        Seed of the synthetic world.
    seed : int
        Of the pre-training.
    task : str
        Name of the task, or empty.
    needs : tuple of str
        Cells that have to be done first.
    """

    id: str
    kind: str
    spec: dict[str, Any] = field(compare=False)
    family: str = ""
    row: Row | None = None
    world: int | None = None
    seed: int = 0
    task: str = ""
    needs: tuple[str, ...] = ()


def rows_of(plan: Plan) -> list[Row]:
    """All rows, in the order of the tables."""
    rows = [Row("", MEAN_OF_MEL)] if MEAN_OF_MEL in plan.others else []
    for backbone in plan.backbones:
        there = [name for name in plan.others if name != MEAN_OF_MEL]
        if backbone != "vggish":  # there is no other with original weights
            there = [name for name in there if name != AUDIOSET]
        there += plan.pairings
        rows += [Row(backbone, start) for start in STARTS if start in there]
    return rows


def cells_of(plan: Plan) -> list[Cell]:
    """All cells of a plan, each after those that it needs, always in the same order."""
    cells = []
    for world in plan.worlds.seeds if plan.worlds else (None,):
        needs = ()
        if plan.worlds:
            spec = {"verb": "demo", "options": {"seed": world, "out": str(folder_of(plan, world))}}
            cells.append(Cell(f"world/{world}", WORLD, spec, world=world))
            needs = (cells[-1].id,)
        for number, seed in enumerate(plan.pretrain.seeds):
            for row in rows_of(plan):
                cells += _of_row(plan, row, world, seed, number * plan.finetune.runs, needs)
    return cells


def folder_of(plan: Plan, world: int) -> Path:
    """Where the collections of a world are."""
    return Path(plan.worlds.folder) / str(world)


def _of_row(
    plan: Plan, row: Row, world: int | None, seed: int, first_run: int, needs: tuple[str, ...]
) -> Iterator[Cell]:
    below = "/".join([*([f"world-{world}"] if world is not None else []), f"seed-{seed}"])
    shared: dict[str, Any] = {
        "family": f"{below}/{row.id}",
        "row": row,
        "world": world,
        "seed": seed,
    }
    model: Any = row.start
    if row.start in plan.pairings:
        collection = plan.pretrain.collection or str(folder_of(plan, world) / "demo")
        options = {
            **plan.pretrain_settings(row.backbone, row.start),
            "pairs": row.start,
            "backbone": row.backbone,
            "collection": collection,
            "seed": seed,
        }
        spec = {"verb": "pretrain", "options": options, "steps": plan.pretrain.steps}
        if plan.pretrain.epochs:
            options["epochs"] = plan.pretrain.epochs
        made = Cell(f"pretrain/{below}/{row.id}", PRETRAIN, spec, needs=needs, **shared)
        yield made
        needs, model = (*needs, made.id), {"cell": made.id}
    for task in plan.tags:
        spec = {"verb": "finetune", "model": model}
        spec["options"] = _tag_options(plan, task, row, world, first_run)
        if row.start == MEAN_OF_MEL:
            spec["frames"] = plan.pretrain.settings.get("frames")
        id = f"tags/{task.name}/{below}/{row.id}"
        yield Cell(id, TAGS, spec, task=task.name, needs=needs, **shared)
    # Without fine-tuning new weights are the random ones; similarity takes no checkpoint.
    if row.start in (SCRATCH, AUDIOSET):
        return
    for task in plan.triplets:
        spec = {"verb": "similarity", "model": model}
        spec["options"] = _triplet_options(plan, task, row, world, seed)
        id = f"triplets/{task.name}/{below}/{row.id}"
        yield Cell(id, TRIPLETS, spec, task=task.name, needs=needs, **shared)


def _tag_options(
    plan: Plan, task: TagTask, row: Row, world: int | None, first_run: int
) -> dict[str, Any]:
    options = {
        **plan.finetune.settings,
        "collection": task.collection or str(folder_of(plan, world) / "demo-eval"),
        "runs": plan.finetune.runs,
        "seed": first_run,
        "freeze": row.start in (MEAN_OF_MEL, RANDOM),
        "task": task.task,
        "splits": task.splits,
        "split": task.split,
        "protocol": task.protocol,
        "tags": task.tags,
        "split_column": task.split_column,
        "split_seed": task.split_seed,
        "partial": task.partial,
    }
    if row.start in (RANDOM, SCRATCH):
        options |= {"backbone": row.backbone, **plan.shape(row.backbone)}
        if "input_norm" in plan.pretrain.settings:
            options["input_norm"] = plan.pretrain.settings["input_norm"]
    if row.start == AUDIOSET:
        options |= {"weights": plan.audioset.weights, "collection": task.audioset_collection}
    return options


def _triplet_options(
    plan: Plan, task: TripletTask, row: Row, world: int | None, seed: int
) -> dict[str, Any]:
    options: dict[str, Any] = {
        "triplets": task.triplets,
        "cut": task.cut,
        "seconds": task.seconds,
        "partial": task.partial,
    }
    if task.audio is not None:
        options["audio"] = task.audio
    else:
        options["collection"] = task.collection or str(folder_of(plan, world) / "demo-eval")
    if row.start == RANDOM:
        options |= {"backbone": row.backbone, "seed": seed, **plan.shape(row.backbone)}
    if row.start == MEAN_OF_MEL and "frames" in plan.pretrain.settings:
        options["frames"] = plan.pretrain.settings["frames"]
    return options


def shard_cells(cells: list[Cell], number: int, of: int) -> list[Cell]:
    """The cells of one shard: whole families, dealt out in turn, and what these need."""
    longest = sorted(cells, key=lambda cell: cell.kind != PRETRAIN)  # these first, for equal shares
    families = list(dict.fromkeys(cell.family for cell in longest if cell.family))
    own = {family for place, family in enumerate(families) if place % of == number - 1}
    taken = [cell for cell in cells if cell.family in own]
    needed = {id for cell in taken for id in cell.needs}
    return [cell for cell in cells if cell.family in own or cell.id in needed]
