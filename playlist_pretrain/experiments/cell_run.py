"""One cell, in a process of its own: ``python -m playlist_pretrain.experiments.cell_run``.

The one argument is JSON: the folder of results and the cell. Standard input stays open as long as
somebody waits for the cell; when it ends, the process stops as after SIGTERM.
"""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from playlist_pretrain.errors import PlaylistPretrainError, RunError, printable
from playlist_pretrain.experiments.cells import PRETRAIN, TAGS, TRIPLETS, WORLD, Cell, State
from playlist_pretrain.experiments.plan import RANDOM
from playlist_pretrain.files import folder_lock, temporary_folder
from playlist_pretrain.messages import show_messages
from playlist_pretrain.models import MEAN_OF_MEL, SCRATCH

if TYPE_CHECKING:
    from playlist_pretrain.training.pretrain_data import Data
    from playlist_pretrain.training.recipes import PretrainRecipe

FAILED, BUSY, STOPPED = 1, 75, 76
"""Exit codes beside 0: its message is recorded, another process has it, it can be gone on with."""
STEPS_OFF = 0.02
"""Share by which whole epochs may miss the steps that a plan asks for."""


class BusyError(PlaylistPretrainError):
    """Another process works on the cell."""


class Stopped(Exception):
    """SIGTERM came; what is there can be gone on with."""


def run_cell(cell: Cell, state: State) -> None:
    """Make a cell, or what is missing of it, and record it.

    Raises
    ------
    BusyError
        Another process does so.
    Stopped
        After SIGTERM.
    PlaylistPretrainError
        What the command refuses.
    """
    with folder_lock(state.notes(cell), f"{cell.id} is being made", error=BusyError):
        if state.done(cell) is not None:
            return
        state.forget_failure(cell)
        resumed, start = state.folder(cell).exists(), time.monotonic()
        counts = KINDS[cell.kind](cell, state)
        state.finish(cell, time.monotonic() - start, resumed=resumed, counts=counts)


def _world(cell: Cell, state: State) -> dict[str, Any]:
    from playlist_pretrain.demo.build import build_demo

    options, threads = cell.spec["options"], os.environ.get("TF_NUM_INTRAOP_THREADS")
    workers = int(threads) if threads else None
    found = build_demo(options["out"], options["seed"], workers=workers)
    state.folder(cell).mkdir(parents=True, exist_ok=True)
    return {"tracks": [len(collection) for collection in found]}


def settled(cell: Cell) -> tuple[PretrainRecipe, Data]:
    """Recipe of a pre-training cell, its steps made whole epochs, and the data it reads.

    Raises RunError: if no whole number of epochs comes near the steps that the plan asks for.
    """
    from playlist_pretrain.training.pretrain_data import settle
    from playlist_pretrain.training.recipes import PretrainRecipe

    asked, steps = PretrainRecipe(**cell.spec["options"]), cell.spec["steps"]
    recipe, data = settle(asked, steps=steps)
    epochs, per_epoch = recipe.epochs, data.stream.steps_per_epoch
    if steps is not None and abs(epochs * per_epoch - steps) > STEPS_OFF * steps:
        raise RunError(
            f"{cell.id}: {steps} steps are no whole number of epochs of {per_epoch:,}; "
            f"{epochs} of them have {epochs * per_epoch:,}: choose other steps"
        )
    return dataclasses.replace(asked, epochs=epochs, batch=recipe.batch), data


def _pretrain(cell: Cell, state: State) -> dict[str, Any]:
    from playlist_pretrain.training.pretrain import pretrain

    recipe, data = settled(cell)
    run = pretrain(**vars(recipe), out=state.folder(cell))
    if not run.finished:
        raise Stopped
    return {
        "tracks": len(data.collection),
        "pairs_per_epoch": data.stream.pairings[0].expected_pairs,
        "batch": recipe.batch,
        "steps_per_epoch": data.stream.steps_per_epoch,
        "epochs": recipe.epochs,
        "steps": run.summary["steps"],
    }


def _finetune(cell: Cell, state: State) -> dict[str, Any]:
    from playlist_pretrain.training.finetune import finetune

    model = _model(cell, state)
    if model == MEAN_OF_MEL:
        model = _mean_of_mel(cell, state)
    run = finetune(model, **cell.spec["options"], out=state.folder(cell))
    if not run.finished:
        raise Stopped
    return {"tracks": run.summary["tracks"], "classes": run.summary["classes"]}


def _mean_of_mel(cell: Cell, state: State) -> str:
    """Path of the mean of the standardised mel as a model that a head can be trained on."""
    from playlist_pretrain.models.load import Untrained, load_embedder
    from playlist_pretrain.models.saved_model import save_backbone
    from playlist_pretrain.records.collection import Collection
    from playlist_pretrain.storage import location

    collection = Collection.open(location(cell.spec["options"]["collection"]))
    front_end = collection.front_end
    frames = cell.spec["frames"] or front_end.window_frames
    made = Untrained(front_end, collection.band_mean, collection.band_std, frames=frames)
    path = state.notes(cell) / MEAN_OF_MEL / "saved_model"
    save_backbone(load_embedder(MEAN_OF_MEL, made).model, front_end, path)
    return str(path)


def _similarity(cell: Cell, state: State) -> dict[str, Any]:
    from playlist_pretrain.retrieval.similarity import similarity

    # Results that are there but not recorded come from a process that was killed.
    folder, options = state.folder(cell), cell.spec["options"]
    outcome = similarity(_model(cell, state), out=folder, overwrite=True, **options)
    outcome.write_embeddings(folder)  # for the report's map
    return {"triplets": len(outcome.used), "asked": len(outcome.asked)}


def _model(cell: Cell, state: State) -> str:
    """Model of a cell, as ``--model`` takes it."""
    model = cell.spec["model"]
    if isinstance(model, dict):
        return str(state.folder(model["cell"]) / "saved_model")
    return SCRATCH if model == RANDOM else model


KINDS = {WORLD: _world, PRETRAIN: _pretrain, TAGS: _finetune, TRIPLETS: _similarity}


def main(argv: Sequence[str] | None = None) -> int:
    """Run the cell that the argument describes; returns the exit code."""
    request = json.loads((sys.argv[1:] if argv is None else argv)[0])
    cell, state = Cell(**request["cell"]), State(Path(request["out"]))
    show_messages()
    threading.Thread(target=_stop_when_alone, daemon=True).start()
    try:
        with temporary_folder():
            run_cell(cell, state)
        return 0
    except BusyError:
        return BUSY
    except (Stopped, KeyboardInterrupt):
        return STOPPED
    except (PlaylistPretrainError, OSError) as error:
        print(printable(f"error: {error}", keep="\n"), file=sys.stderr, flush=True)
        state.fail(cell, str(error))
        return FAILED


def _stop_when_alone() -> None:
    while os.read(0, 4096):  # not sys.stdin, whose lock would be held when the program ends
        pass
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    raise SystemExit(main())
