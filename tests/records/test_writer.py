"""Shards and collections as they lie on disk."""

import hashlib
import io
import itertools
import json
import struct
import zipfile

import numpy as np
import pytest

from playlist_pretrain.audio.front_end import front_end
from playlist_pretrain.errors import TrackError
from playlist_pretrain.records.collection import Collection
from playlist_pretrain.records.writer import ShardWriter, write_collection

ODD_IDS = ["a/b.c/d", "..", "track with spaces\n", "日本語/é́", "x" * 300, "/etc/passwd", "🎵" * 40]


def test_the_bytes_of_a_small_shard_never_change(tmp_path):
    with ShardWriter(tmp_path / "mel-00000.tfrecord", bands=2) as writer:
        writer.add("é/1", [[0.0, 1.0], [2.5, -3.0]], start_seconds=0.0, source_seconds=1.5)
        writer.add("silence", np.zeros((300, 2)), start_seconds=2.25, source_seconds=30.0)
    data = (tmp_path / "mel-00000.tfrecord").read_bytes()
    assert writer.part.sha == hashlib.sha256(data).hexdigest()
    assert writer.part.sha == "e56d92ac1926901f0470f83f321e19da6edf7bb54568d76b7ddf13a00042ea19"
    first, second = writer.part.offsets
    assert data[first : first + 8] == struct.pack("<4e", 0.0, 1.0, 2.5, -3.0)
    assert data[second - 3 : second + 1200] == b"\x0a\xb0\x09" + bytes(1200)
    assert writer.part.band_sum.tolist() == [2.5, -2.0]
    assert writer.part.band_square_sum.tolist() == [6.25, 10.0]


def test_plain_tensorflow_reads_the_shards(make_collection, tmp_path):
    import tensorflow as tf

    collection = make_collection(tmp_path / "c", [5, 300, 1, 40, 7, 2, 9], ids=ODD_IDS)
    features = {
        "track_id": tf.io.FixedLenFeature([], tf.string),
        "mel": tf.io.FixedLenFeature([], tf.string),
        "frames": tf.io.FixedLenFeature([], tf.int64),
        "start_seconds": tf.io.FixedLenFeature([], tf.float32),
        "source_seconds": tf.io.FixedLenFeature([], tf.float32),
    }
    ids = []
    for row, record in enumerate(tf.data.TFRecordDataset([str(p) for p in collection.shard_paths])):
        track = tf.io.parse_single_example(record, features)
        mel = tf.reshape(tf.io.decode_raw(track["mel"], tf.float16), [track["frames"], -1])
        np.testing.assert_array_equal(mel, collection.mel(row))
        assert track["source_seconds"] == 30.0 and track["start_seconds"] == 0.0
        ids.append(track["track_id"].numpy().decode())
    assert ids == ODD_IDS == list(collection.track_ids)


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (("", np.ones((1, 2)), 0, 1), "non-empty string"),
        (("first", np.ones((1, 2)), 0, 1), "'first'.*in the shard already"),
        (("\udcff", np.ones((1, 2)), 0, 1), r"udcff' is not valid Unicode"),
        (("x", np.ones((1, 3)), 0, 1), r"'x'.*\(1, 3\)"),
        (("x", np.ones((1, 2)), float("nan"), 1), "'x': start of nan seconds"),
        (("x", np.ones((1, 2)), 0, -1), "'x': source length of -1 seconds"),
    ],
)
def test_a_refused_track_leaves_the_shard_as_it_was(tmp_path, arguments, word):
    with ShardWriter(tmp_path / "one", bands=2) as writer:
        writer.add("first", np.ones((1, 2)), 0, 1)
        with pytest.raises(TrackError, match=word):
            writer.add(*arguments)
        writer.add("last", np.ones((2, 2)), 0, 1)
    with ShardWriter(tmp_path / "two", bands=2) as clean:
        clean.add("first", np.ones((1, 2)), 0, 1)
        clean.add("last", np.ones((2, 2)), 0, 1)
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()
    assert writer.part.sha == clean.part.sha and writer.part.track_ids == ["first", "last"]


def test_an_exception_leaves_nothing(tmp_path):
    (tmp_path / "mel").write_bytes(b"what was there")
    with pytest.raises(KeyError), ShardWriter(tmp_path / "mel", bands=2) as writer:
        writer.add("x", np.ones((1, 2)), 0, 1)
        raise KeyError
    assert [path.name for path in tmp_path.iterdir()] == ["mel"]
    assert (tmp_path / "mel").read_bytes() == b"what was there"
    assert writer.part is None


