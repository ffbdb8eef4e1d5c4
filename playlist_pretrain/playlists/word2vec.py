"""Word2Vec vectors of tracks, playlists being the sentences: the table behind ``playlist_w2v``.

Track vectors on disk: word2vec's binary format, so that other programs read them too.

``w2v-<groups>-<key>.bin``: a line ``<tracks> <size>``, then for every track its id, one blank and
its vector (float32, little-endian). Blanks, control characters and ``%`` of an id are
percent-encoded, since the format has no other way to hold them. Beside it lies a ``.json`` with
the settings, gensim's version, the loss of every epoch, and a key of the file's content: the
format itself could not tell a damaged vector from a good one.
"""

from __future__ import annotations

import dataclasses
import json
import re
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

import numpy as np

from playlist_pretrain.errors import GroupsError, RecipeError, first_line
from playlist_pretrain.files import atomic_write, check_writable, content_key, write_json
from playlist_pretrain.messages import progress
from playlist_pretrain.playlists.settings import LONGEST_SENTENCE, TableSettings
from playlist_pretrain.playlists.split import short_enough
from playlist_pretrain.storage import read_bytes

if TYPE_CHECKING:
    from gensim.models import Word2Vec

    from playlist_pretrain.playlists.groups import TrackGroups
    from playlist_pretrain.storage import RemotePath


@dataclass(frozen=True)
class Word2VecSettings:
    """Settings of gensim's Word2Vec; those that the paper gives are 20 epochs and the rate.

    Attributes
    ----------
    size : int
        Components of a vector.
    window : int or None
        Tracks to each side that count as context; None for the longest group, so that the whole
        group is the context as in arXiv 2304.12257.
    sample : float
        Tracks more frequent than this share of all entries are dropped at random; 0 for never.
    workers : int
        Threads; the vectors are reproducible with one only.
    epochs : int
    learning_rate : float
        At the start; it falls linearly to gensim's ``min_alpha`` of 1e-4.
    seed : int
    max_group_length : int
        Longer groups are left out.

    Raises
    ------
    RecipeError
        If groups may be longer than gensim takes whole.
    """

    size: int = 128
    window: int | None = None
    sample: float = 1e-3
    workers: int = 1
    epochs: int = 20
    learning_rate: float = 0.02
    seed: int = 0
    max_group_length: int = 1000

    def __post_init__(self):
        if self.max_group_length > LONGEST_SENTENCE:
            raise RecipeError(
                f"max_group_length {self.max_group_length}: gensim cuts groups at "
                f"{LONGEST_SENTENCE:,} tracks"
            )

    @classmethod
    def of(cls, settings: TableSettings) -> Word2VecSettings:
        """The settings that a command line gives."""
        return cls(
            size=settings.w2v_size,
            window=settings.w2v_window,
            sample=settings.w2v_sample,
            workers=settings.w2v_workers,
            max_group_length=settings.max_group_length,
        )


@dataclass(frozen=True, eq=False)
class TrackVectors:
    """Vectors of the tracks that are in a group.

    Attributes
    ----------
    rows : ndarray [shape=(n,), int32]
        Rows of a collection, ascending.
    vectors : ndarray [shape=(n, size), float32]
    left_out : int
        Groups that were too long to take part.
    """

    rows: np.ndarray
    vectors: np.ndarray
    left_out: int

    def table(self, tracks: int) -> np.ndarray:
        """Vector of every row [shape=(tracks, size), float32]; zeros where there is none."""
        table = np.zeros((tracks, self.vectors.shape[1]), np.float32)
        table[self.rows] = self.vectors
        return table


class Sentences:
    """Groups as gensim wants them: lists of words, which are rows as text; to iterate anew.

    Parameters
    ----------
    groups : TrackGroups
    taking_part : ndarray [shape=(groups,), bool]
    advance : callable
        Told how many words were handed out.
    """

    def __init__(
        self,
        groups: TrackGroups,
        taking_part: np.ndarray,
        advance: Callable[[int], object] = lambda words: None,
    ):
        self._groups = groups
        self._numbers = np.flatnonzero(taking_part)
        self._advance = advance
        self._words = [str(row) for row in range(groups.tracks)]

    def __len__(self) -> int:
        return len(self._numbers)

    def __iter__(self) -> Iterator[list[str]]:
        words, indptr, rows = self._words, self._groups.indptr, self._groups.rows
        for number in self._numbers:
            sentence = rows[indptr[number] : indptr[number + 1]].tolist()
            yield [words[row] for row in sentence]
            self._advance(len(sentence))


