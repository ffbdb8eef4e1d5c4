"""How long a pre-training cell will take, from a few of its own steps.

``python -m playlist_pretrain.experiments.measure CELL``, CELL as JSON; answers with JSON.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Sequence
from typing import Any

from playlist_pretrain.errors import PlaylistPretrainError
from playlist_pretrain.experiments.cell_run import settled
from playlist_pretrain.experiments.cells import Cell

FIRST, TIMED = 2, 5
"""Steps that are not timed (graphs are made), and steps that are."""


def measure(cell: Cell) -> dict[str, Any]:
    """Seconds of all steps of a cell.

    Nothing is written but the tables of pairings, beside their groups, as a run would.
    """
    from playlist_pretrain.pairs.joint import step_dataset
    from playlist_pretrain.training.pretrain import build_model

    command, data = settled(cell)
    recipe = command.recipe.resolve(
        demo=False, window_frames=data.collection.front_end.window_frames
    )
    recipe, _ = recipe.with_steps(data.stream.steps_per_epoch)
    model = build_model(recipe, data)

    def fit(first: int, count: int) -> float:
        dataset = step_dataset(
            data.reader, data.stream, seed=recipe.seed, first=first, last=first + count
        )
        start = time.monotonic()
        model.fit(dataset, steps_per_epoch=count, verbose=0)
        return time.monotonic() - start

    fit(0, FIRST)
    seconds = fit(FIRST, TIMED) / TIMED
    steps = recipe.epochs * data.stream.steps_per_epoch
    return {"seconds": seconds * steps, "steps": steps}


def main(argv: Sequence[str] | None = None) -> int:
    """Print what :func:`measure` finds, or ``{"error": …}``."""
    cell = Cell(**json.loads((sys.argv[1:] if argv is None else argv)[0]))
    try:
        print(json.dumps(measure(cell)))
    except PlaylistPretrainError as error:
        print(json.dumps({"error": str(error)}))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
