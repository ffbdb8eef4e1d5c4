"""Matching against dictionaries and lists, and what its report says."""

import json
import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from playlist_pretrain.cli.match_playlists import parse_columns
from playlist_pretrain.errors import GroupsError, TableError
from playlist_pretrain.playlists import match as look_up
from playlist_pretrain.playlists.groups import TrackGroups
from playlist_pretrain.playlists.match import IdMap, match_groups, match_playlists

IDS = [*"abcdef", "ü/1"]


@pytest.fixture(scope="module")
def mine(make_collection, tmp_path_factory):
    return make_collection(tmp_path_factory.mktemp("collection") / "mine", [10] * len(IDS), ids=IDS)


def lists_of(groups):
    return [groups.group(i).tolist() for i in range(len(groups))]


NAMES = st.sampled_from([*IDS, "zz", "A", "a "])
PARTS = st.lists(st.tuples(st.sampled_from("pqrs"), st.lists(NAMES, max_size=6)), max_size=12)


@pytest.mark.parametrize("at_once", [3, 65_536])
@settings(max_examples=50, deadline=None, derandomize=True)
@given(parts=PARTS)
def test_matching_is_that_of_dictionaries(mine, at_once, parts):
    row_of = {track_id: row for row, track_id in enumerate(mine.track_ids)}
    expected: dict[str, list[int]] = {}
    unknown = repeated = 0
    for group, tracks in parts:
        rows = expected.setdefault(group, [])
        for track in tracks:
            if track not in row_of:
                unknown += 1
            elif row_of[track] in rows:
                repeated += 1
            else:
                rows.append(row_of[track])
    kept = {group: rows for group, rows in expected.items() if len(rows) >= 2}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(look_up, "LOOK_UP", at_once)
        if not kept:
            with pytest.raises(GroupsError):
                match_groups(parts, mine, "x")
            return
        groups, coverage = match_groups(parts, mine, "x")
    assert dict(zip(groups.group_ids, lists_of(groups), strict=True)) == kept
    assert list(groups.group_ids) == list(kept)
    assert (coverage.entries_unknown, coverage.entries_repeated) == (unknown, repeated)
    assert coverage.groups_read == len(expected)
    assert coverage.entries_read == sum(len(tracks) for _, tracks in parts)
    assert coverage.entries_read == (
        coverage.entries_matched
        + coverage.entries_unknown
        + coverage.entries_repeated
        + coverage.entries_in_dropped_groups
    )
    covered = {row for rows in kept.values() for row in rows}
    assert coverage.tracks_covered == len(covered)
    assert coverage.groups_per_track == sum(map(len, kept.values())) / len(covered)


def test_nothing_matched_shows_ids_of_both_sides(mine):
    with pytest.raises(GroupsError) as caught:
        match_groups([("x", ["s:1", "s:1"]), ("y", ["s:2", "s\x1b3", "s:4"])], mine, "x")
    message = str(caught.value)
    assert "none of the 5 entries" in message
    assert r"'s:1', 's:2', 's\x1b3'," in message
    assert ", ".join(map(repr, list(mine.track_ids)[:3])) in message
    assert "s:4" not in message


def test_ids_that_lost_their_zeros(make_collection, tmp_path):
    numbered = make_collection(tmp_path / "numbered", [10] * 3, ids=["063", "064", "65"])
    groups = [("x", ["065", "63", "64", "63", "zz"])]
    with pytest.raises(GroupsError, match=r"like '065', '63', '64' \(did you mean '65'\?\), the"):
        match_groups(groups, numbered, "x")
    _, coverage = match_groups([*groups, ("y", ["063", "064"])], numbered, "x")
    assert dict(zip(coverage.wanted, coverage.hints, strict=True)) == {
        ("63", 2): " (did you mean '063'?)",
        ("065", 1): " (did you mean '65'?)",
        ("64", 1): " (did you mean '064'?)",
        ("zz", 1): "",
    }
    assert "    2,  '63' (did you mean '063'?)\n" not in coverage.text()
    assert "  '63' (did you mean '063'?)\n" in coverage.text()
    assert "hints" not in coverage.to_dict()


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ([("x", ["a"]), ("y", ["b", "b"])], "no group has two tracks of the 3 entries found"),
        ([], "holds no groups"),
        ([("x", [])], "ids look like nothing"),
    ],
)
def test_no_group_left(mine, entries, message):
    with pytest.raises(GroupsError, match=message):
        match_groups(entries, mine, "x")


@pytest.mark.parametrize(
    "text",
    ["", "artist", "group=", "=x", "group=a,group=b", "group=a,track=a", "groups=a", "group"],
)
def test_columns_that_say_nothing(text):
    with pytest.raises(TableError, match="--columns"):
        parse_columns(text)


