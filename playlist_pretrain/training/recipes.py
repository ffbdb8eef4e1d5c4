"""The settings of a run: frozen dataclasses, filled from a preset, saved as ``recipe.json``.

Each field is an option of the command (``learning_rate`` → ``--learning-rate``) and its docstring
the option's help. A setting that is left out takes the value of the preset; ``--preset auto``
becomes ``demo`` for the collections of the demo, ``paper`` for large ones, and for any other a
recipe that :func:`fitted` makes.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from playlist_pretrain.errors import RecipeError
from playlist_pretrain.messages import option
from playlist_pretrain.models import AUDIOSET, ESSENTIA, SCRATCH, SMALLEST_LEARNED_TEMPERATURE
from playlist_pretrain.playlists.settings import TableSettings
from playlist_pretrain.tasks import TaskSettings

if TYPE_CHECKING:
    from playlist_pretrain.records.collection import Collection

PRESETS = ("paper", "demo", "fast")
PAPER_RUNS = 3


def _by_preset(**values: tuple) -> dict[str, dict[str, Any]]:
    """Turn columns of a table into its rows: preset → setting → value."""
    return {
        preset: {name: column[k] for name, column in values.items()}
        for k, preset in enumerate(PRESETS)
    }


PRETRAIN_PRESETS: dict[str, dict[str, Any]] = _by_preset(
    # paper, demo, fast
    width=(1.0, 0.25, 0.05),
    batch=(384, 32, 4),
    epochs=(50, None, 1),  # demo: as many as give about DEMO_STEPS
    learning_rate=(1e-4, 2e-4, 2e-4),
    warmup_steps=(5000, 240, 0),
    probe_epochs=(1, 20, 1),
    checkpoint_epochs=(1, 20, 1),
    keep=("last", "last", "last"),
)
FINETUNE_PRESETS: dict[str, dict[str, Any]] = _by_preset(
    # paper, demo, fast
    width=(1.0, 0.25, 0.05),
    batch=(64, 16, 4),
    epochs=(50, 50, 1),
    runs=(PAPER_RUNS, PAPER_RUNS, 1),
    low_learning_rate=(1e-5, 1e-4, 1e-4),
    high_learning_rate=(1e-4, 1e-3, 1e-3),
)
OF_PRETRAIN_PRESETS = {name: type(value) for name, value in PRETRAIN_PRESETS["paper"].items()}
OF_FINETUNE_PRESETS = {name: type(value) for name, value in FINETUNE_PRESETS["paper"].items()}
"""Settings that presets fill in, and their types."""
DEMO_STEPS = 800
"""Steps that a run of the demo preset aims at when no epochs are given."""
PAPER_PAIRS = 100_000
"""Pairs an epoch from which ``--preset auto`` is the paper's recipe."""
FEW_TAGGED = 5_000
"""Training tracks of a task below which ``--preset auto`` of fine-tuning is the demo's recipe; the
tasks of the paper have more."""
BATCHES = (8, 16, 32, 64, 128, 256, 384)
LARGEST_CPU_BATCH = 128
"""Pairs whose windows and activations, at width 0.25, fit into the memory of a small computer."""
LEAST_STEPS_AN_EPOCH = 10
PASSES = 50
LEAST_STEPS = 400
"""Playlist pairs stay at chance for hundreds of steps."""
WIDE_PAIRS = 10_000
"""Pairs an epoch from which a GPU trains the paper's width."""
PROBES = 25
"""Probes and checkpoints of a run that ``--preset auto`` plans."""
CPU_SECONDS = 45 * 60
"""Longest that a fitted run is planned to take without a GPU."""
WINDOWS_A_SECOND = 150
"""Windows of 256 × 96 that a core trains VGGish of width 0.25 on; a wider one has the square of the
width to do."""
DEMO_LOADER = "SongLoader"
"""Name of the loader in the source note of the demo's collections."""
FRACTION_OF_SHORT_WARMUP = 10
DEFAULT_GROUPS = {"artist_co": "artists"}
"""Groups of the pairings that do not use playlists."""
ONLY_OF = {
    "w2v_size": ("pairs", ("playlist_w2v",)),
    "w2v_window": ("pairs", ("playlist_w2v",)),
    "w2v_sample": ("pairs", ("playlist_w2v",)),
    "w2v_workers": ("pairs", ("playlist_w2v",)),
    "max_group_length": ("pairs", ("playlist_w2v", "playlist_tco")),
    "width": ("backbone", ("vggish",)),
    "replicas": ("strategy", ("mirrored",)),
}
"""Settings that only some pairings, backbones or strategies read."""
OF_SCRATCH = ("backbone", "width", "frames", "input_norm")
"""Settings of fine-tuning that only ``--model scratch`` reads."""
CHOICES = {
    "initializer": ("he_normal", "glorot_uniform"),
    "precision": ("float32", "mixed_float16", "mixed_bfloat16"),
    "strategy": ("one_device", "mirrored", "multi_worker_mirrored"),
}


