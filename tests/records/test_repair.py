"""Repair of collections: what is sound is kept, whatever else happened."""

import csv
import json
import os
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from damage import arrays, content, flip, rewrite

sys.path.insert(0, str(Path(__file__).parent))
import trial

from playlist_pretrain.audio.front_end import front_end
from playlist_pretrain.errors import CollectionError
from playlist_pretrain.files import folder_lock
from playlist_pretrain.records import verify as repair
from playlist_pretrain.records.collection import Collection
from playlist_pretrain.records.verify import repair_collection, verify_collection

PAPER = front_end("paper")


@pytest.fixture
def sound(make_collection, tmp_path):
    """Seven tracks in three shards."""
    return make_collection(tmp_path / "mine", [30, 8, 5, 9, 11, 300, 7], per_shard=3)


def report(folder):
    with open(folder / "check_report.tsv", encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream, delimiter="\t"))


def check_sound(folder, lost, before):
    """What is left is sound, complete but for ``lost``, and nothing else lies about."""
    assert verify_collection(folder).problems == []
    collection = Collection.open(folder)
    assert content(collection) == {i: v for i, v in before.items() if i not in lost}
    document = json.loads((folder / "collection.json").read_bytes())
    named = {entry["file"] for entry in (*document["shards"], document["index"])}
    there = {path.name for path in folder.iterdir()}
    assert there - {"collection.json", "check_report.tsv"} == named
    return collection


def test_nothing_is_wrong_and_nothing_is_changed(sound):
    before = {path.name: path.read_bytes() for path in sound.path.iterdir()}
    done = repair_collection(sound.path)
    assert done.problems == done.lost == [] and done.rewritten == 0
    assert {path.name: path.read_bytes() for path in sound.path.iterdir()} == before