@pytest.fixture
def match(mine, tmp_path):
    for file in mine.path.glob("groups-*"):
        file.unlink()
    table = tmp_path / "p.csv"
    table.write_text("group_id,track_id\nx,a\nx,b\ny,c\ny,d\ny,zz\n")

    def match(**change):
        given = {"playlists": table, "collection": mine.path} | change
        return match_playlists(given.pop("playlists"), given.pop("collection"), **given)

    return match


def test_files_written(mine, match, caplog):
    caplog.set_level("INFO")
    found = match(collection=mine)
    path = mine.path / "groups-playlists.npz"
    assert TrackGroups.load(path).content_key == found.groups.content_key
    report = json.loads((mine.path / "groups-playlists.report.json").read_text())
    assert report["content_key"] == found.groups.content_key
    assert report["collection"] == {"name": "mine", "content_key": mine.content_key}
    assert report["format"] == "table"
    assert report["wanted"] == [{"track_id": "zz", "entries": 1}]
    assert report["entries_read"] == 5 and report["groups_per_track"] == 1.0
    assert caplog.messages[0] == found.coverage.text()
    assert caplog.messages[-1] == f"{path}: written"
    assert repr(found) == f"{found.coverage.text()}\n{path}"
    before = path.stat().st_mtime_ns
    match()
    assert path.stat().st_mtime_ns == before
    assert caplog.messages[-1] == f"{path}: holds these groups already"


def test_other_groups_of_the_same_name(mine, match, tmp_path):
    match()
    path = mine.path / "groups-playlists.npz"
    report = path.with_suffix(".report.json").read_bytes()
    before = path.read_bytes()
    for number, text in enumerate(["x,a\nx,c\n", "renamed,a\nrenamed,b\ny,c\ny,d\n"]):
        other = tmp_path / f"{number}.csv"
        other.write_text("group_id,track_id\n" + text)
        with pytest.raises(GroupsError, match=r"holds other groups.*--overwrite"):
            match(playlists=other)
    assert path.read_bytes() == before
    assert path.with_suffix(".report.json").read_bytes() == report
    match(playlists=other, name="second")
    assert list(match(playlists=other, overwrite=True).groups.group_ids) == ["renamed", "y"]
    assert list(TrackGroups.load(path).group_ids) == ["renamed", "y"]


def write_map(tmp_path, *rows):
    path = tmp_path / "map.csv"
    path.write_text("\n".join(["foreign_id,track_id", *rows]) + "\n")
    return path


@pytest.mark.parametrize("at_once", [1, 2, 65_536])
def test_a_map_of_foreign_ids(mine, tmp_path, monkeypatch, at_once):
    monkeypatch.setattr(look_up, "LOOK_UP", at_once)
    path = write_map(tmp_path, "s:1,a", "s:2,ü/1", "s:3,zz", "s:4,a", "s:1,a")
    id_map = IdMap.read(path, mine)
    assert (len(id_map), id_map.known) == (4, 3)
    found = id_map.rows(["s:4", "s:2", "s:3", "a", "s:1"])
    assert found.dtype == np.int32
    assert found.tolist() == [mine.row("a"), mine.row("ü/1"), -1, -2, mine.row("a")]


def test_an_id_of_two_tracks_is_refused(mine, tmp_path):
    path = write_map(tmp_path, "s:1,a", "s:2,b", "s:1,c")
    with pytest.raises(TableError, match=r"line 4: 's:1' stands for 'c' here, and for 'a'"):
        IdMap.read(path, mine)


FORMS = ("spotify:track:{}", "{}", "https://open.spotify.com/track/{}?si=1",
         "https://open.spotify.com/intl-de/track/{}")  # fmt: skip


@pytest.mark.parametrize("written", FORMS)
def test_a_map_knows_tracks_of_spotify_in_every_form(mine, tmp_path, written):
    one, other = "4uLU6hMCjMI75M1A2tKUQC", "4ulu6hmcjmi75m1a2tkuqc"
    path = write_map(tmp_path, f"{written.format(one)},a")
    id_map = IdMap.read(path, mine)
    assert id_map.rows([form.format(one) for form in FORMS]).tolist() == [mine.row("a")] * 4
    assert id_map.rows([form.format(other) for form in FORMS]).tolist() == [-2] * 4


def test_rows_of_a_map_without_an_id_are_left_out_and_said(mine, tmp_path, caplog):
    caplog.set_level("INFO")
    id_map = IdMap.read(write_map(tmp_path, "s:1,a", ",b", "s:3,"), mine)
    assert len(id_map) == 1
    assert any("column 'foreign_id' is empty" in message for message in caplog.messages)


