"""The command ``make_tfrecords``: an audio folder becomes a collection."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from playlist_pretrain.cli import command_line
from playlist_pretrain.errors import AudioError, RecipeError
from playlist_pretrain.messages import command
from playlist_pretrain.records.report import (
    REPORT_FILE,
    counted,
    named_sources,
    notes_of,
    report_text,
)

if TYPE_CHECKING:
    from playlist_pretrain.records.report import BuildReport

EXAMPLES = """
examples:
  python scripts/make_tfrecords.py --audio ~/music --out tfrecords/mine
  python scripts/make_tfrecords.py --audio ~/music --tracks tracks.csv --out tfrecords/mine
  python scripts/make_tfrecords.py --audio clips --out tfrecords/clips --excerpt full --workers 4
  python scripts/make_tfrecords.py --audio ~/new --out tfrecords/mine --add
  python scripts/make_tfrecords.py --out tfrecords/mine --report
"""


@dataclass
class MakeTfrecords:
    """Decode an audio folder, compute log-mels and write them as a collection.

    An interrupted build goes on with the same command. Files that cannot be read are left out
    and listed in build_report.tsv inside the collection; the same command tries them again.
    """

    out: Path
    """Folder of the collection, for instance tfrecords/mine."""
    audio: Path | None = None
    """Folder with the audio: every file below it that is not hidden, unless --tracks is given."""
    tracks: Path | None = None
    """CSV or TSV with the columns track_id and path (below the audio folder); others are ignored.
    Without it a track's id is its path below the folder, without extension."""
    front_end: str = "paper"
    """paper, musicnn, vggish or vggish-essentia."""
    excerpt: str = "30"
    """Seconds to take from the centre of each file, or full."""
    resample_quality: int = 4
    """Essentia's: 0 (best, slow) to 4 (linear, as in Essentia's own examples)."""
    workers: int | None = None
    """Processes; default one for each core."""
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


def make_tfrecords(options: MakeTfrecords, make_shards: Callable | None = None) -> None:
    """Build the collection that ``options`` describe, or add to it, and print what came of it.

    Parameters
    ----------
    options : MakeTfrecords
    make_shards : callable, optional
        See :func:`playlist_pretrain.records.build.build_collection`.

    Raises
    ------
    PlaylistPretrainError
        See :func:`playlist_pretrain.records.build.build_collection` and
        :mod:`playlist_pretrain.records.sources`.
    """
    from playlist_pretrain.audio.decode import AudioLoader
    from playlist_pretrain.audio.front_end import front_end
    from playlist_pretrain.records.build import build_collection
    from playlist_pretrain.records.build_folder import BuildFolder
    from playlist_pretrain.records.sources import find_audio, missing_files, read_tracks_table

    if options.report:
        print(report_text(notes_of(options.out), options.out))
        return
    if options.audio is None:
        raise RecipeError(
            f"--audio: give the folder with the audio (see {command('make_tfrecords')} --help)"
        )
    BuildFolder(options.out)  # refuses what is no place to build in before it looks for audio
    made_by = dataclasses.replace(
        front_end(options.front_end), resample_quality=options.resample_quality
    )
    load = AudioLoader(
        made_by.sample_rate, excerpt_seconds(options.excerpt), options.resample_quality
    )
    other_files = 0
    if options.tracks is None:
        found = find_audio(options.audio)
        tracks, other_files = found.tracks, found.other_files
    else:
        tracks = read_tracks_table(options.tracks, options.audio)
        missing = missing_files(options.audio, tracks)
        if len(missing) == len(tracks):
            raise AudioError(
                f"none of the {len(tracks):,} files of {options.tracks} is below {options.audio}, "
                f"neither {missing[0].source!r}; paths are taken from the folder of --audio"
            )
    report = build_collection(
        options.out,
        tracks,
        made_by,
        load,
        root=options.audio,
        workers=options.workers,
        overwrite=options.overwrite,
        quiet=options.quiet,
        add=options.add,
        make_shards=make_shards,
    )
    if report.failed:
        listed = len(report.failed) + report.tracks
        print(
            f"{len(report.failed):,} of {counted(listed, 'track')} could not be read and "
            f"{'is' if len(report.failed) == 1 else 'are'} left out "
            f"({named_sources(report.failed)}): see {options.out / REPORT_FILE}; --report prints it"
        )
    if options.add and report.differing:
        print(
            f"{counted(len(report.differing), 'track')} left as they were: the collection has "
            f"these ids from other files, or from before the files changed: see "
            f"{options.out / REPORT_FILE}"
        )
    if not options.quiet:
        print_summary(options.out, report, other_files, options.tracks or options.audio)


def excerpt_seconds(text: str) -> float | None:
    """Value of ``--excerpt``, None for ``full``; RecipeError for anything else."""
    if text == "full":
        return None
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not 0 < seconds < math.inf:
        raise RecipeError(f"--excerpt {text}: give a number of seconds above 0, or full")
    return seconds


def print_summary(out: Path, report: BuildReport, other_files: int, listed: Path) -> None:
    """Say what came of a build of the collection ``out`` from ``listed``, and the next command."""
    collection = report.collection
    hop = collection.front_end.hop_length / collection.front_end.sample_rate
    audio = float(collection.frames.sum(dtype="int64")) * hop
    size = sum(path.stat().st_size for path in collection.shard_paths)
    for found, what in ((report.silent, "silent"), (report.short, "shorter than a window")):
        if found:
            verb = "is" if len(found) == 1 else "are"
            print(
                f"{counted(len(found), 'track')} {verb} {what} and kept ({named_sources(found)}): "
                f"see {out / REPORT_FILE}"
            )
    if other_files:
        several = f"{other_files:,} files of other kinds were"
        print(f"{'1 file of another kind was' if other_files == 1 else several} left alone")
    print(
        f"{out}: {counted(report.tracks, 'track')}, {audio / 3600:.2f} hours of audio, "
        f"{size / 1e6:,.1f} MB in {counted(len(collection.shard_paths), 'shard')}, "
        f"front end {collection.front_end.name!r}"
    )
    if report.added:
        late = f", {report.read_late:,} of which could not be read before"
        print(
            f"{counted(report.added, 'track')} appended{late if report.read_late else ''}; "
            "groups have to be matched again"
        )
    if report.waiting:
        print(
            f"{counted(report.waiting, 'track')} of {listed} not in the collection "
            "yet: the same command with --add appends them"
        )
    if report.interrupted:
        print("an addition was interrupted: the command that began it, with --add, finishes it")
    if report.made:
        were = "was" if report.kept == 1 else "were"
        resumed = f"; {counted(report.kept, 'shard')} {were} there already" if report.kept else ""
        print(f"built {counted(report.made, 'shard')} in {report.seconds:.1f} s{resumed}")
    elif not (report.waiting or report.interrupted):
        print("it is complete: nothing was left to build")
    words = ["--playlists", "FILE", "--collection", str(out)]
    print("next: " + command("match_playlists", *words))


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; the exit code."""
    return command_line.run(
        MakeTfrecords, make_tfrecords, prog="make_tfrecords.py", epilog=EXAMPLES, argv=argv
    )
