"""Plan files, read and checked before anything is made."""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from playlist_pretrain.errors import PlanError, PlaylistPretrainError
from playlist_pretrain.experiments.plan import (
    AUDIOSET,
    BACKBONES,
    OTHERS,
    PAIRINGS,
    AudioSet,
    Finetuning,
    Paper,
    Plan,
    Pretraining,
    TagTask,
    TripletTask,
    Worlds,
)
from playlist_pretrain.experiments.toml import load, read_table, typed
from playlist_pretrain.recipes import FinetuneRecipe, PretrainRecipe

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
