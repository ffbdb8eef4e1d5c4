"""Slices of the Million Playlist Dataset, with invented rows."""

import json

import pytest

from playlist_pretrain.errors import TableError
from playlist_pretrain.playlists.readers.mpd import MpdReader

READER = MpdReader()
URI = "spotify:track:{:022d}"


def playlist(pid, *numbers):
    """A playlist with every field the data set has."""
    tracks = [
        {
            "pos": position,
            "artist_name": "An Artist",
            "track_uri": URI.format(number),
            "artist_uri": "spotify:artist:0",
            "track_name": "A Track",
            "album_uri": "spotify:album:0",
            "duration_ms": 200_000,
            "album_name": "An Album",
        }
        for position, number in enumerate(numbers)
    ]
    return {
        "name": "evening 🌙",
        "collaborative": "false",
        "pid": pid,
        "modified_at": 1493424000,
        "num_albums": 1,
        "num_tracks": len(tracks),
        "num_followers": 1,
        "num_edits": 2,
        "duration_ms": 200_000 * len(tracks),
        "num_artists": 1,
        "tracks": tracks,
    }


def write(path, *playlists):
    info = {"generated_on": "2017-12-03 08:41:42.057563", "slice": "0-999", "version": "v1"}
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps({"info": info, "playlists": playlists}), encoding="utf-8")
    return path


def test_one_slice(tmp_path):
    path = write(
        tmp_path / "mpd.slice.0-999.json", playlist(0, 5, 3, 5), playlist(1), playlist(2, 1)
    )
    assert list(READER.read(path)) == [
        ("0", [URI.format(5), URI.format(3), URI.format(5)]),
        ("1", []),
        ("2", [URI.format(1)]),
    ]


@pytest.mark.parametrize("below", ["", "data"])
def test_a_folder_is_read_by_number(tmp_path, below):
    folder = tmp_path / "mpd" / below
    folder.mkdir(parents=True)
    for first in (10_000, 2_000, 1_000):
        write(folder / f"mpd.slice.{first}-{first + 999}.json", playlist(first, 1, 2))
    (folder / "mpd.slice.0-999.json.part").write_text("{")
    (folder / "stats.txt").write_text("number of playlists")
    assert READER.sniff(tmp_path / "mpd")
    assert [pid for pid, _ in READER.read(tmp_path / "mpd")] == ["1000", "2000", "10000"]


def test_one_slice_in_memory_at_a_time(tmp_path):
    for first in (0, 1000):
        write(tmp_path / f"mpd.slice.{first}-{first + 999}.json", playlist(first, 1))
    told = []
    parts = READER.read(tmp_path, None, told.append)
    assert next(parts)[0] == "0"
    assert len(told) == 1


@pytest.mark.parametrize(
    ("name", "content", "recognised"),
    [
        ("mpd.slice.0-999.json", b"", True),
        ("mine.json", b' {"info": {}, "playlists": [{"name": "x", "pid": 0', True),
        ("mine.json", b'{"playlists": [{"id": 0', False),
        ("mine.json", b'[{"playlists": 1, "pid": 2}]', False),
    ],
)
def test_sniff(tmp_path, name, content, recognised):
    (tmp_path / name).write_bytes(content)
    assert READER.sniff(tmp_path / name) is recognised


def without(key, holder):
    return {name: value for name, value in holder.items() if name != key}


TRACK = {"track_uri": "t"}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"  \n", "the file is empty"),
        (b'{"playlists": [', "not JSON, cut off or damaged"),
        (b'{"playlists": [}]}', "line 1 column 16 (char 15)"),
        (b'{"playlists": "\xff"}', "byte 15: not UTF-8"),
        (b'{"playlists": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", "nested too deeply"),
        (b'{"playlists": ' + b"9" * 5000 + b"}", "not JSON"),
        ([], "no list 'playlists'"),
        ({"info": {}}, "no list 'playlists'"),
        ({"playlists": {"0": {}}}, "no list 'playlists'"),
        ({"playlists": [{"pid": 1, "tracks": []}, 5]}, "playlist 1 of the slice: not an object"),
        ({"playlists": [{"tracks": []}]}, "playlist 0 of the slice: no 'pid'"),
        ({"playlists": [{"pid": "1", "tracks": []}]}, "'pid' is not a whole number"),
        ({"playlists": [{"pid": True, "tracks": []}]}, "'pid' is not a whole number"),
        ({"playlists": [{"pid": 17}]}, "pid 17: no 'tracks'"),
        ({"playlists": [{"pid": 17, "tracks": {}}]}, "pid 17: 'tracks' is not a list"),
        ({"playlists": [{"pid": 17, "tracks": [TRACK, None]}]}, "pid 17, track 1: not an object"),
        ({"playlists": [{"pid": 17, "tracks": [TRACK, {}]}]}, "pid 17, track 1: no 'track_uri'"),
        ({"playlists": [{"pid": 17, "tracks": [{"track_uri": 3}]}]}, "'track_uri' is not text"),
        ({"playlists": [{"pid": 17, "tracks": [{"track_uri": ""}]}]}, "'track_uri' is empty"),
        (
            {"playlists": [{"pid": 17, "tracks": [{"track_uri": "\ud800"}]}]},
            "pid 17, track 0: 'track_uri' is not valid Unicode",
        ),
    ],
)
def test_bad_slices(tmp_path, content, message):
    path = tmp_path / "mpd.slice.0-999.json"
    path.write_bytes(content if isinstance(content, bytes) else json.dumps(content).encode())
    with pytest.raises(TableError) as caught:
        list(READER.read(path))
    assert str(caught.value).startswith(f"{path}: ")
    assert message in str(caught.value)


@pytest.mark.parametrize("key", ["pid", "tracks"])
def test_a_missing_field_keeps_the_playlists_before_it(tmp_path, key):
    path = write(tmp_path / "x.json", playlist(0, 1), without(key, playlist(1, 2)))
    parts = READER.read(path)
    assert next(parts) == ("0", [URI.format(1)])
    with pytest.raises(TableError, match=f"no '{key}'"):
        next(parts)


def test_columns_are_for_tables(tmp_path):
    path = write(tmp_path / "mpd.slice.0-999.json", playlist(0, 1))
    with pytest.raises(TableError, match="--columns is for tables"):
        list(READER.read(path, {"group": "artist"}))
