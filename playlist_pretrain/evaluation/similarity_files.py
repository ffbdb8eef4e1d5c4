"""The files that judging by triplets leaves."""

from __future__ import annotations

import csv
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from playlist_pretrain.errors import RunError, printable
from playlist_pretrain.files import atomic_write, write_json
from playlist_pretrain.storage import refuse_remote
from playlist_pretrain.tasks.dim_sim import ROLES, START, Triplets

if TYPE_CHECKING:
    from playlist_pretrain.evaluation.similarity_outcome import Outcome

JSON, MARKDOWN, TABLE = "results.json", "results.md", "results.csv"
MISSING_NOW = "missing.new.tsv"
"""List of clips that are lacking, as long as the results that are there are of another call."""
PER_TRIPLET, MISSING, EMBEDDINGS = "per_triplet.csv", "missing.tsv", "embeddings.parquet"
MOST_SHOWN = 3
"""Clips that a message names when some are lacking."""
COLUMNS = (
    "model", "path", "front_end", "frames", "triplets", "accuracy", "accuracy_low",
    "accuracy_high", "ties", "difference", "centred_difference", "short_clips", "against_first",
    "against_first_low", "against_first_high", "only_it_right", "only_first_right", "p_value",
)  # fmt: skip


class Results:
    """The folder for results.

    Parameters
    ----------
    path : str or Path
        It need not exist.

    Raises
    ------
    RunError
        For a URL.
    """

    names = (MARKDOWN, TABLE, JSON, PER_TRIPLET)

    def __init__(self, path: str | Path):
        refuse_remote(path, "judge there, then copy the results", RunError)
        self.path = Path(path)

    def check(self, *, overwrite: bool) -> None:
        """Refuse a folder with results, unless they are to be replaced, or with anything else.

        Raises
        ------
        RunError
        """
        if not self.path.exists():
            return
        if not self.path.is_dir():
            raise RunError(f"{self.path}: is a file; choose another --out")
        there = {entry.name for entry in self.path.iterdir() if not entry.name.startswith(".")}
        if others := sorted(there - {*self.names, MISSING, MISSING_NOW, EMBEDDINGS}):
            raise RunError(
                f"{self.path}: holds {others[0]!r}, so it is no folder of such results; choose "
                "another --out"
            )
        if JSON in there and not overwrite:
            raise RunError(
                f"{self.path}: holds results; --overwrite replaces them, or choose another --out"
            )

    @property
    def missing(self) -> Path:
        """Where clips that cannot be had are listed; results that are there keep their own list."""
        return self.path / (MISSING_NOW if (self.path / JSON).exists() else MISSING)

    def write_missing(self, triplets: Triplets, lacking: Mapping[int, str]) -> str:
        """List clips that cannot be had, in the order of the table; the first few as text."""
        shown = []
        with atomic_write(self.missing, "w") as stream:
            table = csv.writer(stream, delimiter="\t", lineterminator="\n")
            table.writerow(("line", "track_id", "start_seconds", "triplets", "reason"))
            for position in sorted(lacking):
                clip, reason = triplets.clips[position], printable(lacking[position])
                named = (triplets.rows == position).any(axis=1)
                line = triplets.lines[np.argmax(named)]
                table.writerow((line, clip.track_id, clip.start, int(named.sum()), reason))
                shown.append(f"\n  line {line}: {printable(str(clip))}: {reason}")
        more = f"\n  … and {len(shown) - MOST_SHOWN:,} more" if len(shown) > MOST_SHOWN else ""
        return "".join(shown[:MOST_SHOWN]) + more

    def write(self, outcome: Outcome, *, keep_missing: bool) -> None:
        """Write all files, ``results.json`` last; without clips that are lacking, no list of them.

        Raises
        ------
        OSError
        """
        missing = self.missing
        (self.path / JSON).unlink(missing_ok=True)
        if keep_missing:
            os.replace(missing, self.path / MISSING)
        else:
            (self.path / MISSING).unlink(missing_ok=True)
        (self.path / MISSING_NOW).unlink(missing_ok=True)
        (self.path / EMBEDDINGS).unlink(missing_ok=True)
        with atomic_write(self.path / TABLE, "w") as stream:
            table = csv.DictWriter(stream, COLUMNS, lineterminator="\n")
            table.writeheader()
            table.writerows(outcome.rows)
        with atomic_write(self.path / MARKDOWN, "w") as stream:
            stream.write("\n".join([*outcome.lines(), ""]))
        self._write_per_triplet(outcome)
        write_json(self.path / JSON, outcome.document())

    def _write_per_triplet(self, outcome: Outcome) -> None:
        triplets = outcome.used
        starts = [f"{role}{START}" for role in ROLES] if triplets.has_starts else []
        agreement = [] if triplets.agreement is None else ["agreement"]
        of_models = [
            f"{what} {one.label}" for one in outcome.models for what in ("margin", "right")
        ]
        numbers = [a for one in outcome.models for a in (one.result.margins, one.result.right)]
        with atomic_write(self.path / PER_TRIPLET, "w") as stream:
            # All text is quoted: a carriage return is nothing that csv would quote by itself.
            table = csv.writer(stream, lineterminator="\n", quoting=csv.QUOTE_NONNUMERIC)
            table.writerow(["line", *ROLES, *starts, *agreement, *of_models])
            for number, row in enumerate(triplets.rows):
                clips = [triplets.clips[position] for position in row]
                table.writerow(
                    [
                        int(triplets.lines[number]),
                        *(clip.track_id for clip in clips),
                        *(clip.start for clip in clips if starts),
                        *(float(triplets.agreement[number]) for _ in agreement),
                        *(float(column[number]) for column in numbers),
                    ]
                )

    def write_embeddings(self, outcome: Outcome) -> None:
        """Keep the embeddings of the first model's clips: a file that ``search.py`` reads.

        The clips are sorted by track and start.

        Raises
        ------
        OSError
        """
        from playlist_pretrain.embedding.table import embedding_writer

        one, triplets, source = outcome.models[0], outcome.used, outcome.source
        clips = [triplets.clips[position] for position in triplets.named]
        order = sorted(range(len(clips)), key=lambda k: (clips[k].track_id, clips[k].start or 0.0))
        about = {
            "model": one.path,
            "model_key": one.key,
            "frames": one.frames,
            "short": outcome.short,
            source.kind: source.path,
        }
        vectors, starts = one.embeddings[order], None
        if triplets.has_starts:
            starts = [clips[place].start for place in order]
        with embedding_writer(
            self.path / EMBEDDINGS, vectors.shape[1], about, windows=triplets.has_starts
        ) as write:
            write([clips[place].track_id for place in order], vectors, starts)
