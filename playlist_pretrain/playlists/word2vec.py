"""Word2Vec vectors of tracks, playlists being the sentences: the table behind ``playlist_w2v``.

The file ``w2v-<groups>-<key>.bin`` has word2vec's binary format, so that other programs read it
too: a line ``<tracks> <size>``, then for every track its id, one blank and its vector (float32,
little-endian). Blanks, control characters and ``%`` of an id are percent-encoded, since the format
has no other way to hold them. Beside it lies a ``.json`` with the settings, gensim's version, and a
key of the file's content: the format itself could not tell a damaged vector from a good one.
"""

from __future__ import annotations

import dataclasses
import json
import logging
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from playlist_pretrain.errors import RecipeError
from playlist_pretrain.files import atomic_write, content_key, kept, load_json, whole, write_json
from playlist_pretrain.messages import progress
from playlist_pretrain.playlists.groups import short_enough
from playlist_pretrain.playlists.settings import TableSettings
from playlist_pretrain.storage import read_bytes

if TYPE_CHECKING:
    from gensim.models import Word2Vec

    from playlist_pretrain.playlists.groups import TrackGroups

logger = logging.getLogger(__name__)
FORMAT = 1
EPOCHS, LEARNING_RATE = 20, 0.02
"""Those of arXiv 2304.12257; the rate falls linearly to gensim's ``min_alpha`` of 1e-4."""
UNFIT = re.compile(r"[\x00-\x20\x7f%]")


@dataclass(frozen=True, eq=False)
class TrackVectors:
    """Vectors (float32 [n, size]) of the tracks that are in a group, by ascending ``rows``.

    ``left_out`` groups were too long to take part; ``about`` has the settings and the version of
    gensim.
    """

    rows: np.ndarray
    vectors: np.ndarray
    left_out: int
    about: dict[str, Any] = dataclasses.field(default_factory=dict)

    def table(self, tracks: int) -> np.ndarray:
        """Vector of every row [shape=(tracks, size), float32]; zeros where there is none."""
        table = np.zeros((tracks, self.vectors.shape[1]), np.float32)
        table[self.rows] = self.vectors
        return table


class Sentences:
    """Groups as gensim wants them: lists of words, which are rows as text; to iterate anew."""

    def __init__(
        self,
        groups: TrackGroups,
        taking_part: np.ndarray,
        advance: Callable[[int], object] = lambda words: None,
    ):
        self._groups, self._advance = groups, advance
        self._numbers = np.flatnonzero(taking_part).tolist()
        self._words = [str(row) for row in range(groups.tracks)]

    def __len__(self) -> int:
        return len(self._numbers)

    def __iter__(self) -> Iterator[list[str]]:
        for number in self._numbers:
            sentence = [self._words[row] for row in self._groups.group(number).tolist()]
            yield sentence
            self._advance(len(sentence))


def train(
    groups: TrackGroups, settings: TableSettings, *, epochs: int = EPOCHS, seed: int = 0
) -> Word2Vec:
    """Train gensim's Word2Vec (CBOW) on groups; the words of the model are rows as text.

    Without a window the whole group is the context, as in arXiv 2304.12257. The vectors are
    reproducible with one worker only.

    Raises
    ------
    GroupsError
        If no group is short enough.
    RecipeError
        For settings that cannot work, and if the vectors do not fit in memory.
    """
    from gensim.models import Word2Vec

    settings.check(word2vec=True)
    taking_part = short_enough(groups, settings.max_group_length)
    lengths = groups.lengths[taking_part]
    words, longest = int(lengths.sum()), int(lengths.max())
    model = Word2Vec(
        vector_size=settings.w2v_size,
        # A window beyond the longest group changes nothing; far beyond, gensim's threads die of it.
        window=min(settings.w2v_window or longest, longest),
        alpha=LEARNING_RATE,
        epochs=epochs,
        sample=settings.w2v_sample,
        seed=seed,
        workers=settings.w2v_workers,
        sg=0,
        # gensim's defaults would shrink the window at random and drop rare tracks.
        shrink_windows=False,
        min_count=1,
    )
    total = words * (epochs + 1)
    with progress(total=total, desc="Word2Vec", unit="word", unit_scale=True) as bar:
        sentences = Sentences(groups, taking_part, bar.update)
        try:
            model.build_vocab(sentences)
        except MemoryError as error:
            raise RecipeError(f"--w2v-size {settings.w2v_size}: {error}") from error
        model.train(sentences, total_examples=len(sentences), total_words=words, epochs=epochs)
    return model