def train(
    groups: TrackGroups,
    settings: Word2VecSettings,
    *,
    quiet: bool = True,
    say: Callable[[str], object] = lambda text: None,
) -> tuple[Word2Vec, list[float]]:
    """Train gensim's Word2Vec (CBOW) on groups.

    Parameters
    ----------
    groups : TrackGroups
    settings : Word2VecSettings
    quiet : bool
        No progress.
    say : callable
        Told the loss and the speed of every epoch.

    Returns
    -------
    model : gensim.models.Word2Vec
        Its words are rows as text.
    losses : list of float
        Mean loss of a word, epoch by epoch; roughly so with several workers.

    Raises
    ------
    GroupsError
        If no group is short enough.
    RecipeError
        If the vectors do not fit in memory.
    """
    taking_part = short_enough(groups, settings.max_group_length)
    lengths = groups.lengths[taking_part]
    words, longest = int(lengths.sum()), int(lengths.max())
    model = _word2vec_class()(
        vector_size=settings.size,
        # A window beyond the longest group changes nothing; far beyond, gensim's threads die of it.
        window=min(settings.window or longest, longest),
        alpha=settings.learning_rate,
        epochs=settings.epochs,
        sample=settings.sample,
        seed=settings.seed,
        workers=settings.workers,
        sg=0,
        # gensim's defaults would shrink the window at random and drop rare tracks.
        shrink_windows=False,
        min_count=1,
    )
    with progress(
        total=words * (settings.epochs + 1), quiet=quiet, desc="Word2Vec", unit="word",
        unit_scale=True,
    ) as bar:  # fmt: skip
        sentences = Sentences(groups, taking_part, bar.update)
        try:
            model.build_vocab(sentences)
        except MemoryError as error:
            raise RecipeError(f"--w2v-size {settings.size}: {error}") from error
        losses = _Losses(words, settings.epochs, say)
        model.train(
            sentences,
            total_examples=len(sentences),
            total_words=words,
            epochs=settings.epochs,
            compute_loss=True,
            callbacks=[losses],
        )
    return model, losses.losses


def track_vectors(
    groups: TrackGroups,
    settings: Word2VecSettings,
    *,
    quiet: bool = True,
    say: Callable[[str], object] = lambda text: None,
) -> TrackVectors:
    """Train and return the vectors by row; see :func:`train`."""
    return vectors_of(train(groups, settings, quiet=quiet, say=say)[0], groups, settings)


def vectors_of(model: Word2Vec, groups: TrackGroups, settings: Word2VecSettings) -> TrackVectors:
    """The vectors of a trained model, by row."""
    rows = np.array([int(word) for word in model.wv.index_to_key], np.int32)
    order = np.argsort(rows)
    left_out = int((groups.lengths > settings.max_group_length).sum())
    return TrackVectors(rows[order], model.wv.vectors[order], left_out)


def _word2vec_class() -> type[Word2Vec]:
    from gensim.models import Word2Vec

    class CountedLoss(Word2Vec):
        """Adds the loss up in double precision, a few thousand words at a time.

        gensim adds all losses of a training up in one float32, which stands still after some
        tens of millions.
        """

        def __init__(self, **settings):
            self.loss_lock = threading.Lock()
            self.loss_sum = 0.0
            super().__init__(**settings)

        def _do_train_job(self, *arguments):
            done = super()._do_train_job(*arguments)
            with self.loss_lock:
                self.loss_sum += float(self.running_training_loss)
                self.running_training_loss = 0.0
            return done

    return CountedLoss


class _Losses:
    """gensim callback: keeps the loss of each epoch, and tells it."""

    def __init__(self, words: int, epochs: int, say: Callable[[str], object]):
        self.losses: list[float] = []
        self._words, self._epochs, self._say = words, epochs, say

    def on_train_begin(self, model: Any) -> None:
        """Nothing has to be prepared."""

    def on_train_end(self, model: Any) -> None:
        """Nothing has to be put away."""

    def on_epoch_begin(self, model: Any) -> None:
        """Start adding up."""
        model.loss_sum = 0.0
        self._started = time.monotonic()

    def on_epoch_end(self, model: Any) -> None:
        """Tell the mean loss of a word, and the speed."""
        self.losses.append(model.loss_sum / self._words)
        speed = self._words / max(time.monotonic() - self._started, 1e-9)
        self._say(
            f"Word2Vec epoch {len(self.losses)} of {self._epochs}: loss {self.losses[-1]:.4f} a "
            f"word, {speed:,.0f} words/s"
        )


FORMAT = 1
LONGEST_HEADER = 64
UNFIT = re.compile(r"[\x00-\x20\x7f%]")


