"""Opening collections, sound and damaged."""

import hashlib
import json
import os

import numpy as np
import pytest
from damage import rewrite

from playlist_pretrain.errors import CollectionError, TrackError
from playlist_pretrain.files import load_arrays, write_arrays
from playlist_pretrain.records import schema
from playlist_pretrain.records.collection import Collection


@pytest.fixture
def folder(make_collection, tmp_path):
    """A sound collection of five tracks in two shards."""
    return make_collection(
        tmp_path / "mine", [30, 8, 5, 9, 11], ids=["a", "b/c", "é", "..", "e"]
    ).path


def rewrite_index(folder, change, save=np.savez):
    """Replace arrays of the index and make collection.json speak of the new file."""
    path = folder / "index-0.npz"
    with np.load(path) as archive:
        arrays = dict(archive)
    change(arrays)
    save(path, **arrays)
    data = path.read_bytes()
    seal = {"size": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    rewrite(folder, lambda document: document["index"].update(seal))


def test_what_was_written_is_there(folder):
    collection = Collection.open(str(folder))
    assert len(collection) == 5 and collection.name == "mine" and collection.path == folder
    assert list(collection.track_ids) == ["a", "b/c", "é", "..", "e"]
    assert collection.frames.tolist() == [30, 8, 5, 9, 11] and collection.frames.dtype == np.int32
    assert collection.shard.tolist() == [0, 0, 0, 0, 1] and collection.shard.dtype == np.int32
    assert collection.offset.dtype == np.int64
    assert collection.start_seconds.tolist() == [0] * 5
    assert collection.source_seconds.tolist() == [30] * 5
    assert collection.front_end.name == "paper"
    assert collection.band_mean.shape == collection.band_std.shape == (96,)
    assert collection.source == {"made": "random mels for a test"}
    assert collection.rows(["e", "nobody", "a", "e"]).tolist() == [4, -1, 0, 4]
    assert collection.rows([]).dtype == np.int32
    assert collection.row("..") == 3
    assert "5 tracks" in repr(collection)


def test_an_unknown_track_or_row_is_named(folder):
    with pytest.raises(TrackError, match=r"'nobody' is not in collection .*mine.*5 tracks.*'a'"):
        Collection.open(folder).row("nobody")
    for row in (-1, 5):
        with pytest.raises(CollectionError, match=f"row {row} of 5 tracks"):
            Collection.open(folder).mel(row)


def test_a_folder_that_is_not_there_and_one_without_a_description(folder, tmp_path):
    with pytest.raises(CollectionError, match=r"nowhere: no such folder.*make_tfrecords\.py"):
        Collection.open(tmp_path / "nowhere")
    (folder / "collection.json").unlink()
    with pytest.raises(CollectionError, match=r"collection\.json is missing.*finishes it"):
        Collection.open(folder)


def test_a_description_that_is_not_json(folder):
    for content in (b"", b"{", b"\xff\xfe", b"[" * 100_000):
        (folder / "collection.json").write_bytes(content)
        with pytest.raises(CollectionError, match=r"collection\.json: not JSON.*--overwrite"):
            Collection.open(folder)


def unknown_constant(document):
    document["front_end"]["colour"] = "blue"
    shards = document["shards"]
    document["content_key"] = schema.collection_key(document["front_end"], shards)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (unknown_constant, r"collection\.json: .*colour"),
        (
            lambda d: d.update(bands=2, band_mean=[0, 0], band_std=[1, 1]),
            r"2 bands, but its front end 'paper' makes 96",
        ),
    ],
)
def test_a_foreign_description(folder, change, message):
    rewrite(folder, change)
    with pytest.raises(CollectionError, match=message):
        Collection.open(folder)


@pytest.mark.parametrize("name", ["mel-00001.tfrecord", "index-0.npz"])
def test_a_short_long_or_missing_file(folder, name):
    size = (folder / name).stat().st_size
    for wrong in (size - 1, size + 1):
        os.truncate(folder / name, wrong)
        with pytest.raises(CollectionError, match=f"{name}: {wrong} bytes.* says {size};"):
            Collection.open(folder)
    (folder / name).unlink()
    with pytest.raises(CollectionError, match=f"{name}: No such file.*--repair"):
        Collection.open(folder)


def update(**changes):
    return lambda arrays: arrays.update({name: np.array(*value) for name, value in changes.items()})


@pytest.mark.parametrize(
    ("change", "word"),
    [
        (update(frames=([{}] * 5, object)), "allow_pickle"),
        (update(frames=([30, 8, 5, 9, 11], "<i8")), "frames: int64"),
        (update(frames=([30, 8, 5, 9], "<i4")), "frames: 4 rows, not 5 tracks"),
        (update(frames=([30, 8, 5, 11, 9], "<i4")), "row 4|shard"),
        (update(frames=([30, 8, 5, 9, 12], "<i4")), "row 4 reaches"),
        (update(frames=([30, 8, 5, 9, 10], "<i4")), "frames do not sum to 63"),
        (update(offset=([-1, 1, 1, 1, 1], "<i8")), "row 0 reaches from byte -1"),
        (update(offset=([50, 2**62, 1, 1, 1], "<i8")), "row 1 reaches"),
        (update(shard=([0, 0, 0, 1, 1], "<i4")), "do not match their numbers of tracks"),
        (update(track_id_ends=([1, 2, 3, 4, 50], "<i8")), "do not fit their bytes"),
        (lambda arrays: arrays.pop("offset"), "offset"),
        (lambda arrays: arrays["track_id_bytes"].fill(0xFF), "utf-8"),
    ],
)
def test_an_index_that_does_not_fit(folder, change, word):
    rewrite_index(folder, change)
    with pytest.raises(CollectionError, match=rf"index-0\.npz: damaged index .*({word})"):
        Collection.open(folder)


def test_an_id_that_stands_for_two_tracks(folder):
    def change(arrays):
        arrays["track_id_bytes"][-1] = ord("a")

    rewrite_index(folder, change)
    with pytest.raises(CollectionError, match="1 track ids stand for more than one track"):
        Collection.open(folder).row("a")


def test_a_shard_that_shrinks_later(folder):
    collection = Collection.open(folder)
    os.truncate(folder / "mel-00001.tfrecord", collection.offset[4] + 100)
    with pytest.raises(CollectionError, match=r"mel-00001\.tfrecord: cannot read track 'e': ends"):
        collection.mel(4)
    (folder / "mel-00001.tfrecord").unlink()
    with pytest.raises(CollectionError, match=r"mel-00001\.tfrecord: No such file"):
        collection.mel(4)


def test_a_collection_of_before_says_nothing_of_sound(make_collection, tmp_path):
    made = make_collection(tmp_path / "mine", [5, 6], sound=[1, 0])
    assert made.quiet.tolist() == [False, True]
    arrays = load_arrays(made.path / "index-0.npz")
    for change, error in ((None, None), ([1.5, 0], "share of sound"), ([1], "rows")):
        arrays.pop("sound", None)
        if change is not None:
            arrays["sound"] = np.array(change, np.float32)
        write_arrays(made.path / "index-0.npz", **arrays)
        document = json.loads((made.path / "collection.json").read_text())
        content = (made.path / "index-0.npz").read_bytes()
        document["index"] |= {"size": len(content), "sha256": hashlib.sha256(content).hexdigest()}
        (made.path / "collection.json").write_text(json.dumps(document))
        if error:
            with pytest.raises(CollectionError, match=error):
                Collection.open(made.path)
        else:
            found = Collection.open(made.path)
            assert np.isnan(found.sound).all() and not found.quiet.any()
            assert found.content_key == made.content_key
