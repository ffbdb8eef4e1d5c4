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
        {"pos": i, "track_uri": URI.format(number), "artist_uri": "spotify:artist:0",
         "album_uri": "spotify:album:0", "track_name": "A Track", "duration_ms": 200_000}
        for i, number in enumerate(numbers)
    ]  # fmt: skip
    return {"name": "evening 🌙", "collaborative": "false", "pid": pid, "num_tracks": len(tracks),
            "modified_at": 1493424000, "tracks": tracks}  # fmt: skip


def write(path, *playlists):
    info = {"generated_on": "2017-12-03 08:41:42.057563", "slice": "0-999", "version": "v1"}
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps({"info": info, "playlists": playlists}), encoding="utf-8")
    return path


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


def test_artists_and_albums_have_a_track_as_often_as_playlists_have_it(tmp_path):
    lists = [playlist(0, 1, 2), playlist(1, 2, 3)]
    for number, entry in enumerate(lists[0]["tracks"] + lists[1]["tracks"]):
        entry["artist_uri"] = f"spotify:artist:{number % 2}"
    path = write(tmp_path / "mpd.slice.0-999.json", *lists)
    uris = [URI.format(number) for number in range(4)]
    assert list(read(path, kind="artists")) == [
        ("spotify:artist:0", [uris[1], uris[2]]),
        ("spotify:artist:1", [uris[2], uris[3]]),
    ]
    assert list(read(path, kind="albums")) == [
        ("spotify:album:0", [uris[1], uris[2], uris[2], uris[3]])
    ]
    del lists[1]["tracks"][1]["artist_uri"]
    path = write(tmp_path / "mpd.slice.0-999.json", *lists)
    with pytest.raises(TableError, match="pid 1, track 1: no 'artist_uri'"):
        list(read(path, kind="artists"))


@pytest.mark.parametrize("workers", [1, 2])
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


def test_what_processes_leave_out_is_told(tmp_path):
    for first in range(0, 3000, 1000):
        lists = playlist(first, 1, 2)
        lists["tracks"][0]["track_uri"] = ""
        write(tmp_path / f"mpd.slice.{first}-{first + 999}.json", lists)
    told = []
    found = list(read(tmp_path, workers=2, damaged=told.append))
    assert [len(tracks) for _, tracks in found] == [1, 1, 1]
    assert {(error.reason, error.usual) for error in told} == {("an id is empty", True)}
    assert [f"pid {1000 * number}, track 0" in str(error) for number, error in enumerate(told)] == [
        True, True, True,
    ]  # fmt: skip
