"""Groups: their invariants, what is left after filtering, and files that are not what they say."""

import dataclasses
import itertools
import json
import zipfile

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from playlist_pretrain.errors import GroupsError
from playlist_pretrain.playlists.groups import TrackGroups, load_groups, usable_tracks
from playlist_pretrain.seeds import random_stream

TRACKS = 10
LISTS = st.lists(st.lists(st.integers(0, TRACKS - 1), unique=True, max_size=TRACKS), max_size=8)


def groups_of(lists, tracks=TRACKS, key="key"):
    return TrackGroups.from_lists("playlists", lists, tracks=tracks, collection_key=key)


def lists_of(groups):
    return [groups.group(i).tolist() for i in range(len(groups))]


SMALL = [[0, 1, 2], [2, 3], [9, 0, 1, 4]]


def test_shape_and_reading():
    groups = groups_of(SMALL)
    assert len(groups) == 3
    assert lists_of(groups) == SMALL
    assert list(groups.group_ids) == ["0", "1", "2"]
    assert groups.lengths.tolist() == [3, 2, 4]
    assert np.flatnonzero(groups.covered).tolist() == [0, 1, 2, 3, 4, 9]
    assert groups.indptr.dtype == np.int64 and groups.rows.dtype == np.int32
    with pytest.raises(IndexError, match="group 3 of 3"):
        groups.group(3)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"indptr": np.array([0, 3])}, "does not cut 2 entries"),
        ({"indptr": np.array([0, 2, 1, 2]), "group_ids": ["a", "b", "c"]}, "does not cut"),
        ({"indptr": np.array([0.0, 2.0])}, "indptr: float64"),
        ({"rows": np.array([[0, 1]])}, r"rows: int64 \(1, 2\)"),
        ({"rows": np.array([0, 2**32 + 1])}, "values from 0 to 4294967297"),
        ({"rows": np.array([0, 5])}, "row 5 in a collection of 5 tracks"),
        ({"rows": np.array([4, 4])}, "row 4 comes twice in group 'a'"),
        ({"tracks": -1}, "-1 tracks"),
        ({"group_ids": ["a", "b"]}, "2 group ids for 1 groups"),
        ({"group_ids": [""]}, "group ids"),
        ({"name": "a/b"}, "groups name 'a/b'"),
    ],
)
def test_parts_that_do_not_fit(change, message):
    parts = {
        "name": "playlists",
        "indptr": np.array([0, 2]),
        "rows": np.array([0, 1]),
        "tracks": 5,
        "collection_key": "key",
        "group_ids": ["a"],
    }
    TrackGroups(**parts)
    with pytest.raises(GroupsError, match=message):
        TrackGroups(**parts | change)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(LISTS, st.sets(st.integers(0, TRACKS - 1)), st.randoms(use_true_random=False))
def test_filtering_is_that_of_lists(lists, unwanted, chance):
    groups = groups_of(lists)
    mask = np.isin(np.arange(TRACKS), list(unwanted))
    left = groups.without_tracks(mask)
    expected = [(i, [row for row in group if row not in unwanted]) for i, group in enumerate(lists)]
    expected = [(i, group) for i, group in expected if len(group) >= 2]
    assert lists_of(left) == [group for _, group in expected]
    assert list(left.group_ids) == [str(i) for i, _ in expected]
    chosen = np.array([chance.random() < 0.5 for _ in lists], bool)
    selected = groups.select(chosen)
    assert lists_of(selected) == [group for group, keep in zip(lists, chosen, strict=True) if keep]
    assert list(selected.group_ids) == [str(i) for i in np.flatnonzero(chosen)]
    assert (selected.tracks, selected.collection_key) == (groups.tracks, groups.collection_key)


def disjoint(sizes):
    ends = np.cumsum(sizes)
    lists = [range(end - size, end) for end, size in zip(ends, sizes, strict=True)]
    return TrackGroups.from_lists("albums", lists, tracks=int(ends[-1]), collection_key="k")


