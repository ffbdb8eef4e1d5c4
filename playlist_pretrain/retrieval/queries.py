"""Queries of a search: tracks by their ids, or an audio file, among embeddings of tracks."""

from __future__ import annotations

import heapq
import logging
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from playlist_pretrain.audio.decode import decode
from playlist_pretrain.audio.silence import QUIET, sound_share
from playlist_pretrain.errors import (
    AudioError,
    CollectionError,
    EmbeddingsError,
    FrontEndError,
    ModelError,
    RecipeError,
    TrackError,
    printable,
)
from playlist_pretrain.evaluation.neighbours import centre as centre_vector
from playlist_pretrain.evaluation.neighbours import unit_vectors
from playlist_pretrain.messages import command
from playlist_pretrain.playlists.match import shown
from playlist_pretrain.records.schema import did_you_mean
from playlist_pretrain.records.sources import excerpt_seconds, excerpt_text
from playlist_pretrain.retrieval.embed import excerpt_of_collection
from playlist_pretrain.retrieval.embedding_table import (
    EmbeddingTable,
    centre_of,
    centred,
    read_embeddings,
    silent_ids,
)
from playlist_pretrain.retrieval.model import Model
from playlist_pretrain.retrieval.table_groups import KnownTracks, collection_of, text_about
from playlist_pretrain.storage import is_remote

if TYPE_CHECKING:
    from playlist_pretrain.models.load import LoadedModel

SAME = 0.9999
"""Similarity from which a track of the same name is taken for the same audio."""
CLOSEST = 5

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Query:
    """A direction whose nearest tracks are looked for."""

    text: str  # name for the screen
    vector: np.ndarray  # float64 [dim], of any length but 0
    left_out: np.ndarray  # rows that are no answer: those asked about


def open_table(
    embeddings: str | Path | EmbeddingTable, *, centre: bool = False
) -> tuple[EmbeddingTable, EmbeddingTable]:
    """Take embeddings, or read them from a file, one a track.

    Returns those of tracks that have sound; and all, of which these are the first. With ``centre``
    the mean of those that have sound is taken from them. Raises EmbeddingsError for zeros, or fewer
    than two tracks.
    """
    table, name = embeddings, "the embeddings"
    if not isinstance(table, EmbeddingTable):
        table, name = read_embeddings(table), str(table)
    whole = table.by_track()
    silent = whole.silent
    sound = np.delete(np.arange(len(whole)), silent)
    if silent.size:
        first = shown(whole.track_ids[int(silent[0])])
        what = "1 track is" if silent.size == 1 else f"{silent.size:,} tracks are"
        logger.info(f"{what} silent, or nearly, and no neighbour of others (such as {first})")
        whole = whole.take(np.concatenate([sound, silent]))
    if len(sound) < 2:
        what = "one track" if len(sound) else "no track that has sound"
        raise EmbeddingsError(f"{name}: {what}, so it has no neighbours")
    if centre and centre_of(whole) is not None:
        logger.info(f"{name}: centred already")
    elif centre:
        whole = centred(whole)
    table = whole.take(np.arange(len(sound))) if silent.size else whole
    zero = np.flatnonzero(~table.vectors.any(axis=1))
    if len(zero):
        row = int(zero[0])
        raise EmbeddingsError(
            f"{name}: row {row} (track {table.track_ids[row]!r}): all zeros, so it has no direction"
            + (f", as {len(zero) - 1:,} others" if len(zero) > 1 else "")
        )
    return table, whole


def tracks_query(table: EmbeddingTable, known: KnownTracks, ids: Sequence[str]) -> Query:
    """Ask for the nearest tracks of the centre of some tracks; raises as :func:`rows_of`."""
    rows = rows_of(table, known, ids)
    text = shown(known.track_ids[rows[0]])
    if len(rows) > 1:
        text = f"the centre of {len(rows)} tracks"
    return Query(text, centre_vector(table.vectors[rows]), rows)


def rows_of(table: EmbeddingTable, known: KnownTracks, ids: Sequence[str]) -> np.ndarray:
    """Rows of some ids, each once.

    Raises TrackError, which names the ids most alike, for one that the table does not have.
    """
    ids = list(dict.fromkeys(ids))
    rows = known.rows(ids)
    if (rows < 0).any():
        wanted = ids[int(np.argmin(rows))]
        if wanted in silent_ids(table.about):
            raise TrackError(
                f"track {shown(wanted)} is silent, or nearly: it has no neighbours; ask others"
            )
        near = ", ".join(map(shown, closest_ids(wanted, known.track_ids)))
        raise TrackError(
            f"no track {shown(wanted)} in the embeddings ({len(known):,} tracks); the closest ids: "
            f"{near}{did_you_mean(wanted, known.rows)}"
        )
    return rows


def closest_ids(wanted: str, ids: Iterable[str]) -> list[str]:
    """Find the ids that share most runs of two or three characters with ``wanted``."""

    def runs(text: str) -> set[str]:
        text = f" {text.lower()} "
        return {text[place : place + n] for n in (2, 3) for place in range(len(text) - n + 1)}

    def likeness(candidate: str) -> float:
        of_candidate = runs(candidate)
        return len(of_wanted & of_candidate) / len(of_wanted | of_candidate)

    of_wanted = runs(wanted)
    return heapq.nlargest(CLOSEST, ids, key=likeness)


