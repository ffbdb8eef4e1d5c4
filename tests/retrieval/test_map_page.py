"""The map page as a file: layout, contents, links, size, and what is refused."""

import base64
import json
import re

import numpy as np
import pytest

from playlist_pretrain.errors import EmbeddingsError
from playlist_pretrain.evaluation.neighbours import nearest
from playlist_pretrain.records.schema import PackedStrings
from playlist_pretrain.retrieval.embedding_table import EmbeddingTable
from playlist_pretrain.retrieval.map_page import page as layout
from playlist_pretrain.retrieval.map_page.page import (
    MapPage,
    audio_link,
    plane_coordinates,
    write_map_page,
)


def table_of(vectors, ids=None, paths=None, **about):
    ids = [f"track/{i:04d}" for i in range(len(vectors))] if ids is None else ids
    return EmbeddingTable(
        PackedStrings.pack(ids),
        np.asarray(vectors, np.float32),
        None,
        None if paths is None else PackedStrings.pack(paths),
        about,
    )


def script(path, name):
    text = path.read_text("utf-8")
    found = re.findall(rf'<script type="application/json" id="{name}">(.*?)</script>', text, re.S)
    assert len(found) == 1
    return json.loads(found[0])


def unpacked(array, dtype):
    return np.frombuffer(base64.b64decode(array["data"]), dtype)


@pytest.mark.parametrize(("tracks", "dim"), [(1, 16), (2, 1), (7, 1), (8, 16)])
def test_few_tracks_have_finite_places(tracks, dim, rng):
    coordinates, method = plane_coordinates(rng.uniform(0.5, 2, (tracks, dim)))
    assert coordinates.shape == (tracks, 2) and coordinates.dtype == np.float32
    assert np.isfinite(coordinates).all()
    assert method.startswith("principal" if tracks < 8 else "t-SNE (perplexity")
    assert np.isfinite(plane_coordinates(np.ones((tracks, dim)))[0]).all()


def test_the_plane_keeps_neighbourhoods_and_depends_on_directions_only(rng):
    cluster = np.repeat(np.arange(6), 15)
    vectors = rng.normal(size=(6, 24))[cluster] + 0.3 * rng.normal(size=(90, 24))
    coordinates, _ = plane_coordinates(vectors)
    apart = np.linalg.norm(coordinates[:, None] - coordinates[None], axis=2)
    np.fill_diagonal(apart, np.inf)
    mates = cluster[np.argsort(apart, axis=1)[:, :5]] == cluster[:, None]
    assert mates.mean() > 0.95
    stretched = vectors * 2.0 ** rng.integers(-3, 3, (90, 1))
    np.testing.assert_array_equal(plane_coordinates(stretched)[0], coordinates)


def test_many_tracks_lie_by_their_components(rng, monkeypatch):
    monkeypatch.setattr(layout, "MOST_TSNE", 30)
    vectors = rng.normal(size=(31, 3)) * [9, 3, 0.01]
    coordinates, method = plane_coordinates(vectors)
    assert re.fullmatch(r"principal components 1 and 2 \(\d+% of the variance\)", method)
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    _, _, axes = np.linalg.svd(unit - unit.mean(0), full_matrices=False)
    expected = (unit - unit.mean(0)) @ axes[:2].T
    np.testing.assert_allclose(np.abs(coordinates), np.abs(expected), atol=1e-6)


def test_what_the_page_holds(tmp_path, rng):
    path = tmp_path / "map.html"
    vectors = rng.normal(size=(30, 5))
    table = table_of(vectors, model="runs/<x>", collection="tfrecords/y")
    artists = {f"track/{i:04d}": f"artist {i % 4}" for i in range(29)} | {"elsewhere": "nobody"}
    result = write_map_page(path, table, labels={"artist": artists}, selected="track/0007")
    assert result == MapPage(30, 0, ())
    data, found = script(path, "data"), nearest(table.vectors)
    assert data["ids"] == list(table.track_ids) and data["selected"] == 7
    assert data["links"] is None and data["titles"] is None
    rows = unpacked(data["neighbours"], "<u2").reshape(30, 10)
    np.testing.assert_array_equal(rows, found.rows)
    similarities = unpacked(data["similarities"], "<i2").reshape(30, 10) / data["digits"]
    np.testing.assert_allclose(similarities, found.similarities, atol=0.5001 / data["digits"])
    coordinates, method = plane_coordinates(table.vectors)
    np.testing.assert_array_equal(unpacked(data["x"], "<f4"), coordinates[:, 0])
    np.testing.assert_array_equal(unpacked(data["y"], "<f4"), coordinates[:, 1])
    text = path.read_text("utf-8")
    facts = ["30 tracks", "5 dimensions", "4 values of artist", "model: runs/&lt;x&gt;"]
    for fact in [*facts, f"layout: {method}"]:
        assert f"<bdi>{fact}</bdi>" in text
    assert "nobody" not in text
    assert not re.search(r'(src|href)="', text.split("<script")[0])


def test_the_same_input_gives_the_same_bytes(tmp_path, rng):
    table = table_of(rng.normal(size=(40, 6)))
    tags = {track: ["a", "b"][: i % 3] for i, track in enumerate(table.track_ids)}
    for name in ("one", "two"):
        write_map_page(tmp_path / name, table, labels={"tag": tags})
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()
    write_map_page(tmp_path / "two", table, labels={"tag": tags}, seed=1)
    assert (tmp_path / "one").read_bytes() != (tmp_path / "two").read_bytes()


