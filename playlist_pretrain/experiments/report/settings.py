"""Recipes, environments and run folders."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from playlist_pretrain.experiments.cells import PRETRAIN, TAGS, TRIPLETS, Cell
from playlist_pretrain.experiments.report import folders
from playlist_pretrain.experiments.report.cells_of_rows import DoneCells
from playlist_pretrain.experiments.report.folders import value_text
from playlist_pretrain.experiments.report.parts import Section, Table


def recipes(done: DoneCells) -> Section:
    """Settings of each row, those of its first finished cell."""
    asked = [("Pre-training", PRETRAIN, "")]
    asked += [(f"Fine-tuning, {task.title or task.name}", TAGS, task.name)
              for task in done.plan.tags]  # fmt: skip
    asked += [(f"Triplets, {task.title or task.name}", TRIPLETS, task.name)
              for task in done.plan.triplets]  # fmt: skip
    tables = []
    for title, kind, task in asked:
        found = {
            done.title(row): _settings(done, cells[0])
            for row in done.rows
            if (cells := done.of(kind, task, row))
        }
        tables += _tables(title, found)
    about = []
    if tables:
        about = ["Of each row the settings of its first finished cell, as its run folder has them; "
                 "those of other seeds and worlds differ in seed and folders."]  # fmt: skip
    return Section("recipes", "Recipes", about, tables=tables)


def _settings(done: DoneCells, cell: Cell) -> dict[str, Any]:
    if cell.kind == TRIPLETS:  # its folder has results alone
        given = {"model": cell.spec["model"], **cell.spec["options"]}
        return {name: value for name, value in given.items() if value is not None}
    return folders.recipe(done.folder(cell))


def _tables(title: str, found: Mapping[str, Mapping[str, Any]]) -> list[Table]:
    """What all rows share, and what differs between them."""
    names = list(dict.fromkeys(name for settings in found.values() for name in settings))
    texts = {
        name: [value_text(settings.get(name)) for settings in found.values()] for name in names
    }
    same = [[name, values[0]] for name, values in texts.items() if len(set(values)) == 1]
    differing = [[name, *values] for name, values in texts.items() if len(set(values)) > 1]
    tables = []
    if same:
        shared = f"{title}: what {'all share' if len(found) > 1 else next(iter(found)) + ' has'}"
        tables.append(Table(shared, ["setting", "value"], same))
    if differing:
        tables.append(Table(f"{title}: what differs", ["setting", *found], differing))
    return tables


def environments(done: DoneCells) -> Section:
    """Programs and machines, as the runs recorded them."""
    found: dict[tuple[tuple[str, str], ...], int] = {}
    for row in done.rows:
        for kind, tasks in ((PRETRAIN, [""]), (TAGS, [task.name for task in done.plan.tags])):
            for cell in (cell for task in tasks for cell in done.of(kind, task, row)):
                key = tuple(folders.environment(done.folder(cell)).items())
                found[key] = found.get(key, 0) + 1
    names = list(dict.fromkeys(name for key in found for name, _ in key))
    sides = [dict(key) for key in found]
    rows = [[name, *(side.get(name, "–") for side in sides)] for name in names]
    tables = []
    if rows:
        heads = ["", *(f"{count} run folder{'s' if count > 1 else ''}" for count in found.values())]
        tables = [Table("As recorded when the runs were made", heads, rows, folded=False)]
    return Section("environment", "Environment", tables=tables)
