"""Shards from front to back: sound, damaged and hostile ones."""

import hashlib

import numpy as np
import pytest
from damage import flip, record

from playlist_pretrain.errors import CollectionError
from playlist_pretrain.records import example, shard_file
from playlist_pretrain.records.shard_file import Damage, Record, ShardFile, read_shard
from playlist_pretrain.records.writer import ShardWriter

BANDS = 4


@pytest.fixture
def shard(tmp_path):
    """A shard of five tracks of 1 … 5 frames."""
    path = tmp_path / "mel-00000.tfrecord"
    with ShardWriter(path, BANDS) as writer:
        for i in range(5):
            writer.add(f"t{i}", np.full((i + 1, BANDS), i), 0.5 * i, 30)
    return path


def track(track_id, frames=2, bands=BANDS, value=1.0, start=0.0):
    mel = np.full((frames, bands), value, "<f2")
    return example.encode_track(track_id, mel, start, 30.0)[0]


def read(path, bands=BANDS, known=None):
    with ShardFile(path) as file:
        found = list(read_shard(file, bands, known))
        assert [item.start for item in found] == [0, *(item.end for item in found)][:-1]
        assert not found or found[-1].end == path.stat().st_size
        assert file.sha256() == hashlib.sha256(path.read_bytes()).hexdigest()
    return found


def ids(found):
    return [item.track.track_id for item in found if isinstance(item, Record)]


def reasons(found):
    return [item.reason for item in found if isinstance(item, Damage)]


