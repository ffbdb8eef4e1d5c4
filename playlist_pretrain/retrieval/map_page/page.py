"""Map page: layout, contents and file.

Tracks lie near to each other where their embeddings point the same way. BokehJS draws the plot;
what else runs in the browser is beside this module: ``page.html``, ``page.css`` and the scripts
``data.js``, ``plot.js`` and ``panel.js``, in that order.
"""

from __future__ import annotations

import base64
import hashlib
import html
import json
import logging
import os
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from string import Template
from typing import Any, cast
from urllib.parse import quote

import numpy as np

from playlist_pretrain.errors import EmbeddingsError, printable
from playlist_pretrain.evaluation.neighbours import ExactSearch, unit_vectors
from playlist_pretrain.files import atomic_write
from playlist_pretrain.retrieval.embedding_table import EmbeddingTable, leads_below
from playlist_pretrain.version import __version__

MOST_TRACKS = 100_000
"""A browser does not show more in one page."""
MOST_TSNE = 20_000
"""Tracks that t-SNE lays out in two minutes of one core (119 s for 128 dimensions)."""
MOST_CANVAS = 2_000
"""Of more tracks the points are drawn with WebGL, where the browser has it."""
LONGEST = 200
"""Signs of a name that are shown; what is longer ends in …"""
NEAREST = 10
MOST_VALUES = 20
"""Values of a label that a page has of one track: more than have a colour, the most frequent."""
COLUMNS = ("x", "y", "color", "marker", "alpha")
_FEWEST_TSNE = 8  # fewer have no neighbourhoods that principal components would not show
_JOINERS = "\u200c\u200d"  # invisible, but they make words of Persian and many an emoji
_LIKE_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:")
_DIGITS = 10_000  # a similarity is stored in whole ten-thousandths
_SCRIPTS = ("data.js", "plot.js", "panel.js")

Labels = Mapping[str, str | Sequence[str]]
"""Track id → the value, or the values, that the track has."""

logger = logging.getLogger(__name__)


def plane_coordinates(embeddings: np.ndarray, seed: int = 0) -> tuple[np.ndarray, str]:
    """Lay out embeddings [tracks, dim] on a plane: coordinates float32 [tracks, 2], and the method.

    From 8 to :data:`MOST_TSNE` tracks by t-SNE (van der Maaten & Hinton 2008, JMLR 9) on vectors
    of length 1, where the squared Euclidean distance is twice the cosine distance; it starts from
    the first two principal components, which keeps the large picture (Kobak & Berens 2019, Nature
    Communications 10). Fewer or more tracks: those components themselves. The same seed gives the
    same coordinates on the same machine, however many cores it has.
    """
    from sklearn.manifold import TSNE
    from threadpoolctl import threadpool_limits

    vectors = unit_vectors(embeddings)
    with threadpool_limits(1):  # sums of several threads end in other last bits each time
        start, share = _principal_components(vectors, seed)
        tracks = len(vectors)
        if not _FEWEST_TSNE <= tracks <= MOST_TSNE:
            return start, f"principal components 1 and 2 ({share:.0%} of the variance)"
        spread = start[:, 0].std()
        if spread:
            start = start / spread * 1e-4
        else:  # all the same: no direction to begin with
            start = np.random.default_rng(seed).normal(0, 1e-4, (tracks, 2)).astype(np.float32)
        perplexity = min(30.0, (tracks - 1) / 3)
        method = TSNE(perplexity=perplexity, init=start, random_state=seed, n_jobs=1)
        coordinates = method.fit_transform(vectors.astype(np.float32))
    return coordinates, f"t-SNE (perplexity {perplexity:.3g}, seed {seed})"


def _principal_components(vectors: np.ndarray, seed: int) -> tuple[np.ndarray, float]:
    from sklearn.decomposition import PCA

    coordinates = np.zeros((len(vectors), 2), np.float32)
    parts = min(2, len(vectors) - 1, vectors.shape[1])
    centred = vectors - vectors.mean(axis=0)
    if parts < 1 or np.abs(centred).max() < 1e-12:  # PCA would divide by no variance
        return coordinates, 1.0
    method = PCA(parts, random_state=seed)
    coordinates[:, :parts] = method.fit_transform(centred)
    return coordinates, float(method.explained_variance_ratio_.sum())


def shown(text: str) -> str:
    """Escape signs of ``text`` that cannot be seen, or turn others round, and cut it if long.

    It is still text of anybody: the page never reads it as HTML.
    """
    text = text if len(text) <= LONGEST else text[: LONGEST - 1] + "…"
    return printable(text, keep=_JOINERS)


