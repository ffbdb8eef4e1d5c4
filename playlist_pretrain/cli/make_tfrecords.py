"""The command ``make_tfrecords``: an audio folder becomes a collection."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from playlist_pretrain.cli import command_line
from playlist_pretrain.errors import RecipeError
from playlist_pretrain.messages import command
from playlist_pretrain.records.build import build_collection
from playlist_pretrain.records.report import notes_of, report_text
from playlist_pretrain.records.sources import excerpt_seconds

logger = logging.getLogger(__name__)

EXAMPLES = """
examples:
  python scripts/make_tfrecords.py --audio ~/music --out tfrecords/mine
  python scripts/make_tfrecords.py --audio ~/music --tracks tracks.csv --out tfrecords/mine
  python scripts/make_tfrecords.py --audio clips --out tfrecords/clips --excerpt full --workers 4
  python scripts/make_tfrecords.py --audio ~/new --out tfrecords/mine --add
  python scripts/make_tfrecords.py --out tfrecords/mine --report
  python scripts/make_tfrecords.py --audio /nfs/music --out /nfs/tfrecords/mine \\
      --beam="--runner=FlinkRunner --flink_master=HOST:8081 --parallelism=64"
"""


@dataclass
class MakeTfrecords:
    """Decode an audio folder, compute log-mels and write them as a collection.

    An interrupted build goes on with the same command. Files that cannot be read are left out
    and listed in build_report.tsv inside the collection; the same command tries them again, and
    makes shards that are missing or damaged anew.
    """

    out: Path
    """Folder of the collection, for instance tfrecords/mine."""
    audio: Path | None = None
    """Folder with the audio: every file below it that is not hidden, unless --tracks is given."""
    tracks: Path | None = None
    """CSV or TSV with the columns track_id and path (below the audio folder); others are ignored.
    Without it a track's id is its path below the folder, without extension."""
    path_prefix: str | None = None
    """Beginning of the table's paths in place of the audio folder, as in D:/Music [found where most
    paths begin alike]"""
    front_end: str = "paper"
    """paper, musicnn, vggish or vggish-essentia."""
    excerpt: str = "30"
    """Seconds to take from the centre of each file, or full."""
    resample_quality: int = 4
    """Essentia's: 0 (best, slow) to 4 (linear, as in Essentia's own examples)."""
    workers: int | None = None
    """Processes; default one for each core."""
    beam: str | None = None
    """Build with Apache Beam, with these options of Beam. All workers and this machine must reach
    --audio and --out under the same path."""
    add: bool = False
    """Append the tracks that a finished collection does not have, from the same folder or table
    or from others; the settings have to be those it was made with."""
    report: bool = False
    """Print what could not be read and why, and build nothing; needs --out alone."""
    overwrite: bool = False
    """Build afresh; a finished collection is replaced when the new one is ready. With --add: drop
    an unfinished addition of other tracks."""
    quiet: bool = False
    """No progress and no summary; only what could not be read is said."""


def make_tfrecords(options: MakeTfrecords) -> None:
    """Build the collection that ``options`` describe, or add to it.

    Raises PlaylistPretrainError: see :func:`playlist_pretrain.records.build.build_collection`.
    """
    if options.report:
        logger.info(report_text(notes_of(options.out), options.out))
        return
    if options.audio is None:
        raise RecipeError(
            f"--audio: give the folder with the audio (see {command('make_tfrecords')} --help)"
        )
    seconds = excerpt_seconds(options.excerpt)
    if seconds is not None and not options.add:
        logger.info(
            f"{seconds:g} s of the centre of each file are taken, which is enough to pre-train and "
            "to search; a fine-tuning tests whole tracks (--excerpt full), and goes on with "
            "excerpts by --partial"
        )
    build_collection(**command_line.settings(options, "report"))
    words = ["--playlists", "FILE", "--collection", str(options.out)]
    logger.info("next: " + command("match_playlists", *words))


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; the exit code."""
    return command_line.run(
        MakeTfrecords, make_tfrecords, prog="make_tfrecords.py", epilog=EXAMPLES, argv=argv
    )
