"""Embeddings for TensorBoard's embedding projector, and for https://projector.tensorflow.org/."""

from __future__ import annotations

import logging
import re
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from playlist_pretrain.delimited import read_columns, read_header
from playlist_pretrain.errors import EmbeddingsError, GroupsError
from playlist_pretrain.files import atomic_write
from playlist_pretrain.playlists.groups import groups_path, load_groups
from playlist_pretrain.retrieval.table_groups import (
    ARTISTS,
    TAGS_FILE,
    KnownTracks,
    groups_of_tags,
    track_values,
)

if TYPE_CHECKING:
    from playlist_pretrain.records.collection import Collection
    from playlist_pretrain.retrieval.embedding_table import EmbeddingTable

logger = logging.getLogger(__name__)

VECTORS, METADATA, CONFIG = "vectors.tsv", "metadata.tsv", "projector_config.pbtxt"
CONFIG_TEXT = f"""embeddings {{
  tensor_name: "tracks"
  tensor_path: "{VECTORS}"
  metadata_path: "{METADATA}"
}}
"""
_BREAKS = re.compile("[\\\\\t\n\v\f\r\x1c-\x1e\x85\u2028\u2029]")
"""Characters that end a cell or a line, and the backslash that escapes them."""


def check_projector(folder: Path, *, overwrite: bool) -> None:
    """Raise EmbeddingsError if a folder holds another projector's files."""
    config = folder / CONFIG
    if folder.exists() and not folder.is_dir():
        raise EmbeddingsError(f"--projector {folder}: is a file, not a folder")
    if config.exists() and not overwrite and config.read_bytes() != CONFIG_TEXT.encode():
        raise EmbeddingsError(
            f"{config}: is there already and of something else; choose another --projector, or "
            "--overwrite to replace it"
        )


def write_projector(folder: Path, table: EmbeddingTable, collection: Collection | None) -> None:
    """Write the three files of the projector; those that are there are replaced.

    The folder is created when missing; the collection's tags and artists become columns of the
    metadata.
    """
    columns: dict[str, Sequence[str]] = {"track_id": table.track_ids}
    if collection is not None:
        columns |= _columns_of(collection, table.track_ids)
    if table.start_seconds is not None:
        columns["start_seconds"] = [f"{start:.2f}" for start in table.start_seconds]
    with atomic_write(folder / VECTORS, "w") as stream:
        for vector in table.vectors:
            stream.write("\t".join(map(str, vector)) + "\n")
    with atomic_write(folder / METADATA, "w") as stream:
        if len(columns) > 1:  # a single column has no header there
            stream.write("\t".join(columns) + "\n")
        for cells in zip(*columns.values(), strict=True):
            stream.write("\t".join(map(_escaped, cells)) + "\n")
    with atomic_write(folder / CONFIG, "w") as stream:
        stream.write(CONFIG_TEXT)
    logger.info("%s: for the projector: tensorboard --logdir %s", folder, shlex.quote(str(folder)))


def _escaped(cell: str) -> str:
    r"""Keep a cell on one line: a tab is ``\t`` there, a backslash two."""
    return _BREAKS.sub(lambda sign: sign[0].encode("unicode_escape").decode(), cell)


def _columns_of(collection: Collection, track_ids: Sequence[str]) -> dict[str, list[str]]:
    """Tags and artists of tracks of a collection, where it has them; empty cells for the others."""
    columns: dict[str, list[str]] = {}
    path = collection.path / TAGS_FILE
    if path.is_file():
        header = read_header(path, ("track_id", "tags"))
        wanted = ["tags", *({"artist"} & set(header))]
        rows = read_columns(path, ["track_id", *wanted], blank=set(wanted))
        cells = {track_id: others for _, (track_id, *others) in rows}
        nothing = [""] * len(wanted)
        found = [cells.get(track_id, nothing) for track_id in track_ids]
        columns = {name: [line[i] for line in found] for i, name in enumerate(wanted)}
    if "artist" in columns:
        return columns
    try:
        if groups_path(collection.path, ARTISTS).is_file():
            found = [load_groups(collection, ARTISTS)]
        else:
            found = groups_of_tags(collection, KnownTracks(collection.track_ids))
    except GroupsError as error:  # made for what the collection was before: they say nothing now
        logger.warning("--projector: without artists: %s", error)
        return columns
    for groups in found:
        if groups.name != ARTISTS:
            continue
        names = track_values(groups, collection.track_ids)
        columns["artist"] = ["|".join(names.get(track_id, ())) for track_id in track_ids]
    return columns
