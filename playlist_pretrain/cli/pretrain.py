"""The command ``pretrain``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from playlist_pretrain.cli import command_line
from playlist_pretrain.demo import ready_demo
from playlist_pretrain.training.pretrain import pretrain
from playlist_pretrain.training.recipes import PretrainRecipe

EXAMPLES = """
examples:
  python scripts/pretrain.py --pairs playlist_co
  python scripts/pretrain.py --pairs artist_co --collection tfrecords/mine
  python scripts/pretrain.py --pairs playlist_w2v --w2v-size 64 --collection tfrecords/mine
  python scripts/pretrain.py --pairs playlist_co --strategy mirrored --collection tfrecords/mine
  python scripts/pretrain.py --pairs playlist_co,artist_co --pair-weights 2,1
"""


@dataclass(frozen=True)
class PretrainCommand(PretrainRecipe):
    __doc__ = PretrainRecipe.__doc__

    out: str | None = None
    """run folder [runs/COLLECTION-PAIRS-BACKBONE]; the same command again resumes"""
    overwrite: bool = False
    """start over in a run folder that is there"""
    quiet: bool = False
    """no progress and no results, only warnings"""
    profile: bool = False
    """profile ten steps of this call for TensorBoard, in the run's tensorboard folder"""


def run(command: PretrainCommand) -> None:
    """Pre-train as the command asks, on the demo collection if none is named."""
    settings = command_line.settings(command)
    pretrain(**{**settings, "collection": command.collection or ready_demo()})


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    return command_line.run(
        PretrainCommand,
        run,
        prog="pretrain.py",
        epilog=EXAMPLES,
        argv=argv,
        modules=("tensorflow",),
    )