def test_statistics_are_those_of_the_stored_values(make_collection, tmp_path):
    collection = make_collection(tmp_path / "c", [50, 1, 300, 20, 33], per_shard=2)
    frames = np.concatenate([collection.mel(row) for row in range(5)]).astype(np.float64)
    np.testing.assert_allclose(collection.band_mean, frames.mean(axis=0), rtol=1e-6)
    np.testing.assert_allclose(collection.band_std, frames.std(axis=0), rtol=1e-6)


def test_a_band_that_never_changes_has_no_deviation(tmp_path, rng):
    constant = [0.0, 0.1, 5.3, -3.7, 60000.0]
    mel = rng.random((701, 96))
    mel[:, :5] = constant
    with ShardWriter(tmp_path / "mel-00000.tfrecord", 96) as writer:
        writer.add("x", mel, 0, 1)
    write_collection(tmp_path, front_end("paper"), [writer.part], {})
    collection = Collection.open(tmp_path)
    assert collection.band_std[:5].tolist() == [0.0] * 5
    assert collection.band_mean[:5].tolist() == np.float16(constant).tolist()
    assert (collection.band_std[5:] > 0.2).all()


def test_collection_json_names_what_is_there(make_collection, tmp_path):
    collection = make_collection(tmp_path / "c", [5, 6, 7, 8, 9])
    document = json.loads((collection.path / "collection.json").read_text("utf-8"))
    assert document["type"] == "mel collection" and document["format"] == 1
    assert document["tracks"] == 5 and document["frames"] == 35 and document["bands"] == 96
    assert [shard["tracks"] for shard in document["shards"]] == [4, 1]
    for entry in [document["index"], *document["shards"]]:
        data = (collection.path / entry["file"]).read_bytes()
        assert entry["size"] == len(data)
        assert entry["sha256"] == hashlib.sha256(data).hexdigest()
    constants = json.dumps(
        document["front_end"], sort_keys=True, separators=(",", ":"), ensure_ascii=False
    ).encode()
    parts = [constants, *(shard["sha256"].encode() for shard in document["shards"])]
    series = b"".join(struct.pack("<Q", len(part)) + part for part in parts)
    assert document["content_key"] == hashlib.sha256(series).hexdigest()[:32]


def test_the_index_is_what_the_specification_says(make_collection, tmp_path):
    collection = make_collection(tmp_path / "c", [5, 6, 7, 8, 9], ids=ODD_IDS[:5])
    data = (collection.path / "index-0.npz").read_bytes()
    with np.load(io.BytesIO(data), allow_pickle=False) as archive:
        arrays = dict(archive)
    assert {array.ndim for array in arrays.values()} == {1}
    with zipfile.ZipFile(io.BytesIO(data)) as archive:  # equal tracks give equal bytes
        assert {info.date_time for info in archive.infolist()} == {(1980, 1, 1, 0, 0, 0)}
    assert {name: array.dtype.str for name, array in arrays.items()} == {
        "track_id_bytes": "|u1", "track_id_ends": "<i8", "shard": "<i4", "offset": "<i8",
        "frames": "<i4", "start_seconds": "<f4", "source_seconds": "<f4", "sound": "<f4",
        "band_sum": "<f8", "band_square_sum": "<f8",
    }  # fmt: skip
    ends = [0, *arrays["track_id_ends"]]
    blob = arrays["track_id_bytes"].tobytes()
    ids = [blob[a:b].decode() for a, b in itertools.pairwise(ends)]
    assert ids == ODD_IDS[:5]
    assert arrays["shard"].tolist() == [0, 0, 0, 0, 1]


def test_two_writers_of_one_shard_do_not_meet(tmp_path, rng):
    """A cluster may try a shard again while the first try is still going on."""
    mel = rng.uniform(0, 6, (20, 96))
    path = tmp_path / "mel-00000.tfrecord"
    with ShardWriter(path, 96) as first, ShardWriter(path, 96) as second:
        first.add("a", mel, 0, 1)
        second.add("a", mel, 0, 1)
        second.add("b", mel, 0, 1)
        first.add("b", mel, 0, 1)
    assert first.part.sha == second.part.sha == hashlib.sha256(path.read_bytes()).hexdigest()
    assert [file.name for file in tmp_path.iterdir()] == [path.name]