@pytest.mark.parametrize("chunk", [1 << 22, 200, 64])
def test_a_sound_shard_in_chunks_of_any_size(shard, chunk, monkeypatch):
    monkeypatch.setattr(shard_file, "CHUNK", chunk)
    found = read(shard)
    assert ids(found) == [f"t{i}" for i in range(5)]
    assert [item.track.frames for item in found] == [1, 2, 3, 4, 5]
    assert [item.track.start_seconds for item in found] == [0, 0.5, 1, 1.5, 2]
    data = shard.read_bytes()
    for i, item in enumerate(found):
        size = (i + 1) * BANDS * 2
        assert data[item.offset : item.offset + size] == np.full(size // 2, i, "<f2").tobytes()


def test_every_flipped_bit_costs_its_own_record_only(shard):
    sound = shard.read_bytes()
    spans = [(item.start, item.end) for item in read(shard)]
    for byte in {*range(spans[1][0], spans[1][0] + 40), *range(0, len(sound), 7)}:
        shard.write_bytes(sound)
        flip(shard, byte, byte % 8)
        hit = next(i for i, (start, end) in enumerate(spans) if start <= byte < end)
        found = read(shard)
        assert ids(found) == [f"t{i}" for i in range(5) if i != hit], byte
        assert [(d.start, d.end) for d in found if isinstance(d, Damage)] == [spans[hit]]


def test_every_cut_keeps_the_records_before_it(shard):
    sound = shard.read_bytes()
    ends = [item.end for item in read(shard)]
    for size in {*range(0, len(sound), 11), *ends[:-1], *(end + 12 for end in ends[:-1])}:
        shard.write_bytes(sound[:size])
        found = read(shard)
        assert ids(found) == [f"t{i}" for i, end in enumerate(ends) if end <= size]
        assert len(reasons(found)) == (size not in (0, *ends))


def test_an_empty_shard_and_one_that_is_not_there(tmp_path):
    path = tmp_path / "mel-00000.tfrecord"
    path.write_bytes(b"")
    assert read(path) == []
    with pytest.raises(CollectionError, match=r"nowhere: No such file"):
        ShardFile(tmp_path / "nowhere")


@pytest.mark.parametrize("length", [2**60, 2**63, 2**64 - 1, 2**64 - 17, 5000])
def test_a_record_that_claims_more_than_there_is(shard, length):
    rest = shard.read_bytes()
    shard.write_bytes(record(track("liar"), length) + rest)
    found = read(shard)
    assert ids(found) == [f"t{i}" for i in range(5)]
    (reason,) = reasons(found)
    assert f"a record of {length} bytes, and the file ends" in reason


def test_a_file_of_false_headers_ends_soon(tmp_path, monkeypatch):
    tried = []
    crc = shard_file.masked_crc
    monkeypatch.setattr(shard_file, "masked_crc", lambda d: tried.append(len(d)) or crc(d))
    path = tmp_path / "mel-00000.tfrecord"
    count = 2000
    path.write_bytes(b"x" + b"".join(record(b"", 16 * (count - i)) for i in range(count)))
    assert ids(read(path)) == []
    assert sum(tried) < 10 * path.stat().st_size


def nonsense():
    """Data with a valid checksum that are no track, each with a word of its reason."""
    good = track("x")
    names = ("frames", "mel", "source_seconds", "start_seconds", "track_id")
    yield b"", "holds no value"
    yield b"\x00" * 80, "wire type 0"
    yield b"\xff" * 80, "ends inside a number"
    yield good + good, "not one value of its kind"
    yield good[:-1], "longer than the message"
    yield good + b"\x12\x01x", "not one value of its kind"
    for name in names:
        yield good.replace(name.encode(), b"\xc3" * len(name)), f"no feature '{name}'"
    yield track("y").replace(b"y", b"\xff"), "utf-8"
    yield track("x", bands=3), "a mel of 12 bytes for 2 frames of 4 bands"
    yield track("x", frames=1).replace(b"\x1a\x03\x0a\x01\x01", b"\x1a\x03\x0a\x01\x00"), "frames"
    yield track("x", start=float("nan")), "start_seconds"
    yield track("x", start=-1.0), "start_seconds"
    entry = good[good.index(b"\x0a", 1) :]
    yield b"\x0a" + bytes([len(entry) * 2 % 128 | 128, len(entry) * 2 // 128]) + entry * 2, "twice"
    yield b"\x0a\x88\x27" + b"\x0a\x00" * 2500, "holds no value"


@pytest.mark.parametrize("number", range(18))
def test_nonsense_with_valid_checksums(shard, number):
    cases = list(nonsense())  # not where tests are collected: it takes TensorFlow
    assert len(cases) == 18
    data, word = cases[number]
    rest = shard.read_bytes()
    shard.write_bytes(record(data) + rest)
    found = read(shard)
    assert ids(found) == [f"t{i}" for i in range(5)]
    (reason,) = reasons(found)
    assert word in reason


def test_a_record_inside_a_mel_is_not_a_track_when_the_index_is_known(tmp_path):
    inner = record(track("inner"))
    inner += bytes(-len(inner) % (2 * BANDS))
    mel = np.frombuffer(inner, "<f2").reshape(-1, BANDS)
    path = tmp_path / "mel-00000.tfrecord"
    data = example.encode_track("outer", np.nan_to_num(mel, nan=0.0), 0.0, 30.0)[0]
    data = data.replace(np.nan_to_num(mel, nan=0.0).tobytes(), inner)
    assert inner in data
    path.write_bytes(record(data) + record(track("last")))
    sound = read(path)
    assert ids(sound) == ["outer", "last"]
    flip(path, 3)
    assert ids(read(path, known={item.offset for item in sound})) == ["last"]
    assert ids(read(path)) == ["inner", "last"]


def test_bands_are_those_of_the_first_record_when_not_known(tmp_path):
    path = tmp_path / "mel-00000.tfrecord"
    path.write_bytes(record(track("a", bands=3)) + record(track("b", bands=5, frames=3)))
    found = read(path, bands=None)
    assert ids(found) == ["a"] and "of 3 bands" in reasons(found)[0]


def test_a_long_record_is_never_in_memory_as_a_whole(tmp_path, monkeypatch):
    monkeypatch.setattr(shard_file, "CHUNK", 4096)
    path = tmp_path / "mel-00000.tfrecord"
    path.write_bytes(record(track("long", frames=50_000)) + record(track("next")))
    with ShardFile(path) as file:
        sizes = []
        fill = file._fill
        monkeypatch.setattr(file, "_fill", lambda p: sizes.append(fill(p)) or sizes[-1])
        assert ids(read_shard(file, BANDS)) == ["long", "next"]
        assert max(sizes) <= 4096 and len(sizes) > 90
