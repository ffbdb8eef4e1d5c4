"""The file of a map page."""

from __future__ import annotations

import html
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from string import Template
from typing import Any

import numpy as np

from playlist_pretrain import __version__
from playlist_pretrain.embedding.table import EmbeddingTable
from playlist_pretrain.errors import EmbeddingsError
from playlist_pretrain.evaluation.neighbours import nearest, unit_vectors
from playlist_pretrain.files import atomic_write
from playlist_pretrain.search.map_page.contents import (
    Labels,
    audio_link,
    labels_of,
    packed,
    script_hash,
    script_json,
    shown,
    titles_of,
)
from playlist_pretrain.search.map_page.figure import plot_item, with_webgl
from playlist_pretrain.search.map_page.layout import plane_coordinates

MOST_TRACKS = 100_000
"""A browser does not show more in one page."""
NEAREST = 10
_DIGITS = 10_000  # a similarity is stored in whole ten-thousandths
_SCRIPTS = ("data.js", "plot.js", "panel.js")


@dataclass(frozen=True)
class MapPage:
    """What became of a page.

    Attributes
    ----------
    tracks : int
    linked : int
        Tracks whose audio file the page plays.
    refused : tuple of str
        Ids of tracks whose path is none below the audio folder; the page has no link for them.
    """

    tracks: int
    linked: int
    refused: tuple[str, ...]


def write_map_page(
    path: str | Path,
    embeddings: EmbeddingTable,
    *,
    labels: Mapping[str, Labels] | None = None,
    titles: Mapping[str, str] | None = None,
    audio: str | Path | None = None,
    files: Mapping[str, str] | None = None,
    selected: str | None = None,
    seed: int = 0,
    say: Callable[[str], object] = lambda line: None,
) -> MapPage:
    """Write a page on which an embedding space is seen and heard.

    The page is one file that works without a network: a map of the tracks, coloured by any of
    ``labels``; a search field; the ten nearest of a selected track, which are those of
    :func:`~playlist_pretrain.evaluation.neighbours.nearest`; and its audio, which is not in the
    page but linked from it, so that page and audio have to stay where they are to each other. The
    same arguments give the same bytes.

    Parameters
    ----------
    path : str or Path
        HTML file to write; replaced when there.
    embeddings : EmbeddingTable
        Of one vector a window, the mean of each track is taken.
    labels : mapping of str to mapping, optional
        Name of a label, such as ``artist`` or ``tag``, → track id → its value or values. The map is
        coloured by the first one to begin with. Ids without an embedding are left out.
    titles : mapping of str to str, optional
        Track id → title.
    audio : str or Path, optional
        Folder that audio files are below; default the one that ``embeddings`` were made from.
    files : mapping of str to str, optional
        Track id → POSIX path of its audio file below ``audio``; default those of ``embeddings``.
    selected : str, optional
        Id of a track that is selected when the page opens.
    seed : int
        Of the layout.
    say : callable
        Gets a line before each step that takes long with many tracks.

    Returns
    -------
    MapPage

    Raises
    ------
    EmbeddingsError
        No tracks or more than :data:`MOST_TRACKS`; an embedding that is not finite or all zeros;
        labels or titles of other tracks only; ``selected`` without an embedding; a file that cannot
        be written.
    """
    table = embeddings.by_track()
    ids = list(table.track_ids)
    if not 1 <= len(ids) <= MOST_TRACKS:
        raise EmbeddingsError(
            f"a page of {len(ids):,} tracks: between 1 and {MOST_TRACKS:,} can be"
        )
    if selected is not None and selected not in ids:
        raise EmbeddingsError(f"track {selected!r} has no embedding")
    columns = [labels_of(ids, name, values) for name, values in (labels or {}).items() if values]
    names = titles_of(ids, titles or {})
    links, refused = _links(path, table, audio, files)
    say(f"Looking for nearest tracks ({len(ids):,})")
    rows, similarities = _neighbours(table.vectors)
    say(f"Laying out the map ({len(ids):,})")
    coordinates, method = plane_coordinates(table.vectors, seed)
    data = {
        "ids": [shown(track_id) for track_id in ids],
        "titles": names if titles else None,
        "labels": columns,
        "links": links,
        "x": packed(coordinates[:, 0]),
        "y": packed(coordinates[:, 1]),
        "neighbours": packed(rows),
        "similarities": packed(similarities),
        "digits": _DIGITS,
        "nearest": rows.shape[1],
        "selected": None if selected is None else ids.index(selected),
    }
    text = _page(_facts(table, columns, method), data, plot_item(coordinates))
    try:
        with atomic_write(path) as stream:
            stream.write(text.encode("utf-8", "backslashreplace"))
    except OSError as error:
        raise EmbeddingsError(f"{path}: cannot be written: {error.strerror or error}") from error
    return MapPage(len(ids), sum(map(bool, links or ())), tuple(refused))


