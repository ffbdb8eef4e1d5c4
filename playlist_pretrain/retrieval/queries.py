"""Queries of a search, as a direction: tracks of a table, or an audio file."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from playlist_pretrain.errors import (
    AudioError,
    EmbeddingsError,
    FrontEndError,
    ModelError,
    TrackError,
    printable,
)
from playlist_pretrain.evaluation.neighbours import centre
from playlist_pretrain.messages import command
from playlist_pretrain.playlists.match import shown
from playlist_pretrain.records.schema import did_you_mean
from playlist_pretrain.retrieval.embedding_table import EmbeddingTable, read_embeddings
from playlist_pretrain.retrieval.table_groups import KnownTracks, collection_of, text_about

if TYPE_CHECKING:
    from playlist_pretrain.models.load import LoadedModel

CLOSEST = 5
ALIKE_AT_MOST = 200
"""Ids with most in common that the slow comparison is made with."""


@dataclass(frozen=True)
class Query:
    """A direction whose nearest tracks are looked for.

    Attributes
    ----------
    text : str
        Name for the screen.
    vector : np.ndarray float64 [dim]
        Of any length but 0.
    left_out : np.ndarray int [any]
        Rows that are no answer: those asked about.
    """

    text: str
    vector: np.ndarray
    left_out: np.ndarray


def open_table(path: str | Path) -> EmbeddingTable:
    """Read the embeddings of a file, one a track, each with a direction.

    Raises
    ------
    EmbeddingsError
        As :func:`~playlist_pretrain.retrieval.embedding_table.read_embeddings`; an embedding
        that is all zeros; fewer than two tracks.
    """
    table = read_embeddings(path).by_track()
    zero = np.flatnonzero(~table.vectors.any(axis=1))
    if len(zero):
        row = int(zero[0])
        raise EmbeddingsError(
            f"{path}: row {row} (track {table.track_ids[row]!r}): all zeros, so it has no direction"
            + (f", as {len(zero) - 1:,} others" if len(zero) > 1 else "")
        )
    if len(table) < 2:
        raise EmbeddingsError(f"{path}: one track, so it has no neighbours")
    return table


def tracks_query(table: EmbeddingTable, known: KnownTracks, ids: Sequence[str]) -> Query:
    """Ask for the nearest tracks of the centre of some tracks.

    Raises
    ------
    TrackError
        For an id that the table does not have; names those most alike.
    EmbeddingsError
        They cancel each other out.
    """
    ids = list(dict.fromkeys(ids))
    rows = known.rows(ids)
    if (rows < 0).any():
        wanted = ids[int(np.argmin(rows))]
        near = ", ".join(map(shown, closest_ids(wanted, known.track_ids)))
        raise TrackError(
            f"no track {shown(wanted)} in the embeddings ({len(known):,} tracks); the closest ids: "
            f"{near}{did_you_mean(wanted, known.rows)}"
        )
    text = shown(ids[0]) if len(ids) == 1 else f"the centre of {len(ids)} tracks"
    return Query(text, centre(table.vectors[rows]), rows)


def closest_ids(wanted: str, ids: Sequence[str]) -> list[str]:
    """Find the ids most like one that is not there, the most alike first.

    Those that share most runs of three characters, whatever the case, are compared by ``difflib``.
    """

    def runs(text: str) -> set[str]:
        text = f" {text.lower()} "
        return {text[place : place + 3] for place in range(len(text) - 2)}

    of_wanted = runs(wanted)
    common = np.fromiter((len(of_wanted & runs(one)) for one in ids), np.int64, len(ids))
    first = np.argsort(-common, kind="stable")[:ALIKE_AT_MOST]
    matcher = difflib.SequenceMatcher(autojunk=False)
    matcher.set_seq2(wanted.lower())

    def likeness(candidate: str) -> float:
        matcher.set_seq1(candidate.lower())
        return matcher.ratio()

    return sorted((ids[row] for row in first.tolist()), key=likeness, reverse=True)[:CLOSEST]


def audio_query(table: EmbeddingTable, audio: str | Path, model: str | None = None) -> Query:
    """Embed an audio file with the model that the table is of.

    The file is taken whole, the mean over non-overlapping windows, as the signature ``waveform``
    of a saved model does.

    Raises
    ------
    EmbeddingsError
        The table does not say which model it is of, or it is another.
    ModelError
        The model cannot be loaded, or gives what is not finite or has no direction.
    FrontEndError
        The model's front end takes no waveforms.
    AudioError
        The file cannot be decoded.
    """
    from playlist_pretrain.audio.decode import decode

    key = text_about(table, "model_key")
    if key is None:
        raise EmbeddingsError(
            "the embeddings do not say which model they are of, so no audio can be compared with "
            f"them; {command('embed')} writes it"
        )
    if not Path(audio).exists():
        raise AudioError(f"{audio}: no such file")
    name = model or text_about(table, "model")
    if name is None:
        raise EmbeddingsError("the embeddings do not name their model: give it with --model")
    embedder = _embedder(name, table)
    if embedder.key != key:
        raise EmbeddingsError(
            f"the embeddings are of model {text_about(table, 'model')!r} (key {key[:8]}), and "
            f"{name!r} is another (key {embedder.key[:8]}): their values do not compare"
        )
    front_end = embedder.front_end
    if not front_end.takes_waveforms:
        raise FrontEndError(
            f"front end {front_end.name!r} takes no waveforms, its mels are made elsewhere: no "
            "audio file can be asked about"
        )
    decoded = decode(audio, front_end.sample_rate, None, front_end.resample_quality)
    vector = _embed(embedder, decoded.waveform)
    if not np.isfinite(vector).all() or not vector.any():
        raise ModelError(f"{name}: its embedding of {printable(str(audio))} has no direction")
    return Query(printable(str(audio)), vector.astype(np.float64), np.empty(0, np.int64))


def _embedder(name: str, table: EmbeddingTable) -> LoadedModel:
    """The model; one that is not trained is made from what the table's collection says."""
    from playlist_pretrain.models.load import MEAN_OF_MEL, Untrained, load_embedder

    if name != MEAN_OF_MEL or text_about(table, "collection") is None:
        return load_embedder(name)
    collection = collection_of(table, None)
    frames = table.about.get("frames")
    if type(frames) is not int or frames < 1:
        raise EmbeddingsError(f"the embeddings are damaged: windows of {frames!r} frames")
    untrained = Untrained(
        collection.front_end, collection.band_mean, collection.band_std, frames=frames
    )
    return load_embedder(name, untrained)


def _embed(embedder: LoadedModel, waveform: np.ndarray) -> np.ndarray:
    """float32 [dim], of a waveform [samples]."""
    import tensorflow as tf

    from playlist_pretrain.models.signatures import waveform_mean

    @tf.function(input_signature=[tf.TensorSpec([1, None], tf.float32)])
    def embedding(waveform):
        return waveform_mean(embedder.model, embedder.front_end, waveform)

    return embedding(waveform[np.newaxis]).numpy()[0]
