"""The command ``check_collection``: show, verify and repair a collection."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from playlist_pretrain.cli import command_line
from playlist_pretrain.demo import DEMO_COLLECTION, ready_demo
from playlist_pretrain.errors import CollectionError, RecipeError
from playlist_pretrain.messages import command
from playlist_pretrain.records.collection import Collection
from playlist_pretrain.records.overview import draw_collection, groups_of_other_content, overview
from playlist_pretrain.records.report import counted
from playlist_pretrain.records.verify import (
    DAMAGED_FOLDER,
    DAMAGED_TRACKS,
    repair_collection,
    verify_collection,
)

logger = logging.getLogger(__name__)

EXAMPLES = """
examples:
  python scripts/check_collection.py --collection tfrecords/mine
  python scripts/check_collection.py --collection tfrecords/mine --verify
  python scripts/check_collection.py --collection tfrecords/mine --repair
"""
FIGURE = Path("figures") / "collection.png"


@dataclass
class CheckCollection:
    """Show what is in a collection, and draw it; verify every byte of it; repair it.

    Every record is read and its checksums are compared, in any case. Exit code 1 when anything is
    wrong with the collection.
    """

    collection: str | None = None
    """folder made by make_tfrecords [tfrecords/demo, made when missing]"""
    verify: bool = False
    """compare the SHA-256 of every file too"""
    repair: bool = False
    """move damaged shards into the folder damaged, list their tracks in damaged/tracks.tsv, and
    make index and collection.json of the sound shards anew"""
    quiet: bool = False
    """print nothing but what is wrong"""


def check_collection(options: CheckCollection) -> None:
    """Check the collection that ``options`` name.

    Raises
    ------
    CollectionError
        Something is wrong with the collection, or it cannot be repaired.
    RecipeError
        The collection is behind a URL.
    """
    folder = _folder(options)
    named = ["--collection", options.collection] if options.collection else []
    if options.repair:
        _repair(folder)
        logger.info("next: %s", command("check_collection", *named, "--verify"))
        return
    found = verify_collection(folder, hashed=options.verify)
    if found.problems:
        listed = "".join(f"\n  {problem}" for problem in found.problems)
        remedy = (
            "Call the same make_tfrecords or import_mels command that built it: it makes damaged "
            "shards anew. Where the sources are gone, keep the sound shards with: "
            + command("check_collection", "--collection", str(folder), "--repair")
        )
        count = "1 thing is" if len(found.problems) == 1 else f"{len(found.problems):,} things are"
        raise CollectionError(f"{folder}: {count} wrong:{listed}\n{remedy}")
    if not options.quiet:
        collection = Collection.open(folder)
        for line in overview(collection, found):
            logger.info(line)
        draw_collection(collection, found.tally, folder / FIGURE)
        logger.info("%s: drawn", folder / FIGURE)
    if options.verify:
        logger.info("verified: every record, its checksums and values, the index and all files")
        logger.info("next: %s", command("pretrain", *named, "--pairs", "playlist_co"))
    else:
        logger.info("next: %s", command("check_collection", *named, "--verify"))


def _folder(options: CheckCollection) -> Path:
    if options.collection is not None:
        if "://" in options.collection:
            raise RecipeError(
                f"--collection {options.collection}: a collection is checked on a disk of this "
                "machine, where every byte is at hand; copy it here first"
            )
        return Path(options.collection)
    if (options.repair or options.verify) and DEMO_COLLECTION.exists():
        return DEMO_COLLECTION  # it may be damaged: nothing is to be built on it
    return ready_demo()


def _repair(folder: Path) -> None:
    done = repair_collection(folder)
    if not done.problems:
        logger.info("%s: nothing is wrong, nothing was changed", folder)
    for problem in done.problems:
        logger.info("was wrong: %s", problem)
    if done.shards:
        logger.warning(
            "%s moved to %s with %s, listed in %s; the same make_tfrecords or import_mels command "
            "that built the collection makes them anew from their sources",
            counted(len(done.shards), "damaged shard"),
            folder / DAMAGED_FOLDER,
            counted(len(done.lost), "track"),
            DAMAGED_TRACKS,
        )
    if done.problems:
        kept, key = counted(len(done.collection), "track"), done.collection.content_key
        logger.info("%s: repaired, %s; key %s", folder, kept, key)
    for name in groups_of_other_content(done.collection):
        words = ["--playlists", "FILE", "--name", name, "--collection", str(folder)]
        logger.warning(
            "groups %r are of the old content, whose rows were others; make them again: %s",
            name,
            command("match_playlists", *words, "--overwrite"),
        )


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; the exit code."""
    return command_line.run(
        CheckCollection, check_collection, prog="check_collection.py", epilog=EXAMPLES, argv=argv,
        modules=("matplotlib",),
    )  # fmt: skip