def test_a_track_in_dozens_shows_the_most_frequent_and_how_many_more(tmp_path, rng):
    table = table_of(rng.normal(size=(50, 4)))
    lists = {one: [f"list {n:02}" for n in range(i % 40 + 1)] for i, one in enumerate(table.ids)}
    write_map_page(tmp_path / "map.html", table, labels={"playlist": lists})
    (label,) = script(tmp_path / "map.html", "data")["labels"]
    assert label["values"] == [f"list {n:02}" for n in range(20)] and label["all"] == 40
    assert label["counts"][0] == 50 and label["counts"][19] == 21
    for row, values in enumerate(label["tracks"]):
        assert values == list(range(min(row % 40 + 1, 20)))
        assert label["more"].get(str(row), 0) == max(0, row % 40 + 1 - 20)
    assert "40 values of playlist" in (tmp_path / "map.html").read_text("utf-8")


HOSTILE = [
    "</script><script>alert(1)</script>",
    "<!--<script>",
    "<img src=x onerror=alert(1)>",
    "\"'`${alert(1)} $style $data &lt;",
    "right\u202eto left",
    "line\u2028\x1b[31m\n",
    "家族 👩‍👩‍👧 é",
]


def test_text_of_anybody_does_not_leave_its_place(tmp_path, rng):
    labels = {name: {track: [name] for track in HOSTILE} for name in HOSTILE}
    table = table_of(rng.normal(size=(len(HOSTILE), 4)), HOSTILE, model=HOSTILE[0])
    path = tmp_path / "map.html"
    write_map_page(path, table, labels=labels, titles=dict(zip(HOSTILE, HOSTILE, strict=True)))
    data = script(path, "data")
    assert data["ids"] == data["titles"] == [label["name"] for label in data["labels"]]
    assert data["ids"][:4] == HOSTILE[:4] and data["ids"][6] == HOSTILE[6]
    assert data["ids"][4:6] == ["right\\u202eto left", "line\\u2028\\x1b[31m\\n"]
    plain = tmp_path / "plain.html"
    write_map_page(plain, table_of(rng.normal(size=(7, 4))))
    tags = [re.findall(r"<(?:/?script|!--|img)", file.read_text()) for file in (path, plain)]
    assert tags[0] == tags[1]


@pytest.mark.parametrize(("path", "link"), [
    ("a/b.mp3", "music/a/b.mp3"),
    ("a #1?/50% b.mp3", "music/a%20%231%3F/50%25%20b.mp3"),
    ('"><b>.wav', "music/%22%3E%3Cb%3E.wav"),
    ("a\\b.wav", "music/a%5Cb.wav"),
    ("1:30.mp3", "music/1%3A30.mp3"),
    *((path, None) for path in (
        "/etc/passwd", "../a.mp3", "a/../../b.mp3", "a//b.mp3", "a/", "a\0b", "javascript:alert(1)",
        "https://example.org/a.mp3", "//example.org/a.mp3", "data:audio/wav,x",
    )),
])  # fmt: skip
def test_links_of_paths_below_the_folder(path, link, tmp_path):
    assert audio_link(tmp_path / "map.html", tmp_path / "music", path) == link


def test_links_lead_from_the_page_to_the_folder(tmp_path, monkeypatch):
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    assert audio_link("pages/map.html", "audio", "a.mp3") == "../audio/a.mp3"
    assert audio_link("map.html", "../mu sic", "a.mp3") == "../mu%20sic/a.mp3"
    assert audio_link("audio/map.html", "audio", "a:b.mp3") is None
    (tmp_path / "work" / "audio").mkdir()
    (tmp_path / "work" / "audio" / "a:b.mp3").touch()
    # Not "a:b.mp3", which would be an address of the scheme a.
    assert audio_link("audio/map.html", "audio", "a:b.mp3") == "a%3Ab.mp3"


def test_the_page_says_which_paths_it_does_not_link(tmp_path, rng):
    path, audio = tmp_path / "map.html", str(tmp_path / "sound")
    table = table_of(rng.normal(size=(3, 2)), "abc", ["a.mp3", "../b.mp3", "c.mp3"], audio=audio)
    assert write_map_page(path, table) == MapPage(3, 2, ("b",))
    assert script(path, "data")["links"] == ["sound/a.mp3", "", "sound/c.mp3"]
    write_map_page(path, table, audio=tmp_path / "moved")
    assert script(path, "data")["links"][0] == "moved/a.mp3"
    for folder in (None, 7, "s3://bucket/audio"):
        table = table_of(table.vectors, "abc", ["a", "b", "c"], audio=folder)
        assert write_map_page(path, table) == MapPage(3, 0, ())


@pytest.mark.parametrize(("change", "message"), [
    ({"selected": "z"}, "track 'z' has no embedding"),
    ({"labels": {"artist": {"z": "Z"}}}, "artist of 1 tracks, such as 'z', but of none of the 3"),
    ({"titles": {"z": "Z"}}, "title of 1 tracks"),
    ({"embeddings": table_of([[1, 0], [0, 0]])}, "row 1: all zeros"),
    ({"embeddings": table_of([[0, 0]])}, "row 0: all zeros"),
    ({"embeddings": table_of(np.ones((0, 2)))}, "a page must have 1 to 100,000 tracks, not 0"),
])  # fmt: skip
def test_refuses(change, message, tmp_path, rng):
    given = {"embeddings": table_of(rng.normal(size=(3, 2)), "abc")} | change
    with pytest.raises(EmbeddingsError, match=message):
        write_map_page(tmp_path / "map.html", **given)
    assert list(tmp_path.iterdir()) == []
