"""Track vectors on disk: word2vec's binary format, so that other programs read them too.

``w2v-<groups>-<key>.bin``: a line ``<tracks> <size>``, then for every track its id, one blank and
its vector (float32, little-endian). Blanks, control characters and ``%`` of an id are
percent-encoded, since the format has no other way to hold them. Beside it lies a ``.json`` with
the settings, gensim's version, the loss of every epoch, and a key of the file's content: the
format itself could not tell a damaged vector from a good one.
"""

from __future__ import annotations

import dataclasses
import json
import re
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote

import numpy as np

from playlist_pretrain.errors import GroupsError, first_line
from playlist_pretrain.files import atomic_write, check_writable, content_key, write_json
from playlist_pretrain.playlists.word2vec import (
    TrackVectors,
    Word2VecSettings,
    train,
    vectors_of,
)

if TYPE_CHECKING:
    from playlist_pretrain.playlists.groups import TrackGroups
    from playlist_pretrain.storage import RemotePath

FORMAT = 1
LONGEST_HEADER = 64
UNFIT = re.compile(r"[\x00-\x20\x7f%]")


def vectors_path(
    groups: TrackGroups, folder: Path | RemotePath, settings: Word2VecSettings
) -> Path | RemotePath:
    """Where the vectors of these groups and settings are kept."""
    described = json.dumps({"format": FORMAT, **dataclasses.asdict(settings)}, sort_keys=True)
    key = content_key(groups.content_key.encode(), described.encode())[:16]
    return folder / f"w2v-{groups.name}-{key}.bin"


def cached_vectors(
    groups: TrackGroups,
    track_ids: Sequence[str],
    folder: Path | RemotePath,
    settings: Word2VecSettings,
    *,
    quiet: bool = True,
    say: Callable[[str], object] = lambda text: None,
) -> TrackVectors:
    """Read the vectors of these groups and settings from ``folder``, or train and keep them.

    Parameters
    ----------
    groups : TrackGroups
    track_ids : sequence of str
        Id of every row.
    folder : Path or RemotePath
    settings : Word2VecSettings
    quiet, say
        See :func:`playlist_pretrain.playlists.word2vec.train`.
    """
    path = vectors_path(groups, folder, settings)
    vectors = None
    if path.exists():
        try:
            vectors = load_vectors(path, track_ids, settings.size)
            say(f"{path}: read")
        except GroupsError as error:
            say(f"{error}; made again")
    if vectors is None:
        import gensim

        check_writable(folder)
        started = time.monotonic()
        model, losses = train(groups, settings, quiet=quiet, say=say)
        vectors = vectors_of(model, groups, settings)
        about = {
            "groups": groups.name,
            "groups_key": groups.content_key,
            "settings": {**dataclasses.asdict(settings), "window": model.window},
            "gensim": gensim.__version__,
            "loss": losses,
        }
        save_vectors(vectors, track_ids, path, about)
        say(f"{path}: {len(vectors.rows):,} vectors in {time.monotonic() - started:.1f} s")
    if vectors.left_out:
        say(
            f"{vectors.left_out:,} groups of more than {settings.max_group_length:,} tracks are "
            "left out of Word2Vec"
        )
    return vectors


def save_vectors(
    vectors: TrackVectors,
    track_ids: Sequence[str],
    path: Path | RemotePath,
    about: Mapping[str, object],
) -> None:
    """Write vectors and what there is to say about them, whole or not at all."""
    data = np.ascontiguousarray(vectors.vectors, "<f4")
    with atomic_write(path) as stream:
        stream.write(f"{data.shape[0]} {data.shape[1]}\n".encode())
        for row, vector in zip(vectors.rows.tolist(), data, strict=True):
            stream.write(_word(track_ids[row]).encode() + b" " + vector.tobytes())
        stream.flush()
        key = content_key(Path(stream.name).read_bytes())
        about = {**about, "left_out": vectors.left_out, "content_key": key}
        # First: the name of the vectors says that all is there.
        write_json(path.with_suffix(".json"), about)


def load_vectors(path: Path | RemotePath, track_ids: Sequence[str], size: int) -> TrackVectors:
    """Read what :func:`save_vectors` wrote.

    Raises
    ------
    GroupsError
        If a file is damaged, of another size, or names tracks that the collection does not have.
    """
    try:
        about = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
        left_out = about["left_out"]
        if type(left_out) is not int:
            raise ValueError("left_out is not a number")
        content = path.read_bytes()
        if about["content_key"] != content_key(content):
            raise ValueError("not the content that was written")
        header, _, _ = content[:LONGEST_HEADER].partition(b"\n")
        tracks, found = map(int, header.split())
        if found != size or not 0 < tracks <= len(track_ids):
            raise ValueError(f"{tracks} vectors of size {found}")
        row_of = {_word(track_id): row for row, track_id in enumerate(track_ids)}
        rows, starts = np.empty(tracks, np.int32), np.empty(tracks, np.int64)
        place = len(header) + 1
        for i in range(tracks):
            blank = content.index(b" ", place)
            rows[i] = row_of[content[place:blank].decode("utf-8")]
            starts[i] = blank + 1
            place = blank + 1 + 4 * size
        if place != len(content):
            raise ValueError(f"{len(content)} bytes, {place} were expected")
        if np.any(np.diff(rows) <= 0):
            raise ValueError("tracks out of order")
        data = np.empty((tracks, size), "<f4")
        for i, start in enumerate(starts.tolist()):
            data[i] = np.frombuffer(content, "<f4", size, start)
        if not np.isfinite(data).all():
            raise ValueError("vectors that are not finite")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise GroupsError(f"{path}: not a whole file of vectors ({first_line(error)})") from error
    return TrackVectors(rows, data, left_out)


def track_id_of(word: str) -> str:
    """Track id of a word of the file."""
    return unquote(word)


def _word(track_id: str) -> str:
    return UNFIT.sub(lambda match: f"%{ord(match[0]):02X}", track_id)
