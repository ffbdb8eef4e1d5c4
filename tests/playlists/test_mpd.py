"""Slices of the Million Playlist Dataset, with invented rows."""

import json

import pytest

from playlist_pretrain.errors import TableError
from playlist_pretrain.playlists.readers import Request
from playlist_pretrain.playlists.readers.mpd import MpdReader

READER = MpdReader()


def read(path, **request):
    return READER.read(READER.sources(path), Request(**request))


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
    assert list(read(path)) == [
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
    assert [pid for pid, _ in read(tmp_path / "mpd")] == ["1000", "2000", "10000"]


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
        list(read(path))
    assert str(caught.value).startswith(f"{path}: ")
    assert message in str(caught.value)


def test_artists_and_albums_have_a_track_once_a_slice(tmp_path):
    lists = [playlist(0, 1, 2), playlist(1, 2, 3)]
    for number, entry in enumerate(lists[0]["tracks"] + lists[1]["tracks"]):
        entry["artist_uri"] = f"spotify:artist:{number % 2}"
    path = write(tmp_path / "mpd.slice.0-999.json", *lists)
    uris = [URI.format(number) for number in range(4)]
    assert list(read(path, kind="artists")) == [
        ("spotify:artist:0", [uris[1], uris[2]]),
        ("spotify:artist:1", [uris[2], uris[3]]),
    ]
    assert list(read(path, kind="albums")) == [("spotify:album:0", uris[1:])]
    del lists[1]["tracks"][1]["artist_uri"]
    path = write(tmp_path / "mpd.slice.0-999.json", *lists)
    with pytest.raises(TableError, match="pid 1, track 1: no 'artist_uri'"):
        list(read(path, kind="artists"))


@pytest.mark.parametrize("workers", [1, 2, 3])
def test_processes_read_the_same_in_the_same_order(tmp_path, workers):
    for first in range(0, 12_000, 1000):
        write(tmp_path / f"mpd.slice.{first}-{first + 999}.json", playlist(first, 1, 2))
    (tmp_path / "mpd.slice.5000-5999.json").write_text('{"playlists": [{"pid": 5, "tracks": []}, ')
    damage, told = [], []
    found = list(read(tmp_path, workers=workers, damaged=damage.append, advance=told.append))
    expected = [5 if first == 5000 else first for first in range(0, 12_000, 1000)]
    assert [int(pid) for pid, _ in found] == expected
    assert len(damage) == 1 and "mpd.slice.5000-5999.json: not JSON" in str(damage[0])
    assert sum(told) == sum(source.size for source in READER.sources(tmp_path))


def test_what_msgspec_refuses_and_json_takes_is_read(tmp_path):
    path = tmp_path / "mpd.slice.0-999.json"
    path.write_text('\ufeff{"info": NaN, "playlists": [{"pid": 1, "tracks": [], "x": Infinity}]}')
    assert list(read(path)) == [("1", [])]


def test_a_cut_off_slice_keeps_its_whole_playlists(tmp_path):
    path = write(tmp_path / "mpd.slice.0-999.json", *(playlist(pid, 1, 2) for pid in range(5)))
    text = path.read_text(encoding="utf-8")
    path.write_text(text[: text.index('"pid": 3') + 20], encoding="utf-8")
    damage = []
    assert [pid for pid, _ in read(path, damaged=damage.append)] == ["0", "1", "2"]
    assert "line 1 column" in str(damage[0])
