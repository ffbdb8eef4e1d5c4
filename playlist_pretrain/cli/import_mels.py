"""The command ``import_mels``: make a collection of mels that others made."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from playlist_pretrain.cli import command_line
from playlist_pretrain.messages import command
from playlist_pretrain.records.mel_sources import import_mels
from playlist_pretrain.records.sources import excerpt_seconds

logger = logging.getLogger(__name__)

EXAMPLES = """
examples:
  python scripts/import_mels.py --mels melon --out tfrecords/melon
  python scripts/import_mels.py --mels jamendo_melspecs --out tfrecords/jamendo --excerpt full
  python scripts/import_mels.py --mels arrays --description mels.json --out tfrecords/mine
"""


@dataclass
class ImportMels:
    """Write mels that were made elsewhere as a collection, without any audio.

    Tar files are read where they lie, nothing is unpacked. An interrupted import goes on with the
    same command. What cannot be read, or is known to be damaged, is left out and listed in
    build_report.tsv inside the collection.
    """

    mels: Path
    """Folder with .npy files, with tar files of them, or both; or one tar file."""
    out: Path
    """Folder of the collection, for instance tfrecords/melon."""
    source: str = "auto"
    """melon, jamendo, npy (with --description), or auto, which looks at the names."""
    description: Path | None = None
    """JSON that says what the mels of source npy are; tfrecords/README.md has its fields."""
    excerpt: str = "30"
    """Seconds to take from the centre of each mel, or full."""
    keep_going: bool = False
    """Take what comes before the damage of a tar file, and the first of two mels of one track."""
    workers: int | None = None
    """Processes; default one for each core."""
    add: bool = False
    """Append the mels that a finished collection does not have; the settings have to be those it
    was made with."""
    overwrite: bool = False
    """Import afresh; a finished collection is replaced when the new one is ready. With --add: drop
    an unfinished addition of other mels."""
    quiet: bool = False
    """No progress and no summary; only what could not be read is said."""


def run_import(options: ImportMels) -> None:
    """Import the mels that ``options`` name, and print the next command."""
    settings = command_line.settings(options)
    import_mels(**{**settings, "excerpt": excerpt_seconds(options.excerpt)})
    words = ["--playlists", "FILE", "--collection", str(options.out)]
    logger.info("next: %s", command("match_playlists", *words))


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; the exit code."""
    return command_line.run(
        ImportMels, run_import, prog="import_mels.py", epilog=EXAMPLES, argv=argv
    )
