"""Tracks appended to a finished collection, and unreadable files that are tried again."""

import contextlib
import dataclasses
import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from build_loaders import PAPER, Tones, content, interrupt_at_shard, sources
from damage import content as everything
from damage import flip

from playlist_pretrain.errors import CollectionError
from playlist_pretrain.records.build import make_collection
from playlist_pretrain.records.collection import Collection
from playlist_pretrain.records.sources import TrackSource
from playlist_pretrain.records.verify import repair_collection, verify_collection


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
    assert now.keys() - bytes_before == {"index-1.npz", "mel-00002.tfrecord", "sources-1.jsonl"}
    assert bytes_before.keys() - now == {"index-0.npz", "sources-0.jsonl"}
    shards = {name for name in bytes_before if name.startswith("mel-")}
    assert all(now[name] == bytes_before[name] for name in shards)
    assert make(tracks_named(*range(20)), add=True).added == 0
    message = "nothing can be added: source.loader.seconds: 4.0 there, 5.0 asked for"
    with pytest.raises(CollectionError, match=message):
        make(tracks_named(*range(21)), load=Tones(seconds=5.0), add=True)
    assert content(tmp_path / "out") == now


def test_additions_give_the_statistics_of_one_build(make, tmp_path):
    for count in (16, 20, 30):
        added = make(tracks_named(*range(count)), add=count > 16).collection
    assert np.bincount(added.shard).tolist() == [16, 4, 10]
    assert added.source["listed_tracks"] == 30
    added_mels = mels(added)
    at_once = make(tracks_named(*range(30)), overwrite=True).collection
    np.testing.assert_array_equal(added.band_mean, at_once.band_mean)
    np.testing.assert_array_equal(added.band_std, at_once.band_std)
    assert all(map(np.array_equal, added_mels, mels(at_once)))


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
    assert both.failed == [] and [track_id for track_id, _, _ in both.of("short")] == ["d"]
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


def test_an_interrupted_addition_goes_on(make, tmp_path):
    make(tracks_named(*range(10)))
    shutil.copytree(tmp_path / "out", tmp_path / "saved")
    make(tracks_named(*range(30)), add=True)
    expected = content(tmp_path / "out")
    shutil.rmtree(tmp_path / "out")
    (tmp_path / "saved").rename(tmp_path / "out")
    with pytest.MonkeyPatch.context() as patch, pytest.raises(KeyboardInterrupt):
        interrupt_at_shard(patch, 2)
        make(tracks_named(*range(30)), add=True)
    assert len(Collection.open(tmp_path / "out")) == 10
    plain = make(tracks_named(*range(30)))
    assert (plain.waiting, plain.interrupted) == (20, True)
    report = make(tracks_named(*range(30)), add=True)
    assert (report.added, report.made, report.kept) == (20, 1, 2)
    assert content(tmp_path / "out") == expected


@pytest.mark.parametrize(
    "damage", [Path.unlink, lambda path: os.truncate(path, 5000), lambda path: flip(path, 5000)]
)
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


@pytest.mark.parametrize("step", range(9))
def test_killed_while_an_addition_is_moved_into_place(make, tmp_path, killed_while_moving, step):
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
    report = make(tracks, add=step % 2 == 0)  # all shards are there: any call finishes it
    assert report.tracks == 20 and report.waiting == 0
    assert content(tmp_path / "out") == expected


def test_moved_files_are_the_same_and_changed_ones_are_not(make_files, tmp_path):
    make_files({"a": "noise", "b": "unreadable"})
    lines = (tmp_path / "out" / "sources-0.jsonl").read_text().splitlines()
    status = (tmp_path / "audio" / "a").stat()
    assert json.loads(lines[0]) == ["a", "a", 5, status.st_mtime_ns] and len(lines) == 2
    shutil.copytree(tmp_path / "audio", tmp_path / "moved")  # copytree keeps the dates
    assert make_files({}, "moved").made == 0
    with pytest.raises(CollectionError, match="the list of audio files"):
        make_files({"a": "short"})
    assert make_files({}, overwrite=True).made == 1


def test_after_a_repair_only_what_was_lost_is_read(make_files, tmp_path):
    out = tmp_path / "out"
    before = everything(make_files({f"{n:02d}": "noise" for n in range(20)}).collection)
    for shard, lost in ((1, range(16, 20)), (0, range(16))):  # these come to the end
        flip(out / f"mel-{shard:05d}.tfrecord", 5000)
        repair_collection(out)
        left = list(Collection.open(out).track_ids)
        with read_files() as read:
            again = make_files({}).collection
        assert read == [f"{n:02d}" for n in lost]
        assert list(again.track_ids) == left + read and everything(again) == before
        assert verify_collection(out).problems == []
