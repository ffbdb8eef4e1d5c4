"""What ``similarity`` reads: its models, and the mels of its clips."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from playlist_pretrain.errors import (
    AudioError,
    CollectionError,
    FrontEndError,
    ModelError,
    RecipeError,
    printable,
)
from playlist_pretrain.evaluation.similarity_files import MISSING, Results
from playlist_pretrain.evaluation.similarity_outcome import Judged
from playlist_pretrain.models.embedders import MEAN_OF_MEL, Untrained, load_embedder
from playlist_pretrain.recipes.finetuning import SCRATCH
from playlist_pretrain.tasks.dim_sim import Triplets

if TYPE_CHECKING:
    from playlist_pretrain.audio.front_end import FrontEnd
    from playlist_pretrain.evaluation.clips import ClipMels
    from playlist_pretrain.evaluation.similarity_run import Similarity
    from playlist_pretrain.models.embedders import Embedder
    from playlist_pretrain.records.collection import Collection

UNTRAINED = (SCRATCH, MEAN_OF_MEL)
SECONDS = 3.0


class TripletClips:
    """The mels of a command's clips, and the triplets that have all of theirs.

    Parameters
    ----------
    options : Similarity
    triplets : Triplets
        Of the table.
    results : Results
        Gets the list of clips that cannot be had.
    folder : Path
        Empty; to be kept as long as mels are read.

    Attributes
    ----------
    asked, triplets : Triplets
        Of the table, and those of them that have all their clips.
    lacking : dict of int to str
        Clips that cannot be had, and why.
    """

    def __init__(self, options: Similarity, triplets: Triplets, results: Results, folder: Path):
        self.options, self.asked, self.results, self.folder = options, triplets, results, folder
        self.triplets = triplets
        self.lacking: dict[int, str] = {}
        self._mels: list[ClipMels] = []
        self._seconds = options.seconds or SECONDS

    @property
    def excerpt_seconds(self) -> float | None:
        """None where clips are whole tracks or whole files."""
        return self._seconds if self.asked.has_starts and not self.options.cut else None

    def read_collection(self, collection: Collection) -> None:
        """Find the clips in a collection.

        Raises
        ------
        CollectionError
            Some are not there and there is no ``--partial``, or no triplet has all of its clips.
        """
        from playlist_pretrain.evaluation.clips import clips_of_collection

        mels, lacking = clips_of_collection(self.triplets, collection, self.folder, self._seconds)
        self._leave_out(lacking, CollectionError)
        self._mels = [mels]

    def read_audio(self, front_ends: Sequence[FrontEnd]) -> None:
        """Find the clips' files and make their mels, once for each front end that is different.

        Raises
        ------
        AudioError
            As :meth:`read_collection` does.
        """
        from playlist_pretrain.evaluation.audio_clips import audio_of_clips, clips_of_audio

        options = self.options
        files, lacking = audio_of_clips(self.triplets, options.audio, cut=options.cut)
        self._leave_out(lacking, AudioError)
        different: list[FrontEnd] = []
        for front_end in front_ends:
            if not any(front_end.same_as(other) for other in different):
                different.append(front_end)
        mels, lacking = clips_of_audio(
            self.triplets, options.audio, files, different, self.folder,
            seconds=self._seconds, cut=options.cut, quiet=options.quiet,
        )  # fmt: skip
        self._leave_out(lacking, AudioError)
        self._mels = mels

    def mels_of(self, front_end: FrontEnd) -> ClipMels:
        """Mels of a front end that they were made by."""
        return next(m for m in self._mels if m.collection.front_end.same_as(front_end))

    def judge(self, embedder: Embedder, name: str, label: str) -> Judged:
        """How a model does, by its name in the command and its label in tables.

        Raises
        ------
        ModelError
            An embedding that is not finite.
        """
        from playlist_pretrain.evaluation.similarity import triplet_accuracy

        mels, named = self.mels_of(embedder.front_end), self.triplets.named
        vectors = mels.embed(embedder, named, short=self.options.short, quiet=self.options.quiet)
        bad = ~np.isfinite(vectors[named]).all(axis=1)
        if bad.any():
            clip = self.triplets.clips[named[np.argmax(bad)]]
            raise ModelError(f"--model {name}: its embedding of {clip} is not finite")
        result = triplet_accuracy(vectors, self.triplets.rows, self.options.seed)
        return Judged(
            label, name, embedder.key, embedder.front_end.name, embedder.frames,
            mels.shorter(named, embedder.frames), result, vectors[named],
        )  # fmt: skip

    def _leave_out(self, lacking: dict[int, str], error: type[Exception]) -> None:
        self.lacking |= lacking
        if not lacking:
            return
        left = self.triplets.without(list(lacking))
        missing = self.results.write_missing(self.asked, self.lacking)
        goes_on = self.options.partial and len(left)
        listed = self.results.path / MISSING if goes_on else self.results.missing
        text = (
            f"{self.asked.path}: {len(self.lacking):,} of {len(self.asked.clips):,} clips cannot "
            f"be had, and so {len(self.asked) - len(left):,} of {len(self.asked):,} triplets "
            f"(see {listed}):{missing}"
        )
        if not self.options.partial:
            raise error(f"{text}\n--partial goes on without these triplets")
        if not len(left):
            raise error(text)
        self.triplets = left
        print(f"WARNING: {printable(text, keep=chr(10))}", flush=True)


def trained(name: str, collection: Collection | None) -> Embedder:
    """Load a saved model or a package; refuse one that does not fit the collection, if any.

    Raises
    ------
    ModelError
        It cannot be loaded.
    FrontEndError
        The collection was made by another front end, or there is none, but audio files, and the
        model's front end takes no waveforms.
    """
    embedder = load_embedder(name)
    if collection is None and not embedder.front_end.takes_waveforms:
        raise FrontEndError(
            f"the model {name}: its front end {embedder.front_end.name!r} takes no waveforms, its "
            "mels are made elsewhere: give --collection, not --audio"
        )
    if collection is not None:
        embedder.front_end.check_same(
            collection.front_end, f"the model {name}", f"collection {collection.name}"
        )
    return embedder


def untrained_front_end(options: Similarity, embedders: dict[str, Embedder]) -> list[FrontEnd]:
    """That of scratch and mean-of-mel where clips are audio; nothing when there is neither.

    Raises
    ------
    FrontEndError
        An unknown one is asked for.
    RecipeError
        The trained models have several, and none is asked for.
    """
    from playlist_pretrain.audio.front_end import front_end

    if not any(name in UNTRAINED for name in options.model):
        return []
    if options.front_end is not None:
        return [front_end(options.front_end)]
    found = [embedder.front_end for embedder in embedders.values()] or [front_end("paper")]
    if not all(found[0].same_as(other) for other in found):
        raise RecipeError(
            f"--model {' '.join(n for n in options.model if n in UNTRAINED)}: the other models "
            f"have different front ends, {', '.join(sorted({e.name for e in found}))}; choose one "
            "with --front-end"
        )
    return found[:1]


def untrained(
    name: str, options: Similarity, mels: ClipMels, collection: Collection | None
) -> Embedder:
    """Make scratch or mean-of-mel, by the statistics of the collection or else of the clips.

    Raises
    ------
    RecipeError
        For an unknown backbone.
    """
    statistics = mels.collection if collection is None else collection
    whose = "the clips" if collection is None else f"collection {collection.name}"
    options.say(f"{name}: each band is standardised by the statistics of {whose}")
    front_end = statistics.front_end
    made_from = Untrained(
        front_end,
        statistics.band_mean,
        statistics.band_std,
        backbone=options.backbone or "vggish",
        width=options.width or 1.0,
        frames=options.frames or front_end.window_frames,
        seed=options.seed,
    )
    return load_embedder(name, made_from)
