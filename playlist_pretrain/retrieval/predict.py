"""Tags of audio files: what a tagger gives each class for whole tracks, as a table and as lines."""

from __future__ import annotations

import contextlib
import csv
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import numpy as np

from playlist_pretrain.audio.decode import AudioLoader
from playlist_pretrain.errors import AudioError, FrontEndError, ModelError, TrackError, printable
from playlist_pretrain.files import atomic_write
from playlist_pretrain.messages import progress
from playlist_pretrain.records.report import Note, write_report
from playlist_pretrain.records.schema import check_track_id
from playlist_pretrain.records.sources import TrackSource, find_audio
from playlist_pretrain.records.workers import decode_files

if TYPE_CHECKING:
    from playlist_pretrain.audio.decode import Decoded
    from playlist_pretrain.audio.front_end import FrontEnd
    from playlist_pretrain.models.load import LoadedModel

TABLE_FILE = "predictions.csv"
LINES_FILE = "predictions.jsonl"
REPORT_FILE = "predict_report.tsv"
MOST_SHOWN = 3
"""Files that the error names when none could be tagged."""


@dataclass(frozen=True)
class Predicted:
    """What came of :func:`predict_folder`.

    Attributes
    ----------
    files : int
        Files that were tagged.
    failed : int
        Files that could not be.
    table, lines : Path
        The scores, as CSV and as JSON lines.
    report : Path or None
        Which files failed and why, a table as ``records.report`` writes it; None when none did.
    """

    files: int
    failed: int
    table: Path
    lines: Path
    report: Path | None


def predict_folder(
    tagger: LoadedModel,
    audio: str | Path,
    out: str | Path,
    *,
    workers: int | None = None,
    quiet: bool = False,
) -> Predicted:
    """Tag every audio file of a folder, or one file, and write the scores.

    A file is taken whole, an hour and a half at most. Its scores are those that the SavedModel's
    signature ``waveform`` gives: the mean of the activations over non-overlapping windows, short
    files repeated, as arXiv 2304.12257 tests whole tracks.

    Written to ``out``, in the order of the ids, each file whole or not at all:

    * ``predictions.csv``: ``track_id`` and a column a class. Text is quoted; a score has the
      digits that give its float32 back.
    * ``predictions.jsonl``: an object a line with ``track_id``, ``path`` (below the folder; of a
      single file its name), ``seconds`` (length of the file) and ``tags``, an object of scores by
      class, the highest first.
    * ``predict_report.tsv`` if files failed; one that is there is removed if none did.

    Parameters
    ----------
    tagger : LoadedModel
    audio : str or Path
        A folder as :func:`~playlist_pretrain.records.sources.find_audio` reads it, or a file of
        any name, whose id is that name without the extension.
    out : str or Path
        Folder for the results, created when missing; results that are there are replaced.
    workers : int, optional
        Processes that decode; default one for each core this process may use.
    quiet : bool
        No progress.

    Raises
    ------
    FrontEndError
        The tagger takes no waveforms: its front end was imported.
    AudioError
        No such folder or file, no audio in it, or none of its files could be tagged: then the
        report is all that is written.
    TrackError
        Two files have one id.
    ModelError
        An activation that is not finite.
    """
    front_end = tagger.front_end
    folder, tracks = check_audio(audio, front_end)
    tracks, notes = text_ids(tracks)
    load = AudioLoader(front_end.sample_rate, None, front_end.resample_quality)
    table, lines, report = (Path(out) / name for name in (TABLE_FILE, LINES_FILE, REPORT_FILE))
    tagged = 0
    with contextlib.ExitStack() as stack:
        enter = stack.enter_context
        write = _writer(
            enter(atomic_write(table, "w")), enter(atomic_write(lines, "w")), tagger.classes
        )
        decoded = enter(contextlib.closing(decode_files(tracks, folder, load, workers)))
        bar = enter(progress(total=len(tracks), quiet=quiet, desc="tagging", unit=" files"))
        for track, result in _in_order(tracks, _scored(tagger, tracks, decoded, bar.update)):
            if isinstance(result, str):
                notes.append(unreadable(track, result))
            else:
                write(track, *result)
                tagged += 1
        if notes:
            write_report(report, notes)
        if not tagged:
            raise AudioError(_nothing_tagged(notes, report))
    if not notes:
        report.unlink(missing_ok=True)
    return Predicted(tagged, len(notes), table, lines, report if notes else None)