def test_what_is_left_out_is_counted_and_shown(match, tmp_path):
    folder = tmp_path / "lists"
    folder.mkdir()
    (folder / "p.csv").write_text("group_id,track_id\nx,a\nx,\nx,b\n,c\nx,zz\n")
    (folder / "notes.txt").write_text("x")
    (folder / "l.m3u").write_text("x")
    found = match(playlists=folder, format="table").coverage
    assert found.rows_left_out == tuple(
        (f"column {name!r} is empty", 1, f"{folder / 'p.csv'}: line {line}: column {name!r} is "
         "empty; fill it in or remove the row")
        for name, line in (("track_id", 3), ("group_id", 5))
    )  # fmt: skip
    assert found.other_files == ((".m3u (--format m3u reads them)", 1), (".txt", 1))
    text = found.text()
    assert re.search(r"\n  rows left out +2\n    column 'track_id' is empty +1\n", text)
    assert "40.0 % of these and the rows left out" in text
    assert "left alone: 1 .m3u (--format m3u reads them), 1 .txt" in text
    assert found.to_dict()["rows_left_out"][0]["rows"] == 1


def test_rows_that_are_damaged_stop_the_command_unless_it_keeps_going(match, tmp_path):
    path = tmp_path / "p.csv"
    path.write_text("group_id,track_id\nx,a\nx\nx,b\n")
    with pytest.raises(TableError, match="line 3: 1 cells"):
        match(playlists=path)
    found = match(playlists=path, on_error="skip").coverage
    assert (found.entries_matched, found.rows_left_out[0][:2]) == (
        2, ("other cells than the header", 1)
    )  # fmt: skip
    assert found.damaged == ()


def test_a_folder_with_playlists_of_several_formats_is_read_whole(match, tmp_path):
    folder = tmp_path / "lists"
    folder.mkdir()
    (folder / "a.m3u8").write_text("a.mp3\nb.mp3\n")
    (folder / "b.m3u").write_text("c.mp3\nA.mp3\n")
    (folder / "b.jspf").write_text('{"playlist": {"track": [{"identifier": "e"}, {"title": "f"}]}}')
    found = match(playlists=folder)
    assert list(found.groups.group_ids) == ["a", "b.jspf", "b.m3u"]
    assert found.coverage.entries_matched == 6
    assert found.coverage.notes == ("1 matched in another letter case",)
    assert json.loads(found.path.with_suffix(".report.json").read_text())["format"] == "auto"
    assert list(match(playlists=folder, format="jspf", name="j").groups.group_ids) == ["b"]


def test_an_encoding_that_was_guessed_is_named(match, tmp_path):
    path = tmp_path / "l.m3u"
    path.write_bytes("a.mp3\nb.mp3\nЖ.mp3\n".encode("cp1251"))
    note = "1 file read as Windows-1252, a guess; --encoding sets it"
    assert match(playlists=path).coverage.notes == (note,)
    path.write_bytes("Ж.mp3\nЖ/1.mp3\n".encode("cp1251"))
    with pytest.raises(GroupsError, match=note):
        match(playlists=path)
    with pytest.raises(GroupsError, match="like 'Ж', 'Ж/1'"):
        match(playlists=path, encoding="windows-1251")
    with pytest.raises(TableError, match="--encoding: 'klingon' is no encoding"):
        match(playlists=path, encoding="klingon")


def test_a_file_is_a_group_where_no_column_names_it(match, tmp_path):
    folder = tmp_path / "lists"
    folder.mkdir()
    for name, tracks in {"one": "ab", "two": "cd"}.items():
        (folder / f"{name}.csv").write_text("track_id,x\n" + "".join(f"{t},1\n" for t in tracks))
    found = match(playlists=folder)
    assert list(found.groups.group_ids) == ["one", "two"]
    assert "2 files taken as a group each" in found.coverage.notes[0]
    given = match(playlists=folder, columns={"group": "@file"}, name="given")
    assert list(given.groups.group_ids) == ["one", "two"] and given.coverage.notes == ()
    assert list(match(playlists=folder, columns={"group": "x"}, name="x").groups.group_ids) == ["1"]


def test_tracks_of_a_map_may_be_paths_in_other_forms(mine, tmp_path, caplog):
    caplog.set_level("INFO")
    path = write_map(tmp_path, "s:1,Ü\\1", "s:2,u\u0308/1", "s:3,A", "s:4,Ü/1.mp3", "s:5,./ü/1.wav")
    rows = IdMap.read(path, mine).rows([f"s:{number}" for number in range(1, 6)]).tolist()
    row = mine.row("ü/1")
    assert rows == [row, row, -1, row, row]
    assert any("matched in another Unicode form" in message for message in caplog.messages)
