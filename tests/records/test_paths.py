"""Paths as other systems write them, and the ids that they mean."""

import unicodedata

import numpy as np
import pytest

from playlist_pretrain.playlists.readers.paths import without_extension
from playlist_pretrain.records.paths import (
    ADDRESSES,
    ELSEWHERE,
    SEVERAL,
    PathIds,
    path_of_uri,
    slashed,
)

IDS = ["Nina/Up & Away", "Café/Été", "Café/50% off", "What?", "#1 Hits/a", "X/b", "x/B", "straße/1"]


class Known:
    """Ids in a dictionary."""

    def __init__(self, ids):
        self.track_ids = ids

    def rows(self, ids):
        places = {one: place for place, one in enumerate(self.track_ids)}
        return np.array([places.get(one, -1) for one in ids], np.int32)


def of(*asked, ids=IDS, **settings):
    paths = PathIds(Known(ids), every=True, strip=without_extension, **settings)
    return paths.rows(list(asked)).tolist(), paths


def nfd(text):
    return unicodedata.normalize("NFD", text)


@pytest.mark.parametrize(
    ("asked", "row", "how"),
    [
        ("Nina/Up & Away", 0, None),
        ("Nina/Up%20%26%20Away.mp3", 0, "percent-decoded"),
        ("Caf%C3%A9/%C3%89t%C3%A9", 1, "percent-decoded"),
        ("Café/50% off", 2, None),
        ("Café/50%25 off", 2, "percent-decoded"),
        (nfd("Café/Été"), 1, "in another Unicode form"),
        ("Caf%65%CC%81/E%CC%81te%CC%81", 1, "percent-decoded, in another Unicode form"),
        ("Nina\\Up & Away.flac", 0, "with / for \\"),
        (".\\Nina/x\\..\\Up & Away", 0, "with / for \\"),
        ("nina/UP & away", 0, "in another letter case"),
        (nfd("CAFÉ\\été.MP3"), 1, "with / for \\, in another letter case"),
        ("STRASSE/1", 7, "in another letter case"),
        ("X/b", 5, None),
        ("x/b", -1, SEVERAL),
        ("what%3f", 3, "percent-decoded, in another letter case"),
        ("nowhere/at/all", -1, ""),
        ("https://example.org/Nina/Up & Away", -1, ADDRESSES),
        ("spotify:track:What?", -1, ADDRESSES),
        ("/elsewhere/x", -1, ELSEWHERE),
        ("..\\x", -1, ELSEWHERE),
        ("D:\\x", -1, ELSEWHERE),
        ("%", -1, ""),
        ("\\", -1, ELSEWHERE),
    ],
)
def test_forms_of_a_path(asked, row, how):
    rows, paths = of(asked)
    assert rows == [row]
    said = paths.matched if row >= 0 else paths.missed
    assert {name: count for name, count in said.items() if count} == ({how: 1} if how else {})


def test_composed_ids_are_found_where_the_files_have_decomposed_names():
    rows, paths = of("Café/Été", ids=[nfd("Café/Été")])
    assert rows == [0] and paths.notes() == ["1 matched in another Unicode form"]


@pytest.mark.parametrize(
    "start", ["D:\\Music\\", "\\\\server\\share\\", "/home/me/Music/", "file:///D:/Music/",
              "file://server/share/", "Music/", "../Music/"],
)  # fmt: skip
def test_what_most_paths_begin_with_is_found_and_said(start):
    asked = [f"{start}{one}.mp3" for one in ("Nina/Up & Away", "Café/Été", "gone/x")]
    if start.startswith("file:"):
        asked = [one.replace(" ", "%20") for one in asked]
    rows, paths = of(*asked)
    assert rows == [0, 1, -1]
    prefix = slashed(path_of_uri(start) if start.startswith("file:") else start) + "/"
    assert paths.prefix == prefix
    assert f"paths begin with {prefix!r}: found; --path-prefix sets it" in paths.notes()
    assert paths.rows([asked[0].upper()]).tolist() == [0]


def test_no_prefix_is_made_of_one_path_or_of_few():
    assert of("/m/What?.mp3")[0] == [-1]
    many = [f"/other/{number}.mp3" for number in range(3)]
    rows, paths = of("/m/What?.mp3", "/m/Nina/Up & Away.mp3", *many)
    assert rows == [-1] * 5 and paths.prefix is None