@dataclass(frozen=True)
class Machine:
    """The devices that train: ``cores`` of the CPU or, where there are any, ``gpus``."""

    cores: int = dataclasses.field(default_factory=lambda: len(os.sched_getaffinity(0)))
    gpus: int = 0
    replicas: int = 1

    def __str__(self) -> str:
        count, kind = (self.gpus, "GPU") if self.gpus else (self.cores, "core")
        return f"{count} {kind}{'s' * (count > 1)}"


def made_by_demo(collection: Collection) -> bool:
    """Whether a collection holds the songs of a demo world, for which ``--preset auto`` is demo."""
    loader = collection.source.get("loader")
    return isinstance(loader, dict) and loader.get("name") == DEMO_LOADER


def check_choices(recipe: Any, choices: Mapping[str, Sequence[str]]) -> None:
    """Raise RecipeError for a setting that is none of its choices."""
    for name, values in choices.items():
        if getattr(recipe, name) not in values:
            raise RecipeError(
                f"{option(name)} {getattr(recipe, name)}: one of {', '.join(filter(None, values))}"
            )


def check_at_least(recipe: Any, smallest: int, *names: str) -> None:
    """Raise RecipeError for a number below ``smallest``; None is filled in later."""
    for name in names:
        value = getattr(recipe, name)
        if value is not None and value < smallest:
            raise RecipeError(f"{option(name)} {value}: must be at least {smallest}")


def check_above_zero(recipe: Any, *names: str) -> None:
    """Raise RecipeError for a number that is not finite and above 0; None is filled in later."""
    for name in names:
        value = getattr(recipe, name)
        if value is not None and not 0 < value < float("inf"):
            raise RecipeError(f"{option(name)} {value}: must be above 0")


