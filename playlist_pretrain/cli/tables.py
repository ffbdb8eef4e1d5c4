"""The command ``tables``: a plan's whole matrix, made or collected."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from playlist_pretrain.cli import command_line
from playlist_pretrain.errors import RecipeError, RunError
from playlist_pretrain.experiments.cells import NOT_YET, State, cells_of, shard_cells
from playlist_pretrain.experiments.collect import read_paper
from playlist_pretrain.experiments.plan import read_plan
from playlist_pretrain.storage import refuse_remote
from playlist_pretrain.training.recipes import check_at_least

if TYPE_CHECKING:
    from playlist_pretrain.experiments.collect import Collected

EXAMPLES = """
examples:
  python scripts/tables.py --plan experiments/demo.toml --dry-run
  python scripts/tables.py --plan experiments/demo.toml --workers 2
  python scripts/tables.py --plan experiments/paper.toml --shard 1/2
"""
SHARD = re.compile(r"([0-9]{1,4})/([0-9]{1,4})")


@dataclass
class MakeTables:
    """Train and judge all models of a plan, and write the tables of arXiv 2304.12257 and a page
    about them (report.html).

    Each cell of the matrix is a run folder below --out. The same command goes on: what is done is
    kept, what was interrupted is resumed, what failed is tried again, and where nothing is left to
    do the tables are made anew.
    """

    plan: str
    """plan of the matrix (TOML), as experiments/paper.toml and experiments/demo.toml"""
    out: str | None = None
    """folder of the cells and tables [runs/NAME, NAME that of the plan]"""
    dry_run: bool = False
    """list the cells, which of them are done, and about how long the others take; make nothing"""
    measure: bool = False
    """--dry-run: time a few steps of pre-trainings of which no like is done yet"""
    workers: int = 1
    """cells at a time, each in a process of its own"""
    shard: str | None = None
    """I/N: do the I-th of N parts, for machines that share --out; the last to end writes the
    tables"""
    quiet: bool = False
    """no progress and no results, only warnings"""

    def say(self, text: str) -> None:
        """Print, unless it is to be quiet."""
        if not self.quiet:
            print(text, flush=True)

    @property
    def part(self) -> tuple[int, int]:
        """Number of the shard, from 1, and how many there are.

        Raises
        ------
        RecipeError
            For anything else than I/N.
        """
        if self.shard is None:
            return 1, 1
        found = SHARD.fullmatch(self.shard)
        number, of = map(int, found.groups()) if found else (0, 0)
        if not 1 <= number <= of:
            raise RecipeError(f"--shard {self.shard}: I/N is meant, as 1/2 and 2/2")
        return number, of


def make_tables(options: MakeTables) -> None:
    """Do what is missing of a plan, and write its tables; what ``scripts/tables.py`` does.

    Raises
    ------
    PlaylistPretrainError
        With the option, or the file, table and key, that has to be mended; and at the end if
        cells failed, with their messages.
    """
    check_at_least(options, 1, "workers")
    number, of = options.part
    if options.measure and not options.dry_run:
        raise RecipeError("--measure: only with --dry-run")
    plan = read_plan(options.plan)
    paper = read_paper(plan)
    out = options.out or str(Path("runs") / plan.name)
    refuse_remote(out, "make the tables there, then copy them", RunError)
    if Path(out).exists() and not Path(out).is_dir():
        raise RunError(f"{out}: is a file; choose another --out")
    state, cells = State(out), cells_of(plan)
    own = shard_cells(cells, number, of) if of > 1 else cells
    if options.dry_run:
        from playlist_pretrain.experiments.estimate import Estimates

        for line in Estimates(own, state, measured=options.measure).lines(options.workers):
            options.say(line)
        options.say(f"next: the same command without --dry-run makes them, in {out}")
        return

    from playlist_pretrain.experiments.collect import Collected
    from playlist_pretrain.experiments.pool import Pool, Stop

    for cell in cells:
        state.done(cell)  # refuses those of another plan before anything is made
    try:
        Pool(own, state, workers=options.workers, threads=plan.threads, say=options.say).run()
    except Stop:
        options.say(f"{out}: stopped by SIGTERM; the same command goes on")
        return
    collected = Collected(plan, cells, state, paper, options.say)
    _conclude(collected, {cell.id for cell in own}, options.say)


def _conclude(collected: Collected, own: set[str], say: Callable[[str], None]) -> None:
    """Write the tables and the report, unless another shard will, and say what is lacking."""
    from playlist_pretrain.experiments.report import write_report

    lacking = collected.not_done
    waiting = [one for one in lacking if one["why"] == NOT_YET and one["cell"] not in own]
    if waiting:
        say(
            f"{len(waiting)} cells of other shards are not done yet: the last shard to end writes "
            "the tables, and so does the same command without --shard"
        )
    else:
        files = collected.write()
        say(files[0].read_text("utf-8"))
        say("tables: " + ", ".join(map(str, files)))
        say(f"report: {write_report(collected)}")
    if failed := [one for one in lacking if one["cell"] in own]:
        lines = "".join(f"\n  {one['cell']}: {one['why']}" for one in failed)
        raise RunError(f"{len(failed)} of {len(own)} cells are not done:{lines}")
    say(f"next: the run folders are below {collected.state.out / 'cells'}")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; the exit code."""
    return command_line.run(MakeTables, make_tables, prog="tables.py", epilog=EXAMPLES, argv=argv)
