"""A whole plan: list its cells, or run what is missing of them and write the tables."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

from playlist_pretrain.errors import RecipeError, RunError
from playlist_pretrain.experiments.cells import NOT_YET, Cell, State, cells_of, shard_cells
from playlist_pretrain.experiments.collect import Collected, read_paper
from playlist_pretrain.experiments.plan import Plan, read_plan
from playlist_pretrain.experiments.pool import Stop, run_cells, time_text
from playlist_pretrain.experiments.report.page import write_report
from playlist_pretrain.storage import refuse_remote

logger = logging.getLogger(__name__)


def list_cells(
    plan: str | Path, out: str | Path | None = None, *, shard: tuple[int, int] = (1, 1)
) -> Iterator[str]:
    """Describe the cells of a plan or shard: how many there are to do, then a line each.

    Parameters and errors are those of :func:`make_tables`.
    """
    _, state, _, own = _opened(plan, out, shard)
    found = {cell.id: state.done(cell) for cell in own}
    done = sum(one is not None for one in found.values())
    yield f"{len(own)} cells, {len(own) - done} to do, {done} done"
    for cell in own:
        if (one := found[cell.id]) is not None:
            yield f"{cell.id}  done, {time_text(one['seconds'])}"
        else:
            failed = state.failed(cell)
            yield f"{cell.id}  {f'failed: {failed}; ' if failed else ''}to do"


def make_tables(
    plan: str | Path,
    out: str | Path | None = None,
    *,
    workers: int = 1,
    shard: tuple[int, int] = (1, 1),
) -> Path | None:
    """Run the cells of a plan that are not done, then write its tables and report.

    Parameters
    ----------
    plan : str or Path
        TOML file; see :mod:`.plan`.
    out : str or Path, optional
        Folder of the cells and tables; default ``runs/NAME``, NAME that of the plan.
    workers : int
        Cells at a time, each in a process of its own.
    shard : (int, int)
        Which of how many parts of the plan; the last part to end writes the tables.

    Returns
    -------
    Path or None
        The folder; None after SIGTERM, when cells can be gone on with.

    Raises
    ------
    PlaylistPretrainError
        With the file, table and key, or the cell, that has to be mended; and at the end if cells
        failed, with their messages.
    """
    if workers < 1:
        raise RecipeError(f"--workers {workers}: must be at least 1")
    read, state, cells, own = _opened(plan, out, shard)
    paper = read_paper(read)
    for cell in cells:
        state.done(cell)  # refuses those of another plan before anything is made
    try:
        run_cells(own, state, workers=workers, threads=read.threads)
    except Stop:
        logger.info(f"{state.out}: stopped by SIGTERM; the same command goes on")
        return None
    _write(Collected(read, cells, state, paper), {cell.id for cell in own})
    return state.out


def _opened(
    path: str | Path, out: str | Path | None, shard: tuple[int, int]
) -> tuple[Plan, State, list[Cell], list[Cell]]:
    """Read a plan: the plan, the state of its results, all its cells, those of the shard."""
    plan = read_plan(path)
    folder = str(out or Path("runs") / plan.name)
    refuse_remote(folder, "make the tables there, then copy them", RunError)
    if Path(folder).exists() and not Path(folder).is_dir():
        raise RunError(f"{folder}: is a file; choose another --out")
    cells = cells_of(plan)
    return plan, State(folder), cells, shard_cells(cells, *shard) if shard[1] > 1 else cells


def _write(collected: Collected, own: set[str]) -> None:
    """Write the tables and the report, unless another shard will; raise if own cells lack."""
    lacking = collected.not_done
    waiting = [one for one in lacking if one["why"] == NOT_YET and one["cell"] not in own]
    if waiting:
        logger.info(
            f"{len(waiting)} cells of other shards are not done yet: the last shard to end writes "
            "the tables, and so does the same command without --shard"
        )
    else:
        files = collected.write()
        logger.info(files[0].read_text("utf-8"))
        logger.info("tables: " + ", ".join(map(str, files)))
        logger.info(f"report: {write_report(collected)}")
    if failed := [one for one in lacking if one["cell"] in own]:
        lines = "".join(f"\n  {one['cell']}: {one['why']}" for one in failed)
        raise RunError(f"{len(failed)} of {len(own)} cells are not done:{lines}")