@dataclass(frozen=True)
class PretrainSettings:
    """Settings of pre-training, without those of the tables that some pairings need."""

    pairs: str = "playlist_co"
    """pairing: playlist_co, playlist_tco, playlist_w2v, artist_co or simclr; or several, with
    commas between them: every step then has a batch of each, and an epoch is as long as the
    shortest (what arXiv 2304.12257, section 5, leaves to future work)"""
    pair_weights: str | None = None
    """weights of the losses of several pairings, with commas between them [equal]"""
    collection: str | None = None
    """folder made by make_tfrecords, or its s3://, gs:// or hdfs:// URL [tfrecords/demo, made
    when missing]"""
    groups: str | None = None
    """name of the groups made by match_playlists [artist_co: artists, others: playlists]; each of
    several pairings has its own"""
    preset: str = "auto"
    """paper; demo; fast, seconds to try a command, for a model that is worth nothing; or auto: demo
    for the demo collection, paper from 100,000 pairs an epoch on, and for fewer what fits them
    and the cores or GPUs, which is printed"""
    backbone: str = "vggish"
    """backbone to train: vggish or resnet50"""
    width: float | None = None
    """scales the channels of VGGish, 1.0 is the paper's [paper: 1.0, demo: 0.25, fast: 0.05]"""
    frames: int | None = None
    """frames of a window [the front end's own: 256, VGGish front ends 96]"""
    batch: int | None = None
    """pairs a step [paper: 384, demo: 32, fast: 4]"""
    micro_batch: int | None = None
    """pairs in memory at a time, a divisor of --batch: same gradient by gradient caching, at the
    cost of a second forward pass; batch normalisation (resnet50) then sees the statistics of a
    slice [whole batch]"""
    epochs: int | None = None
    """passes over the pairing [paper: 50, demo: as many as give about 800 steps, fast: 1]"""
    learning_rate: float | None = None
    """peak of the learning rate [paper: 1e-4, demo and fast: 2e-4]"""
    warmup_steps: int | None = None
    """steps of linear warm-up before the cosine [paper: 5000, demo: 240, fast: 0]"""
    temperature: float = 0.1
    """temperature of NT-Xent"""
    learnable_temperature: bool = False
    """train the temperature too, starting at --temperature and never below 0.01 (CLIP, arXiv
    2103.00020)"""
    hard_negatives: float = 0.0
    """weight negatives by exp(this times their logit), with a mean of 1 (Robinson et al. 2021,
    arXiv 2010.04592); 0 for NT-Xent"""
    mask_false_negatives: bool = False
    """tracks of a batch that share a group are no negatives of each other (Huynh et al. 2022,
    arXiv 2011.11765)"""
    input_norm: str = "band"
    """band: standardise each band by the collection's statistics; none: leave the input alone"""
    initializer: str = "he_normal"
    """initial weights: he_normal or glorot_uniform"""
    precision: str = "float32"
    """float32, mixed_bfloat16, or mixed_float16 (scales the loss); weights, loss and the saved
    model are always float32"""
    xla: bool = False
    """compile the forward and backward passes with XLA: for GPUs, on CPUs it is slower"""
    strategy: str = "one_device"
    """where a step runs: one_device; mirrored, the GPUs of this machine; or multi_worker_mirrored,
    the machines of TF_CONFIG. Batch and negatives are those of all devices together"""
    replicas: int | None = None
    """GPUs that --strategy mirrored uses; without any GPU, parts of the CPU, for trials
    [all GPUs]"""
    probe_epochs: int | None = None
    """epochs between two retrieval probes [paper and fast: 1, demo: 20]"""
    checkpoint_epochs: int | None = None
    """epochs between two checkpoints [paper and fast: 1, demo: 20]"""
    checkpoint_steps: int = 1000
    """steps between two checkpoints within an epoch"""
    keep: str | None = None
    """which epoch becomes the model: last, or best, the one that did best in the retrieval probe
    [best where --preset auto fits few pairs and there is a probe, else last]"""
    seed: int = 0
    """seed of weights, pairs and window positions"""