def _described(settings: TableSettings, epochs: int, seed: int) -> dict[str, Any]:
    return {
        "size": settings.w2v_size,
        "window": settings.w2v_window,
        "sample": settings.w2v_sample,
        "workers": settings.w2v_workers,
        "epochs": epochs,
        "learning_rate": LEARNING_RATE,
        "seed": seed,
        "max_group_length": settings.max_group_length,
    }


def track_vectors(
    groups: TrackGroups, settings: TableSettings, *, epochs: int = EPOCHS, seed: int = 0
) -> TrackVectors:
    """Train and return the vectors by row; see :func:`train`."""
    import gensim

    model = train(groups, settings, epochs=epochs, seed=seed)
    rows = np.array([int(word) for word in model.wv.index_to_key], np.int32)
    order = np.argsort(rows)
    about = {
        "groups": groups.name,
        "groups_key": groups.content_key,
        "settings": _described(settings, epochs, seed) | {"window": model.window},
        "gensim": gensim.__version__,
    }
    left_out = int((groups.lengths > settings.max_group_length).sum())
    return TrackVectors(rows[order], model.wv.vectors[order], left_out, about)


def vectors_path(
    groups: TrackGroups,
    folder: Path,
    settings: TableSettings,
    *,
    epochs: int = EPOCHS,
    seed: int = 0,
) -> Path:
    """File of the vectors of these groups and settings; its name holds a key of both."""
    described = {"format": FORMAT, **_described(settings, epochs, seed)}
    text = json.dumps(described, sort_keys=True)
    key = content_key(groups.content_key.encode(), text.encode())[:16]
    return folder / f"w2v-{groups.name}-{key}.bin"


def cached_vectors(
    groups: TrackGroups,
    track_ids: Sequence[str],
    folder: Path,
    settings: TableSettings,
    *,
    epochs: int = EPOCHS,
) -> TrackVectors:
    """Read the vectors of these groups and settings from ``folder``, or train and keep them.

    ``track_ids`` has the id of every row.
    """
    path = vectors_path(groups, folder, settings, epochs=epochs)
    vectors = kept(
        path,
        lambda: load_vectors(path, track_ids, settings.w2v_size),
        lambda: track_vectors(groups, settings, epochs=epochs),
        lambda vectors: save_vectors(vectors, track_ids, path),
    )
    if vectors.left_out:
        logger.info(
            f"{vectors.left_out:,} groups of more than {settings.max_group_length:,} tracks are "
            "left out of Word2Vec"
        )
    return vectors


def save_vectors(vectors: TrackVectors, track_ids: Sequence[str], path: Path) -> None:
    """Write vectors and the document about them, whole or not at all."""
    data = np.ascontiguousarray(vectors.vectors, "<f4")
    parts = [f"{data.shape[0]} {data.shape[1]}\n".encode()]
    for row, vector in zip(vectors.rows.tolist(), data, strict=True):
        parts += [_word(track_ids[row]).encode(), b" ", vector.tobytes()]
    content = b"".join(parts)
    about = {**vectors.about, "left_out": vectors.left_out, "content_key": content_key(content)}
    # The vectors last: that they are there says that all is there.
    write_json(path.with_suffix(".json"), about)
    with atomic_write(path) as stream:
        stream.write(content)


def load_vectors(path: Path, track_ids: Sequence[str], size: int) -> TrackVectors:
    """Read the vectors that :func:`save_vectors` wrote.

    Raises GroupsError: if a file is damaged, of another size, or names tracks that the collection
    does not have.
    """
    with whole(path, "file of vectors"):
        about = load_json(path.with_suffix(".json"))
        content = read_bytes(path)
        if about.pop("content_key") != content_key(content):
            raise ValueError("not the content that was written")
        header, _, _ = content.partition(b"\n")
        tracks, found = map(int, header.split())
        if found != size or not 0 <= tracks <= len(track_ids):
            raise ValueError(f"{tracks} vectors of size {found}")
        row_of = {_word(track_id): row for row, track_id in enumerate(track_ids)}
        rows, data = np.empty(tracks, np.int32), np.empty((tracks, size), "<f4")
        place = len(header) + 1
        for i in range(tracks):
            blank = content.index(b" ", place)
            rows[i] = row_of[content[place:blank].decode("utf-8")]
            data[i] = np.frombuffer(content, "<f4", size, blank + 1)
            place = blank + 1 + 4 * size
        if (np.diff(rows) <= 0).any() or not np.isfinite(data).all():
            raise ValueError("vectors that are not finite, or not in the order of their rows")
        return TrackVectors(rows, data, int(about.pop("left_out")), about)


def _word(track_id: str) -> str:
    return UNFIT.sub(lambda match: f"%{ord(match[0]):02X}", track_id)
