"""Repair of collections: damaged shards are set aside whole, the sound ones are a collection."""

import csv
import json
import os
from pathlib import Path

import numpy as np
import pytest
from damage import arrays, content, flip, killed, rewrite

from playlist_pretrain.errors import CollectionError
from playlist_pretrain.files import folder_lock
from playlist_pretrain.records.collection import Collection
from playlist_pretrain.records.verify import repair_collection, verify_collection

TRACKS = [f"track/000{row}" for row in range(7)]


@pytest.fixture
def sound(make_collection, tmp_path):
    """Seven tracks in three shards of three, three and one."""
    return make_collection(tmp_path / "mine", [30, 8, 5, 9, 11, 300, 7], per_shard=3)


def listed(folder):
    """(track id, shard, reason) of the tracks that were set aside."""
    with open(folder / "damaged" / "tracks.tsv", encoding="utf-8", newline="") as stream:
        header, *rows = csv.reader(stream, delimiter="\t")
    assert header == ["track_id", "shard", "reason"]
    return rows


def check_sound(folder, lost, before):
    """What is left is sound, complete but for ``lost``, and nothing else lies about."""
    assert verify_collection(folder).problems == []
    collection = Collection.open(folder)
    assert content(collection) == {i: v for i, v in before.items() if i not in lost}
    document = json.loads((folder / "collection.json").read_bytes())
    named = {entry["file"] for entry in (*document["shards"], document["index"])}
    assert {path.name for path in folder.iterdir()} - {"collection.json", "damaged"} == named
    return collection


def test_nothing_is_wrong_and_nothing_is_changed(sound):
    before = {path.name: path.read_bytes() for path in sound.path.iterdir()}
    done = repair_collection(sound.path)
    assert done.problems == done.lost == done.shards == []
    assert {path.name: path.read_bytes() for path in sound.path.iterdir()} == before


def test_what_is_known_of_sound_is_kept(make_collection, tmp_path):
    shares = [0.5, 0, 1, 0.25, 0, 1, 1]
    folder = make_collection(tmp_path / "mine", [9] * 7, per_shard=3, sound=shares).path
    flip(folder / "mel-00001.tfrecord", 200)
    done = repair_collection(folder)
    assert done.shards == ["mel-00001.tfrecord"]
    assert done.collection.sound.tolist() == [0.5, 0, 1, 1]
    # Nothing says it where the index is gone too, but of mels that hold silence alone.
    silent = np.zeros((9, 96), np.float32)
    folder = make_collection(tmp_path / "other", [9, silent], sound=[0.05, 0]).path
    (folder / "index-0.npz").unlink()
    collection = repair_collection(folder).collection
    assert np.isnan(collection.sound[0]) and collection.quiet.tolist() == [False, True]


@pytest.mark.parametrize("damage", ["gone", "a folder", "cut", "foreign", "statistics"])
def test_a_rebuilt_index_is_the_index(sound, damage):
    path, before = sound.path / "index-0.npz", content(sound)
    if damage in ("gone", "a folder"):
        path.unlink()
        if damage == "a folder":
            path.mkdir()
    elif damage == "cut":
        os.truncate(path, 100)
    elif damage == "foreign":
        path.rename(sound.path / "index-5.npz")
        rewrite(sound.path, lambda d: d["index"].update(file="index-5.npz", size=7))
    else:
        rewrite(sound.path, lambda d: d["band_mean"].__setitem__(3, 77.0))
    done = repair_collection(sound.path)
    assert done.problems and done.lost == done.shards == []
    if damage == "a folder":
        path.rmdir()  # it is left alone
    after = check_sound(sound.path, [], before)
    assert after.content_key == sound.content_key and after.source == sound.source
    for a, b in zip(arrays(after), arrays(sound), strict=True):
        assert a.dtype == b.dtype and np.array_equal(a, b)


@pytest.mark.parametrize("index", [True, False])
def test_damaged_shards_are_moved_whole_and_their_tracks_listed(sound, index):
    before = content(sound)
    flip(sound.path / "mel-00000.tfrecord", int(sound.offset[1]) + 9)
    if not index:
        (sound.path / "index-0.npz").unlink()
    damaged = (sound.path / "mel-00000.tfrecord").read_bytes()
    repair_collection(sound.path)
    after = check_sound(sound.path, TRACKS[:3], before)
    assert after.content_key != sound.content_key
    assert (sound.path / "damaged" / "mel-00000.tfrecord").read_bytes() == damaged
    ids, shards, reasons = zip(*listed(sound.path), strict=True)
    # without an index nobody knows whose the damaged record is
    assert list(ids) == TRACKS[:3] if index else [*TRACKS[0:3:2], ""]
    assert set(shards) == {"mel-00000.tfrecord"} and "checksum of its data" in reasons[0]


def test_a_cut_shard_one_that_is_gone_and_one_of_another_build(sound, make_collection, tmp_path):
    before = content(sound)
    other = make_collection(tmp_path / "other", [30, 8, 6], per_shard=3)
    (other.path / "mel-00000.tfrecord").rename(sound.path / "mel-00000.tfrecord")
    (sound.path / "mel-00002.tfrecord").unlink()
    repair_collection(sound.path)
    check_sound(sound.path, [*TRACKS[:3], TRACKS[6]], before)
    assert [row[:2] for row in listed(sound.path)] == [
        *([track, "mel-00000.tfrecord"] for track in TRACKS[:3]),
        [TRACKS[6], "mel-00002.tfrecord"],
    ]
    flip(sound.path / "mel-00001.tfrecord", 100)
    with pytest.raises(CollectionError, match=r"no shard is sound.*make_tfrecords.*--overwrite"):
        repair_collection(sound.path)


def test_a_build_is_not_disturbed(sound):
    flip(sound.path / "mel-00000.tfrecord", 99)
    before = (sound.path / "collection.json").read_bytes()
    with (
        folder_lock(sound.path / ".build", "held", "lock"),
        pytest.raises(CollectionError, match="is being built already, by another process"),
    ):
        repair_collection(sound.path)
    (sound.path / ".build" / "collection.json").write_text("{}")
    with pytest.raises(CollectionError, match="finish it first"):
        repair_collection(sound.path)
    assert (sound.path / "collection.json").read_bytes() == before


@pytest.mark.parametrize("step", range(7))
def test_killed_at_any_step_the_same_call_goes_on(sound, step):
    before = content(sound)
    (sound.path / "sources-0.jsonl").write_text("listing")
    flip(sound.path / "mel-00000.tfrecord", int(sound.offset[1]) + 9)
    flip(sound.path / "mel-00002.tfrecord", int(sound.offset[6]) + 9)
    with killed(step, [(os, "replace"), (Path, "unlink")]):
        repair_collection(sound.path)
    repair_collection(sound.path)
    for pattern in ("sources-?.jsonl", "index-0.npz", ".*.tmp"):
        for path in sound.path.glob(pattern):
            path.unlink()
    check_sound(sound.path, [*TRACKS[:3], TRACKS[6]], before)
    assert [row[0] for row in listed(sound.path)] == [*TRACKS[:3], TRACKS[6]]
    assert len(list((sound.path / "damaged").glob("mel-*.tfrecord"))) == 2
