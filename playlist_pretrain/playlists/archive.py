"""The file ``groups-<name>.npz``: an archive of plain arrays, without pickle.

Entries: ``header`` (UTF-8 bytes of a JSON object with format, name, tracks, collection_key),
``indptr`` (int64), ``rows`` (int32), ``group_id_bytes`` (UTF-8 of all group ids, one after the
other) and ``group_id_ends`` (int64, where each ends). Nothing is compressed, and every entry
carries the zip format's first date, so equal groups give equal bytes.
"""

from __future__ import annotations

import json
import zipfile
from typing import IO, TYPE_CHECKING

import numpy as np

from playlist_pretrain.records.schema import PackedStrings

if TYPE_CHECKING:
    from playlist_pretrain.playlists.groups import TrackGroups

FORMAT = 1


def write_archive(groups: TrackGroups, stream: IO[bytes]) -> None:
    """Write ``groups`` to an open file."""
    header = {
        "format": FORMAT,
        "name": groups.name,
        "tracks": int(groups.tracks),
        "collection_key": groups.collection_key,
    }
    np.savez(
        stream,
        header=np.frombuffer(json.dumps(header).encode(), np.uint8),
        indptr=groups.indptr,
        rows=groups.rows,
        group_id_bytes=groups.group_ids.data,
        group_id_ends=groups.group_ids.ends.astype("<i8"),
    )


def read_archive(stream: IO[bytes]) -> dict:
    """Read the arguments of ``TrackGroups`` from an open file.

    Raises
    ------
    Exception
        Of many kinds when the file is not a whole archive of this format: the parts of a damaged
        zip file fail each in their own way. Whether the parts fit together is not checked here.
    """
    archive = np.load(stream, allow_pickle=False)
    if not isinstance(archive, np.lib.npyio.NpzFile):
        raise ValueError("one array, not an archive")
    if any(info.compress_type != zipfile.ZIP_STORED for info in archive.zip.infolist()):
        raise ValueError("compressed entries")  # an archive must not grow when it is opened
    header = json.loads(archive["header"].tobytes())
    if not isinstance(header, dict) or header.get("format") != FORMAT:
        raise ValueError(f"not format {FORMAT}")
    if not all(isinstance(header[key], str) for key in ("name", "collection_key")):
        raise ValueError("name and collection_key are not text")
    if type(header["tracks"]) is not int:
        raise ValueError("tracks is not a number")
    ids, ends = archive["group_id_bytes"], archive["group_id_ends"]
    if ids.dtype != np.uint8 or ends.dtype != np.int64 or ids.ndim != 1 or ends.ndim != 1:
        raise ValueError("group ids are not packed text")
    indptr, rows = archive["indptr"], archive["rows"]
    indptr.flags.writeable = rows.flags.writeable = False
    return {
        "name": header["name"],
        "indptr": indptr,
        "rows": rows,
        "tracks": header["tracks"],
        "collection_key": header["collection_key"],
        "group_ids": PackedStrings(ids, ends),
    }
