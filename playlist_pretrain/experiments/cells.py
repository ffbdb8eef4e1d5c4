"""The cells of a plan: one run folder each, what decides it, and what it needs first.

What is known of the cells of a plan: folders, and small files that outlive processes.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from playlist_pretrain.errors import RunError
from playlist_pretrain.experiments.plan import (
    AUDIOSET,
    MEAN_OF_MEL,
    RANDOM,
    SCRATCH,
    Plan,
    TagTask,
    TripletTask,
)
from playlist_pretrain.files import write_json

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


NOT_YET = "not done yet"
DONE, FAILED, LOG = "done.json", "failed.json", "log.txt"


class State:
    """A folder of results: ``cells/ID`` are run folders, ``state/ID`` say how they went.

    ``done.json`` holds what decided a cell, its seconds, bytes and counts; ``failed.json`` the
    message of the last failure; ``log.txt`` what the command said.
    """

    def __init__(self, out: str | Path):
        self.out = Path(out)

    def folder(self, cell: Cell | str) -> Path:
        """Run folder of a cell."""
        return self.out / "cells" / (cell if isinstance(cell, str) else cell.id)

    def notes(self, cell: Cell) -> Path:
        """Folder of what is known about a cell."""
        return self.out / "state" / cell.id

    def made(self, cell: Cell) -> Path:
        """Folder of what a cell makes: its run folder, or that of the collections of a world."""
        return Path(cell.spec["options"]["out"]) if cell.kind == WORLD else self.folder(cell)

    def done(self, cell: Cell) -> dict[str, Any] | None:
        """What is known of a cell that is done.

        Raises
        ------
        RunError
            If it was made with other settings than the plan has now, or the file is damaged.
        """
        file = self.notes(cell) / DONE
        found = _read(file)
        if found is None:
            return None
        wanted = json.loads(json.dumps(cell.spec))
        if found.get("spec") != wanted:
            differing = ", ".join(_differing(found.get("spec"), wanted))
            raise RunError(
                f"{self.folder(cell)}: was made with other settings than the plan has now "
                f"({differing}); choose another --out, or remove {self.notes(cell)} and that folder"
            )
        if cell.kind == WORLD:
            there = [self.made(cell) / part for part in ("demo", "demo-eval")]
            if not all((folder / "collection.json").exists() for folder in there):
                return None
        elif not self.folder(cell).is_dir():
            return None
        return found

    def failed(self, cell: Cell) -> str | None:
        """Why a cell failed the last time, if it did."""
        found = _read(self.notes(cell) / FAILED)
        return None if found is None else str(found.get("message"))

    def fail(self, cell: Cell, message: str) -> None:
        """Record a failure."""
        write_json(self.notes(cell) / FAILED, {"message": message})

    def forget_failure(self, cell: Cell) -> None:
        """Before it is tried again."""
        (self.notes(cell) / FAILED).unlink(missing_ok=True)

    def finish(self, cell: Cell, seconds: float, *, resumed: bool, counts: dict[str, Any]) -> None:
        """Record that a cell is done."""
        about = {"spec": cell.spec, "seconds": seconds, "resumed": resumed, "counts": counts}
        write_json(self.notes(cell) / DONE, {**about, "bytes": size_of(self.made(cell))})
        self.forget_failure(cell)


def size_of(folder: Path) -> int:
    """Bytes of all files below a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def _read(file: Path) -> dict[str, Any] | None:
    try:
        found = json.loads(file.read_text("utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise RunError(f"{file}: damaged: {error}; remove it") from error
    if not isinstance(found, dict):
        raise RunError(f"{file}: damaged: no JSON object; remove it")
    return found


def _differing(there: Any, wanted: Any, name: str = "") -> list[str]:
    """Names of what differs, with both values."""
    if isinstance(there, dict) and isinstance(wanted, dict):
        keys = sorted(there.keys() | wanted.keys())
        return [text for key in keys for text in _differing(there.get(key), wanted.get(key), key)]
    return [] if there == wanted else [f"{name}: {there} there, {wanted} now"]
