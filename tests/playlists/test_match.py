"""Matching against dictionaries and lists, and what its report says."""

import json

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
    assert caplog.messages == [found.coverage.text(), f"{path}: written"]
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
