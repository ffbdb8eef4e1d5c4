"""Tracks appended to a finished collection, and unreadable files that are tried again."""

import contextlib
import dataclasses
import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from build_loaders import PAPER, Tones, content, sources
from damage import flip

from playlist_pretrain.audio.front_end import front_end
from playlist_pretrain.errors import CollectionError
from playlist_pretrain.records.build import make_collection
from playlist_pretrain.records.collection import Collection
from playlist_pretrain.records.shards import ShardWork
from playlist_pretrain.records.sources import TrackSource


def tracks_named(*names):
    return [TrackSource(f"{name:02d}", f"noise:{name}") for name in names]


def mels(collection):
    return [collection.mel(row) for row in range(len(collection))]


def same_rows(collection, before):
    """Whether the rows of ``before`` are still what they were."""
    assert list(collection.track_ids)[: len(before)] == list(before.track_ids)
    for name in ("shard", "offset", "frames", "start_seconds", "source_seconds"):
        there = getattr(collection, name)[: len(before)]
        np.testing.assert_array_equal(there, getattr(before, name))


def test_new_tracks_become_new_shards_and_a_new_index(make, tmp_path):
    before = make(tracks_named(*range(1, 41, 2))).collection
    bytes_before = content(tmp_path / "out")
    report = make(tracks_named(*range(20)), add=True)
    collection = report.collection
    assert (report.added, report.made, report.kept, report.read_late) == (10, 1, 2, 0)
    assert list(collection.track_ids)[20:] == [f"{n:02d}" for n in range(0, 20, 2)]
    same_rows(collection, before)
    assert collection.content_key != before.content_key
    now = content(tmp_path / "out")
    assert sorted(now.keys() - bytes_before) == [
        "index-1.npz",
        "mel-00002.tfrecord",
        "sources-1.jsonl",
    ]
    assert sorted(bytes_before.keys() - now) == ["index-0.npz", "sources-0.jsonl"]
    shards = {name for name in bytes_before if name.startswith("mel-")}
    assert all(now[name] == bytes_before[name] for name in shards)
    exact = np.concatenate(mels(collection)).astype(np.float64)
    np.testing.assert_allclose(collection.band_mean, exact.mean(axis=0), rtol=1e-6)
    np.testing.assert_allclose(collection.band_std, exact.std(axis=0), rtol=1e-6)
    assert make(tracks_named(*range(20)), add=True).added == 0
    assert content(tmp_path / "out") == now


def test_additions_give_the_statistics_of_one_build(make, tmp_path):
    make(tracks_named(*range(16)))
    make(tracks_named(*range(20)), add=True)
    added = make(tracks_named(*range(30)), add=True).collection
    assert np.bincount(added.shard).tolist() == [16, 4, 10]
    assert added.source["listed_tracks"] == 30
    added_mels = mels(added)
    shutil.rmtree(tmp_path / "out")
    at_once = make(tracks_named(*range(30))).collection
    np.testing.assert_array_equal(added.band_mean, at_once.band_mean)
    np.testing.assert_array_equal(added.band_std, at_once.band_std)
    assert all(map(np.array_equal, added_mels, mels(at_once)))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"front_end": front_end("musicnn")}, "front_end.name: 'paper' there, 'musicnn' asked"),
        ({"load": Tones(seconds=5.0)}, "source.loader.seconds: 4.0 there, 5.0 asked for"),
    ],
)
def test_other_settings_cannot_add(make, tmp_path, changes, message):
    make()
    before = content(tmp_path / "out")
    with pytest.raises(CollectionError, match=f"nothing can be added: {message}"):
        make(sources(count=41), **changes, add=True)
    assert content(tmp_path / "out") == before


def test_there_has_to_be_a_collection(make, tmp_path):
    with pytest.raises(CollectionError, match=r"no finished collection.*without --add"):
        make(add=True)
    assert not (tmp_path / "out").exists()


def test_without_add_new_tracks_are_only_counted(make, tmp_path):
    make()
    before = content(tmp_path / "out")
    report = make(sources(count=45))
    assert (report.waiting, report.added, report.tracks) == (5, 0, 40)
    assert content(tmp_path / "out") == before


def test_ids_that_stand_for_another_file_are_left_and_noted(make, tmp_path):
    before = make(tracks_named(1, 2)).collection
    other = [TrackSource("01", "noise:7"), *tracks_named(2, 3)]
    report = make(other, add=True)
    ((track_id, source, reason),) = report.of("differs")
    assert (track_id, source) == ("01", "noise:7")
    assert reason == "the collection holds this id from 'noise:1'; this is another file"
    assert report.added == 1
    same_rows(report.collection, before)
    assert "01\tnoise:7\tdiffers\t" in (tmp_path / "out" / "build_report.tsv").read_text()
    assert make([TrackSource("02", "noise:9")], add=True).added == 0  # noted without a new track
    assert len(make(tracks_named(1, 2, 3), add=True).of("differs")) == 0


