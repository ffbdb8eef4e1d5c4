"""Sections of a report, made of the run folders of finished cells."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from playlist_pretrain.errors import PlaylistPretrainError
from playlist_pretrain.experiments.cells import NAMES, PRETRAIN, STARTS, TAGS, TRIPLETS, Cell, Row
from playlist_pretrain.experiments.collect import Collected
from playlist_pretrain.experiments.report import figures, folders
from playlist_pretrain.experiments.report.figures import MARKERS, OKABE_ITO, QUIET, Line
from playlist_pretrain.experiments.report.folders import TagScore, value_text
from playlist_pretrain.playlists.groups import TrackGroups
from playlist_pretrain.records.schema import PackedStrings
from playlist_pretrain.retrieval.embedding_table import EmbeddingTable
from playlist_pretrain.retrieval.map_page.page import labels_of, plane_coordinates
from playlist_pretrain.retrieval.table_groups import (
    KnownTracks,
    collection_groups,
    collection_of,
    track_values,
)

logger = logging.getLogger(__name__)

MOST_TRACKS = 2_000
"""Tracks of a map; of more some are drawn by lot, since t-SNE of these takes seconds."""
OF_PRETRAINING = ("step", "loss", "probe_top1", "probe_top10", "probe_chance1", "probe_chance10")
OF_FINETUNING = ("epoch", "loss", "validation_average_precision")
_MARKS = dict(zip(MARKERS, "●▲", strict=True))
_NOT_COLOURS = ("playlists", "sessions")
_LOOKS = [(colour, marker) for marker in MARKERS for colour in OKABE_ITO]


class Figure(NamedTuple):
    """A Bokeh plot with words."""

    title: str
    caption: str
    plot: Any


class Key(NamedTuple):
    """Meaning of a colour and a mark."""

    colour: str
    mark: str
    text: str


@dataclass(frozen=True)
class Table:
    """Text in rows, the first cell of each its head; folded unless it is asked for."""

    caption: str
    heads: Sequence[str]
    rows: Sequence[Sequence[str]]
    folded: bool = True


@dataclass(frozen=True)
class Section:
    """A chapter of the page."""

    id: str
    title: str
    about: Sequence[str] = ()  # paragraphs
    figures: Sequence[Figure] = ()
    small: bool = False  # figures may stand three in a line
    keys: Sequence[Key] = ()  # of all figures
    tables: Sequence[Table] = ()


def all_sections(done: Collected) -> list[Section]:
    """Sections of a page that have something to show, in their order."""
    made = [
        pretraining(done), finetuning(done), tags(done), similarities(done),
        *embedding_maps(done), recipes(done), environments(done),
    ]  # fmt: skip
    return [section for section in made if section.about or section.figures or section.tables]


def row_title(done: Collected, row: Row) -> str:
    """Backbone, where there are several, and start."""
    several = len(done.plan.backbones) > 1
    backbone = f"{NAMES[row.backbone]}, " if several and row.backbone else ""
    return backbone + STARTS[row.start]


def by_backbone(done: Collected) -> Iterator[tuple[str, list[Row]]]:
    """Name of each backbone, empty where there is one, and its rows.

    Rows of no backbone are with the first.
    """
    first, *more = done.plan.backbones
    for name in (first, *more):
        rows = [row for row in done.rows if (row.backbone or first) == name]
        yield NAMES[name] if more else "", rows


def pretraining(done: Collected) -> Section:
    """Loss and retrieval probe of pre-training."""
    drawn, ends = [], []
    for backbone, rows in by_backbone(done):
        losses, probes, chances = [], [], []
        for row in rows:
            cells = done.of(PRETRAIN, "", row, finished=True)
            runs = [folders.history(done.state.folder(cell), OF_PRETRAINING) for cell in cells]
            for run in runs:
                losses.append(Line(row.start, STARTS[row.start], run["step"], run["loss"]))
                probes.append(Line(row.start, STARTS[row.start], run["step"], run["probe_top1"]))
                chances += _known(run["probe_chance1"])
            if runs:
                ends.append([row_title(done, row), str(len(runs)), *_ends(runs)])
        if losses:
            title = f"{backbone}: loss" if backbone else "Loss"
            plot = figures.curves(losses, "step", "NT-Xent")
            drawn.append(Figure(title, f"{len(losses)} runs, a line each.", plot))
        if chances:
            title = "retrieval of held-out pairs"
            chance = float(np.mean(chances))
            drawn.append(Figure(
                f"{backbone}: {title}" if backbone else title.capitalize(),
                "Share of held-out tracks whose partner is the nearest of the others; the dotted "
                f"line is chance, {chance:.3f}.",
                figures.curves(probes, "step", "top 1 of the probe", chance),
            ))  # fmt: skip
    tables = []
    if ends:
        heads = ["starts from", "runs", "last loss", "probe, top 1", "by chance", "top 10",
                 "by chance"]  # fmt: skip
        tables = [Table("At the end of pre-training, means over runs", heads, ends, folded=False)]
    return Section("pretraining", "Pre-training", figures=drawn, tables=tables)


def _ends(runs: Sequence[Mapping[str, np.ndarray]]) -> Iterator[str]:
    for name in ("loss", "probe_top1", "probe_chance1", "probe_top10", "probe_chance10"):
        last = [known[-1] for run in runs if (known := _known(run[name]))]
        yield f"{np.mean(last):.3f}" if last else "–"


def _known(values: np.ndarray) -> list[float]:
    return values[np.isfinite(values)].tolist()


def _of_tasks(done: Collected) -> Iterator[tuple[str, str, list[Row]]]:
    """Name and title of each tagging task and backbone, and its rows."""
    for task in done.plan.tags:
        for backbone, rows in by_backbone(done):
            title = ", ".join(filter(None, [task.title or task.name, backbone]))
            yield task.name, title, rows


def finetuning(done: Collected) -> Section:
    """Loss and validation of fine-tuning, task by task."""
    drawn = []
    for task, title, rows in _of_tasks(done):
        losses, validated = [], []
        for row in rows:
            for cell in done.of(TAGS, task, row, finished=True):
                for number in range(1, len(done.runs(cell)) + 1):
                    folder = done.state.folder(cell) / f"run-{number}"
                    epochs, loss, precision = folders.history(folder, OF_FINETUNING).values()
                    losses.append(Line(row.start, STARTS[row.start], epochs, loss))
                    validated.append(Line(row.start, STARTS[row.start], epochs, precision))
        for lines, what, axis in (
            (losses, "loss in training", "loss"),
            (validated, "validation", "Average Precision"),
        ):
            if lines:
                plot = figures.curves(lines, "epoch", axis)
                text = f"{len(lines)} runs, a line each."
                drawn.append(Figure(f"{title}: {what}", text, plot))
    return Section("finetuning", "Fine-tuning", figures=drawn)


def tags(done: Collected) -> Section:
    """Average Precision tag by tag."""
    drawn, tables = [], []
    for task, title, rows in _of_tasks(done):
        found = {
            row.start: scores
            for row in rows
            if (scores := _tag_means(done, done.of(TAGS, task, row, finished=True)))
        }
        if not found:
            continue
        order, values = _sorted(found)
        bars = done.plan.baseline if done.plan.baseline in found else next(iter(found))
        titles = {start: STARTS[start] for start in found}
        drawn.append(Figure(
            title,
            f"Bars: {STARTS[bars]}; marks: what else there is. Means over runs, the tags "
            "that are easiest on average on top.",
            figures.tag_bars(order, values, titles, bars),
        ))  # fmt: skip
        support = {tag: score.support for one in found.values() for tag, score in one.items()}
        tables.append(Table(
            f"{title}: Average Precision by tag",
            ["tag", "test tracks", *titles.values()],
            [[tag, f"{support[tag]:,}", *(_digits(values[start][k]) for start in found)]
             for k, tag in enumerate(order)],
        ))  # fmt: skip
    return Section("tags", "Average Precision by tag", figures=drawn, tables=tables)


def _tag_means(done: Collected, cells: Sequence[Cell]) -> dict[str, TagScore]:
    """Means over cells; tests of different worlds may have different tags."""
    found: dict[str, list[TagScore]] = {}
    for cell in cells:
        for tag, score in folders.per_tag(done.state.folder(cell)).items():
            found.setdefault(tag, []).append(score)
    means = {}
    for tag, scores in found.items():
        known = _known(np.array([score.average_precision for score in scores]))
        mean = float(np.mean(known)) if known else float("nan")
        means[tag] = TagScore(sum(score.support for score in scores), mean)
    return means


def _sorted(found: Mapping[str, Mapping[str, TagScore]]) -> tuple[list[str], dict]:
    """Tags by their mean over starts, the greatest first, and the values of each start.

    A tag that nobody measured is left out.
    """
    names = list(dict.fromkeys(tag for scores in found.values() for tag in scores))
    nothing = TagScore(0, float("nan"))
    table = np.array(
        [[scores.get(tag, nothing).average_precision for tag in names] for scores in found.values()]
    )
    there = np.flatnonzero(np.isfinite(table).any(axis=0))
    means = np.nanmean(table[:, there], axis=0)
    order = there[np.argsort(-means, kind="stable")]
    return [names[k] for k in order], dict(zip(found, table[:, order], strict=True))


def _digits(value: float) -> str:
    return f"{value:.3f}" if np.isfinite(value) else "–"


def similarities(done: Collected) -> Section:
    """Histograms of the similarities of triplets."""
    drawn = []
    for task in done.plan.triplets:
        for row in done.rows:
            cells = done.of(TRIPLETS, task.name, row, finished=True)
            if not cells:
                continue
            name = row_title(done, row)
            if len(done.plan.triplets) > 1:
                name = f"{task.title or task.name}: {name}"
            values = np.concatenate([folders.margins(done.state.folder(cell)) for cell in cells])
            right = float(np.mean(np.where(values == 0, 0.5, values > 0)))
            drawn.append(Figure(
                f"{name}: difference",
                f"{len(values):,} triplets, {right:.1%} right (blue), mean {values.mean():+.4f}.",
                figures.margin_histogram(values),
            ))  # fmt: skip
            both = np.concatenate([folders.cosines(done.state.folder(cell)) for cell in cells])
            means = both.mean(axis=0)
            drawn.append(Figure(
                f"{name}: cosine",
                f"Mean of positive pairs {means[0]:.3f}, of negative ones {means[1]:.3f}.",
                figures.cosine_histogram(both),
            ))  # fmt: skip
    about = []
    if drawn:
        about = ["Of each triplet, the cosine distance of the anchor to the negative less that to "
                 "the positive: it is right where the difference is above 0. Scales differ between "
                 "the figures."]  # fmt: skip
    return Section("similarities", "Similarities", about, drawn, small=True)


def embedding_maps(done: Collected) -> list[Section]:
    """Maps of the clips of the triplets, one checkpoint a row; a section a task."""
    return [_maps_of(done, task.name, task.title or task.name) for task in done.plan.triplets]


def _maps_of(done: Collected, task: str, title: str) -> Section:
    drawn: list[Figure] = []
    keys: list[Key] = []
    methods, label = {}, None
    colours: Mapping[str, tuple[str, str]] = {}
    # Cells of the world and seed of which most are done: their tracks are the same.
    units: dict[tuple[int | None, int], dict[Row, Cell]] = {}
    for row in done.rows:
        for cell in done.of(TRIPLETS, task, row, finished=True):
            units.setdefault((cell.world, cell.seed), {})[row] = cell
    for row, cell in max(units.values(), key=len, default={}).items():
        table = _drawn_by_lot(folders.embeddings(done.state.folder(cell)).by_track())
        if not drawn:
            label, keys, colours = _colours(table)
        coordinates, method = plane_coordinates(table.vectors)
        methods[method] = None
        looks = [colours.get(track_id, (QUIET, MARKERS[0])) for track_id in table.track_ids]
        world = f"world {cell.world}, " if cell.world is not None else ""
        caption = f"{len(looks):,} tracks, {world}seed {cell.seed}."
        plot = figures.embedding_map(coordinates, looks)
        drawn.append(Figure(row_title(done, row), caption, plot))
    about = []
    if drawn:
        told = f"coloured by {label}" if label else "in one colour: they have no tags or groups"
        about = [
            f"The tracks that the triplets name, {told}. Layout: {'; '.join(methods)}. Only who is "
            "near to whom means something."
        ]
    name = f"Embedding maps: {title}" if len(done.plan.triplets) > 1 else "Embedding maps"
    return Section(f"map-{task}", name, about, drawn, small=True, keys=keys)


def _drawn_by_lot(table: EmbeddingTable) -> EmbeddingTable:
    if len(table) <= MOST_TRACKS:
        return table
    rows = np.sort(np.random.default_rng(0).choice(len(table), MOST_TRACKS, replace=False))
    ids = PackedStrings.pack([table.track_ids[row] for row in rows.tolist()])
    return EmbeddingTable(ids, table.vectors[rows], about=table.about)


def _colours(
    table: EmbeddingTable,
) -> tuple[str | None, list[Key], Mapping[str, tuple[str, str]]]:
    """Name of the label that colours say most with, its keys, and the look of each track.

    Of the groups and tags of the collection it is the one with the fewest values a track, then
    the fewest values. A track of several values looks like the least frequent that has a colour.
    """
    ids = list(table.track_ids)
    try:
        collection = collection_of(table, None)
        groups: Sequence[TrackGroups] = []
        if collection is not None:
            groups = collection_groups(KnownTracks(table.track_ids), collection)
    except PlaylistPretrainError as error:
        logger.warning(f"report: maps without colours: {error}")
        return None, [], {}
    labels = [
        labels_of(ids, one.name.removeprefix("tags-").removesuffix("s"), track_values(one, ids))
        for one in groups
        if one.name not in _NOT_COLOURS and len(one) > 1
    ]
    if not labels:
        return None, [], {}

    def rank(label: dict[str, Any]) -> tuple[bool, float, int]:
        there = [len(values) for values in label["tracks"] if values]
        return len(there) < len(ids) / 2, float(np.mean(there or [0])), len(label["values"])

    best = min(labels, key=rank)
    counts = Counter(dict(zip(best["values"], best["counts"], strict=True)))
    keys = [
        Key(colour, _MARKS[marker], f"{value} ({counts[value]:,})")
        for value, (colour, marker) in zip(best["values"], _LOOKS, strict=False)
    ]
    if more := len(best["values"]) - len(keys):
        keys.append(Key(QUIET, _MARKS[MARKERS[0]], f"{more:,} more"))
    looks = {}
    for track_id, values in zip(ids, best["tracks"], strict=True):
        if there := [value for value in values if value < len(_LOOKS)]:
            looks[track_id] = _LOOKS[max(there)]
    return best["name"], keys, looks


def recipes(done: Collected) -> Section:
    """Settings of each row, those of its first finished cell."""
    asked = [("Pre-training", PRETRAIN, "")]
    asked += [(f"Fine-tuning, {t.title or t.name}", TAGS, t.name) for t in done.plan.tags]
    asked += [(f"Triplets, {t.title or t.name}", TRIPLETS, t.name) for t in done.plan.triplets]
    tables = []
    for title, kind, task in asked:
        found = {
            row_title(done, row): _settings(done, cells[0])
            for row in done.rows
            if (cells := done.of(kind, task, row, finished=True))
        }
        tables += _settings_tables(title, found)
    about = []
    if tables:
        about = ["Of each row the settings of its first finished cell, as its run folder has them; "
                 "those of other seeds and worlds differ in seed and folders."]  # fmt: skip
    return Section("recipes", "Recipes", about, tables=tables)


def _settings(done: Collected, cell: Cell) -> dict[str, Any]:
    if cell.kind != TRIPLETS:
        return folders.recipe(done.state.folder(cell))
    given = {"model": cell.spec["model"], **cell.spec["options"]}  # its folder has results alone
    return {name: value for name, value in given.items() if value is not None}


def _settings_tables(title: str, found: Mapping[str, Mapping[str, Any]]) -> list[Table]:
    """Tables of the settings that all rows share, and of those that differ between them."""
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


def environments(done: Collected) -> Section:
    """Programs and machines, as the runs recorded them."""
    kinds = [(PRETRAIN, ""), *((TAGS, task.name) for task in done.plan.tags)]
    found = Counter(
        tuple(folders.environment(done.state.folder(cell)).items())
        for row in done.rows
        for kind, task in kinds
        for cell in done.of(kind, task, row, finished=True)
    )
    names = list(dict.fromkeys(name for key in found for name, _ in key))
    sides = [dict(key) for key in found]
    tables = []
    if names:
        rows = [[name, *(side.get(name, "–") for side in sides)] for name in names]
        heads = ["", *(f"{count} run folder{'s' if count > 1 else ''}" for count in found.values())]
        tables = [Table("As recorded when the runs were made", heads, rows, folded=False)]
    return Section("environment", "Environment", tables=tables)
