"""Plans: which models are made, by which tasks they are judged, and what they share.

A plan is TOML. Its keys are the fields of the classes below, by table::

    name, about, backbones, pairings, others, baseline, level, threads    at the top
    [worlds]      synthetic worlds that are made for it, or else
    [pretrain]    with the collection, seeds, steps or epochs; [pretrain.settings]: what all share
    [finetune]    runs; [finetune.settings]
    [audioset]    weights
    [tags.NAME], [triplets.NAME]    the tasks
    [paper]       numbers, a file of the paper's figures to show beside ours

Paths are relative to the working directory, as in every command. A plan is read and checked before
anything is made.
"""

from __future__ import annotations

import dataclasses
import math
import re
import tomllib
from collections.abc import Container, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn, TypeVar, get_type_hints

import msgspec

from playlist_pretrain.errors import PlanError, PlaylistPretrainError, first_line
from playlist_pretrain.evaluation.statistics import LEVEL
from playlist_pretrain.files import plain_values, read_whole, whole
from playlist_pretrain.models import AUDIOSET, MEAN_OF_MEL, SCRATCH
from playlist_pretrain.training.recipes import ONLY_OF, PAPER_RUNS, FinetuneRecipe, PretrainRecipe

Table = TypeVar("Table")
LARGEST = 1 << 15
"""Bytes of a plan; the parser's time grows with the square of a key's length."""


def load(path: str | Path) -> dict[str, Any]:
    """Content of a TOML file.

    Raises PlanError: if it cannot be read, or is no TOML.
    """
    with whole(path, "file of TOML", PlanError):
        try:
            return plain_values(tomllib.loads(read_whole(Path(path), LARGEST).decode("utf-8")))
        except (tomllib.TOMLDecodeError, RecursionError) as error:
            raise ValueError(f"not TOML: {first_line(error)}") from error


def subtable(content: Mapping[str, Any], name: str, where: str) -> dict[str, Any]:
    """Table ``name`` of a table, empty when it is not there.

    Raises PlanError: if it is no table.
    """
    table = content.get(name.rpartition(".")[2], {})
    if not isinstance(table, Mapping):
        raise PlanError(f"{where}: {name} = {table!r}: a table [{name}] is meant")
    return dict(table)


def typed(
    cls: type, content: Mapping[str, Any], where: str, without: Container[str] = ()
) -> dict[str, Any]:
    """Values of a table, whose keys have to be fields of a dataclass, but those ``without``.

    Raises PlanError: with file, table and key, for an unknown key or a value of another type.
    """
    hints, values = get_type_hints(cls), {}
    names = [field.name for field in dataclasses.fields(cls) if field.name not in without]
    for key, value in content.items():
        if key not in names:
            raise PlanError(f"{where}: unknown key {key!r}; there are: {', '.join(names)}")
        try:
            values[key] = msgspec.convert(value, hints[key], strict=True)
        except msgspec.ValidationError as error:
            raise PlanError(f"{where}: {key} = {value!r}: {error}") from error
    return values


def read_table(cls: type[Table], content: Mapping[str, Any], where: str, **more: Any) -> Table:
    """Make a dataclass of a table of TOML, with ``more`` fields that are no keys.

    Keys of fields without a default have to be there. ``where`` is file and table, for messages.

    Raises PlanError: with file, table and key.
    """
    if not isinstance(content, Mapping):
        raise PlanError(f"{where}: {content!r} is no table")
    values = {**typed(cls, content, where, more), **more}
    try:
        return cls(**values)
    except TypeError:
        lacking = [
            field.name
            for field in dataclasses.fields(cls)  # type: ignore[arg-type]
            if field.default is dataclasses.MISSING and field.name not in values
        ]
        raise PlanError(f"{where}: no key {lacking[0]!r}") from None