@dataclasses.dataclass(frozen=True)
class ReadFile:
    """Noise for a file that says so."""

    def __call__(self, source):
        token = Path(source).read_text()
        return Tones()(f"{token}:{Path(source).name}")


@pytest.fixture
def make_files(in_process, tmp_path):
    """Build from files: ``make_files({name: token})`` writes them first."""

    def make(files, folder="audio", **options):
        (tmp_path / folder).mkdir(exist_ok=True)
        for name, token in files.items():
            (tmp_path / folder / name).write_text(token)
        names = sorted(os.listdir(tmp_path / folder))
        tracks = [TrackSource(name.partition(".")[0], name) for name in names]
        root = tmp_path / folder
        return make_collection(tmp_path / "out", tracks, PAPER, ReadFile(), root=root, **options)

    return make


@contextlib.contextmanager
def read_files():
    """List of the files that are read."""
    read, original = [], ReadFile.__call__

    def spy(self, source):
        read.append(Path(source).name)
        return original(self, source)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ReadFile, "__call__", spy)
        yield read


def test_files_that_can_be_read_now_are_appended(make_files, tmp_path):
    first = make_files({"a": "noise", "b": "unreadable", "c": "noise", "d": "unreadable"})
    before = content(tmp_path / "out")
    with read_files() as read:
        again = make_files({})
    assert read == ["b", "d"], "nothing else is read"
    assert (again.made, again.added) == (0, 0)
    assert content(tmp_path / "out") == before
    now = make_files({"b": "noise", "e": "noise"})  # mended, and one that is new
    assert (now.added, now.read_late, now.waiting) == (1, 1, 1)
    assert list(now.collection.track_ids) == ["a", "c", "b"]
    same_rows(now.collection, first.collection)
    assert [track_id for track_id, _, _ in now.failed] == ["d"]
    both = make_files({"d": "short"}, add=True)
    assert (both.added, both.read_late) == (2, 1)
    assert both.failed == [] and [track_id for track_id, _, _ in both.short] == ["d"]
    assert list(both.collection.track_ids) == ["a", "c", "b", "d", "e"]
    assert make_files({}).waiting == 0


def test_another_folder_can_be_added_and_both_are_known_later(make_files, tmp_path):
    make_files({"a": "noise", "b": "noise"})
    report = make_files({"b": "noise", "c": "noise"}, "more", add=True)
    assert list(report.collection.track_ids) == ["a", "b", "c"]
    ((track_id, _, reason),) = report.of("differs")
    assert track_id == "b" and "the file has changed since" in reason
    before = content(tmp_path / "out")
    assert make_files({}).waiting == 0
    with pytest.raises(CollectionError, match=r"1 changed, .*track 'b' changed"):
        make_files({}, "more")
    (tmp_path / "audio" / "a").unlink()
    assert make_files({}).tracks == 3
    assert make_files({"d": "unreadable"}, "more", add=True).added == 0
    now = content(tmp_path / "out")
    assert {name for name in now if now[name] != before[name]} == {"build_report.tsv"}
    assert "d\td\tunreadable\t" in (tmp_path / "out" / "build_report.tsv").read_text()


def test_a_collection_that_lost_its_listing(make, tmp_path):
    make()
    (tmp_path / "out" / "sources-0.jsonl").write_text("[]\n")
    assert make().made == 0
    with pytest.raises(CollectionError, match=r"the list of its sources.*nothing can be added"):
        make(sources(count=41), add=True)
    with pytest.raises(CollectionError, match="made otherwise: the list of audio files"):
        make(sources(count=41))


def interrupt(monkeypatch, number):
    original = ShardWork.__call__

    def call(self, task, announce):
        if task.number == number:
            raise KeyboardInterrupt
        return original(self, task, announce)

    monkeypatch.setattr(ShardWork, "__call__", call)


@pytest.fixture
def half_added(make, tmp_path):
    """An addition of two shards that was interrupted in its second; what it should become."""
    make(tracks_named(*range(10)))
    shutil.copytree(tmp_path / "out", tmp_path / "saved")
    make(tracks_named(*range(30)), add=True)
    expected = content(tmp_path / "out")
    shutil.rmtree(tmp_path / "out")
    (tmp_path / "saved").rename(tmp_path / "out")
    with pytest.MonkeyPatch.context() as patch, pytest.raises(KeyboardInterrupt):
        interrupt(patch, 2)
        make(tracks_named(*range(30)), add=True)
    return expected