def _links(
    page: str | Path,
    table: EmbeddingTable,
    audio: str | Path | None,
    files: Mapping[str, str] | None,
) -> tuple[list[str] | None, list[str]]:
    folder = table.about.get("audio") if audio is None else audio
    if files is None:
        files = dict(zip(table.track_ids, table.paths or (), strict=False))
    if not files or not isinstance(folder, str | Path) or "://" in str(folder):
        return None, []
    links, refused = [], []
    for track_id in table.track_ids:
        link = audio_link(page, folder, files[track_id]) if track_id in files else ""
        if link is None:
            refused.append(track_id)
        links.append(link or "")
    return links, refused


def _neighbours(vectors: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rows and similarities [tracks, k], in the smallest integers that hold them."""
    tracks = len(unit_vectors(vectors))
    k = min(NEAREST, tracks - 1)
    kind = np.uint16 if tracks <= 1 << 16 else np.uint32
    if not k:
        return np.empty((tracks, 0), kind), np.empty((tracks, 0), np.int16)
    found = nearest(vectors, k)
    return found.rows.astype(kind), np.rint(found.similarities * _DIGITS).astype(np.int16)


def _facts(table: EmbeddingTable, columns: Sequence[Mapping[str, Any]], method: str) -> str:
    """What the page says of itself, as HTML."""
    counts = [("tracks", len(table)), ("dimensions", table.vectors.shape[1])]
    counts += [(f"values of {column['name']}", len(column["values"])) for column in columns]
    texts = [f"{count:,} {name}" for name, count in counts]
    for name in ("model", "collection"):
        if table.about.get(name):
            texts.append(f"{name}: {shown(str(table.about[name]))}")
    texts += [f"layout: {method}", f"playlist_pretrain {__version__}"]
    return "\n".join(f"<li><bdi>{html.escape(text)}</bdi></li>" for text in texts)


def _page(facts: str, data: Mapping[str, Any], item: Mapping[str, Any]) -> str:
    from bokeh.resources import Resources

    webgl = with_webgl(len(data["ids"]))
    parts: list[Any] = ["bokeh", "bokeh-gl"] if webgl else ["bokeh"]
    bokeh = Resources(mode="inline", components=parts, log_level="error", minified=True)
    folder = resources.files(__package__)
    own = "\n".join(folder.joinpath(name).read_text("utf-8") for name in _SCRIPTS)
    library = "\n".join(bokeh.js_raw)
    return Template(folder.joinpath("page.html").read_text("utf-8")).substitute(
        facts=facts,
        style=folder.joinpath("page.css").read_text("utf-8"),
        data=script_json(data),
        plot=script_json(item),
        library=library,
        script=own,
        # Nothing else runs, whatever an id may smuggle in; Bokeh's WebGL compiles drawing code.
        scripts=" ".join([*map(script_hash, (library, own)), *["'unsafe-eval'"] * webgl]),
    )