BACKBONES = ("vggish", "resnet50")
PAIRINGS = ("simclr", "artist_co", "playlist_co", "playlist_tco", "playlist_w2v")
RANDOM = "random"
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
    """Settings of all pre-trainings; exactly one of ``steps`` and ``epochs``."""

    settings: Mapping[str, Any]
    collection: str | None = None
    seeds: tuple[int, ...] = (0,)
    steps: int | None = None
    epochs: int | None = None


@dataclass(frozen=True)
class Finetuning:
    """Settings of all fine-tunings."""

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
    """File of the paper's figures; see ``experiments/paper_numbers.toml``."""

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
    tags: tuple[TagTask, ...] = ()
    triplets: tuple[TripletTask, ...] = ()

    def pretrain_settings(self, backbone: str, pairing: str) -> dict[str, Any]:
        """Shared settings that a backbone and a pairing read."""
        chosen = {"strategy": PretrainRecipe.strategy, **self.pretrain.settings}
        chosen |= {"backbone": backbone, "pairs": pairing}
        return {
            name: value
            for name, value in self.pretrain.settings.items()
            if name not in ONLY_OF or chosen[ONLY_OF[name][0]] in ONLY_OF[name][1]
        }

    def shape(self, backbone: str) -> dict[str, Any]:
        """Width and frames of a backbone that is not trained, where they are given."""
        recipe = PretrainRecipe(
            backbone=backbone, **self.pretrain_settings(backbone, self.pairings[0])
        )
        found = recipe.resolve(demo=False, window_frames=1)
        asked = {"width": found.width, "frames": recipe.frames}
        return {name: value for name, value in asked.items() if value is not None}


