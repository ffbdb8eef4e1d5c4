"""Groups over the tracks of an embedding table: from its collection, or a table of artists."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from playlist_pretrain.audio.file_tags import names_in
from playlist_pretrain.delimited import listed, read_columns, read_header
from playlist_pretrain.errors import (
    CollectionError,
    EmbeddingsError,
    GroupsError,
    PlaylistPretrainError,
    TableError,
)
from playlist_pretrain.evaluation.neighbours import groups_of_tracks
from playlist_pretrain.playlists.groups import TrackGroups, load_groups
from playlist_pretrain.records.collection import Collection, IdTable
from playlist_pretrain.records.schema import PackedStrings
from playlist_pretrain.records.track_tags import TRACKS_FILE, read_tracks
from playlist_pretrain.storage import is_remote
from playlist_pretrain.tasks.tag_table import read_tags

if TYPE_CHECKING:
    from playlist_pretrain.retrieval.embedding_table import EmbeddingTable

ARTISTS, ALBUMS = "artists", "albums"
TAGS_FILE = "tags.tsv"
BETWEEN_KIND_AND_TAG = "---"
MOST_KINDS = 10

logger = logging.getLogger(__name__)


class KnownTracks(IdTable):
    """The track ids of a table, and their rows."""

    def __init__(self, track_ids: PackedStrings):
        super().__init__(track_ids)
        self.track_ids = track_ids

    def __len__(self) -> int:
        return len(self.track_ids)


def text_about(table: EmbeddingTable, name: str) -> str | None:
    """Return what the table's metadata have under ``name``, if that is text."""
    value = table.about.get(name)
    return value if isinstance(value, str) and value else None


def audio_folder_of(table: EmbeddingTable, given: str | Path | None) -> Path | None:
    """Folder below which paths are track ids: the one given, or the one a table names."""
    folder = given or text_about(table, "audio")
    return Path(folder) if folder and (given or not is_remote(folder)) else None


def collection_of(table: EmbeddingTable, given: str | Path | None) -> Collection | None:
    """Open the collection that a table is of; None for a table of none, or of audio files.

    ``given`` is its folder where it is not the one that the table names. A table that names none
    takes any collection: tracks are matched by their ids. Raises CollectionError for one that
    cannot be opened, or has other content than the table was made of, and for a URL or a folder
    without a key that only the table names: a file is no reason to open them.
    """
    place = given or text_about(table, "collection")
    if place is None:
        return None
    key = text_about(table, "collection_key")
    if not given and (is_remote(place) or key is None):
        what = "a URL" if is_remote(place) else "a folder without the key of its content"
        raise CollectionError(
            f"the embeddings name {place!r} as their collection, {what}: it is not opened unless "
            "--collection names it"
        )
    collection = Collection.open(place)
    if key is not None and key != collection.content_key:
        raise CollectionError(
            f"{place}: has another content (key {collection.content_key[:8]}) than the collection "
            f"that the embeddings are of (key {key[:8]}); its groups would be those of other tracks"
        )
    if not given:
        logger.info(f"collection {place}, which the embeddings name, is used")
    return collection


def collection_groups(
    known: KnownTracks, collection: Collection, names: Sequence[str] | None = None
) -> list[TrackGroups]:
    """Read groups of a collection over the rows of a table.

    Without ``names``, these are all that there are, and the tags; those that cannot be read are
    left out with a message. Raises GroupsError for groups of ``names`` that are not there, damaged,
    or of another content, and EmbeddingsError when no track of the table is in the collection.
    """
    place = known.rows(list(collection.track_ids))
    here = int(np.count_nonzero(place >= 0))
    if not here:
        raise EmbeddingsError(
            f"no track of the embeddings is in collection {str(collection.path)!r}: their ids look "
            f"like {known.track_ids[0]!r}, its like {collection.track_ids[0]!r}"
        )
    if here < len(known):
        missing = len(known) - here
        logger.info(f"{missing:,} of {len(known):,} tracks are not in {collection.path}")
    if names is not None:
        return [_on_table(load_groups(collection, name), place, len(known)) for name in names]
    found = []
    for file in sorted(path.name for path in collection.path.glob("groups-*.npz")):
        name = file.removeprefix("groups-").removesuffix(".npz")
        try:
            found.append(_on_table(load_groups(collection, name), place, len(known)))
        except GroupsError as error:
            logger.info(f"left out: {error}")
    tags = collection.path / TAGS_FILE
    try:
        found += tag_groups(tags, known) if tags.is_file() else []
    except PlaylistPretrainError as error:
        logger.info(f"left out: {error}")
    return found


def _on_table(groups: TrackGroups, place: np.ndarray, tracks: int) -> TrackGroups:
    """Groups over the rows of a table; ``place`` has the row there of every track."""
    rows = place[groups.rows]
    kept = rows >= 0
    total = np.concatenate([[0], np.cumsum(kept)])
    return TrackGroups(
        groups.name, total[groups.indptr], rows[kept], tracks, groups.collection_key,
        groups.group_ids,
    )  # fmt: skip


