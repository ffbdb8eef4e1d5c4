"""Plan files: which models are made, by which tasks they are judged, and what they share.

A plan is TOML. Its keys are the fields of the classes below, by table::

    name, about, backbones, pairings, others, baseline, level, threads    at the top
    [worlds]      synthetic worlds that are made for it, or else
    [pretrain]    with the collection, seeds, steps or epochs; [pretrain.settings]: what all share
    [finetune]    runs; [finetune.settings]
    [audioset]    weights
    [tags.NAME], [triplets.NAME]    the tasks
    [paper]       numbers, a file of the paper's figures to show beside ours

Paths are relative to the working directory, as in every command.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from playlist_pretrain.evaluation.statistics import LEVEL
from playlist_pretrain.recipes import PretrainRecipe
from playlist_pretrain.recipes.presets import PAPER_RUNS
from playlist_pretrain.recipes.pretraining import ONLY_OF

BACKBONES = ("vggish", "resnet50")
PAIRINGS = ("simclr", "artist_co", "playlist_co", "playlist_tco", "playlist_w2v")
MEAN_OF_MEL, RANDOM, SCRATCH, AUDIOSET = "mean-of-mel", "random", "scratch", "audioset"
OTHERS = (MEAN_OF_MEL, AUDIOSET, RANDOM, SCRATCH)
"""Rows that need no pre-training: the mean of the log-mel and random weights, which train a head
alone; the original VGGish and new weights, which are fine-tuned."""


@dataclass(frozen=True)
class Worlds:
    """Synthetic worlds of different seeds, each with collections ``demo`` and ``demo-eval``.

    ``settings_from`` is the seed of the world by which settings were chosen; it is not among
    ``seeds``, those that are reported.
    """

    seeds: tuple[int, ...]
    settings_from: int
    folder: str = "tfrecords/worlds"


@dataclass(frozen=True)
class Pretraining:
    """What all pre-trainings share; exactly one of ``steps`` and ``epochs``."""

    settings: Mapping[str, Any]
    collection: str | None = None
    seeds: tuple[int, ...] = (0,)
    steps: int | None = None
    epochs: int | None = None


@dataclass(frozen=True)
class Finetuning:
    """What all fine-tunings share."""

    settings: Mapping[str, Any]
    runs: int = PAPER_RUNS


@dataclass(frozen=True)
class AudioSet:
    """The original weights of VGGish."""

    weights: str


@dataclass(frozen=True)
class TagTask:
    """A tagged dataset; fields as the options of ``finetune.py``.

    ``audioset_collection`` is the one for the original VGGish, whose front end is another.
    Without a collection it is ``demo-eval`` of each world.
    """

    name: str
    title: str = ""
    collection: str | None = None
    audioset_collection: str | None = None
    task: str = "tags"
    splits: str | None = None
    split: int = 0
    protocol: str | None = None
    tags: str | None = None
    split_column: str = "split"
    split_seed: int = 0
    partial: bool = False


@dataclass(frozen=True)
class TripletTask:
    """Triplets; fields as the options of ``similarity.py``."""

    name: str
    title: str = ""
    collection: str | None = None
    audio: str | None = None
    triplets: str | None = None
    cut: bool = False
    seconds: float | None = None
    partial: bool = False


@dataclass(frozen=True)
class Paper:
    """Where the paper's figures are; see ``experiments/paper_numbers.toml``."""

    numbers: str


@dataclass(frozen=True)
class Plan:
    """A whole plan; see the module."""

    path: str
    name: str
    backbones: tuple[str, ...]
    pairings: tuple[str, ...]
    pretrain: Pretraining
    finetune: Finetuning
    about: str = ""
    others: tuple[str, ...] = ()
    baseline: str = "artist_co"
    level: float = LEVEL
    threads: int | None = None
    worlds: Worlds | None = None
    audioset: AudioSet | None = None
    paper: Paper | None = None
    tags: tuple[TagTask, ...] = field(default=())
    triplets: tuple[TripletTask, ...] = field(default=())

    def pretrain_settings(self, backbone: str, pairing: str) -> dict[str, Any]:
        """The shared settings that a backbone and a pairing read."""
        chosen = {"strategy": PretrainRecipe.strategy, **self.pretrain.settings}
        chosen |= {"backbone": backbone, "pairs": pairing}
        return {
            name: value
            for name, value in self.pretrain.settings.items()
            if name not in ONLY_OF or chosen[ONLY_OF[name][0]] in ONLY_OF[name][1]
        }

    def shape(self, backbone: str) -> dict[str, Any]:
        """Width and frames of a backbone that is not trained; what is not said is left out."""
        recipe = PretrainRecipe(
            backbone=backbone, **self.pretrain_settings(backbone, self.pairings[0])
        )
        found = recipe.resolve(demo=False, window_frames=1).recipe
        asked = {"width": found.width, "frames": recipe.frames}
        return {name: value for name, value in asked.items() if value is not None}
