"""The Melon Playlist Dataset, with invented songs."""

import json

import pytest

from playlist_pretrain.errors import TableError
from playlist_pretrain.playlists.readers import Request
from playlist_pretrain.playlists.readers.melon import MelonReader

READER = MelonReader()
SONGS = [
    {"id": 10, "album_id": 5, "artist_id_basket": [1, 2], "artist_name_basket": ["x", "y"],
     "song_name": "s", "song_gn_gnr_basket": ["GN0100"], "song_gn_dtl_gnr_basket": ["GN0101"],
     "issue_date": "20200101"},
    {"id": 11, "album_id": 5, "artist_id_basket": [2], "song_gn_gnr_basket": ["GN0100", "GN0200"]},
    {"id": 12, "album_id": 6, "artist_id_basket": [], "song_gn_gnr_basket": []},
]  # fmt: skip


def write(folder, **documents):
    folder.mkdir(exist_ok=True)
    for name, content in documents.items():
        content = content if isinstance(content, str) else json.dumps(content)
        (folder / f"{name}.json").write_text(content, encoding="utf-8")
    return folder


def read(path, **request):
    return list(READER.read(READER.sources(path), Request(**request)))


@pytest.fixture
def melon(tmp_path):
    playlist = {"plylst_title": "t", "tags": ["a"], "like_cnt": 1, "updt_date": "2019"}
    return write(
        tmp_path / "melon",
        train=[{"id": 1, "songs": [10, 11], **playlist}, {"id": 2, "songs": [12], **playlist}],
        val=[{"id": 3, "songs": [11], **playlist}],
        test=[{"id": 4, "songs": [], **playlist}],
        song_meta=SONGS,
    )


def test_playlists_of_all_files(melon):
    told = []
    assert sorted(read(melon, advance=told.append)) == [
        ("1", ["10", "11"]), ("2", ["12"]), ("3", ["11"]), ("4", []),
    ]  # fmt: skip
    assert sum(told) == sum(file.stat().st_size for file in melon.iterdir())
    assert READER.sniff(melon) and READER.sniff(melon / "song_meta.json")


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("artists", [("1", ["10"]), ("2", ["10"]), ("2", ["11"])]),
        ("albums", [("5", ["10"]), ("5", ["11"]), ("6", ["12"])]),
        ("genres", [("GN0100", ["10"]), ("GN0100", ["11"]), ("GN0200", ["11"])]),
    ],
)
def test_groups_of_songs(melon, kind, expected):
    assert read(melon, kind=kind) == expected
    assert read(melon / "song_meta.json", kind=kind) == expected


def test_a_kind_whose_file_is_missing(melon):
    (melon / "song_meta.json").unlink()
    with pytest.raises(TableError, match=r"artists are in song_meta\.json, which is not here"):
        read(melon, kind="artists")