def tag_groups(path: Path, known: KnownTracks) -> list[TrackGroups]:
    """Make a group of each tag; those like ``genre---rock`` are in groups ``tags-genre``."""
    tags_of = read_tags(path)
    rows = known.rows(list(tags_of)).tolist()
    members: dict[str, list[int]] = {}
    for row, tags in zip(rows, tags_of.values(), strict=True):
        for tag in tags if row >= 0 else ():
            members.setdefault(tag, []).append(row)
    kinds: dict[str, dict[str, list[int]]] = {}
    for tag, of_tag in members.items():
        kind, between, _ = tag.partition(BETWEEN_KIND_AND_TAG)
        name = "tags-" + re.sub(r"[^\w.-]", "_", kind)[:90] if between and kind else "tags"
        kinds.setdefault(name, {})[tag] = of_tag
    if len(kinds) > MOST_KINDS:
        kinds = {"tags": members}
    return [_groups(name, kinds[name], len(known)) for name in sorted(kinds)]


def groups_of_table(path: str | Path, known: KnownTracks) -> list[TrackGroups]:
    """Read artists, and albums if it has any, from a table (CSV or TSV) with a row for each track.

    Its columns are ``track_id``, ``artist`` or ``artist_id``, and perhaps ``album``. A track of
    several artists has a row for each, or | between them. An artist or album that is not known,
    empty, ``unknown`` and the like, is none.
    """
    header = read_header(path, ["track_id"])
    column = next((name for name in ("artist", "artist_id") if name in header), None)
    if column is None:
        raise TableError(
            f"{path}: no column 'artist' or 'artist_id'; its columns are: {listed(header)}"
        )
    columns = {ARTISTS: column, **({ALBUMS: "album"} if "album" in header else {})}
    found = _groups_of_columns(path, known, columns)
    if not found or found[0].name != ARTISTS:
        theirs = next((cells[0] for _, cells in read_columns(path, ["track_id"])), None)
        raise TableError(
            f"{path}: no artist of any track of the embeddings, whose ids look like "
            f"{known.track_ids[0]!r}; the table's look like {theirs!r}"
        )
    return found


def groups_of_tags(collection: Collection, known: KnownTracks) -> list[TrackGroups]:
    """Artists and albums of the tags in the collection's ``tracks.csv``, where it has any."""
    columns = {ARTISTS: "artist", ALBUMS: "album"}
    try:
        tags = read_tracks(collection.path)
        columns = {name: column for name, column in columns.items() if tags.known(column)}
        return _groups_of_columns(collection.path / TRACKS_FILE, known, columns) if columns else []
    except PlaylistPretrainError as error:
        logger.info(f"left out: {error}")
        return []


def _groups_of_columns(
    path: str | Path, known: KnownTracks, columns: Mapping[str, str]
) -> list[TrackGroups]:
    """Groups of the names in some columns of a table, in their order, less those without tracks."""
    wanted = ["track_id", *columns.values()]
    cells = [cells for _, cells in read_columns(path, wanted, blank={*columns.values()})]
    rows = known.rows([track_id for track_id, *_ in cells]).tolist()
    found = []
    for place, name in enumerate(columns, 1):
        members: dict[str, dict[int, None]] = {}
        for row, values in zip(rows, cells, strict=True):
            for one in names_in(values[place]) if row >= 0 else ():
                members.setdefault(one, {})[row] = None
        if members:
            found.append(_groups(name, members, len(known)))
    return found


def _groups(name: str, members: Mapping[str, Iterable[int]], tracks: int) -> TrackGroups:
    lists = [np.fromiter(rows, np.int64) for rows in members.values()]
    indptr = np.cumsum([0, *map(len, lists)]).astype(np.int64)
    ids = PackedStrings.pack(members)
    return TrackGroups(name, indptr, np.concatenate(lists), tracks, "", ids)


def artists_of(groups: Sequence[TrackGroups], rows: Sequence[int] | np.ndarray) -> list[str | None]:
    """Artists of some rows, joined with commas; None where no groups ``artists`` know them."""
    artists = next((one for one in groups if one.name == ARTISTS), None)
    if artists is None:
        return [None] * len(rows)
    of_track = groups_of_tracks(artists)
    names = ([artists.group_ids[group] for group in of_track[row]] for row in rows)
    return [", ".join(one) or None for one in names]


def track_values(groups: TrackGroups, track_ids: Sequence[str]) -> dict[str, list[str]]:
    """Names of the groups that each track is in, by its id; a tag without its kind (rock)."""
    of_tags = groups.name.startswith("tags")
    values: dict[str, list[str]] = {}
    for number, name in enumerate(groups.group_ids):
        text = name.rpartition(BETWEEN_KIND_AND_TAG)[2] if of_tags else name
        for row in groups.group(number).tolist():
            values.setdefault(track_ids[row], []).append(text)
    return values
