"""Tasks in the rows of a collection: what is there, in part there, and not there."""

import dataclasses

import numpy as np
import pytest
import refusal

from playlist_pretrain.audio.front_end import front_end
from playlist_pretrain.errors import TaskError
from playlist_pretrain.tasks import SPLITS, Split, TaggingTask
from playlist_pretrain.tasks.task import match_task

TRACKS = {
    "train": {"41/1": "xy", "41/2": "y", "41/3": "x"},
    "validation": {"42/1": "x"},
    "test": {"43/1": "xy", "43/2": "y", "43/3": ""},
}
IDS = [track_id for tracks in TRACKS.values() for track_id in tracks]
FRAMES = 300


def make_task(**others):
    splits = {
        name: Split(
            tuple(tracks), np.array([["x" in tags, "y" in tags] for tags in tracks.values()])
        )
        for name, tracks in TRACKS.items()
    }
    return TaggingTask(
        "made up", ("x", "y"), **splits, whole_tracks=True, notes=("a note",), citation="",
        **others,
    )  # fmt: skip


@pytest.fixture
def task():
    return make_task(endings=(".low",))


def tags_by_id(found, collection):
    """Tags of every track by split and id, from the rows."""
    return {
        name: {
            collection.track_ids[row]: "".join(np.array(found.classes)[has].tolist())
            for row, has in zip(part.rows, part.targets, strict=True)
        }
        for name, part in ((name, getattr(found, name)) for name in SPLITS)
    }


def refused(task, collection, *words, partial=False):
    return refusal.refused(
        task, TaskError, *words, read=match_task, collection=collection, partial=partial
    )


@pytest.mark.parametrize("partial", [False, True])
def test_all_tracks_in_any_order_among_others(task, collection_of, rng, partial):
    ids = rng.permutation([*IDS, "other", "41/1.mp3"]).tolist()
    collection = collection_of(dict.fromkeys(ids, FRAMES))
    found = match_task(task, collection, partial=partial)
    assert found.classes == ("x", "y") and found.notes == ("a note",)
    assert tags_by_id(found, collection) == TRACKS
    for name in SPLITS:
        part = getattr(found, name)
        assert part.rows.dtype == np.int64 and part.targets.dtype == bool
        assert part.asked == len(part) == len(TRACKS[name])
        assert [collection.track_ids[row] for row in part.rows] == list(TRACKS[name])


def test_ids_with_an_ending_are_the_same_tracks(task, collection_of):
    low = [f"{track_id}.low" if number % 2 else track_id for number, track_id in enumerate(IDS)]
    collection = collection_of(dict.fromkeys(low, FRAMES))
    found = match_task(task, collection, partial=False)
    assert {
        name: {track_id.removesuffix(".low"): tags for track_id, tags in tracks.items()}
        for name, tracks in tags_by_id(found, collection).items()
    } == TRACKS
    refused(make_task(), collection, "none of the 1 tracks of validation (the first is '42/1')")


def test_a_track_that_is_there_with_an_ending_too(task, collection_of):
    collection = collection_of(dict.fromkeys([*IDS, "42/1.low"], FRAMES))
    refused(task, collection, "'mine'", "'42/1' and '42/1.low' are the same track", partial=True)
    match_task(make_task(), collection, partial=False)


def test_missing_tracks_are_counted_and_named(task, collection_of):
    here = [track_id for track_id in IDS if track_id not in ("41/2", "43/1", "43/3")]
    collection = collection_of(dict.fromkeys(here, FRAMES))
    refused(
        task, collection,
        "made up: collection 'mine' lacks tracks", "1 of 3 for train", "0 of 1 for validation",
        "2 of 3 for test", "'41/2', '43/1', '43/3'", "like '41/1'", "--partial",
    )  # fmt: skip
    found = match_task(task, collection, partial=True)
    assert tags_by_id(found, collection) == {
        name: {i: tags for i, tags in tracks.items() if i in here}
        for name, tracks in TRACKS.items()
    }
    assert [getattr(found, name).asked for name in SPLITS] == [3, 1, 3]
    assert found.notes == (
        "a note",
        "train: 2 of 3 tracks (66.7 %) are in the collection",
        "validation: 1 of 1 tracks (100.0 %) are in the collection",
        "test: 1 of 3 tracks (33.3 %) are in the collection",
        "of the tracks in the collection, none of test has 'x' (1 of 2 classes): left out of the "
        "figures",
    )