def test_an_interrupted_addition_goes_on(half_added, make, tmp_path):
    assert len(Collection.open(tmp_path / "out")) == 10
    plain = make(tracks_named(*range(30)))
    assert (plain.waiting, plain.interrupted) == (20, True)
    report = make(tracks_named(*range(30)), add=True)
    assert (report.added, report.made, report.kept) == (20, 1, 2)
    assert content(tmp_path / "out") == half_added


def test_an_interrupted_addition_of_other_tracks_is_dropped_on_demand(half_added, make, tmp_path):
    message = "unfinished build that differs: .*the list of audio files.*track '10' is gone"
    with pytest.raises(CollectionError, match=message):
        make(tracks_named(*range(25, 30)), add=True)
    report = make(tracks_named(*range(25, 30)), add=True, overwrite=True)
    assert (report.added, report.tracks) == (5, 15)
    assert not (tmp_path / "out" / ".build").exists()


def test_a_fresh_build_drops_an_interrupted_addition(half_added, make, tmp_path):
    assert make(tracks_named(1, 2), overwrite=True).tracks == 2
    names = {"build_report.tsv", "collection.json", "index-0.npz", "mel-00000.tfrecord"}
    assert set(os.listdir(tmp_path / "out")) == {*names, "sources-0.jsonl"}


def lose(path):
    path.unlink()


def cut(path):
    os.truncate(path, 5000)


def spoil(path):
    flip(path, 5000)


@pytest.mark.parametrize("damage", [lose, cut, spoil])
def test_damaged_shards_are_made_anew_and_nothing_else(make_files, tmp_path, damage):
    make_files({f"{n:02d}": "unreadable" if n == 3 else "noise" for n in range(20)})
    make_files({"20": "noise", "21": "noise"}, "more", add=True)
    expected = content(tmp_path / "out")
    damage(tmp_path / "out" / "mel-00000.tfrecord")
    with read_files() as read:
        report = make_files({})
    assert (report.remade, report.tracks, report.added) == (1, 21, 0)
    # The first shard has 16 of the 20 listed, one of which is tried again afterwards.
    assert read == [*(f"{n:02d}" for n in range(16) if n != 3), "03"]
    assert content(tmp_path / "out") == expected
    assert make_files({}).remade == 0


def test_damaged_shards_of_an_addition_need_its_command(make_files, tmp_path):
    make_files({"a": "noise", "b": "noise"})
    make_files({"c": "noise"}, "more", add=True)
    expected = content(tmp_path / "out")
    for number in (0, 1):
        (tmp_path / "out" / f"mel-0000{number}.tfrecord").unlink()
    message = "1 of 2 damaged shards cannot be made anew .mel-00001.tfrecord: track 'c' is not list"
    with pytest.raises(CollectionError, match=message):
        make_files({})
    assert make_files({}, "more", add=True).remade == 1
    assert content(tmp_path / "out") == expected


def test_a_damaged_shard_whose_sources_changed_is_not_replaced(make_files, tmp_path):
    make_files({"a": "noise", "b": "noise"})
    flip(tmp_path / "out" / "mel-00000.tfrecord", 5000)
    before = content(tmp_path / "out")
    with pytest.raises(CollectionError, match=r"its sources give other mels now.*--repair"):
        make_files({"b": "short"})
    assert content(tmp_path / "out") == before


@pytest.mark.parametrize("call_again", ["add", "plain"])
@pytest.mark.parametrize("step", range(9))
def test_killed_while_an_addition_is_moved_into_place(
    make, tmp_path, killed_while_moving, step, call_again
):
    tracks = tracks_named(*range(20))
    old = make(tracks[:10]).collection.content_key
    shutil.copytree(tmp_path / "out", tmp_path / "saved")
    new = make(tracks, add=True).collection.content_key
    expected = content(tmp_path / "out")
    shutil.rmtree(tmp_path / "out")
    (tmp_path / "saved").rename(tmp_path / "out")

    with killed_while_moving(step):
        make(tracks, add=True)
    assert Collection.open(tmp_path / "out").content_key in (old, new)
    report = make(tracks, add=call_again == "add")  # all shards are there: any call finishes it
    assert report.tracks == 20 and report.waiting == 0
    assert content(tmp_path / "out") == expected


def test_the_listing_has_a_line_a_track(make_files, tmp_path):
    make_files({"a": "noise", "b": "unreadable"})
    lines = (tmp_path / "out" / "sources-0.jsonl").read_text().splitlines()
    status = (tmp_path / "audio" / "a").stat()
    assert json.loads(lines[0]) == ["a", "a", 5, status.st_mtime_ns]
    assert [json.loads(line)[0] for line in lines] == ["a", "b"]
