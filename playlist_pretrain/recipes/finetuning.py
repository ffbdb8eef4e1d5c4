"""The settings of a fine-tuning."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any, ClassVar

from playlist_pretrain.errors import RecipeError
from playlist_pretrain.recipes.presets import FINETUNE_PRESETS
from playlist_pretrain.recipes.recipe import (
    Recipe,
    check_above_zero,
    check_at_least,
    check_choices,
    option,
)
from playlist_pretrain.tasks import TaskSettings

SCRATCH, AUDIOSET = "scratch", "audioset"
ESSENTIA = ".pb"
"""How the name of a model ends that Essentia publishes."""
OF_SCRATCH = ("backbone", "width", "frames", "input_norm")
"""Settings that a saved model, or the original weights, have settled already."""


@dataclass(frozen=True)
class FinetuneSettings:
    """What decides a fine-tuning beside its task."""

    model: tuple[str, ...] = (SCRATCH,)
    """what to start from: the saved_model of a run, several of them for runs that repeat the
    pre-training too, scratch, audioset for the original VGGish, or, with --freeze, the .pb of a
    model that Essentia publishes, its .json beside it"""
    weights: str | None = None
    """audioset: the original checkpoint, vggish_model.ckpt"""
    backbone: str | None = None
    """scratch: vggish or resnet50 [vggish]"""
    width: float | None = None
    """scratch: scales the channels of VGGish [paper: 1.0, demo: 0.25, fast: 0.05]"""
    frames: int | None = None
    """scratch: frames of a window [the front end's own]"""
    input_norm: str | None = None
    """scratch: band, standardise each band by the collection's statistics, or none [band]"""
    collection: str | None = None
    """folder made by make_tfrecords, or its s3://, gs:// or hdfs:// URL [tfrecords/demo, made
    when missing]"""
    partial: bool = False
    """go on although the collection lacks tracks of the task, or has excerpts where whole tracks
    are tested; the report says which share was there"""
    preset: str = "auto"
    """paper; demo; fast, seconds to try a command, for figures that are worth nothing; or auto:
    demo for the demo collections, paper for any other"""
    runs: int | None = None
    """runs with a seed of their own [3, fast: 1; one for each of several models]"""
    freeze: bool = False
    """train the head alone, a probe of the embeddings; with --model scratch, of random weights"""
    head: str = "mlp"
    """mlp, one hidden layer of 128 units as in the paper, or linear"""
    batch: int | None = None
    """windows a step; the paper does not say [paper: 64, demo: 16, fast: 4]"""
    epochs: int | None = None
    """most passes over the training tracks, one random window each [50, fast: 1]"""
    patience: int = 10
    """epochs without a better validation average precision after which a run stops"""
    low_learning_rate: float | None = None
    """lower end of the triangular cycles of the learning rate [paper: 1e-5, demo and fast: 1e-4]"""
    high_learning_rate: float | None = None
    """upper end of the cycles [paper: 1e-4, demo and fast: 1e-3]"""
    cycle_epochs: float = 8.0
    """epochs of a cycle, up and down; the paper does not say, Smith (arXiv 1506.01186) advises 4
    to 20"""
    l2: float = 1e-5
    """weight of the sum of the squares of all trained kernels in the loss"""
    initializer: str = "he_normal"
    """initial weights of the head, and of a backbone from scratch: he_normal or glorot_uniform"""
    precision: str = "float32"
    """float32, mixed_bfloat16, or mixed_float16 (scales the loss); saved models are float32"""
    strategy: str = "one_device"
    """where a step runs: one_device; mirrored, the GPUs of this machine; or multi_worker_mirrored,
    the machines of TF_CONFIG"""
    replicas: int | None = None
    """GPUs that --strategy mirrored uses; without any GPU, parts of the CPU, for trials
    [all GPUs]"""
    seed: int = 0
    """seed of the first run; the next ones count up"""


@dataclass(frozen=True)
class FinetuneRecipe(TaskSettings, FinetuneSettings, Recipe):
    """Train and test a tagger by the protocol of arXiv 2304.12257, section 3.2.

    A head takes the place of the projector and is trained together with the backbone; the epoch
    with the best macro average precision on the validation split is tested.
    """

    not_decisive: ClassVar = ("preset", "collection", "strategy", "replicas", "model", "weights",
                              "splits", "tags")  # fmt: skip

    def resolve(self, *, demo: bool, window_frames: int) -> FinetuneRecipe:
        """Fill what was left out.

        Parameters
        ----------
        demo : bool
            Whether the collection is one of the demo's, which decides ``--preset auto``.
        window_frames : int
            Frames of the front end's own window.

        Raises
        ------
        RecipeError
            For a value that cannot work, with the option and the value.
        """
        self._check()
        preset = {"auto": "demo" if demo else "paper"}.get(self.preset, self.preset)
        filled: dict[str, Any] = dict(FINETUNE_PRESETS[preset])
        if SCRATCH in self.model:
            filled |= {"backbone": "vggish", "frames": window_frames, "input_norm": "band"}
        if SCRATCH not in self.model or self.backbone not in (None, "vggish"):
            del filled["width"]
        if len(self.model) > 1:
            filled["runs"] = 1
        missing = {name: value for name, value in filled.items() if getattr(self, name) is None}
        settled = dataclasses.replace(self, preset=preset, **missing)
        if settled.low_learning_rate > settled.high_learning_rate:
            raise RecipeError(
                f"--low-learning-rate {settled.low_learning_rate}: above --high-learning-rate "
                f"{settled.high_learning_rate}"
            )
        return settled

    def _check(self) -> None:
        choices = {
            "preset": ("auto", *FINETUNE_PRESETS),
            "head": ("mlp", "linear"),
            "initializer": ("he_normal", "glorot_uniform"),
            "precision": ("float32", "mixed_float16", "mixed_bfloat16"),
            "strategy": ("one_device", "mirrored", "multi_worker_mirrored"),
        }
        if self.input_norm is not None:
            choices["input_norm"] = ("band", "none")
        check_choices(self, choices)
        check_at_least(self, 1, "frames", "runs", "batch", "epochs", "patience", "replicas")
        check_above_zero(self, "width", "low_learning_rate", "high_learning_rate", "cycle_epochs")
        if not self.model:
            raise RecipeError("--model: names nothing; give a saved model, scratch or audioset")
        repeated = [name for name in dict.fromkeys(self.model) if self.model.count(name) > 1]
        if repeated:
            raise RecipeError(f"--model {repeated[0]}: named twice; --runs repeats it")
        for name in self.model:
            if name.endswith(ESSENTIA) and not self.freeze:
                raise RecipeError(
                    f"--model {name}: its graph is frozen: give --freeze, to train the head alone"
                )
        if not 0 <= self.l2 < float("inf"):
            raise RecipeError(f"--l2 {self.l2}: must be 0 or more")
        if not 0 <= self.seed < 2**31 - 1000:
            raise RecipeError(f"--seed {self.seed}: must be from 0 to 2^31 − 1001")
        if SCRATCH not in self.model:
            for name in OF_SCRATCH:
                if getattr(self, name) is not None:
                    raise RecipeError(
                        f"{option(name)} {getattr(self, name)}: only --model scratch reads it, "
                        f"this is --model {' '.join(self.model)}"
                    )
        if self.width is not None and self.backbone not in (None, "vggish"):
            raise RecipeError(f"--width {self.width}: only --backbone vggish reads it")
        if AUDIOSET in self.model and self.weights is None:
            raise RecipeError("--model audioset: needs --weights, the file vggish_model.ckpt")
        if AUDIOSET not in self.model and self.weights is not None:
            raise RecipeError(
                f"--weights {self.weights}: only --model audioset reads it, this is --model "
                f"{' '.join(self.model)}"
            )
