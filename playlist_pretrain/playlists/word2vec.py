"""Word2Vec vectors of tracks, playlists being the sentences: the table behind ``playlist_w2v``."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from playlist_pretrain.errors import RecipeError
from playlist_pretrain.playlists.settings import LONGEST_SENTENCE, TableSettings
from playlist_pretrain.playlists.split import short_enough
from playlist_pretrain.progress import progress

if TYPE_CHECKING:
    from gensim.models import Word2Vec

    from playlist_pretrain.playlists.groups import TrackGroups


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
