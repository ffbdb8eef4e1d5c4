"""TOML into frozen dataclasses: what is unknown, missing or of another type is refused.

Plan files: which models are made, by which tasks they are judged, and what they share.

A plan is TOML. Its keys are the fields of the classes below, by table::

    name, about, backbones, pairings, others, baseline, level, threads    at the top
    [worlds]      synthetic worlds that are made for it, or else
    [pretrain]    with the collection, seeds, steps or epochs; [pretrain.settings]: what all share
    [finetune]    runs; [finetune.settings]
    [audioset]    weights
    [tags.NAME], [triplets.NAME]    the tasks
    [paper]       numbers, a file of the paper's figures to show beside ours

Paths are relative to the working directory, as in every command.

Plan files, read and checked before anything is made.
"""

from __future__ import annotations

import dataclasses
import math
import re
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar, cast, get_type_hints

import msgspec

from playlist_pretrain.errors import PlanError, PlaylistPretrainError
from playlist_pretrain.evaluation.statistics import LEVEL
from playlist_pretrain.training.recipes import ONLY_OF, PAPER_RUNS, FinetuneRecipe, PretrainRecipe

Table = TypeVar("Table")


def load(path: str | Path) -> dict[str, Any]:
    """Content of a TOML file.

    Raises
    ------
    PlanError
        If it cannot be read, or is no TOML.
    """
    try:
        return tomllib.loads(Path(path).read_text("utf-8"))
    except OSError as error:
        raise PlanError(f"{path}: cannot be read: {error.strerror or error}") from error
    except ValueError as error:  # not UTF-8, or not TOML: the parser names line and column
        raise PlanError(f"{path}: not TOML: {error}") from error


def read_table(cls: type[Table], content: Mapping[str, Any], where: str, **more: Any) -> Table:
    """A dataclass from a table of TOML.

    Parameters
    ----------
    cls : type
        Its fields are the keys; those without a default have to be there.
    content : mapping
        The table.
    where : str
        File and table, for messages.
    **more
        Fields that are no keys.

    Raises
    ------
    PlanError
        With file, table and key.
    """
    if not isinstance(content, Mapping):
        raise PlanError(f"{where}: {content!r} is no table")
    fields = {
        field.name: field for field in dataclasses.fields(cast(Any, cls)) if field.name not in more
    }
    values = typed(cls, content, where, fields)
    for name, field in fields.items():
        needed = (
            field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
        )
        if needed and name not in content:
            raise PlanError(f"{where}: no key {name!r}")
    return cls(**values, **more)


def typed(
    cls: type,
    content: Mapping[str, Any],
    where: str,
    fields: Mapping[str, dataclasses.Field] | None = None,
) -> dict[str, Any]:
    """The keys of a table, which have to be ``fields`` of ``cls``, and their values.

    Raises
    ------
    PlanError
        For another key, or a value of another type.
    """
    hints = get_type_hints(cls)
    names = [field.name for field in dataclasses.fields(cls)] if fields is None else list(fields)
    values = {}
    for key, value in content.items():
        if key not in names:
            raise PlanError(f"{where}: unknown key {key!r}; there are: {', '.join(names)}")
        try:
            values[key] = msgspec.convert(value, hints[key], strict=True)
        except msgspec.ValidationError as error:
            raise PlanError(f"{where}: {key} = {value!r}: {error}") from error
    return values


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
    tags: tuple[TagTask, ...] = dataclasses.field(default=())
    triplets: tuple[TripletTask, ...] = dataclasses.field(default=())

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
        found = recipe.resolve(demo=False, window_frames=1)
        asked = {"width": found.width, "frames": recipe.frames}
        return {name: value for name, value in asked.items() if value is not None}


