"""The command ``check_collection``: what is in a collection, is it sound, and mend it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from playlist_pretrain.cli import command_line
from playlist_pretrain.demo import ready_demo
from playlist_pretrain.errors import CollectionError, RecipeError
from playlist_pretrain.messages import command

if TYPE_CHECKING:
    from playlist_pretrain.audio.front_end import FrontEnd
    from playlist_pretrain.records.collection import Collection
    from playlist_pretrain.records.verify import Problem, Verification

EXAMPLES = """
examples:
  python scripts/check_collection.py --collection tfrecords/mine
  python scripts/check_collection.py --collection tfrecords/mine --verify
  python scripts/check_collection.py --collection tfrecords/mine --repair
  python scripts/check_collection.py --collection tfrecords/mine --repair --front-end paper
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
    """keep every sound record and make index and collection.json anew; what is damaged is listed
    in check_report.tsv"""
    front_end: str | None = None
    """with --repair or --verify, what made the mels (paper, musicnn, vggish, vggish-essentia,
    melon, jamendo-mels), for a collection whose collection.json can no longer say so"""
    quiet: bool = False
    """print nothing but what is wrong"""

    def say(self, text: str) -> None:
        """Print, unless it is to be quiet."""
        if not self.quiet:
            print(text, flush=True)


def check_collection(options: CheckCollection) -> None:
    """Check what ``options`` name; what ``scripts/check_collection.py`` does.

    Raises
    ------
    CollectionError
        Something is wrong with the collection, or it cannot be repaired.
    FrontEndError, RecipeError
        An option that cannot be obeyed.
    """
    from playlist_pretrain.audio.front_end import IMPORTED, front_end

    if options.front_end is not None and not (options.repair or options.verify):
        raise RecipeError("--front-end: nothing reads it without --repair or --verify")
    made_by = None
    if options.front_end is not None:
        made_by = IMPORTED.get(options.front_end) or front_end(options.front_end)
    folder = _folder(options)
    if options.repair:
        _repair(options, folder, made_by)  # type: ignore[arg-type]
        return
    from playlist_pretrain.records.collection import Collection
    from playlist_pretrain.records.verify import verify_collection

    if not options.verify:
        Collection.open(folder)
    found = verify_collection(folder, front_end=made_by, hashed=options.verify, quiet=options.quiet)  # type: ignore[arg-type]
    _refuse(found.problems, folder)
    collection = Collection.open(folder)
    _show(options, collection, found)
    if options.verify:
        options.say("verified: every record, its checksums and values, the index and all files")
        options.say("next: " + command("pretrain", *_named(options), "--pairs", "playlist_co"))
    else:
        options.say("next: " + command("check_collection", *_named(options), "--verify"))


def _folder(options: CheckCollection) -> Path:
    if options.collection is not None:
        if "://" in options.collection:
            raise RecipeError(
                f"--collection {options.collection}: a collection is checked on a disk of this "
                "machine, where every byte is at hand; copy it here first"
            )
        return Path(options.collection)
    if options.repair or options.verify:
        from playlist_pretrain.demo import DEMO_COLLECTION

        if DEMO_COLLECTION.exists():  # it may be damaged: nothing is to be built on it
            return DEMO_COLLECTION
    return ready_demo(options.say, quiet=options.quiet)


def _named(options: CheckCollection) -> list[str]:
    return ["--collection", options.collection] if options.collection else []


def _refuse(problems: Sequence[Problem], folder: Path) -> None:
    for problem in problems:
        print(problem)
    if problems:
        count = "1 thing is" if len(problems) == 1 else f"{len(problems):,} things are"
        raise CollectionError(
            f"{folder}: {count} wrong, listed above; copy the collection again, or keep what is "
            f"sound with: {command('check_collection', '--collection', str(folder), '--repair')}"
        )


def _show(options: CheckCollection, collection: Collection, found: Verification) -> None:
    from playlist_pretrain.records.overview import draw_collection, overview, seconds_of

    if options.quiet:
        return
    scans = [scan for scan in found.scans if scan]
    for line in overview(collection, scans, found.tally):
        options.say(line)
    path = collection.path / FIGURE
    draw_collection(collection, found.tally, *seconds_of(collection), path)
    options.say(f"{path}: drawn")


def _repair(options: CheckCollection, folder: Path, made_by: FrontEnd | None) -> None:
    from playlist_pretrain.records.report import counted
    from playlist_pretrain.records.verify import CHECK_REPORT_FILE, repair_collection

    done = repair_collection(folder, front_end=made_by, quiet=options.quiet)
    if not done.problems:
        options.say(f"{folder}: nothing is wrong, nothing was changed")
    for problem in done.problems:
        options.say(f"was wrong: {problem}")
    if done.lost:
        print(
            f"lost and left out: {counted(len(done.lost), 'record')}, see "
            f"{folder / CHECK_REPORT_FILE}"
        )
    if done.problems:
        options.say(
            f"{folder}: repaired, {counted(len(done.collection), 'track')}, "
            f"{counted(done.rewritten, 'shard')} written anew; key {done.collection.content_key}"
        )
    for name in _groups_of_other_content(done.collection):
        words = ["--playlists", "FILE", "--name", name, "--collection", str(folder)]
        print(
            f"groups {name!r} are of the old content, whose rows were others; make them again: "
            f"{command('match_playlists', *words, '--overwrite')}"
        )
    options.say("next: " + command("check_collection", *_named(options), "--verify"))


def _groups_of_other_content(collection: Collection) -> Iterator[str]:
    """Names of the groups in the folder that speak of another content of the collection."""
    for path in sorted(collection.path.glob("groups-*.npz")):  # type: ignore[type-var]
        try:
            with np.load(path, allow_pickle=False) as archive:  # type: ignore[arg-type]
                key = json.loads(archive["header"].tobytes())["collection_key"]
        except Exception:  # damaged in one of many ways: who opens them says so
            continue
        if key != collection.content_key:
            yield path.name.removeprefix("groups-").removesuffix(".npz")  # type: ignore[attr-defined]


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; the exit code."""
    return command_line.run(
        CheckCollection, check_collection, prog="check_collection.py", epilog=EXAMPLES, argv=argv
    )
