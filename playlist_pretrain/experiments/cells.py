"""The cells of a plan, and what is known of each: a run folder, and files that say how it went."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from playlist_pretrain.errors import RunError
from playlist_pretrain.experiments.plan import RANDOM, Plan, TagTask, TripletTask
from playlist_pretrain.files import load_json, whole, write_json
from playlist_pretrain.models import AUDIOSET, MEAN_OF_MEL, SCRATCH

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
"""Titles of the starts of rows, in the order of the paper's tables."""
NAMES = {"vggish": "VGGish", "resnet50": "ResNet50"}


@dataclass(frozen=True)
class Row:
    """A row of the tables: a backbone (empty for the mean of the mel) and its start."""

    backbone: str
    start: str

    @property
    def id(self) -> str:
        """Name in folders and files."""
        return "-".join(filter(None, (self.backbone, self.start)))


@dataclass(frozen=True)
class Cell:
    """One run of a plan: a world, a pre-training, a fine-tuning or a test of triplets.

    ``spec`` is all that decides it, ready for JSON: ``options`` are those of the command; ``model``
    of a task is ``{"cell": ID}`` for the model of that cell, or a name.
    """

    id: str  # path of its run folder below "cells"
    kind: str  # world, pretrain, tags or triplets
    spec: dict[str, Any] = field(compare=False)
    family: str = ""  # cells of one family are done by one shard, those of none by any
    row: Row | None = None
    world: int | None = None  # seed of the synthetic world
    seed: int = 0  # of the pre-training
    task: str = ""
    needs: tuple[str, ...] = ()  # cells that have to be done first


def rows_of(plan: Plan) -> list[Row]:
    """All rows, in the order of the tables."""
    rows = [Row("", MEAN_OF_MEL)] if MEAN_OF_MEL in plan.others else []
    for backbone in plan.backbones:
        there = {*plan.others, *plan.pairings} - {MEAN_OF_MEL}
        if backbone != "vggish":  # there is no other with original weights
            there -= {AUDIOSET}
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


def folder_of(plan: Plan, world: int | None) -> Path:
    """Folder of the collections of a world."""
    return Path(plan.worlds.folder) / str(world)


def _of_row(
    plan: Plan, row: Row, world: int | None, seed: int, first_run: int, needs: tuple[str, ...]
) -> Iterator[Cell]:
    below = f"seed-{seed}" if world is None else f"world-{world}/seed-{seed}"
    below += f"/{row.id}"
    shared: dict[str, Any] = {"family": below, "row": row, "world": world, "seed": seed}
    model: Any = row.start
    if row.start in plan.pairings:
        options = {
            **plan.pretrain_settings(row.backbone, row.start),
            "pairs": row.start,
            "backbone": row.backbone,
            "collection": plan.pretrain.collection or str(folder_of(plan, world) / "demo"),
            "seed": seed,
        }
        if plan.pretrain.epochs:
            options["epochs"] = plan.pretrain.epochs
        spec = {"verb": "pretrain", "options": options, "steps": plan.pretrain.steps}
        made = Cell(f"pretrain/{below}", PRETRAIN, spec, needs=needs, **shared)
        yield made
        needs, model = (*needs, made.id), {"cell": made.id}
    for task in plan.tags:
        options = _tag_options(plan, task, row, world, first_run)
        spec = {"verb": "finetune", "model": model, "options": options}
        if row.start == MEAN_OF_MEL:
            spec["frames"] = plan.pretrain.settings.get("frames")
        yield Cell(f"tags/{task.name}/{below}", TAGS, spec, task=task.name, needs=needs, **shared)
    # Without fine-tuning new weights are the random ones; similarity takes no checkpoint.
    for task in plan.triplets if row.start not in (SCRATCH, AUDIOSET) else ():
        options = _triplet_options(plan, task, row, world, seed)
        spec = {"verb": "similarity", "model": model, "options": options}
        id = f"triplets/{task.name}/{below}"
        yield Cell(id, TRIPLETS, spec, task=task.name, needs=needs, **shared)