def test_names_alone_are_no_evidence_where_several_folders_have_them():
    flat = ["01", "02", "03", "deep/04"]
    rows, paths = of("/m/A/01.mp3", "/m/A/02.mp3", "/m/A/03.mp3", ids=flat)
    assert rows == [0, 1, 2]
    assert paths.notes()[0] == (
        "paths begin with '/m/A/': found by the names of files alone; --path-prefix sets it"
    )
    asked = [f"/m/{album}/{number}.mp3" for album in "AB" for number in ("01", "02", "03")]
    rows, paths = of(*asked[:5], ids=flat)
    assert rows == [-1] * 5 and paths.prefix is None
    # 3 of 5 lie below /m/A, but only 03 is there and nowhere else.


def test_a_prefix_is_found_in_later_ids_where_the_first_need_none():
    paths = PathIds(Known(IDS), every=True, strip=without_extension)
    assert paths.rows(["What?", "/m/gone"]).tolist() == [3, -1]
    assert paths.rows(["/m/What?", "/m/Nina/Up & Away.mp3"]).tolist() == [3, 0]


def test_a_prefix_that_is_a_folder_of_the_collection():
    ids = ["Music/a", "a", "Music/b"]
    assert of("Music/a", "Music/b", "a", ids=ids)[0] == [0, 2, 1]
    rows, paths = of("Music/a.mp3", "Music/b", "Music/c", "a", ids=ids, prefix="Music")
    assert rows == [1, 2, -1, 1]  # b is only there as it is written
    assert paths.notes() == ["1 matched below 'Music/'"]


def test_names_of_every_kind():
    ids = [
        "AC\\DC/Back",
        "İstanbul/1",
        "ﬁn",
        "a+b/c",
        "100%/x",
        "a%20b/x",
        "Mozart: Requiem/1",
        "e/É",
    ]
    same = [
        *ids,
        "AC/DC\\Back",
        "A+B/C",
        "100%25/x",
        "İSTANBUL/1",
        "ac\\dc/back",
        "fin",
        "E/e\u0301",
    ]
    rows, paths = of(*(f"{one}.mp3" for one in same), ids=ids)
    assert rows == [*range(8), 0, 3, 4, 1, 0, 2, 7]
    assert of("a b/x", "a+b c", "i\u0307stanbul/1", "istanbul/1", ids=ids)[0] == [-1, -1, 1, -1]
    assert "1 matched with / for \\" in paths.notes()
    # Of two files that differ in case, or in Unicode form, only the one that is written.
    twins = ["x/a", "x/A", "y/\xe9", "y/e\u0301"]
    rows, paths = of(*twins, "X/a", "X/A", "Y/\xe9", ids=twins)
    assert rows == [0, 1, 2, 3, -1, -1, -1]
    assert paths.notes() == [f"3 {SEVERAL}"]


def test_a_prefix_that_is_given():
    for prefix in ("D:\\Music", "d:/music/", "D:\\MUSIC\\"):
        asked = ["D:\\Music\\What?.mp3", "D:\\Musical\\What?.mp3", "E:\\Music\\What?.mp3"]
        assert of(*asked, prefix=prefix)[0] == [3, -1, -1]
    assert of("What?", "/m/What?", prefix="/m")[0] == [3, 3]


def test_only_what_looks_like_a_path_is_tried_where_ids_need_not_be_paths():
    paths = PathIds(Known(["a", "b/c"]))
    assert paths.rows(["A", "B/c", "b\\c", "a"]).tolist() == [-1, 1, 1, 0]


@pytest.mark.parametrize(
    ("uri", "path"),
    [
        ("file:///m/a%20b.mp3", "/m/a b.mp3"),
        ("file:///m/What?.mp3", "/m/What?.mp3"),
        ("file:///m/#1.mp3", "/m/#1.mp3"),
        ("file://localhost/m/a.mp3", "/m/a.mp3"),
        ("file:///D:/m/a.mp3", "D:/m/a.mp3"),
        ("file://server/m/a.mp3", "//server/m/a.mp3"),
        ("FILE:/m/a.mp3", "/m/a.mp3"),
        ("file:m/a.mp3", "m/a.mp3"),
    ],
)
def test_path_of_uri(uri, path):
    assert path_of_uri(uri) == path