@pytest.mark.parametrize("damage", ["gone", "flipped", "cut", "foreign"])
def test_a_rebuilt_index_is_the_index(sound, damage):
    path, before = sound.path / "index-0.npz", content(sound)
    if damage == "gone":
        path.unlink()
    elif damage == "flipped":
        flip(path, path.stat().st_size // 2)
    elif damage == "cut":
        os.truncate(path, 100)
    else:
        rewrite(sound.path, lambda d: d["index"].update(file="index-5.npz"))
    done = repair_collection(sound.path)
    assert done.lost == [] and done.rewritten == 0
    after = check_sound(sound.path, [], before)
    assert after.content_key == sound.content_key and after.source == sound.source
    for a, b in zip(arrays(after), arrays(sound), strict=True):
        assert a.dtype == b.dtype and np.array_equal(a, b)


@pytest.mark.parametrize("index", [True, False])
def test_damaged_records_are_left_out_and_listed(sound, index):
    before = content(sound)
    flip(sound.path / "mel-00000.tfrecord", int(sound.offset[1]) + 9)
    flip(sound.path / "mel-00001.tfrecord", 2)  # the length of the record of row 3
    if not index:
        (sound.path / "index-0.npz").unlink()
    kept = (sound.path / "mel-00002.tfrecord").read_bytes()
    done = repair_collection(sound.path)
    lost = ["track/0001", "track/0003"]
    after = check_sound(sound.path, lost, before)
    assert after.content_key != sound.content_key == done.old_key and done.rewritten == 2
    assert (sound.path / "mel-00002.tfrecord").read_bytes() == kept
    lines = report(sound.path)
    assert list(lines[0]) == ["track_id", "shard", "byte", "reason"]
    # without an index nobody knows whose the bytes without a length are
    assert [line["track_id"] for line in lines] == (lost if index else [lost[0], ""])
    assert [line["shard"] for line in lines] == ["mel-00000.tfrecord", "mel-00001.tfrecord"]
    assert lines[1]["byte"] == "0" and "checksum of its length" in lines[1]["reason"]


def test_a_cut_shard_and_one_that_is_gone(sound):
    before = content(sound)
    os.truncate(sound.path / "mel-00001.tfrecord", int(sound.offset[4]) + 5)
    (sound.path / "mel-00002.tfrecord").unlink()
    repair_collection(sound.path)
    check_sound(sound.path, ["track/0004", "track/0005", "track/0006"], before)
    assert [line["track_id"] for line in report(sound.path)] == [f"track/000{i}" for i in (4, 5, 6)]


def test_a_shard_with_nothing_sound_is_no_longer_named(sound):
    before = content(sound)
    (sound.path / "mel-00001.tfrecord").write_bytes(b"\0" * 5000)
    repair_collection(sound.path)
    after = check_sound(sound.path, ["track/0003", "track/0004", "track/0005"], before)
    assert len(after.shard_paths) == 2


@pytest.mark.parametrize("text", [None, "", "{", "[]", '{"type": "mel collection", "format": 1}'])
def test_without_a_description_the_front_end_must_be_named(sound, text):
    before, path = content(sound), sound.path / "collection.json"
    path.unlink() if text is None else path.write_text(text)
    untouched = sorted(os.listdir(sound.path))
    with pytest.raises(CollectionError, match=r"--front-end paper or musicnn"):
        repair_collection(sound.path)
    assert sorted(os.listdir(sound.path)) == untouched
    repair_collection(sound.path, front_end=PAPER)
    assert check_sound(sound.path, [], before).content_key == sound.content_key


def damaged_front_end(document):
    document["front_end"]["hop_length"] = 189


def damaged_sum(document):
    document["shards"][1]["sha256"] = "0" * 64


def damaged_names(document):
    document["shards"][1]["file"] = "mel-00000.tfrecord"


def damaged_numbers(document):
    document.update(tracks=8, band_mean=[])
    document["shards"][0]["size"] = -1


@pytest.mark.parametrize("change, known", [
    (damaged_front_end, False), (damaged_sum, True), (damaged_names, True), (damaged_numbers, True),
])  # fmt: skip
def test_the_content_key_tells_what_of_a_description_is_sound(sound, change, known):
    before = content(sound)
    rewrite(sound.path, change)
    if not known:
        with pytest.raises(CollectionError, match="name the front end"):
            repair_collection(sound.path)
    repair_collection(sound.path, front_end=None if known else PAPER)
    after = check_sound(sound.path, [], before)
    assert after.content_key == sound.content_key and after.source == sound.source


def test_the_wrong_number_of_bands_leaves_nothing(sound):
    (sound.path / "collection.json").unlink()
    before = sorted(os.listdir(sound.path))
    with pytest.raises(CollectionError, match=r"a sound record of 64 bands .*30 frames of 64"):
        repair_collection(sound.path, front_end=front_end("vggish"))
    assert sorted(os.listdir(sound.path)) == before


def test_nothing_left(tmp_path, sound):
    for path in sound.shard_paths:
        path.write_bytes(b"")
    with pytest.raises(CollectionError, match=r"nothing is left to repair.*make_tfrecords\.py"):
        repair_collection(sound.path)
    with pytest.raises(CollectionError, match="no such folder"):
        repair_collection(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(CollectionError, match="nothing is left"):
        repair_collection(tmp_path / "empty", front_end=PAPER)
    assert os.listdir(tmp_path / "empty") == []


def test_the_second_of_two_tracks_with_one_id_is_set_aside(sound):
    before = content(sound)
    shutil.copy(sound.path / "mel-00000.tfrecord", sound.path / "mel-00009.tfrecord")
    (sound.path / "collection.json").unlink()
    repair_collection(sound.path, front_end=PAPER)
    assert check_sound(sound.path, [], before).content_key == sound.content_key
    lines = report(sound.path)
    assert [line["track_id"] for line in lines] == ["track/0000", "track/0001", "track/0002"]
    assert {line["shard"] for line in lines} == {"mel-00009.tfrecord"}


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


class Killed(BaseException):
    """The process ends here."""


STEPS = ["_rewrite", "_write_report", "write_collection", "_remove_unnamed"]


@pytest.mark.parametrize("described", [True, False])
@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("when", ["before", "after"])
def test_killed_at_any_step_the_same_call_goes_on(sound, monkeypatch, step, when, described):
    before = content(sound)
    flip(sound.path / "mel-00000.tfrecord", int(sound.offset[1]) + 9)
    flip(sound.path / "mel-00001.tfrecord", int(sound.offset[5]) + 9)
    if not described:
        (sound.path / "collection.json").unlink()
    real = getattr(repair, step)

    def killed(*arguments, **named):
        if when == "after":
            real(*arguments, **named)
        raise Killed

    with monkeypatch.context() as context:
        context.setattr(repair, step, killed)
        with pytest.raises(Killed):
            repair_collection(sound.path, front_end=PAPER)
    repair_collection(sound.path, front_end=PAPER)
    after = check_sound(sound.path, ["track/0001", "track/0005"], before)
    lost = {line["track_id"] for line in report(sound.path)}
    assert {"track/0001", "track/0005"} <= lost
    assert list(after.track_ids) == [f"track/000{i}" for i in (0, 2, 3, 4, 6)]


def test_random_damage_is_found_and_misleads_nobody(tmp_path):
    collection = trial.small_collection(tmp_path / "sound")
    outcomes = trial.trial(collection, tmp_path / "damaged", times=40, seed=0)
    assert sum(n for key, n in outcomes.items() if key[0] == "verify") == 40
    assert sum(n for key, n in outcomes.items() if key[-1] == "found") > 30
