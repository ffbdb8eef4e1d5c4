"""What a map page shows of its tracks, as JSON: names, labels, links, nearest tracks."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np

from playlist_pretrain.errors import EmbeddingsError, printable

LONGEST = 200
"""Signs of a name that are shown; what is longer ends in …"""
_JOINERS = "\u200c\u200d"  # invisible, but they make words of Persian and many an emoji
_LIKE_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:")

Labels = Mapping[str, str | Sequence[str]]
"""Track id → the value, or the values, that the track has."""


def shown(text: str) -> str:
    """``text`` as the page shows it: signs that cannot be seen, or turn others round, are escaped.

    It is still text of anybody: the page never reads it as HTML.
    """
    text = text if len(text) <= LONGEST else text[: LONGEST - 1] + "…"
    return printable(text, keep=_JOINERS)


def titles_of(ids: Sequence[str], titles: Labels) -> list[str]:
    """Title of each track, empty where it has none.

    Raises
    ------
    EmbeddingsError
        Titles of other tracks only.
    """
    _check_known(ids, "title", titles)
    return [shown(" / ".join(_values(titles.get(track_id, ())))) for track_id in ids]


def labels_of(ids: Sequence[str], name: str, labels: Labels) -> dict[str, Any]:
    """Values of a label: the most frequent first, equally frequent ones by their text.

    Returns
    -------
    dict
        ``name``; ``values``, and their ``counts`` of tracks; ``tracks``, of each track the
        positions of its values.

    Raises
    ------
    EmbeddingsError
        Labels of other tracks only.
    """
    _check_known(ids, name, labels)
    of_track = [
        list(dict.fromkeys(shown(value) for value in _values(labels.get(track_id, ()))))
        for track_id in ids
    ]
    counts = Counter(value for values in of_track for value in values)
    order = sorted(counts, key=lambda value: (-counts[value], value))
    position = {value: i for i, value in enumerate(order)}
    return {
        "name": shown(name),
        "values": order,
        "counts": [counts[value] for value in order],
        "tracks": [[position[value] for value in values] for values in of_track],
    }


def _values(given: str | Sequence[str]) -> list[str]:
    return [text for text in ([given] if isinstance(given, str) else given) if text]


def _check_known(ids: Sequence[str], name: str, labels: Labels) -> None:
    if labels and not any(track_id in labels for track_id in ids):
        raise EmbeddingsError(
            f"{name} of {len(labels):,} tracks, such as {next(iter(labels))!r}, but of none of the "
            f"{len(ids):,} with an embedding, such as {ids[0]!r}"
        )


def audio_link(page: str | Path, folder: str | Path, path: str) -> str | None:
    """URL of an audio file, relative to the folder of the page.

    Parameters
    ----------
    page : str or Path
        File that the link is written in.
    folder : str or Path
        Audio folder.
    path : str
        POSIX path below it.

    Returns
    -------
    str or None
        None where the path leads out of the folder, or is a URL: what begins like one
        (``https:``, ``javascript:``) is a path only if there is such a file.
    """
    parts = path.split("/")
    if "\0" in path or path.startswith("/") or not {"", ".", ".."}.isdisjoint(parts):
        return None
    if _LIKE_URL.match(path) and not os.path.isfile(os.path.join(folder, path)):
        return None
    beside = os.path.relpath(os.path.abspath(folder), os.path.dirname(os.path.abspath(page)))
    # A colon is quoted too, so that nothing before it is taken for the scheme of a URL.
    return quote(os.fsencode(os.path.join(beside, path).removeprefix("./")), safe="/")


def packed(array: np.ndarray) -> dict[str, str]:
    """A NumPy array as its little-endian bytes and the name of JavaScript's type of array."""
    kinds = {"f4": "Float32Array", "i2": "Int16Array", "u2": "Uint16Array", "u4": "Uint32Array"}
    data = np.ascontiguousarray(array, array.dtype.newbyteorder("<")).tobytes()
    return {"type": kinds[array.dtype.str[1:]], "data": base64.b64encode(data).decode("ascii")}


def script_json(content: Any) -> str:
    """JSON that can stand in a script element: no ``<``, so neither its end nor a comment."""
    text = json.dumps(content, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c")


def script_hash(script: str) -> str:
    """What a page's policy says of a script that may run."""
    digest = hashlib.sha256(script.encode("utf-8")).digest()
    return f"'sha256-{base64.b64encode(digest).decode('ascii')}'"