NAME = re.compile(r"[a-z0-9][a-z0-9_-]*")
NAMES_A_FOLDER = "lower-case letters, digits, - and _ only: it names a folder"
TOP = ("name", "about", "backbones", "pairings", "others", "baseline", "level", "threads")
OF_PLAN = {
    PretrainRecipe: ("pairs", "pair_weights", "collection", "backbone", "epochs", "seed"),
    FinetuneRecipe: (
        "model", "weights", "backbone", "width", "frames", "input_norm", "collection", "partial",
        "runs", "freeze", "seed", "task", "splits", "split", "protocol", "tags", "split_column",
        "split_seed",
    ),
}  # fmt: skip
"""Settings that the plan decides itself, cell by cell."""


def read_plan(path: str | Path) -> Plan:
    """Read and check a plan.

    Raises
    ------
    PlanError
        With file, table and key of what cannot work.
    """
    content = load(path)
    tables = {"worlds": Worlds, "audioset": AudioSet, "paper": Paper}
    known = (*TOP, "pretrain", "finetune", "tags", "triplets", *tables)
    for key in content:
        if key not in known:
            raise PlanError(f"{path}: unknown key {key!r}; there are: {', '.join(known)}")
    parts: dict[str, Any] = {
        name: read_table(cls, content[name], f"{path}: [{name}]")
        for name, cls in tables.items()
        if name in content
    }
    for name, cls, recipe in (
        ("pretrain", Pretraining, PretrainRecipe),
        ("finetune", Finetuning, FinetuneRecipe),
    ):
        table = dict(read_content(content, name, path))
        where = f"{path}: [{name}.settings]"
        settings = typed(recipe, read_content(table, "settings", path, of=name), where)
        table.pop("settings", None)
        for key in OF_PLAN[recipe]:
            if key in settings:
                raise PlanError(f"{where}: {key} is not for all cells: the plan decides it")
        parts[name] = read_table(cls, table, f"{path}: [{name}]", settings=settings)
    for name, cls in (("tags", TagTask), ("triplets", TripletTask)):
        parts[name] = tuple(
            read_table(cls, table, f"{path}: [{name}.{task}]", name=task)
            for task, table in read_content(content, name, path).items()
        )
    top = {key: content[key] for key in TOP if key in content}
    plan = read_table(Plan, top, str(path), path=str(path), **parts)
    _check(plan)
    return plan


def read_content(
    content: Mapping[str, Any], name: str, path: str | Path, of: str = ""
) -> Mapping[str, Any]:
    """The table ``name`` of a table, empty when it is not there."""
    table = content.get(name, {})
    if not isinstance(table, Mapping):
        whole = f"{of}.{name}" if of else name
        raise PlanError(f"{path}: {whole} = {table!r}: a table [{whole}] is meant")
    return table


def _check(plan: Plan) -> None:
    def refuse(key: str, why: str) -> None:
        raise PlanError(f"{plan.path}: {key}: {why}")

    if not NAME.fullmatch(plan.name):
        refuse(f"name = {plan.name!r}", NAMES_A_FOLDER)
    _check_names(plan, refuse)
    if not 0 < plan.level < 1:
        refuse(f"level = {plan.level}", "must be between 0 and 1")
    if plan.threads is not None and plan.threads < 1:
        refuse(f"threads = {plan.threads}", "must be at least 1")
    pretrain = plan.pretrain
    if (pretrain.steps is None) == (pretrain.epochs is None):
        refuse("[pretrain]", "exactly one of steps and epochs is needed")
    for key in ("steps", "epochs"):
        if getattr(pretrain, key) is not None and getattr(pretrain, key) < 1:
            refuse(f"[pretrain] {key} = {getattr(pretrain, key)}", "must be at least 1")
    if plan.finetune.runs < 1:
        refuse(f"[finetune] runs = {plan.finetune.runs}", "must be at least 1")
    _check_seeds("[pretrain] seeds", pretrain.seeds, refuse)
    if (plan.worlds is None) == (pretrain.collection is None):
        refuse("[pretrain] collection", "exactly one of this and [worlds] is needed")
    if plan.worlds is not None:
        _check_seeds("[worlds] seeds", plan.worlds.seeds, refuse)
        if plan.worlds.settings_from in plan.worlds.seeds:
            refuse(
                f"[worlds] settings_from = {plan.worlds.settings_from}",
                "a world by which settings were chosen cannot be reported too",
            )
    _check_tasks(plan, refuse)
    _check_recipes(plan)