def _tag_options(
    plan: Plan, task: TagTask, row: Row, world: int | None, first_run: int
) -> dict[str, Any]:
    given = {name: getattr(task, name) for name in (
        "task", "splits", "split", "protocol", "tags", "split_column", "split_seed", "partial",
    )}  # fmt: skip
    options = {
        **plan.finetune.settings,
        "collection": task.collection or str(folder_of(plan, world) / "demo-eval"),
        "runs": plan.finetune.runs,
        "seed": first_run,
        "freeze": row.start in (MEAN_OF_MEL, RANDOM),
        **given,
    }
    if row.start in (RANDOM, SCRATCH):
        options |= {"backbone": row.backbone, **plan.shape(row.backbone)}
        if "input_norm" in plan.pretrain.settings:
            options["input_norm"] = plan.pretrain.settings["input_norm"]
    if row.start == AUDIOSET:
        weights = plan.audioset.weights
        options |= {"weights": weights, "collection": task.audioset_collection}
    return options


def _triplet_options(
    plan: Plan, task: TripletTask, row: Row, world: int | None, seed: int
) -> dict[str, Any]:
    options = {name: getattr(task, name) for name in ("triplets", "cut", "seconds", "partial")}
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
    """The cells of one shard: whole families, dealt out in turn, and the cells these need."""
    longest = sorted(cells, key=lambda cell: cell.kind != PRETRAIN)  # these first, for equal shares
    families = list(dict.fromkeys(cell.family for cell in longest if cell.family))
    own = set(families[number - 1 :: of])
    needed = {id for cell in cells if cell.family in own for id in cell.needs}
    return [cell for cell in cells if cell.family in own or cell.id in needed]


NOT_YET = "not done yet"
DONE, FAILED, LOG = "done.json", "failed.json", "log.txt"


class State:
    """A folder of results: ``cells/ID`` are run folders, ``state/ID`` say how they went.

    ``done.json`` holds what decided a cell, its seconds and counts; ``failed.json`` the message of
    the last failure; ``log.txt`` what the command said.
    """

    def __init__(self, out: str | Path):
        self.out = Path(out)

    def folder(self, cell: Cell | str) -> Path:
        """Run folder of a cell."""
        return self.out / "cells" / (cell if isinstance(cell, str) else cell.id)

    def notes(self, cell: Cell) -> Path:
        """Folder of the files that say how a cell went."""
        return self.out / "state" / cell.id

    def done(self, cell: Cell) -> dict[str, Any] | None:
        """Content of ``done.json`` of a cell that is done, or None.

        Raises RunError: if it was made with other settings than the plan has now, or the file is
        damaged.
        """
        found = _read(self.notes(cell) / DONE)
        if found is None:
            return None
        wanted = json.loads(json.dumps(cell.spec))
        if found.get("spec") != wanted:
            differing = ", ".join(_differing(found.get("spec"), wanted))
            raise RunError(
                f"{self.folder(cell)}: was made with other settings than the plan has now "
                f"({differing}); choose another --out, or remove {self.notes(cell)} and that folder"
            )
        there = [self.folder(cell)]
        if cell.kind == WORLD:
            made = Path(cell.spec["options"]["out"])
            there = [made / part / "collection.json" for part in ("demo", "demo-eval")]
        return found if all(path.exists() for path in there) else None

    def failed(self, cell: Cell) -> str | None:
        """Message of the last failure of a cell, if it failed."""
        found = _read(self.notes(cell) / FAILED)
        return None if found is None else str(found.get("message"))

    def fail(self, cell: Cell, message: str) -> None:
        """Record a failure."""
        write_json(self.notes(cell) / FAILED, {"message": message})

    def forget_failure(self, cell: Cell) -> None:
        """Remove the record of a failure, before the cell is tried again."""
        (self.notes(cell) / FAILED).unlink(missing_ok=True)

    def finish(self, cell: Cell, seconds: float, *, resumed: bool, counts: dict[str, Any]) -> None:
        """Record that a cell is done."""
        about = {"spec": cell.spec, "seconds": seconds, "resumed": resumed, "counts": counts}
        write_json(self.notes(cell) / DONE, about)
        self.forget_failure(cell)


def _read(file: Path) -> dict[str, Any] | None:
    if not file.exists():
        return None
    with whole(file, "record of a cell", RunError, "; remove it"):
        return load_json(file)


def _differing(there: Any, wanted: Any, name: str = "") -> list[str]:
    """Names of settings that differ, with both values."""
    if isinstance(there, dict) and isinstance(wanted, dict):
        keys = sorted(there.keys() | wanted.keys())
        return [text for key in keys for text in _differing(there.get(key), wanted.get(key), key)]
    return [] if there == wanted else [f"{name}: {there} there, {wanted} now"]
