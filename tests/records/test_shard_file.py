"""The framing of TFRecord files: sound, damaged and cut."""

import io

import numpy as np
import pytest
from damage import record

from playlist_pretrain.records.shard_file import read_records
from playlist_pretrain.records.writer import ShardWriter

PARTS = [b"one", b"", b"three" * 100]


def read(data):
    found = list(read_records(io.BytesIO(data).read, len(data)))
    assert [item.start for item in found] == [0, *(item.end for item in found)][:-1]
    assert not found or found[-1].end == len(data)
    return found


def test_sound_records_are_those_of_tensorflow(tmp_path):
    tf = pytest.importorskip("tensorflow")
    path = tmp_path / "mel-00000.tfrecord"
    with ShardWriter(path, 4) as writer:
        for i in range(5):
            writer.add(f"t{i}", np.full((i + 1, 4), i), 0.5 * i, 30)
    found = read(path.read_bytes())
    expected = [data.numpy() for data in tf.data.TFRecordDataset(str(path))]
    assert [item.data for item in found] == expected
    assert not any(item.wrong for item in found)


def test_damaged_data_are_passed_over():
    data = bytearray(b"".join(map(record, PARTS)))
    data[13] ^= 4
    found = read(bytes(data))
    assert [item.wrong for item in found] == ["the checksum of its data is wrong", "", ""]
    assert [item.data for item in found[1:]] == PARTS[1:]


@pytest.mark.parametrize("byte", [0, 8])
def test_after_a_damaged_length_nothing_is_guessed(byte):
    data = bytearray(b"".join(map(record, PARTS)))
    start = len(record(PARTS[0]))
    data[start + byte] ^= 1
    assert [item.wrong for item in read(bytes(data))] == ["", "the checksum of its length is wrong"]


@pytest.mark.parametrize(
    ("kept", "wrong"),
    [(5, "the file ends 5 bytes into a record"), (17, "a record of 3 bytes, and the file ends 2")],
)
def test_a_cut_file(kept, wrong):
    (found,) = read(record(b"one")[:kept])
    assert found.wrong.startswith(wrong)


def test_an_empty_file():
    assert read(b"") == []


def test_a_length_that_lies_is_not_read():
    (found,) = read(record(b"one", length=1 << 60))
    assert found.wrong.startswith(f"a record of {1 << 60} bytes")
