"""The command ``tables``: run the cells of a plan, and write its tables and report."""

from __future__ import annotations

import logging
import re
from collections.abc import Sequence
from dataclasses import dataclass

from playlist_pretrain.cli import command_line
from playlist_pretrain.errors import RecipeError, require

logger = logging.getLogger(__name__)

EXAMPLES = """
examples:
  python scripts/tables.py --plan experiments/demo.toml --dry-run
  python scripts/tables.py --plan experiments/demo.toml --workers 2
  python scripts/tables.py --plan experiments/paper.toml --shard 1/2
"""


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
    """list the cells and which of them are done; make nothing"""
    workers: int = 1
    """cells at a time, each in a process of its own"""
    shard: str | None = None
    """I/N: do the I-th of N parts, for machines that share --out; the last to end writes the
    tables"""
    quiet: bool = False
    """no progress and no results, only warnings"""


def run_tables(options: MakeTables) -> None:
    """Call :func:`playlist_pretrain.experiments.run_plan.make_tables` with the options."""
    from playlist_pretrain.experiments.run_plan import list_cells, make_tables

    number, of = 1, 1
    if options.shard is not None:
        found = re.fullmatch(r"([0-9]{1,4})/([0-9]{1,4})", options.shard)
        number, of = map(int, found.groups()) if found else (0, 0)
        if not 1 <= number <= of:
            raise RecipeError(f"--shard {options.shard}: I/N is meant, as 1/2 and 2/2")
    if options.dry_run:
        for line in list_cells(options.plan, options.out, shard=(number, of)):
            logger.info(line)
        logger.info("next: the same command without --dry-run makes them")
        return
    require("tensorflow", "bokeh")
    out = make_tables(options.plan, options.out, workers=options.workers, shard=(number, of))
    if out is not None:
        logger.info(f"next: the run folders are below {out / 'cells'}")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; the exit code."""
    return command_line.run(MakeTables, run_tables, prog="tables.py", epilog=EXAMPLES, argv=argv)