def labels_of(ids: Sequence[str], name: str, labels: Labels) -> dict[str, Any]:
    """Number the values of a label: the most frequent first, equally frequent ones by their text.

    Returns ``name``; ``values``, and their ``counts`` of tracks; ``tracks``, of each track the
    positions of its values, :data:`MOST_VALUES` at most; ``more``, by track, how many others there
    are; ``all``, the number of values, of which those that no track has there are left out. Raises
    EmbeddingsError for labels of other tracks only.
    """
    of_track = [list(dict.fromkeys(map(shown, values))) for values in _values(ids, name, labels)]
    counts = Counter(value for values in of_track for value in values)
    order = sorted(counts, key=lambda value: (-counts[value], value))
    position = {value: i for i, value in enumerate(order)}
    tracks = [[position[value] for value in values] for values in of_track]
    more = {row: len(one) - MOST_VALUES for row, one in enumerate(tracks) if len(one) > MOST_VALUES}
    if more:  # of playlists, a track may be in hundreds
        tracks = [
            sorted(one)[:MOST_VALUES] if row in more else one for row, one in enumerate(tracks)
        ]
        left = sorted({value for one in tracks for value in one})
        place = {value: i for i, value in enumerate(left)}
        order, tracks = [order[i] for i in left], [[place[i] for i in one] for one in tracks]
    return {
        "name": shown(name),
        "values": order,
        "counts": [counts[value] for value in order],
        "tracks": tracks,
        "more": more,
        "all": len(position),
    }


def _values(ids: Sequence[str], name: str, labels: Labels) -> list[list[str]]:
    """The values of each track, those that are empty left out."""
    if labels and not any(track_id in labels for track_id in ids):
        raise EmbeddingsError(
            f"{name} of {len(labels):,} tracks, such as {next(iter(labels))!r}, but of none of the "
            f"{len(ids):,} with an embedding, such as {ids[0]!r}"
        )
    given = [labels.get(track_id, ()) for track_id in ids]
    return [[v for v in ([one] if isinstance(one, str) else one) if v] for one in given]


def audio_link(page: str | Path, folder: str | Path, path: str) -> str | None:
    """Build the URL of the audio file ``path`` below a folder, relative to the folder of the page.

    None where the path leads out of the folder, or is a URL: what begins like one (``https:``,
    ``javascript:``) is a path only if there is such a file.
    """
    if not leads_below(path):
        return None
    if _LIKE_URL.match(path) and not os.path.isfile(os.path.join(folder, path)):
        return None
    beside = os.path.relpath(os.path.abspath(folder), os.path.dirname(os.path.abspath(page)))
    # A colon is quoted too, so that nothing before it is taken for the scheme of a URL.
    return quote(os.fsencode(os.path.join(beside, path).removeprefix("./")), safe="/")


def packed(array: np.ndarray) -> dict[str, str]:
    """Encode an array as its little-endian bytes and the name of JavaScript's type of array."""
    kinds = {"f4": "Float32Array", "i2": "Int16Array", "u2": "Uint16Array", "u4": "Uint32Array"}
    data = np.ascontiguousarray(array, array.dtype.newbyteorder("<")).tobytes()
    return {"type": kinds[array.dtype.str[1:]], "data": base64.b64encode(data).decode("ascii")}