def check_audio(audio: str | Path, front_end: FrontEnd) -> tuple[Path, list[TrackSource]]:
    """The folder that the audio files to be tagged are below, and the files; reads none of them.

    Raises
    ------
    FrontEndError, AudioError, TrackError
        As :func:`predict_folder`.
    """
    if not front_end.takes_waveforms:
        raise FrontEndError(
            f"no audio files can be tagged: front end {front_end.name!r} takes no waveforms, its "
            "mels are made elsewhere"
        )
    audio = Path(audio)
    if audio.is_file():
        return audio.parent, [TrackSource(audio.stem, audio.name)]
    return audio, find_audio(audio).tracks


def text_ids(tracks: Sequence[TrackSource]) -> tuple[list[TrackSource], list[Note]]:
    """Tracks whose ids are text, and a note on each of the others."""
    named, notes = [], []
    for track in tracks:
        try:
            check_track_id(track.track_id)
        except TrackError as error:
            notes.append(unreadable(track, str(error)))
        else:
            named.append(track)
    return named, notes


def unreadable(track: TrackSource, reason: str) -> Note:
    track_id, source, reason = (
        text.encode("utf-8", "backslashreplace").decode("utf-8")
        for text in (track.track_id, track.source, reason)
    )
    return Note(track_id, source, "unreadable", reason)


def _scored(
    tagger: LoadedModel,
    tracks: Sequence[TrackSource],
    decoded: Iterable[tuple[int, Decoded | str]],
    advance: Callable[[], object],
) -> Iterator[tuple[int, tuple[float, np.ndarray] | str]]:
    """Seconds and scores [classes] in place of waveforms."""
    import tensorflow as tf

    from playlist_pretrain.models.signatures import waveform_mean

    @tf.function(input_signature=[tf.TensorSpec([1, None], tf.float32)])
    def activations(waveform):
        return waveform_mean(tagger.model, tagger.front_end, waveform)

    for position, audio in decoded:
        result: Any = audio
        if not isinstance(audio, str):
            scores = activations(audio.waveform[np.newaxis]).numpy()[0]
            if not np.isfinite(scores).all():
                source = printable(tracks[position].source)
                raise ModelError(f"{tagger.path}: its activations for {source} are not finite")
            result = audio.source_seconds, scores
        advance()
        yield position, result


def _in_order(
    tracks: Sequence[TrackSource], results: Iterable[tuple[int, Any]]
) -> Iterator[tuple[TrackSource, Any]]:
    """Each track with its result; results that come before their turn wait."""
    early, turn = {}, 0
    for position, result in results:
        early[position] = result
        while turn in early:
            yield tracks[turn], early.pop(turn)
            turn += 1


def _writer(
    table: IO[str], lines: IO[str], classes: Sequence[str]
) -> Callable[[TrackSource, float, np.ndarray], None]:
    """A function that adds a track to both files."""
    # All text is quoted: a carriage return is nothing that csv would quote by itself.
    rows = csv.writer(table, lineterminator="\n", quoting=csv.QUOTE_NONNUMERIC)
    rows.writerow(["track_id", *classes])

    def write(track: TrackSource, seconds: float, scores: np.ndarray) -> None:
        values = [float(str(score)) for score in scores]  # 0.1, not 0.10000000149011612
        rows.writerow([track.track_id, *values])
        line = {
            "track_id": track.track_id,
            "path": track.source,
            "seconds": seconds,
            "tags": {classes[k]: values[k] for k in np.argsort(-scores, kind="stable")},
        }
        # In ASCII: some readers end a line at signs that JSON need not escape.
        lines.write(json.dumps(line) + "\n")

    return write


def _nothing_tagged(notes: Sequence[Note], report: Path) -> str:
    shown = "".join(f"\n  {printable(n.source)}: {printable(n.reason)}" for n in notes[:MOST_SHOWN])
    more = f"\n  … and {len(notes) - MOST_SHOWN:,} more" if len(notes) > MOST_SHOWN else ""
    return f"none of {len(notes):,} audio files could be tagged (see {report}):{shown}{more}"