@pytest.mark.parametrize("split", SPLITS)
def test_a_split_without_any_track_is_refused_whatever_was_asked(task, collection_of, split):
    here = [track_id for track_id in IDS if track_id not in TRACKS[split]]
    collection = collection_of(dict.fromkeys(here, FRAMES))
    first = f"none of the {len(TRACKS[split])} tracks of {split} (the first is "
    where = f"{next(iter(TRACKS[split]))!r}) is in collection 'mine', whose ids are like '4"
    for partial in (False, True):
        assert "--partial" not in refused(task, collection, first, where, partial=partial)


def test_no_class_left_in_both_train_and_test(task, collection_of):
    here = ["41/3", "42/1", "43/2", "43/3"]  # train has x, test has y
    refused(task, collection_of(dict.fromkeys(here, FRAMES)), "share no class", partial=True)


@pytest.mark.parametrize("preset", ["paper", "vggish"])
def test_excerpts_of_test_tracks(task, collection_of, preset):
    """An excerpt of 3 s of sources of 3 s (whole), and of 10 s (in part)."""
    frames = front_end(preset).frames(3 * 16_000)
    excerpt, whole = (frames, 3.5, 10.0), (frames, 0.0, 3.0)
    tracks = {**dict.fromkeys(IDS, whole), "41/1": excerpt, "42/1": excerpt}
    match_task(task, collection_of(tracks, "whole", preset), partial=False)
    tracks |= {"43/2": excerpt, "43/3": (frames, 0.0, 10.0)}
    collection = collection_of(tracks, "cut", preset)
    refused(
        task, collection,
        "'cut' holds but a part of 2 of 3 test tracks ('43/2': 3.0 of 10.0 s)", "--excerpt full",
        "--partial",
    )  # fmt: skip
    found = match_task(task, collection, partial=True)
    assert tags_by_id(found, collection) == TRACKS
    assert found.notes == (
        "a note",
        "of 2 of the 3 test tracks there are excerpts only; the protocol tests whole tracks",
    )
    excerpts_do = dataclasses.replace(task, whole_tracks=False)
    assert match_task(excerpts_do, collection, partial=False).notes == ("a note",)


def test_ids_that_lost_their_zeros(collection_of):
    splits = {
        name: Split((str(number),), np.array([[True, True]])) for number, name in enumerate(SPLITS)
    }
    task = TaggingTask("made up", ("x", "y"), **splits, whole_tracks=False, notes=(), citation="")
    refused(task, collection_of({"00": FRAMES}), "the first is '0' (did you mean '00'?)) is in")


def put_mel(collection, row, mel):
    """Replace the mel of a track in its shard; of its first frames, where it has fewer."""
    with open(collection.shard_paths[collection.shard[row]], "r+b") as stream:
        stream.seek(collection.offset[row])
        stream.write(mel.astype("<f2").tobytes())


def test_the_same_audio_in_two_splits_is_told(collection_of):
    """As two files of one recording have it."""
    collection = collection_of(dict.fromkeys([*IDS, "other"], FRAMES))
    row = dict(zip(collection.track_ids, range(len(collection)), strict=True))
    first, third = (collection.mel(row[one]) for one in ("41/1", "41/3"))
    for one in ("41/2", "other"):  # in one split, and in none
        put_mel(collection, row[one], first)
    assert match_task(make_task(), collection, partial=False).notes == ("a note",)
    for one, mel in (("42/1", first), ("43/2", first), ("43/3", third)):
        put_mel(collection, row[one], mel)
    assert match_task(make_task(), collection, partial=False).notes[1] == (
        "tracks of validation and test with the mel of a track of another split: 3 ('41/1' "
        "(train) = '42/1' (validation)), which flatters the figures; remove them from the table, "
        "or give equal tracks one artist"
    )


def test_silent_tracks_and_those_that_differ_in_a_value_are_not_the_same(collection_of):
    collection = collection_of(dict.fromkeys(IDS, FRAMES))
    row = dict(zip(collection.track_ids, range(len(collection)), strict=True))
    mel = collection.mel(row["41/1"])
    mel[0, 0] += 1
    put_mel(collection, row["43/1"], mel)
    for one in ("41/3", "43/3"):
        put_mel(collection, row[one], np.full_like(mel, collection.front_end.silence))
    assert match_task(make_task(), collection, partial=False).notes == ("a note",)
