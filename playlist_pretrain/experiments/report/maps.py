"""Embedding maps: the clips of the triplets, one checkpoint a row."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from playlist_pretrain.errors import PlaylistPretrainError
from playlist_pretrain.experiments.cells import TRIPLETS, Cell, Row
from playlist_pretrain.experiments.report import figures, folders
from playlist_pretrain.experiments.report.figures import (
    MARKERS,
    OKABE_ITO,
    QUIET,
    Figure,
    Key,
    Points,
    Section,
)
from playlist_pretrain.experiments.report.sections import DoneCells
from playlist_pretrain.retrieval.map_page.page import labels_of, plane_coordinates
from playlist_pretrain.retrieval.table_groups import (
    KnownTracks,
    collection_groups,
    collection_of,
    track_values,
)

if TYPE_CHECKING:
    from playlist_pretrain.playlists.groups import TrackGroups
    from playlist_pretrain.retrieval.embedding_table import EmbeddingTable

MOST_TRACKS = 2_000
"""More are drawn by lot: t-SNE of a map of these takes seconds."""
MARKS = dict(zip(MARKERS, "●▲", strict=True))
_NOT_COLOURS = ("playlists", "sessions")
_LOOKS = [(colour, marker) for marker in MARKERS for colour in OKABE_ITO]


def embedding_maps(done: DoneCells) -> list[Section]:
    """A section a task."""
    return [_of_task(done, task.name, task.title or task.name) for task in done.plan.triplets]


def _of_task(done: DoneCells, task: str, title: str) -> Section:
    several = len(done.plan.triplets) > 1
    drawn: list[Figure] = []
    keys: list[Key] = []
    without, methods, label = [], {}, None
    colours: Mapping[str, tuple[str, str]] = {}
    for row, cell in _of_one_unit(done, task).items():
        table = folders.embeddings(done.folder(cell))
        if table is None:
            without.append(cell.id)
            continue
        table = _drawn_by_lot(table.by_track())
        if not drawn:
            label, keys, colours = _colours(table, done.collected.say)
        coordinates, method = plane_coordinates(table.vectors)
        methods[method] = None
        looks = [colours.get(track_id, (QUIET, MARKERS[0])) for track_id in table.track_ids]
        points = Points(
            coordinates[:, 0], coordinates[:, 1], [c for c, _ in looks], [m for _, m in looks]
        )
        caption = f"{len(looks):,} tracks, {_cell_text(cell)}."
        drawn.append(Figure(done.title(row), caption, figures.embedding_map(points)))
    about = []
    if drawn:
        told = f"coloured by {label}" if label else "in one colour: they have no tags or groups"
        about = [
            f"The tracks that the triplets name, {told}. Layout: {'; '.join(methods)}. Only who is "
            "near to whom means something."
        ]
    if without:
        about.append(folders.no_embeddings("map", without))
    name = f"Embedding maps: {title}" if several else "Embedding maps"
    return Section(f"map-{task}", name, about, drawn, small=True, keys=keys)


def _of_one_unit(done: DoneCells, task: str) -> dict[Row, Cell]:
    """A cell a row, all of the world and seed of which most are done: their tracks are the same."""
    units: dict[tuple[int | None, int], dict[Row, Cell]] = {}
    for row in done.rows:
        for cell in done.of(TRIPLETS, task, row):
            units.setdefault((cell.world, cell.seed), {})[row] = cell
    return max(units.values(), key=len, default={})


def _cell_text(cell: Cell) -> str:
    world = f"world {cell.world}, " if cell.world is not None else ""
    return f"{world}seed {cell.seed}"


def _drawn_by_lot(table: EmbeddingTable) -> EmbeddingTable:
    from playlist_pretrain.records.schema import PackedStrings
    from playlist_pretrain.retrieval.embedding_table import EmbeddingTable

    if len(table) <= MOST_TRACKS:
        return table
    rows = np.sort(np.random.default_rng(0).choice(len(table), MOST_TRACKS, replace=False))
    ids = PackedStrings.pack([table.track_ids[row] for row in rows.tolist()])
    return EmbeddingTable(ids, table.vectors[rows], about=table.about)


def _colours(
    table: EmbeddingTable, say: Any
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
            known = KnownTracks(table.track_ids)
            groups = collection_groups(known, collection)
    except PlaylistPretrainError as error:
        say(f"report: maps without colours: {error}")
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
        Key(colour, MARKS[marker], f"{value} ({counts[value]:,})")
        for value, (colour, marker) in zip(best["values"], _LOOKS, strict=False)
    ]
    if more := len(best["values"]) - len(keys):
        keys.append(Key(QUIET, MARKS[MARKERS[0]], f"{more:,} more"))
    looks = {}
    for track_id, values in zip(ids, best["tracks"], strict=True):
        if there := [value for value in values if value < len(_LOOKS)]:
            looks[track_id] = _LOOKS[max(there)]
    return best["name"], keys, looks
