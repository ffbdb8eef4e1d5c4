"""The command ``import_mels``: mels that somebody else made become a collection."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from playlist_pretrain.cli import command_line
from playlist_pretrain.cli.make_tfrecords import excerpt_seconds
from playlist_pretrain.errors import MelError, TrackError
from playlist_pretrain.messages import command
from playlist_pretrain.records.report import Note, log_failures, log_summary

if TYPE_CHECKING:
    from playlist_pretrain.records.mel_files import Found
    from playlist_pretrain.records.mel_sources import MelSource
    from playlist_pretrain.records.sources import TrackSource

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


def import_mels(options: ImportMels) -> None:
    """Build the collection that ``options`` describe and print what came of it.

    Raises
    ------
    PlaylistPretrainError
        See :func:`playlist_pretrain.records.build.build_collection` and
        :mod:`playlist_pretrain.records.mel_sources`.
    """
    from playlist_pretrain.records.build import make_collection
    from playlist_pretrain.records.mel_files import MelLoader, find_mels
    from playlist_pretrain.records.mel_sources import find_source

    excerpt = excerpt_seconds(options.excerpt)
    found = find_mels(options.mels, keep_going=options.keep_going, quiet=options.quiet)
    source = find_source(options.source, options.description, found.folder, found.files)
    logger.info(
        f"{options.mels}: mels of source {source.name}, front end {source.front_end.name!r}"
    )
    tracks, notes = _tracks(found, source, options.keep_going)
    report = make_collection(
        options.out,
        tracks,
        source.front_end,  # type: ignore[arg-type]
        MelLoader(source.front_end, source.orientation, source.unit, excerpt),
        root=found.folder,
        notes=notes,
        workers=options.workers,
        overwrite=options.overwrite,
        add=options.add,
    )
    log_failures(report, "mel", len(found.files) + len(found.notes))
    log_summary(report, found.other_files, options.mels)
    words = ["--playlists", "FILE", "--collection", str(options.out)]
    logger.info("next: " + command("match_playlists", *words))


def _tracks(
    found: Found, source: MelSource, keep_going: bool
) -> tuple[list[TrackSource], list[Note]]:
    """Tracks in the order of the files, and notes on those that are left out."""
    from playlist_pretrain.records.sources import TrackSource

    tracks: dict[str, TrackSource] = {}
    notes = list(found.notes)
    for file in found.files:
        try:
            track_id = source.track_id(file.path)
        except MelError as error:
            shown = file.source.encode("utf-8", "backslashreplace").decode()
            notes.append(Note(str(shown), shown, "skipped", str(error)))
            continue
        reason = source.left_out(track_id)
        if reason is None and track_id in tracks:
            first = tracks[track_id].source
            if not keep_going:
                raise TrackError(
                    f"two mels in {found.folder} have the id {track_id!r}: {first!r} and "
                    f"{file.source!r}; remove one, or take the first with --keep-going"
                )
            reason = f"a second mel of the track, after {first}"
        if reason is None:
            tracks[track_id] = TrackSource(track_id, file.source)
        else:
            notes.append(Note(track_id, file.source, "skipped", reason))
    if not tracks:
        first = notes[0]
        raise MelError(
            f"none of {len(notes):,} mels in {found.folder} can be imported from source "
            f"{source.name}; {first.source}: {first.reason}"
        )
    return list(tracks.values()), notes


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; the exit code."""
    return command_line.run(
        ImportMels, import_mels, prog="import_mels.py", epilog=EXAMPLES, argv=argv
    )
