"""The command ``python -m playlist_pretrain.demo``: make the demo's collections."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from playlist_pretrain.cli import command_line
from playlist_pretrain.messages import command

logger = logging.getLogger(__name__)

EXAMPLES = """
examples:
  python -m playlist_pretrain.demo
  python -m playlist_pretrain.demo --seed 7 --out worlds/7
  python -m playlist_pretrain.demo --audio demo-songs
"""


@dataclass
class MakeDemo:
    """Make tfrecords/demo and tfrecords/demo-eval from a synthetic world.

    240 songs of 24 artists in 300 playlists, and 120 songs of 12 artists that no playlist
    knows, with tags and similarity triplets. An interrupted build goes on with the same command.
    """

    seed: int | None = None
    """Number of the world; default the one that is there already, else 0."""
    out: Path = Path("tfrecords")
    """Folder of the two collections."""
    audio: Path | None = None
    """Also write the songs as 16-bit wav files below this folder, to listen to."""
    workers: int | None = None
    """Processes; default one for each core."""
    overwrite: bool = False
    """Build both collections afresh, also when they hold another world."""
    quiet: bool = False
    """No progress and no summary."""


def make_demo(options: MakeDemo) -> None:
    """Build the collections that ``options`` describe, and the wav files if they are wanted."""
    from playlist_pretrain.demo.build import build_demo, check_empty, write_songs

    if options.audio is not None:
        check_empty(options.audio)
    collections = build_demo(
        options.out, options.seed, workers=options.workers, overwrite=options.overwrite
    )
    seed = collections[0].source["loader"]["seed"]
    if options.audio is not None:
        write_songs(options.audio, seed)
    for collection in collections:
        logger.info(f"{collection.path}: {len(collection)} songs of world {seed}")
    if options.audio is not None:
        logger.info(f"{options.audio}: the same songs as wav files")
    demo = collections[0].path
    where = [] if demo == Path("tfrecords", "demo") else ["--collection", str(demo)]
    where += ["--preset", "demo"] if where else []
    logger.info("next: " + command("pretrain", "--pairs", "playlist_co", *where))


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; the exit code."""
    prog = "python -m playlist_pretrain.demo"
    return command_line.run(
        MakeDemo, make_demo, prog=prog, epilog=EXAMPLES, argv=argv, modules=("numba",)
    )