@pytest.mark.parametrize(
    ("tracks", "share", "pairs"),
    [
        (390, 0.05, 0),  # a tenth makes 19 pairs
        (400, 0.05, 20), (400, 0.0, 0), (400, 0.001, 20),
        (600, 0.05, 30), (1000, 0.05, 50), (1500, 0.05, 50), (2000, 0.05, 50), (4000, 0.05, 100),
        (200, 0.2, 20),  # what is asked for may be more than a tenth
        (190, 0.2, 0), (40_000, 0.05, 500), (40_000, 0.5, 500),
    ],
)  # fmt: skip
def test_number_of_pairs_held_out(tracks, share, pairs):
    whole = disjoint([10] * (tracks // 10))
    kept, out = whole.hold_out(share, seed=1)
    assert len(out) == pairs
    assert np.count_nonzero(kept.covered) == tracks - 2 * pairs
    if pairs:
        assert out.wrong.shape == (2 * pairs, 2 * pairs) and out.askable.all()


def test_as_many_groups_as_possible_give_a_pair_and_each_keeps_two():
    sizes = [200, 3, 3, *[4] * 20, *[60] * 4]
    whole = disjoint(sizes)
    kept, out = whole.hold_out(0.15)
    group_of = np.repeat(np.arange(len(sizes)), sizes)
    assert np.array_equal(*group_of[out.pairs].T)
    gave = np.bincount(group_of[out.pairs[:, 0]], minlength=len(sizes))
    assert len(out) == int(0.15 * sum(sizes) / 2)
    assert gave[1:3].tolist() == [0, 0] and (gave[3:23] == 1).all()
    large = gave[[0, 23, 24, 25, 26]]
    assert large.sum() == len(out) - 20 and large.max() - large.min() <= 1
    assert len(kept) == len(sizes) and kept.lengths.min() == 2
    assert not kept.covered[out.pairs].any()


def test_held_out_tracks_leave_all_of_their_groups_and_what_stays_stays(rng):
    lists = [rng.choice(600, rng.integers(2, 30), replace=False) for _ in range(300)]
    whole = TrackGroups.from_lists("playlists", lists, tracks=600, collection_key="k")
    kept, out = whole.hold_out(0.05)
    again = whole.hold_out(0.05)[1]
    np.testing.assert_array_equal(out.pairs, again.pairs)
    assert len(np.unique(out.pairs)) == 2 * len(out) >= 40
    assert not np.array_equal(out.pairs, whole.hold_out(0.05, seed=1)[1].pairs)
    members = [set(rows.tolist()) for rows in lists]
    rows = out.pairs.ravel()
    for i, one in enumerate(rows):
        for j, other in enumerate(rows):
            share = i == j or any({one, other} <= group for group in members)
            assert out.wrong[i, j] == (not share)
    left = [group - set(rows.tolist()) for group in members]
    assert lists_of(kept) == [
        [row for row in given.tolist() if row in group]
        for given, group in zip(lists, left, strict=True)
        if len(group) >= 2
    ]
    for pair in out.pairs.tolist():  # one of its groups keeps two
        assert any(set(pair) <= group and len(group - set(rows.tolist())) >= 2 for group in members)


@pytest.mark.parametrize(("borders", "pairs"), [([0, 800], 0), ([0, 400, 800], 40)])
def test_nothing_is_held_out_of_which_nothing_could_be_asked(borders, pairs):
    """In one group of all, every other track is as right an answer as the partner."""
    lists = [range(*ends) for ends in itertools.pairwise(borders)]
    whole = TrackGroups.from_lists("artists", lists, tracks=800, collection_key="k")
    kept, out = whole.hold_out(0.05)
    assert (len(out), np.count_nonzero(kept.covered)) == (pairs, 800 - 2 * pairs)


def test_random_words_never_change():
    words = random_stream("hold_out", 3, 4).random_raw(2).tolist()
    assert words == [10588541397123621442, 10609083009836603403]
    assert words != random_stream("hold_out", 34).random_raw(2).tolist()


def test_content_key():
    key = groups_of(SMALL).content_key
    assert key == groups_of(SMALL).content_key
    others = [groups_of([SMALL[1], SMALL[0], SMALL[2]]), groups_of(SMALL, key="other")]
    others.append(groups_of([[0, 1, 2, 2 + 1], [2], [9, 0, 1, 4]]))
    assert len({key, *(other.content_key for other in others)}) == 4


def test_save_and_load(tmp_path):
    groups = groups_of([*SMALL, []])
    groups.save(tmp_path / "one.npz")
    groups.save(tmp_path / "other.npz")
    assert (tmp_path / "one.npz").read_bytes() == (tmp_path / "other.npz").read_bytes()
    with zipfile.ZipFile(tmp_path / "one.npz") as archive:
        assert {info.date_time for info in archive.infolist()} == {(1980, 1, 1, 0, 0, 0)}
    loaded = TrackGroups.load(tmp_path / "one.npz")
    assert lists_of(loaded) == lists_of(groups)
    assert list(loaded.group_ids) == list(groups.group_ids)
    for field in ("name", "tracks", "collection_key", "content_key"):
        assert getattr(loaded, field) == getattr(groups, field)


def test_a_file_that_is_missing_cut_off_anywhere_or_another(tmp_path):
    path = tmp_path / "groups.npz"
    with pytest.raises(GroupsError, match="no such file"):
        TrackGroups.load(path)
    groups_of(SMALL).save(path)
    whole = path.read_bytes()
    contents = [whole[:size] for size in range(0, len(whole), 31)]
    for content in [*contents, b"group_id,track_id\n", b"\x93NUMPY" * 9]:
        path.write_bytes(content)
        with pytest.raises(GroupsError, match=r"groups\.npz: not a whole groups file"):
            TrackGroups.load(path)


class Trap:
    def __reduce__(self):
        return (pytest.fail, ("a pickle was opened",))


def arrays(**change):
    header = {"format": 1, "name": "x", "tracks": 5, "collection_key": "key"}
    header |= change.pop("header", {})
    parts = {
        "header": np.frombuffer(json.dumps(header).encode(), np.uint8),
        "indptr": np.array([0, 2]),
        "rows": np.array([0, 1], np.int32),
        "group_id_bytes": np.frombuffer(b"a", np.uint8),
        "group_id_ends": np.array([1]),
    }
    return {name: value for name, value in (parts | change).items() if value is not None}


@pytest.mark.parametrize(
    "change",
    [
        {"rows": np.array([Trap(), 1], object)},
        {"header": {"format": 2}},
        {"header": {"name": "../x"}},
        {"header": {"tracks": "5"}},
        {"rows": None},
        {"indptr": np.array([0, 2**62])},
        {"group_id_bytes": np.frombuffer(b"\xff", np.uint8)},
        {"group_id_ends": np.array([2])},
    ],
    ids=lambda change: next(iter(change)),
)
def test_foreign_archives(tmp_path, change):
    np.savez(tmp_path / "whole.npz", **arrays())
    assert lists_of(TrackGroups.load(tmp_path / "whole.npz")) == [[0, 1]]
    np.savez(tmp_path / "x.npz", **arrays(**change))
    with pytest.raises(GroupsError, match=r"x\.npz: .*make it again with"):
        TrackGroups.load(tmp_path / "x.npz")


@pytest.fixture(scope="module")
def collection(make_collection, tmp_path_factory):
    return make_collection(tmp_path_factory.mktemp("collection") / "mine", [10] * TRACKS)


def test_groups_of_a_collection(collection):
    groups = groups_of(SMALL, key=collection.content_key)
    groups.save(collection.path / "groups-renamed.npz")
    loaded = load_groups(collection, "renamed")
    assert loaded.name == "renamed"
    assert loaded.content_key == groups.content_key


def test_missing_groups_name_those_there_are(collection):
    groups_of(SMALL, key=collection.content_key).save(collection.path / "groups-playlists.npz")
    with pytest.raises(GroupsError) as caught:
        load_groups(collection, "artists")
    for part in ("'artists'", "playlists", "match_playlists.py", "--name artists", "mine"):
        assert part in str(caught.value)


@pytest.mark.parametrize("name", ["../groups-playlists", "a/b", "", ".hidden", "x" * 101, "a\n"])
def test_a_name_never_leaves_the_folder(collection, name):
    with pytest.raises(GroupsError, match="groups name"):
        load_groups(collection, name)


@pytest.mark.parametrize("change", [{"collection_key": "f" * 32}, {"tracks": TRACKS + 1}])
def test_groups_of_another_collection_are_refused(collection, change):
    groups = dataclasses.replace(groups_of(SMALL, key=collection.content_key), **change)
    groups.save(collection.path / "groups-foreign.npz")
    with pytest.raises(GroupsError, match=r"another content.*--name foreign --overwrite"):
        load_groups(collection, "foreign")


def test_the_command_that_made_groups_is_the_one_that_makes_them_again(collection):
    groups_of(SMALL, key="f" * 32).save(collection.path / "groups-mine.npz")
    report = {
        "source": "my listens.csv", "format": "history", "kind": "sessions", "map": "ids.csv",
        "columns": "user=u,time=t,track=x", "separator": None, "gap": 20.0, "audio": None,
        "keep_going": True,
    }  # fmt: skip
    path = collection.path / "groups-mine.report.json"
    path.write_text(json.dumps(report))
    with pytest.raises(GroupsError) as caught:
        load_groups(collection, "mine")
    assert str(caught.value).endswith(
        "scripts/match_playlists.py --playlists 'my listens.csv' --format history --kind sessions "
        "--columns user=u,time=t,track=x --gap 20 --map ids.csv --keep-going --name mine "
        f"--collection {collection.path} --overwrite"
    )
    for damage in ("", "[]", "{}", '{"source": 3, "format": [], "kind": null}'):
        path.write_text(damage)
        with pytest.raises(GroupsError, match=r"--playlists FILE .* --name mine --overwrite"):
            load_groups(collection, "mine")


def test_silent_tracks_are_not_trained_on(make_collection, tmp_path, caplog):
    collection = make_collection(tmp_path / "c", [9, 9, 3, 9], sound=[1, 0.05, 0, np.nan])
    with caplog.at_level("INFO"):
        usable, key = usable_tracks(collection, frames=8)
    assert usable.tolist() == [True, False, False, True] and key is None
    assert "1 tracks are silent, or nearly: left out" in caplog.text
