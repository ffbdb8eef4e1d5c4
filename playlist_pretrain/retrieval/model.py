"""A loaded model that embeds and tags audio and collections in memory: the notebook's way in."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from playlist_pretrain.audio.windows import SHORT
from playlist_pretrain.errors import AudioError, ModelError, RecipeError
from playlist_pretrain.models.track_outputs import BATCH, batch_function
from playlist_pretrain.records.collection import Collection
from playlist_pretrain.records.schema import PackedStrings
from playlist_pretrain.records.track_windows import FileWindows
from playlist_pretrain.retrieval.embed import (
    CHOICES,
    Embedded,
    Source,
    audio_source,
    collection_source,
    embedded_tracks,
)
from playlist_pretrain.retrieval.embedding_table import EmbeddingTable, as_stored

if TYPE_CHECKING:
    from playlist_pretrain.audio.front_end import FrontEnd
    from playlist_pretrain.models.load import LoadedModel

ON_ERROR = ("raise", "skip")
BEST_SHOWN = 5
"""Tags of a track, and tracks, that a representation shows."""


def load(path: str | Path, *, trust: bool = False) -> Model:
    """Load a model of any kind.

    Parameters
    ----------
    path : str or Path
        ``saved_model`` of a run or of a fine-tuned tagger, ``.pb`` of a model for Essentia, or
        folder of an exported package.
    trust : bool
        Load a model of your own that is refused otherwise, for a layer or an operation that does
        more than compute. What is in it runs as you.

    Raises
    ------
    ModelError
        For anything else, and for what is refused.
    RecipeError
        For ``scratch``, ``mean-of-mel`` and ``audioset``, which need more than a name.
    """
    from playlist_pretrain.models.load import load_model

    return Model(load_model(path, trust=trust))


@dataclass(frozen=True, eq=False, repr=False)
class Model:
    """A model with its front end; ``loaded.model`` is the Keras model."""

    loaded: LoadedModel
    _functions: dict[tuple, Callable] = field(default_factory=dict, init=False)

    def __repr__(self) -> str:
        kind = f"tagger of {len(self.classes):,} classes" if self.classes else "model"
        return (
            f"<{kind} {self.loaded.label!r}: front end {self.front_end.name!r}, windows of "
            f"{self.frames} frames ({self.loaded.window_seconds:.1f} s), embeddings of {self.dim} "
            "values>"
        )

    @property
    def front_end(self) -> FrontEnd:
        """Constants of the log-mels that the model takes."""
        return self.loaded.front_end

    @property
    def frames(self) -> int:
        """Frames of a window."""
        return self.loaded.frames

    @property
    def dim(self) -> int:
        """Length of an embedding."""
        return self._embedder.dim

    @property
    def classes(self) -> tuple[str, ...]:
        """Classes of a tagger; empty for others."""
        return self.loaded.classes

    def embed(
        self,
        what: str | Path | Sequence[str | Path] | np.ndarray | Collection,
        *,
        per: str = "track",
        short: str = "repeat",
        on_error: str = "raise",
        batch: int = BATCH,
        workers: int | None = None,
    ) -> EmbeddingTable:
        """Embed tracks; the numbers are those that the command ``embed`` writes.

        Parameters
        ----------
        what : str, Path, list of them, np.ndarray or Collection
            A folder of audio files, a file, or a list of files, which worker processes decode; a
            waveform [samples], or several [tracks, samples], mono at the front end's rate (16
            kHz), full scale ±1; or a collection made by the model's front end.
        per : {"track", "window"}
            One vector a track, the mean over its non-overlapping windows, or one a window.
        short : {"repeat", "pad", "skip"}
            A track shorter than a window is repeated, followed by silence, or left out.
        on_error : {"raise", "skip"}
            Raise for the first file that cannot be read, or leave it out.
        batch, workers : int
            Windows that go through the model together; processes that decode [one for each core].

        Returns
        -------
        EmbeddingTable
            ``np.asarray`` of it is float32 [n, dim]; ``ids``; ``starts``, the second at which each
            window starts; ``skipped``, path and reason of each track that is left out. Ids of a
            folder are paths below it, of listed files the paths as given, without extensions.

        Raises
        ------
        AudioError, FrontEndError, EmbeddingsError
            A file cannot be read, or there is none; the model's front end does not fit; an
            embedding is not finite.
        """
        source, found, skipped = self._tracks(
            self._embedder, what, per, short, on_error, batch, workers
        )
        ids = [track.track_id for track in found for _ in track.vectors]
        vectors = [np.empty((0, self.dim), np.float32), *(track.vectors for track in found)]
        starts = np.concatenate([np.empty(0), *(track.starts for track in found)])
        label = self.loaded.label
        silent = [track.track_id for track in found if track.note]
        return EmbeddingTable(
            PackedStrings.pack(ids),
            as_stored(np.concatenate(vectors), "float32", ids, f"{label}: its"),
            starts if per == "window" else None,
            about={
                "model": str(self.loaded.path),
                "model_key": self._embedder.key,
                "short": short,
                **{name: value for name, value in source.about.items() if name != "audio"},
                **({"silent": silent} if silent else {}),
            },
            skipped=skipped,
        )

    def tag(
        self,
        what: str | Path | Sequence[str | Path] | np.ndarray | Collection,
        *,
        short: str = "repeat",
        on_error: str = "raise",
        batch: int = BATCH,
        workers: int | None = None,
    ) -> Tags:
        """Score the classes of a tagger for whole tracks; arguments as of :meth:`embed`.

        Raises
        ------
        ModelError
            The model is no tagger, or an activation is not finite.
        """
        if not self.classes:
            raise ModelError(f"{self.loaded.label}: no tagger, so it has no classes to score")
        _, found, skipped = self._tracks(
            self.loaded, what, "track", short, on_error, batch, workers
        )
        scores = np.concatenate(
            [np.empty((0, len(self.classes)), np.float32), *(one.vectors for one in found)]
        )
        if not np.isfinite(scores).all():
            raise ModelError(f"{self.loaded.label}: scores that are not finite")
        ids = [track.track_id for track in found]
        return Tags(ids, self.classes, scores, skipped)

    @functools.cached_property
    def _embedder(self) -> LoadedModel:
        return self.loaded.embedder()

    def _tracks(
        self,
        loaded: LoadedModel,
        what: Any,
        per: str,
        short: str,
        on_error: str,
        batch: int,
        workers: int | None,
    ) -> tuple[Source, list[Embedded], list[tuple[str, str]]]:
        """Tracks, outputs of ``loaded`` for each, and path and reason of those left out."""
        for name, value, values in (
            ("per", per, CHOICES["per"]), ("short", short, SHORT), ("on_error", on_error, ON_ERROR)
        ):  # fmt: skip
            if value not in values:
                raise RecipeError(f"{name} {value!r}: one of {', '.join(map(repr, values))}")
        source = self._source(what, short, workers)
        key = loaded is self.loaded, batch, source.dtype
        if key not in self._functions:
            self._functions[key] = batch_function(loaded.model, batch, source.dtype)
        embedded = embedded_tracks(
            self._functions[key], source, loaded.window_seconds, per=per, batch=batch
        )
        found, notes = [], list(source.notes)
        with contextlib.closing(embedded):
            for track in embedded:
                if len(track.vectors):
                    found.append(track)
                    continue
                notes.append(track.note)
                if track.note.status == "unreadable" and on_error == "raise":
                    break
        for note in notes:
            if note.status == "unreadable" and on_error == "raise":
                raise AudioError(f"{note.source}: {note.reason}")
        return source, found, [(note.source or note.track_id, note.reason) for note in notes]

    def _source(self, what: Any, short: str, workers: int | None) -> Source:
        if isinstance(what, Collection):
            self.front_end.check_same(
                what.front_end, f"the model {self.loaded.label}", f"collection {what.name}"
            )
            return collection_source(what, self.frames, short)
        load = FileWindows(self.front_end, self.frames, short)
        if not isinstance(what, np.ndarray):
            return audio_source(what, load, workers)
        if what.ndim not in (1, 2) or what.dtype.kind != "f" or not np.isfinite(what).all():
            raise AudioError(
                f"an array {what.dtype} {list(what.shape)}: a waveform is finite floats [samples], "
                "several are [tracks, samples]"
            )
        waves = np.atleast_2d(what).astype(np.float32, copy=False)
        ids = [f"waveform {number}" for number in range(len(waves))]
        return Source(
            ["waveform"] if len(waves) == 1 else ids,
            lambda first: (load.of_waveform(wave) for wave in waves[first:]),
        )


@dataclass(frozen=True, eq=False, repr=False)
class Tags:
    """Scores of a tagger, 0 to 1; ``np.asarray`` gives them as float32 [tracks, classes].

    ``tags[id]`` and ``tags[position]`` are those of a track by class, the highest first;
    ``skipped`` has path and reason of each track that is left out.
    """

    ids: list[str]
    classes: tuple[str, ...]
    scores: np.ndarray
    skipped: list[tuple[str, str]] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.ids)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return np.array(self.scores, dtype) if copy else np.asarray(self.scores, dtype)

    def __getitem__(self, track: int | str) -> dict[str, float]:
        """Score of each class for a track, by its position or its id, the highest first."""
        row = self.ids.index(track) if isinstance(track, str) else track
        scores = self.scores[row]
        best = np.argsort(-scores, kind="stable")
        return {self.classes[k]: float(scores[k]) for k in best}

    def __repr__(self) -> str:
        lines = [f"<tags of {len(self):,} tracks, {len(self.classes):,} classes>"]
        for row in range(min(len(self), BEST_SHOWN)):
            best = [f"{name} {score:.2f}" for name, score in self[row].items()][:BEST_SHOWN]
            lines.append(f"{self.ids[row]}: {', '.join(best)}")
        return "\n".join(lines + (["…"] if len(self) > BEST_SHOWN else []))