@dataclass(frozen=True)
class PretrainRecipe(TableSettings, PretrainSettings):
    """Pre-train a backbone on pairs of tracks that belong together.

    Settings left out come from the preset: ``paper`` is the recipe of arXiv 2304.12257
    (section 3.1), ``demo`` a run of some minutes on two CPU cores, ``fast`` one epoch of a tiny
    model, and ``auto`` what fits the number of pairs.
    """

    not_decisive: ClassVar = (
        "preset", "collection", "exclude", "xla", "probe_epochs", "checkpoint_epochs",
        "checkpoint_steps", "strategy", "replicas", "keep",
    )  # fmt: skip
    """Settings that may change when a run is resumed: they do not decide what it trains beyond
    rounding, though the last and the probed epochs which of its weights become the model. Files
    that they name are compared by their content."""

    @property
    def pairings(self) -> tuple[str, ...]:
        """Names of the pairings."""
        return tuple(name.strip() for name in self.pairs.split(","))

    @property
    def weights(self) -> tuple[float, ...]:
        """Weight of each pairing."""
        if self.pair_weights is None:
            return (1.0,) * len(self.pairings)
        return tuple(float(weight) for weight in self.pair_weights.split(","))

    @property
    def own_groups(self) -> str:
        """Names of the groups that the pairings use by default, with commas between them."""
        names = (DEFAULT_GROUPS.get(name, "playlists") for name in self.pairings)
        return ",".join(dict.fromkeys(names))

    def of_pairing(self, name: str) -> PretrainRecipe:
        """The recipe for one of its pairings."""
        if len(self.pairings) == 1:
            return self
        groups = DEFAULT_GROUPS.get(name, "playlists")
        return dataclasses.replace(self, pairs=name, pair_weights=None, groups=groups)

    @property
    def open(self) -> list[str]:
        """Names of the settings that the preset fills in."""
        names = OF_PRETRAIN_PRESETS
        return [name for name in names if getattr(self, name) is None and self._reads(name)]

    def resolve(
        self, *, demo: bool, window_frames: int, fit: Mapping[str, Any] | None = None
    ) -> PretrainRecipe:
        """Check the settings and fill in what was left out.

        Epochs that the preset leaves open, and a warm-up that is too long for the run, are settled
        by :meth:`with_steps` when the number of pairs is known. ``demo`` tells whether the
        collection is the demo's, ``window_frames`` is the front end's own window, and ``fit`` what
        ``--preset auto`` fills in for any other collection [the paper's]. Raises RecipeError for a
        value that cannot work, with the option and the value.
        """
        self._check()
        preset, values = self.preset, fit
        if not self.open:  # of a run that goes on: its preset is what filled it in
            values = {}
        elif preset != "auto" or demo or fit in (None, PRETRAIN_PRESETS["paper"]):
            preset = {"auto": "demo" if demo else "paper"}.get(preset, preset)
            values = PRETRAIN_PRESETS[preset]
        filled = {name: values[name] for name in self.open}
        recipe = dataclasses.replace(
            self,
            preset=preset,
            pairs=",".join(self.pairings),
            groups=self.groups or self.own_groups,
            frames=self.frames or window_frames,
            **filled,
        )
        if recipe.micro_batch is not None and recipe.batch % recipe.micro_batch:
            raise RecipeError(
                f"--micro-batch {recipe.micro_batch}: must divide --batch {recipe.batch}"
            )
        return recipe

    def with_steps(
        self, steps_per_epoch: int, *, total: int = DEMO_STEPS, keep_warmup: bool = False
    ) -> PretrainRecipe:
        """Settle the epochs, if they are open, and shorten a warm-up that the run has no room for.

        Open epochs add up to about ``total`` steps; ``keep_warmup`` where the user gave it. A
        warm-up that is open takes a tenth of the steps.
        """
        epochs = self.epochs or max(1, round(total / steps_per_epoch))
        steps, warmup = epochs * steps_per_epoch, self.warmup_steps
        if warmup is None or (not keep_warmup and steps < 2 * warmup):
            warmup = steps // FRACTION_OF_SHORT_WARMUP
        return dataclasses.replace(self, epochs=epochs, warmup_steps=warmup)

    def _reads(self, name: str) -> bool:
        """Whether a setting means anything for the chosen pairings, backbone and strategy."""
        if name not in ONLY_OF:
            return True
        choice, readers = ONLY_OF[name]
        chosen = self.pairings if choice == "pairs" else (getattr(self, choice),)
        return any(name in readers for name in chosen)

    def _check(self) -> None:
        check_choices(
            self,
            {
                "preset": ("auto", *PRESETS),
                "input_norm": ("band", "none"),
                "keep": (None, "best", "last"),
                **CHOICES,
            },
        )
        check_at_least(self, 2, "batch")
        check_at_least(
            self, 1, "frames", "micro_batch", "epochs", "replicas", "probe_epochs",
            "checkpoint_epochs", "checkpoint_steps",
        )  # fmt: skip
        check_at_least(self, 0, "warmup_steps")
        check_above_zero(self, "learning_rate", "temperature", "width")
        if not 0 <= self.hard_negatives < float("inf"):
            raise RecipeError(f"--hard-negatives {self.hard_negatives}: must be 0 or more")
        if self.learnable_temperature and self.temperature < SMALLEST_LEARNED_TEMPERATURE:
            raise RecipeError(
                f"--temperature {self.temperature}: must be at least "
                f"{SMALLEST_LEARNED_TEMPERATURE} with --learnable-temperature"
            )
        self.check(word2vec="playlist_w2v" in self.pairings)
        self._check_pairings()
        for name, (choice, readers) in ONLY_OF.items():
            if not self._reads(name) and getattr(self, name) != getattr(type(self), name):
                raise RecipeError(
                    f"{option(name)} {getattr(self, name)}: only {option(choice)} "
                    f"{' and '.join(readers)} reads it, this is {option(choice)} "
                    f"{getattr(self, choice)}"
                )
        if not 0 <= self.seed < 2**63:
            raise RecipeError(f"--seed {self.seed}: must be from 0 to 2^63 − 1")

    def _check_pairings(self) -> None:
        names = self.pairings
        if len(set(names)) < len(names):
            raise RecipeError(f"--pairs {self.pairs}: a pairing can come once only")
        if len(names) > 1 and self.groups not in (None, self.own_groups):
            raise RecipeError(
                f"--groups {self.groups}: several pairings have their own groups each "
                f"({self.own_groups})"
            )
        try:
            weights = self.weights
        except ValueError:
            weights = ()
        wrong = len(weights) != len(names) or not all(0 < w < float("inf") for w in weights)
        if wrong or (self.pair_weights is not None and len(names) == 1):
            raise RecipeError(
                f"--pair-weights {self.pair_weights}: several pairings need one number above 0 "
                f"each, with commas between them; this is --pairs {self.pairs}"
            )