def script_json(content: Any) -> str:
    """Encode JSON for a script element: no ``<``, so neither its end nor a comment."""
    text = json.dumps(content, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c")


def script_hash(script: str) -> str:
    """Source expression of a script that a page's content security policy lets run."""
    digest = hashlib.sha256(script.encode("utf-8")).digest()
    return f"'sha256-{base64.b64encode(digest).decode('ascii')}'"


def plot_item(coordinates: np.ndarray) -> dict[str, Any]:
    """Describe the plot for ``Bokeh.embed.embed_item``; the page's scripts fill in its points.

    Its renderers are named ``points`` (with :data:`COLUMNS`), ``near``, ``chosen`` and ``pointed``.
    """
    from bokeh.embed import json_item
    from bokeh.models import ColumnDataSource, Range1d
    from bokeh.plotting import figure

    tracks = len(coordinates)
    low, high = coordinates.min(axis=0).astype(float), coordinates.max(axis=0).astype(float)
    room = np.where(high > low, 0.05 * (high - low), 1.0)
    (left, bottom), (right, top) = low - room, high + room
    plot = figure(
        x_range=Range1d(left, right),
        y_range=Range1d(bottom, top),
        tools="pan,box_zoom,wheel_zoom,zoom_in,zoom_out,reset",
        active_scroll="wheel_zoom",
        toolbar_location="above",
        output_backend="webgl" if tracks > MOST_CANVAS else "canvas",
        sizing_mode="stretch_both",
        min_width=100,
        min_height=100,
        name="map",
        outline_line_color=None,
        background_fill_color=None,
        border_fill_color=None,
    )
    plot.axis.visible = plot.grid.visible = False  # the numbers along the edges mean nothing
    plot.toolbar.logo = None
    # Bokeh keeps room for the sign of a menu in its toolbar, and so hides the last tool in one.
    plot.toolbar.stylesheets = [":host { padding-right: 20px; }"]
    size = float(np.clip(200 / np.sqrt(tracks), 4, 10))
    looks: dict[str, Any] = {
        "fill_color": "color",
        "line_width": 0.7,
        "alpha": "alpha",
        "marker": "marker",
    }
    data = ColumnDataSource({name: [] for name in COLUMNS})
    plot.scatter("x", "y", source=data, size=size, name="points", **looks)
    for name, more, width in (("near", 4, 1), ("chosen", 7, 2.5), ("pointed", 5, 2)):
        data = ColumnDataSource({"x": [], "y": []})
        looks = {"fill_color": None, "line_width": width}
        plot.scatter("x", "y", source=data, size=size + more, name=name, **looks)
    return with_plain_ids(json_item(plot, cast(Any, "plot")))


def with_plain_ids(item: Any) -> Any:
    """Count the ids of an item from 1: Bokeh goes on counting as long as a process lives."""
    names: dict[str, str] = {}

    def renamed(node: Any) -> Any:
        if isinstance(node, list):
            return [renamed(part) for part in node]
        if not isinstance(node, dict):
            return node
        return {
            key: names.setdefault(part, f"m{len(names) + 1}")
            if key in ("id", "root_id") and isinstance(part, str)
            else renamed(part)
            for key, part in node.items()
        }

    return renamed(item)


@dataclass(frozen=True)
class MapPage:
    """Counts of a page.

    ``linked`` tracks have an audio file that the page plays; the path of ``refused`` ones (ids)
    is none below the audio folder.
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
) -> MapPage:
    """Write a map page.

    The page is one file that works without a network: a map of the tracks, coloured by any of
    ``labels``; a search field; the ten nearest of a selected track, which are those of
    :func:`~playlist_pretrain.evaluation.neighbours.nearest`; and its audio, which is not in the
    page but linked from it, so that page and audio have to stay where they are to each other. The
    same arguments give the same bytes.

    Parameters
    ----------
    path
        HTML file to write; replaced when there.
    embeddings
        Where it has one vector a window, the mean of each track is taken.
    labels, titles
        Name of a label, such as ``artist`` or ``tag``, → track id → its value or values, and track
        id → title. The first label colours the map to begin with. Ids without an embedding are
        left out.
    audio, files
        Folder that audio files are below, and track id → POSIX path below it; default those of
        ``embeddings``.
    selected
        Id of a track that is selected when the page opens.
    seed
        Seed of the layout.

    Raises
    ------
    EmbeddingsError
        For embeddings, labels or titles that cannot be shown.
    """
    table = embeddings.by_track()
    ids = list(table.track_ids)
    if not 1 <= len(ids) <= MOST_TRACKS:
        raise EmbeddingsError(f"a page must have 1 to {MOST_TRACKS:,} tracks, not {len(ids):,}")
    if selected is not None and selected not in ids:
        raise EmbeddingsError(f"track {selected!r} has no embedding")
    columns = [labels_of(ids, name, values) for name, values in (labels or {}).items() if values]
    names = [shown(" / ".join(values)) for values in _values(ids, "title", titles or {})]
    links, refused = _links(path, table, audio, files)
    logger.info(f"Looking for nearest tracks ({len(ids):,})")
    rows, similarities = _neighbours(table.vectors)
    logger.info(f"Laying out the map ({len(ids):,})")
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
    with atomic_write(path) as stream:
        stream.write(text.encode("utf-8", "backslashreplace"))
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
    found = {one: audio_link(page, folder, files[one]) for one in table.track_ids if one in files}
    refused = [track_id for track_id, link in found.items() if link is None]
    return [found.get(track_id) or "" for track_id in table.track_ids], refused


def _neighbours(vectors: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rows and similarities [tracks, k], in the smallest integers that hold them."""
    search, tracks = ExactSearch(vectors), len(vectors)
    kind = np.uint16 if tracks <= 1 << 16 else np.uint32
    if tracks == 1:
        return np.empty((1, 0), kind), np.empty((1, 0), np.int16)
    found = search.of_tracks(min(NEAREST, tracks - 1))
    return found.rows.astype(kind), np.rint(found.similarities * _DIGITS).astype(np.int16)


def _facts(table: EmbeddingTable, columns: Sequence[Mapping[str, Any]], method: str) -> str:
    """Facts about the page, as HTML."""
    counts = [("tracks", len(table)), ("dimensions", table.vectors.shape[1])]
    counts += [(f"values of {column['name']}", column["all"]) for column in columns]
    texts = [f"{count:,} {name}" for name, count in counts]
    for name in ("model", "collection"):
        if table.about.get(name):
            texts.append(f"{name}: {shown(str(table.about[name]))}")
    texts += [f"layout: {method}", f"playlist_pretrain {__version__}"]
    return "\n".join(f"<li><bdi>{html.escape(text)}</bdi></li>" for text in texts)


def _page(facts: str, data: Mapping[str, Any], item: Mapping[str, Any]) -> str:
    from bokeh.resources import Resources

    webgl = len(data["ids"]) > MOST_CANVAS
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
