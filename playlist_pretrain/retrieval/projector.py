"""Embeddings for TensorBoard's embedding projector, and for https://projector.tensorflow.org/."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from playlist_pretrain.delimited import read_columns, read_header
from playlist_pretrain.errors import EmbeddingsError, GroupsError, printable
from playlist_pretrain.files import atomic_write

if TYPE_CHECKING:
    from playlist_pretrain.records.collection import Collection
    from playlist_pretrain.retrieval.embedding_table import EmbeddingTable

VECTORS, METADATA, CONFIG = "vectors.tsv", "metadata.tsv", "projector_config.pbtxt"
TAGS, ARTISTS = "tags.tsv", "artists"
CONFIG_TEXT = f"""embeddings {{
  tensor_name: "tracks"
  tensor_path: "{VECTORS}"
  metadata_path: "{METADATA}"
}}
"""
_BREAKS = re.compile("[\\\\\t\n\v\f\r\x1c-\x1e\x85\u2028\u2029]")
"""What would end a cell or a line, and the backslash that stands in for it."""


def check_projector(folder: Path, *, overwrite: bool) -> None:
    """Refuse a folder that has the projector's files of something else, before long work.

    Raises
    ------
    EmbeddingsError
        With the file.
    """
    config = folder / CONFIG
    if folder.exists() and not folder.is_dir():
        raise EmbeddingsError(f"--projector {folder}: is a file, not a folder")
    if config.exists() and not overwrite and config.read_bytes() != CONFIG_TEXT.encode():
        raise EmbeddingsError(
            f"{config}: is there already and of something else; choose another --projector, or "
            "--overwrite to replace it"
        )


def write_projector(
    folder: Path, table: EmbeddingTable, columns: Mapping[str, Sequence[str]]
) -> None:
    """Write the three files of the projector.

    Parameters
    ----------
    folder : Path
        Created when missing; files of these names are replaced.
    table : EmbeddingTable
    columns : mapping of str to sequence of str
        More to be shown of each row of the table.
    """
    columns = {"track_id": table.track_ids, **columns}
    if table.start_seconds is not None:
        columns["start_seconds"] = [f"{start:.2f}" for start in table.start_seconds]
    with atomic_write(folder / VECTORS, "w") as stream:
        for vector in table.vectors:
            stream.write("\t".join(map(str, vector)) + "\n")
    with atomic_write(folder / METADATA, "w") as stream:
        if len(columns) > 1:  # a single column has no header there
            stream.write("\t".join(columns) + "\n")
        for cells in zip(*columns.values(), strict=True):
            stream.write("\t".join(map(escaped, cells)) + "\n")
    with atomic_write(folder / CONFIG, "w") as stream:
        stream.write(CONFIG_TEXT)


def escaped(cell: str) -> str:
    r"""A cell on one line: a tab is ``\t`` there, a backslash two."""
    return _BREAKS.sub(lambda sign: sign[0].encode("unicode_escape").decode(), cell)


def columns_of(
    collection: Collection, track_ids: Sequence[str]
) -> tuple[dict[str, list[str]], list[str]]:
    """What a collection says of its tracks: tags and artists, where it has them.

    Parameters
    ----------
    collection : Collection
    track_ids : sequence of str
        Of the rows wanted, each a track of the collection.

    Returns
    -------
    columns : dict
        Column to a cell for each of ``track_ids``, empty where nothing is said.
    notes : list of str
        What could not be used, and why.
    """
    from playlist_pretrain.tasks.tag_table import RemoteTable

    columns: dict[str, list[str]] = {}
    notes: list[str] = []
    path = collection.path / TAGS
    if path.is_file():
        tags = path if isinstance(path, Path) else RemoteTable(path)
        header = read_header(tags, ("track_id", "tags"))
        wanted = ["tags", *({"artist"} & set(header))]
        rows = read_columns(tags, ["track_id", *wanted], blank=set(wanted))
        cells = {track_id: others for _, (track_id, *others) in rows}
        nothing = [""] * len(wanted)
        found = [cells.get(track_id, nothing) for track_id in track_ids]
        columns = {name: [line[i] for line in found] for i, name in enumerate(wanted)}
    if "artist" in columns:
        return columns, notes
    try:
        artists = _artists(collection)
    except GroupsError as error:  # made for what the collection was before: they say nothing now
        notes.append(f"--projector: without artists: {printable(str(error))}")
        artists = None
    if artists is not None:
        columns["artist"] = [artists.get(int(row), "") for row in collection.rows(track_ids)]
    return columns, notes


def _artists(collection: Collection) -> dict[int, str] | None:
    """Artists of each row, with | between them; None where the collection has none."""
    from playlist_pretrain.playlists.groups import groups_path, load_groups

    if not groups_path(collection.path, ARTISTS).is_file():
        return None
    groups = load_groups(collection, ARTISTS)
    artists: dict[int, str] = {}
    lengths = np.diff(groups.indptr)
    names = np.repeat(np.arange(len(groups)), lengths)
    for row, group in zip(groups.rows.tolist(), names.tolist(), strict=True):
        name = groups.group_ids[group]
        artists[row] = f"{artists[row]}|{name}" if row in artists else name
    return artists