def fitted(
    given: PretrainRecipe, pairs: int, machine: Machine, *, frames: int, bands: int
) -> Mapping[str, Any]:
    """Settings of ``--preset auto`` for an epoch of ``pairs`` pairs: the paper's, or what fits.

    From 100,000 pairs on it is the paper's recipe. For fewer:

    * a batch is the largest of 8, 16, 32, … of which an epoch has ten, without a GPU at most 128,
      and for fewer than 16 pairs half of them;
    * the width is 0.25, with a GPU and 10,000 pairs 1.0;
    * an epoch is gone through 50 times, more often where that makes fewer than 400 steps, and less
      often where the cores would take more than 45 minutes;
    * the learning rate is that of the demo, the warm-up a tenth of the steps;
    * there are about 25 probes and checkpoints, and the best epoch is kept.

    What is ``given`` counts. Windows have ``frames`` × ``bands``.
    """
    if pairs >= PAPER_PAIRS:
        return PRETRAIN_PRESETS["paper"]
    largest = max(BATCHES) if machine.gpus else LARGEST_CPU_BATCH
    most = min(largest, max(pairs // LEAST_STEPS_AN_EPOCH, min(BATCHES[0], pairs // 2)))
    batch = max([most if most < BATCHES[0] else 0, *(size for size in BATCHES if size <= most)])
    share = 2 * machine.replicas  # no replica has fewer than two
    batch = given.batch or max(share, batch - batch % machine.replicas)
    width = given.width or (1.0 if machine.gpus and pairs >= WIDE_PAIRS else 0.25)
    steps = max(1, pairs // batch)
    epochs = max(PASSES, -(-LEAST_STEPS // steps))
    if not machine.gpus:
        cost = (width / 0.25) ** 2 if given.backbone == "vggish" else 16.0
        rate = WINDOWS_A_SECOND * machine.cores / cost * (256 * 96) / (frames * bands)
        windows = 2 * batch * steps * len(given.pairings)
        epochs = max(1, min(epochs, int(CPU_SECONDS * rate / windows)))
    epochs = given.epochs or epochs
    between = max(1, round(epochs / PROBES))
    return {
        "width": width, "batch": batch, "epochs": epochs, "warmup_steps": None,
        "learning_rate": PRETRAIN_PRESETS["demo"]["learning_rate"], "probe_epochs": between,
        "checkpoint_epochs": between, "keep": "best",
    }  # fmt: skip


@dataclass(frozen=True)
class FinetuneSettings:
    """Settings of fine-tuning, without those of the task."""

    model: tuple[str, ...] = (SCRATCH,)
    """where to start: the saved_model of a run, several of them for runs that repeat the
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
    are tested; the report gives the share that was there"""
    preset: str = "auto"
    """paper; demo; fast, seconds to try a command, for figures that are worth nothing; or auto:
    demo for the demo collections and for fewer than 5,000 training tracks, paper for any other"""
    runs: int | None = None
    """runs, each with its own seed [3, fast: 1; one for each of several models]"""
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
class FinetuneRecipe(TaskSettings, FinetuneSettings):
    """Train and test a tagger by the protocol of arXiv 2304.12257, section 3.2.

    A head takes the place of the projector and is trained together with the backbone; the epoch
    with the best macro average precision on the validation split is tested.
    """

    not_decisive: ClassVar = ("preset", "collection", "strategy", "replicas", "model", "weights",
                              "splits", "tags")  # fmt: skip

    def resolve(
        self, *, demo: bool, window_frames: int, tracks: int = FEW_TAGGED
    ) -> FinetuneRecipe:
        """Check the settings and fill in what was left out; see :meth:`PretrainRecipe.resolve`.

        ``tracks`` are those to train on.
        """
        self._check()
        small = demo or tracks < FEW_TAGGED
        preset = {"auto": "demo" if small else "paper"}.get(self.preset, self.preset)
        filled: dict[str, Any] = dict(FINETUNE_PRESETS[preset])
        if SCRATCH in self.model:
            filled |= {"backbone": "vggish", "frames": window_frames, "input_norm": "band"}
        if SCRATCH not in self.model or self.backbone not in (None, "vggish"):
            del filled["width"]
        if len(self.model) > 1:
            filled["runs"] = 1
        missing = {name: value for name, value in filled.items() if getattr(self, name) is None}
        recipe = dataclasses.replace(self, preset=preset, **missing)
        if recipe.low_learning_rate > recipe.high_learning_rate:
            raise RecipeError(
                f"--low-learning-rate {recipe.low_learning_rate}: above --high-learning-rate "
                f"{recipe.high_learning_rate}"
            )
        return recipe

    def _check(self) -> None:
        choices = {"preset": ("auto", *PRESETS), "head": ("mlp", "linear"), **CHOICES}
        check_choices(self, {**choices, "input_norm": (None, "band", "none")})
        check_at_least(self, 1, "frames", "runs", "batch", "epochs", "patience", "replicas")
        check_above_zero(self, "width", "low_learning_rate", "high_learning_rate", "cycle_epochs")
        models = " ".join(self.model)
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
        of_others = [(name, SCRATCH) for name in OF_SCRATCH if SCRATCH not in self.model]
        for name, reader in [*of_others, *([("weights", AUDIOSET)] * (AUDIOSET not in self.model))]:
            if getattr(self, name) is not None:
                raise RecipeError(
                    f"{option(name)} {getattr(self, name)}: only --model {reader} reads it, this "
                    f"is --model {models}"
                )
        if self.width is not None and self.backbone not in (None, "vggish"):
            raise RecipeError(f"--width {self.width}: only --backbone vggish reads it")
        if AUDIOSET in self.model and self.weights is None:
            raise RecipeError("--model audioset: needs --weights, the file vggish_model.ckpt")