def audio_query(
    table: EmbeddingTable,
    audio: str | Path,
    model: str | None = None,
    collection: str | Path | None = None,
    *,
    excerpt: float | str | None = None,
    trust_model: bool = False,
) -> Query:
    """Embed an audio file with the model that the table is of.

    The mean is taken over the non-overlapping windows of the same ``excerpt`` that the table is of,
    by default: so many seconds, or ``"full"``. A file that the table is of is no exception, and is
    found at the first rank. A model that only the table names is used if it is there, passes the
    checks of :mod:`~playlist_pretrain.models.trust`, whatever ``trust_model`` says, and has the
    table's key. Raises EmbeddingsError when the table does not say which model it is of, or it is
    another, and the errors of loading, decoding and front ends.
    """
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
    if model is None and is_remote(name):
        raise EmbeddingsError(
            f"the embeddings name {name!r} as their model, a URL: it is not opened; --model takes "
            "a copy of it here"
        )
    try:
        embedder = _embedder(name, table, collection, trust=trust_model and model is not None)
    except ModelError as error:
        if model is not None:
            raise
        raise ModelError(f"{error} (the embeddings name it; --model takes another)") from error
    if embedder.key != key:
        raise EmbeddingsError(
            f"the embeddings are of model {text_about(table, 'model')!r} (key {key[:8]}), and "
            f"{name!r} is another (key {embedder.key[:8]}): their values do not compare"
        )
    if model is None:
        logger.info(f"model {name}, which the embeddings name, is used")
    front_end = embedder.front_end
    if not front_end.takes_waveforms:
        raise FrontEndError(
            f"front end {front_end.name!r} takes no waveforms, its mels are made elsewhere: no "
            "audio file can be asked about"
        )
    seconds = _excerpt_to_take(table, collection, excerpt)
    decoded = decode(audio, front_end.sample_rate, seconds, front_end.resample_quality)
    if (sound := sound_share(decoded.waveform, front_end.sample_rate)) < QUIET:
        logger.warning(
            f"{audio}: {sound:.1%} of what is taken of it has sound: what is near says little"
        )
    short = "pad" if table.about.get("short") == "pad" else "repeat"  # "skip" has no short tracks
    found = Model(embedder).embed(decoded.waveform, short=short)
    vector = found.vectors[0].astype(np.float64)
    if (mean := centre_of(table)) is not None:
        vector = vector - mean
    if not vector.any():
        raise ModelError(f"{name}: its embedding of {printable(str(audio))} has no direction")
    return Query(printable(str(audio)), vector, np.empty(0, np.int64))


def _excerpt_to_take(
    table: EmbeddingTable, place: str | Path | None, given: float | str | None
) -> float | None:
    """Seconds of a query that is audio, None for all of it; tells whether the table has as much."""
    theirs = table.about.get("excerpt")
    if theirs is None and "audio" in table.about:
        theirs = "full"  # as before there was a choice
    if theirs is None and (place or text_about(table, "collection")):
        try:
            if (collection := collection_of(table, place)) is not None:
                theirs = excerpt_of_collection(collection).get("excerpt")
        except CollectionError as error:
            logger.info(f"the embeddings do not say which part of each file they are of: {error}")
    if theirs is None:
        seconds = excerpt_seconds(given)
        what = "which part of each file they are of is not known"
        logger.info(f"{excerpt_text(seconds)} of the file is compared with the embeddings: {what}")
        return seconds
    try:
        own = excerpt_seconds(theirs)
    except (RecipeError, TypeError):
        raise EmbeddingsError(f"the embeddings are damaged: an excerpt of {theirs!r}") from None
    seconds = own if given is None else excerpt_seconds(given)
    if seconds == own:
        logger.info(f"{excerpt_text(seconds)} of the file is taken, as of the embeddings' tracks")
    else:
        logger.info(
            f"{excerpt_text(seconds)} of the file is compared with {excerpt_text(own)} of each "
            "track: a track is less like itself than without --excerpt"
        )
    return seconds


def tell_itself(
    table: EmbeddingTable,
    found: np.ndarray,
    query: np.ndarray,
    audio: str | Path,
    known: KnownTracks,
) -> None:
    """Say where the audio file that was asked about is itself among the tracks, if it is."""
    name = os.path.abspath(os.path.splitext(audio)[0]).split(os.sep)
    ids = ["/".join(name[first:]) for first in range(1, len(name))]  # the longest first
    rows = [row for row in known.rows([*ids, os.fspath(audio)]).tolist() if row >= 0]
    if not rows:
        return
    row, units = rows[0], unit_vectors(np.stack([query, table.vectors[rows[0]]]))
    similarity, place = float(units[0] @ units[1]), np.flatnonzero(found == row)
    where = f"rank {place[0] + 1}, " if len(place) else ""
    what = "the file is itself in the embeddings"
    if similarity < SAME:
        what = "a track of the file's name is in the embeddings, of other audio or another part"
    logger.info(f"{what}: {shown(known.track_ids[row])}, {where}similarity {similarity:.4f}")


def _embedder(
    name: str, table: EmbeddingTable, place: str | Path | None, *, trust: bool
) -> LoadedModel:
    """The model; one that is not trained is made from what the table's collection says."""
    from playlist_pretrain.models.load import MEAN_OF_MEL, Untrained, load_embedder

    collection = collection_of(table, place) if name == MEAN_OF_MEL else None
    if collection is None:
        return load_embedder(name, trust=trust)
    frames = table.about.get("frames")
    if type(frames) is not int or frames < 1:
        raise EmbeddingsError(f"the embeddings are damaged: windows of {frames!r} frames")
    untrained = Untrained(
        collection.front_end, collection.band_mean, collection.band_std, frames=frames
    )
    return load_embedder(name, untrained)
