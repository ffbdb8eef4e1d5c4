"""Tags of audio files: the scores of a tagger for whole tracks, as a table and as JSON lines."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING

import numpy as np

from playlist_pretrain.errors import AudioError, ModelError, printable
from playlist_pretrain.files import TableWriter, atomic_write
from playlist_pretrain.models.track_outputs import batch_function
from playlist_pretrain.records.report import write_report
from playlist_pretrain.records.track_windows import FileWindows
from playlist_pretrain.retrieval.embed import audio_source, embedded_tracks, shown_notes

if TYPE_CHECKING:
    from playlist_pretrain.audio.front_end import FrontEnd
    from playlist_pretrain.models.load import LoadedModel

TABLE_FILE = "predictions.csv"
LINES_FILE = "predictions.jsonl"
REPORT_FILE = "predict_report.tsv"


@dataclass(frozen=True)
class Predicted:
    """Counts of tagged and failed files, the tables, and the report if any failed."""

    files: int
    failed: int
    table: Path
    lines: Path
    report: Path | None


def predict_folder(
    tagger: LoadedModel, audio: str | Path, out: str | Path, *, workers: int | None = None
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
    audio
        A folder as :func:`.find_audio` reads it, or a file of any name, whose id is that name
        without the extension.
    out
        Folder for the results, created when missing; results that are there are replaced.
    workers
        Processes that decode [one for each core].

    Raises
    ------
    FrontEndError, TrackError
        The tagger takes no waveforms; two files have one id.
    AudioError
        No audio, or none of its files could be tagged: then the report is all that is written.
    ModelError
        An activation that is not finite.
    """
    source = audio_source(audio, FileWindows(tagger.front_end, tagger.frames), workers)
    table, lines, report = (Path(out) / name for name in (TABLE_FILE, LINES_FILE, REPORT_FILE))
    notes, tagged = list(source.notes), 0
    with contextlib.ExitStack() as stack:
        rows, objects = (stack.enter_context(atomic_write(path, "w")) for path in (table, lines))
        write = _writer(rows, objects, tagger.classes)
        tracks = embedded_tracks(batch_function(tagger.model), source, 0.0, desc="tagging")
        stack.enter_context(contextlib.closing(tracks))
        for track in tracks:
            if track.note and not len(track.vectors):
                notes.append(track.note)
                continue
            if not np.isfinite(track.vectors).all():
                name = printable(track.path)
                raise ModelError(f"{tagger.path}: its activations for {name} are not finite")
            write(track.track_id, track.path, track.seconds, track.vectors[0])
            tagged += 1
        if notes:
            write_report(report, notes)
        if not tagged:
            raise AudioError(
                f"none of {len(notes):,} audio files could be tagged (see {report}):"
                + shown_notes(notes)
            )
    if not notes:
        report.unlink(missing_ok=True)
    return Predicted(tagged, len(notes), table, lines, report if notes else None)


def _writer(
    table: IO[str], lines: IO[str], classes: Sequence[str]
) -> Callable[[str, str, float, np.ndarray], None]:
    """Return a function that adds a track to both files."""
    rows = TableWriter(table, quote_text=True)
    rows.writerow(["track_id", *classes])

    def write(track_id: str, path: str, seconds: float, scores: np.ndarray) -> None:
        values = [float(str(score)) for score in scores]  # 0.1, not 0.10000000149011612
        rows.writerow([track_id, *values])
        line = {
            "track_id": track_id,
            "path": path,
            "seconds": seconds,
            "tags": {classes[k]: values[k] for k in np.argsort(-scores, kind="stable")},
        }
        # In ASCII: some readers end a line at signs that JSON need not escape.
        lines.write(json.dumps(line) + "\n")

    return write


def check_audio(audio: str | Path, front_end: FrontEnd) -> None:
    """Raise if there is nothing to tag, as :func:`predict_folder` would; no file is read."""
    audio_source(audio, FileWindows(front_end, front_end.window_frames))