def vectors_path(
    groups: TrackGroups, folder: Path | RemotePath, settings: Word2VecSettings
) -> Path | RemotePath:
    """Where the vectors of these groups and settings are kept."""
    described = json.dumps({"format": FORMAT, **dataclasses.asdict(settings)}, sort_keys=True)
    key = content_key(groups.content_key.encode(), described.encode())[:16]
    return folder / f"w2v-{groups.name}-{key}.bin"


def cached_vectors(
    groups: TrackGroups,
    track_ids: Sequence[str],
    folder: Path | RemotePath,
    settings: Word2VecSettings,
    *,
    quiet: bool = True,
    say: Callable[[str], object] = lambda text: None,
) -> TrackVectors:
    """Read the vectors of these groups and settings from ``folder``, or train and keep them.

    Parameters
    ----------
    groups : TrackGroups
    track_ids : sequence of str
        Id of every row.
    folder : Path or RemotePath
    settings : Word2VecSettings
    quiet, say
        See :func:`playlist_pretrain.playlists.word2vec.train`.
    """
    path = vectors_path(groups, folder, settings)
    vectors = None
    if path.exists():
        try:
            vectors = load_vectors(path, track_ids, settings.size)
            say(f"{path}: read")
        except GroupsError as error:
            say(f"{error}; made again")
    if vectors is None:
        import gensim

        check_writable(folder)
        started = time.monotonic()
        model, losses = train(groups, settings, quiet=quiet, say=say)
        vectors = vectors_of(model, groups, settings)
        about = {
            "groups": groups.name,
            "groups_key": groups.content_key,
            "settings": {**dataclasses.asdict(settings), "window": model.window},
            "gensim": gensim.__version__,
            "loss": losses,
        }
        save_vectors(vectors, track_ids, path, about)
        say(f"{path}: {len(vectors.rows):,} vectors in {time.monotonic() - started:.1f} s")
    if vectors.left_out:
        say(
            f"{vectors.left_out:,} groups of more than {settings.max_group_length:,} tracks are "
            "left out of Word2Vec"
        )
    return vectors


def save_vectors(
    vectors: TrackVectors,
    track_ids: Sequence[str],
    path: Path | RemotePath,
    about: Mapping[str, object],
) -> None:
    """Write vectors and what there is to say about them, whole or not at all."""
    data = np.ascontiguousarray(vectors.vectors, "<f4")
    with atomic_write(path) as stream:
        stream.write(f"{data.shape[0]} {data.shape[1]}\n".encode())
        for row, vector in zip(vectors.rows.tolist(), data, strict=True):
            stream.write(_word(track_ids[row]).encode() + b" " + vector.tobytes())
        stream.flush()
        key = content_key(Path(stream.name).read_bytes())
        about = {**about, "left_out": vectors.left_out, "content_key": key}
        # First: the name of the vectors says that all is there.
        write_json(path.with_suffix(".json"), about)


def load_vectors(path: Path | RemotePath, track_ids: Sequence[str], size: int) -> TrackVectors:
    """Read what :func:`save_vectors` wrote.

    Raises
    ------
    GroupsError
        If a file is damaged, of another size, or names tracks that the collection does not have.
    """
    try:
        about = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
        left_out = about["left_out"]
        if type(left_out) is not int:
            raise ValueError("left_out is not a number")
        content = read_bytes(path)
        if about["content_key"] != content_key(content):
            raise ValueError("not the content that was written")
        header, _, _ = content[:LONGEST_HEADER].partition(b"\n")
        tracks, found = map(int, header.split())
        if found != size or not 0 < tracks <= len(track_ids):
            raise ValueError(f"{tracks} vectors of size {found}")
        row_of = {_word(track_id): row for row, track_id in enumerate(track_ids)}
        rows, starts = np.empty(tracks, np.int32), np.empty(tracks, np.int64)
        place = len(header) + 1
        for i in range(tracks):
            blank = content.index(b" ", place)
            rows[i] = row_of[content[place:blank].decode("utf-8")]
            starts[i] = blank + 1
            place = blank + 1 + 4 * size
        if place != len(content):
            raise ValueError(f"{len(content)} bytes, {place} were expected")
        if np.any(np.diff(rows) <= 0):
            raise ValueError("tracks out of order")
        data = np.empty((tracks, size), "<f4")
        for i, start in enumerate(starts.tolist()):
            data[i] = np.frombuffer(content, "<f4", size, start)
        if not np.isfinite(data).all():
            raise ValueError("vectors that are not finite")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise GroupsError(f"{path}: not a whole file of vectors ({first_line(error)})") from error
    return TrackVectors(rows, data, left_out)


def track_id_of(word: str) -> str:
    """Track id of a word of the file."""
    return unquote(word)


def _word(track_id: str) -> str:
    return UNFIT.sub(lambda match: f"%{ord(match[0]):02X}", track_id)