NAME = re.compile(r"[a-z0-9][a-z0-9_-]*")
NAMES_A_FOLDER = "lower-case letters, digits, - and _ only: it names a folder"
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

    Raises PlanError: with file, table and key of what cannot work.
    """
    content, where = load(path), str(path)
    parts: dict[str, Any] = {"path": where}
    for name, cls in (("worlds", Worlds), ("audioset", AudioSet), ("paper", Paper)):
        if name in content:
            parts[name] = read_table(cls, content.pop(name), f"{where}: [{name}]")
    for name, cls, recipe in (
        ("pretrain", Pretraining, PretrainRecipe),
        ("finetune", Finetuning, FinetuneRecipe),
    ):
        table, of = subtable(content, name, where), f"{where}: [{name}.settings]"
        content.pop(name, None)
        settings = typed(recipe, subtable(table, f"{name}.settings", where), of)
        if decided := [key for key in OF_PLAN[recipe] if key in settings]:
            raise PlanError(f"{of}: {decided[0]} is not for all cells: the plan decides it")
        table.pop("settings", None)
        parts[name] = read_table(cls, table, f"{where}: [{name}]", settings=settings)
    for name, cls in (("tags", TagTask), ("triplets", TripletTask)):
        tasks = subtable(content, name, where)
        content.pop(name, None)
        parts[name] = tuple(
            read_table(cls, table, f"{where}: [{name}.{task}]", name=task)
            for task, table in tasks.items()
        )
    plan = read_table(Plan, content, where, **parts)
    _check(plan)
    _check_tasks(plan)
    _check_recipes(plan)
    return plan


def _refuse(plan: Plan, key: str, why: str) -> NoReturn:
    raise PlanError(f"{plan.path}: {key}: {why}")


def _check(plan: Plan) -> None:
    for key, known in (("backbones", BACKBONES), ("pairings", PAIRINGS), ("others", OTHERS)):
        names = getattr(plan, key)
        if unknown := [name for name in names if name not in known]:
            _refuse(plan, f"{key}: {unknown[0]!r}", f"one of {', '.join(known)}")
        if len(set(names)) < len(names):
            _refuse(plan, f"{key} = {list(names)}", "a name comes once")
        if not names and key != "others":
            _refuse(plan, f"{key} = []", "at least one is needed")
    pretrain, worlds = plan.pretrain, plan.worlds
    for key, value in (
        ("threads", plan.threads),
        ("[pretrain] steps", pretrain.steps),
        ("[pretrain] epochs", pretrain.epochs),
        ("[finetune] runs", plan.finetune.runs),
    ):
        if value is not None and value < 1:
            _refuse(plan, f"{key} = {value}", "must be at least 1")
    for key, seeds in (
        ("[pretrain] seeds", pretrain.seeds),
        ("[worlds] seeds", worlds.seeds if worlds else (0,)),
    ):
        different = seeds and len(set(seeds)) == len(seeds)
        if not different or not all(0 <= seed < 2**31 - 1000 for seed in seeds):
            _refuse(
                plan, f"{key} = {list(seeds)}", "different whole numbers from 0 on, at least one"
            )
    checks = (
        (NAME.fullmatch(plan.name), f"name = {plan.name!r}", NAMES_A_FOLDER),
        (plan.baseline in plan.pairings, f"baseline = {plan.baseline!r}",
         f"one of the pairings, {', '.join(plan.pairings)}"),
        ((AUDIOSET in plan.others) == (plan.audioset is not None), "[audioset]",
         f"is needed for {AUDIOSET!r} among others, and only for it"),
        (0 < plan.level < 1, f"level = {plan.level}", "must be between 0 and 1"),
        ((pretrain.steps is None) != (pretrain.epochs is None), "[pretrain]",
         "exactly one of steps and epochs is needed"),
        ((worlds is None) != (pretrain.collection is None), "[pretrain] collection",
         "exactly one of this and [worlds] is needed"),
        (worlds is None or worlds.settings_from not in worlds.seeds,
         f"[worlds] settings_from = {worlds and worlds.settings_from}",
         "a world by which settings were chosen cannot be reported too"),
        (plan.tags or plan.triplets, "[tags.NAME], [triplets.NAME]", "at least one task is needed"),
    )  # fmt: skip
    for good, key, why in checks:
        if not good:
            _refuse(plan, key, why)


def _check_tasks(plan: Plan) -> None:
    tasks: tuple[Any, ...] = (*plan.tags, *plan.triplets)
    for task in tasks:
        tags = isinstance(task, TagTask)
        where = f"[{'tags' if tags else 'triplets'}.{task.name}]"
        if not NAME.fullmatch(task.name):
            _refuse(plan, where, NAMES_A_FOLDER)
        audio = None if tags else task.audio
        given = (task.collection is not None) + (audio is not None)
        if given > 1 or (given == 0 and plan.worlds is None):
            what = "collection" if tags else "collection or audio"
            _refuse(plan, f"{where} {what}", "exactly one is needed, without [worlds]")
        if audio is not None and task.triplets is None:
            _refuse(plan, f"{where} triplets", "is needed with audio")
        if not tags and task.seconds is not None and not 0 < task.seconds < math.inf:
            _refuse(plan, f"{where} seconds = {task.seconds}", "must be above 0")
        if tags and AUDIOSET in plan.others and task.audioset_collection is None:
            _refuse(plan, f"{where} audioset_collection", f"is needed for {AUDIOSET!r}")


def _check_recipes(plan: Plan) -> None:
    """Have the recipes refuse what cannot work, now and not after hours."""
    table = "[pretrain.settings]"
    try:
        read: set[str] = set()
        for backbone in plan.backbones:
            for pairing in plan.pairings:
                settings = plan.pretrain_settings(backbone, pairing)
                read |= settings.keys()
                recipe = PretrainRecipe(pairs=pairing, backbone=backbone, **settings)
                recipe.resolve(demo=False, window_frames=1)
        if unread := [name for name in plan.pretrain.settings if name not in read]:
            raise PlanError(f"{unread[0]}: no backbone and no pairing of the plan reads it")
        table = "[finetune.settings]"
        FinetuneRecipe(**plan.finetune.settings).resolve(demo=False, window_frames=1)
    except PlaylistPretrainError as error:
        raise PlanError(f"{plan.path}: {table}: {error}") from error