def _check_names(plan: Plan, refuse: Callable[[str, str], None]) -> None:
    choices = {"backbones": BACKBONES, "pairings": PAIRINGS, "others": OTHERS}
    for key, known in choices.items():
        names = getattr(plan, key)
        for name in names:
            if name not in known:
                refuse(f"{key}: {name!r}", f"one of {', '.join(known)}")
        if len(set(names)) < len(names):
            refuse(f"{key} = {list(names)}", "a name comes once")
        if not names and key != "others":
            refuse(f"{key} = []", "at least one is needed")
    if plan.baseline not in plan.pairings:
        refuse(f"baseline = {plan.baseline!r}", f"one of the pairings, {', '.join(plan.pairings)}")
    if (AUDIOSET in plan.others) != (plan.audioset is not None):
        refuse("[audioset]", f"is needed for {AUDIOSET!r} among others, and only for it")


def _check_seeds(key: str, seeds: tuple[int, ...], refuse: Callable[[str, str], None]) -> None:
    if not seeds or len(set(seeds)) < len(seeds) or not all(0 <= s < 2**31 - 1000 for s in seeds):
        refuse(f"{key} = {list(seeds)}", "different whole numbers from 0 on, at least one")


def _check_tasks(plan: Plan, refuse: Callable[[str, str], None]) -> None:
    if not plan.tags and not plan.triplets:
        refuse("[tags.NAME], [triplets.NAME]", "at least one task is needed")
    for kind in ("tags", "triplets"):
        for task in getattr(plan, kind):
            where = f"[{kind}.{task.name}]"
            if not NAME.fullmatch(task.name):
                refuse(where, NAMES_A_FOLDER)
            audio = kind == "triplets" and task.audio is not None
            given = (task.collection is not None) + audio
            if given > 1 or (given == 0 and plan.worlds is None):
                what = "collection or audio" if kind == "triplets" else "collection"
                refuse(f"{where} {what}", "exactly one is needed, without [worlds]")
            if audio and (task.triplets is None):
                refuse(f"{where} triplets", "is needed with audio")
            seconds = getattr(task, "seconds", None)
            if seconds is not None and not 0 < seconds < math.inf:
                refuse(f"{where} seconds = {seconds}", "must be above 0")
    if AUDIOSET in plan.others:
        for task in plan.tags:
            if task.audioset_collection is None:
                refuse(f"[tags.{task.name}] audioset_collection", f"is needed for {AUDIOSET!r}")


def _check_recipes(plan: Plan) -> None:
    """Have the recipes refuse what cannot work, now and not after hours."""
    try:
        for name in plan.pretrain.settings:
            used = any(
                name in plan.pretrain_settings(backbone, pairing)
                for backbone in plan.backbones
                for pairing in plan.pairings
            )
            if not used:
                raise PlanError(f"{name}: no backbone and no pairing of the plan reads it")
        for backbone in plan.backbones:
            for pairing in plan.pairings:
                settings = plan.pretrain_settings(backbone, pairing)
                recipe = PretrainRecipe(pairs=pairing, backbone=backbone, **settings)
                recipe.resolve(demo=False, window_frames=1)
    except PlaylistPretrainError as error:
        raise PlanError(f"{plan.path}: [pretrain.settings]: {error}") from error
    try:
        FinetuneRecipe(**dataclasses.asdict(plan.finetune)["settings"]).resolve(
            demo=False, window_frames=1
        )
    except PlaylistPretrainError as error:
        raise PlanError(f"{plan.path}: [finetune.settings]: {error}") from error
