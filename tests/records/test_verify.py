"""Verification of collections: what is wrong, and where."""

import shutil

import numpy as np
import pytest
from damage import flip, record, rewrite

from playlist_pretrain.audio.front_end import front_end
from playlist_pretrain.errors import CollectionError
from playlist_pretrain.records import example, schema
from playlist_pretrain.records.collection import Collection
from playlist_pretrain.records.verify import repair_collection, scan_shard, verify_collection
from playlist_pretrain.records.writer import write_collection

PAPER = front_end("paper")
FRAMES = [30, 8, 5, 9, 11, 300]


@pytest.fixture
def folder(make_collection, tmp_path):
    """Six tracks in two shards."""
    return make_collection(tmp_path / "mine", FRAMES).path


def problems(folder, **options):
    return [str(problem) for problem in verify_collection(folder, **options).problems]


def seal(folder):
    """Make collection.json fit its shards, whatever they hold."""

    def change(document):
        for entry in document["shards"]:
            scan = scan_shard(folder / entry["file"], PAPER)
            entry.update(size=scan.part.size, sha256=scan.part.sha)
        document["content_key"] = schema.collection_key(document["front_end"], document["shards"])

    rewrite(folder, change)


def reindex(folder, change, generation=0):
    """Write the index anew from parts that ``change`` has changed."""
    collection = Collection.open(folder)
    parts = [scan_shard(path, collection.front_end).part for path in collection.shard_paths]
    change(parts)
    write_collection(folder, collection.front_end, parts, {}, generation=generation)


def test_a_flipped_bit_of_a_mel(folder):
    collection = Collection.open(folder)
    flip(folder / "mel-00001.tfrecord", int(collection.offset[5]) + 77)
    found = problems(folder)
    assert len(found) == 2 and found[0].startswith("mel-00001.tfrecord: SHA-256 is ")
    assert "row 5, track 'track/0005': the checksum of its data is wrong" in found[1]
    assert found[1].startswith("mel-00001.tfrecord, byte ")
    assert len(problems(folder, hashed=False)) == 1


def test_a_damaged_length_names_every_track_behind_it(folder):
    start = len(example.encode_track("track/0000", np.zeros((30, 96), "<f2"), 0.0, 30.0)[0]) + 16
    flip(folder / "mel-00000.tfrecord", start + 5)
    found = problems(folder, hashed=False)
    assert found == [
        f"mel-00000.tfrecord, byte {start}, row {row}, track 'track/000{row}': "
        "the checksum of its length is wrong"
        for row in (1, 2, 3)
    ]


def test_a_cut_shard_names_every_track_it_lost(folder):
    with open(folder / "mel-00000.tfrecord", "r+b") as stream:
        stream.truncate(Collection.open(folder).offset[1] + 100)
    found = problems(folder)
    assert "bytes, collection.json says" in found[0]
    assert "row 1, track 'track/0001': a record of" in found[1]
    assert "row 2" in found[2] and "row 3" in found[3] and len(found) == 4


def test_a_shard_that_is_gone_and_lengths_that_lie(folder):
    (folder / "mel-00001.tfrecord").unlink()
    found = problems(folder)
    assert found[0].startswith("mel-00001.tfrecord: no such file")
    assert [line.partition(", ")[2] for line in found[1:]] == [
        f"row {row}, track 'track/000{row}': the shard is gone" for row in (4, 5)
    ]
    (folder / "mel-00001.tfrecord").write_bytes(record(b"one", length=1 << 60))
    assert f"a record of {1 << 60} bytes" in problems(folder, hashed=False)[-1]
    (folder / "mel-00001.tfrecord").write_bytes(b"")
    assert problems(folder)[0].startswith("mel-00001.tfrecord: 0 bytes")


@pytest.mark.parametrize(
    "change, words",
    [
        (lambda p: p[0].frames.__setitem__(0, 29), ["row 0, track 'track/0000': frames 30 in"]),
        (lambda p: p[0].start_seconds.__setitem__(3, 2), ["row 3, track 'track/0003': start_sec"]),
        (lambda p: p[1].source_seconds.__setitem__(1, 2), ["row 5, track 'track/0005': source_s"]),
        (lambda p: p[1].offsets.__setitem__(0, 2), ["row 4, track 'track/0004': offset "]),
        (lambda p: p[1].track_ids.__setitem__(0, "x"), ["track id track/0004 in the record, x in"]),
        (lambda p: p[0].track_ids.reverse(), ["track id track/000"] * 4),
    ],
)
def test_an_index_that_differs_from_the_records(folder, change, words):
    reindex(folder, change)
    Collection.open(folder)
    found = [line for line in problems(folder) if "collection.json" not in line]
    assert len(found) == len(words)
    assert all(word in line for word, line in zip(words, found, strict=True))


def test_values_that_are_not_finite_though_all_sums_fit(folder):
    mel = np.full((3, 96), np.nan, "<f2")
    data = example.encode_track("nan", mel, 0.0, 30.0)[0]
    (folder / "mel-00001.tfrecord").write_bytes(record(data))
    seal(folder)
    found = problems(folder)
    assert any("288 values of its mel are not finite" in line for line in found)


def test_an_id_in_two_shards(folder):
    shutil.copy(folder / "mel-00000.tfrecord", folder / "mel-00001.tfrecord")
    seal(folder)
    found = problems(folder)
    twice = [line for line in found if "track is also in mel-00000.tfrecord" in line]
    assert len(twice) == 4 and "track 'track/0003'" in twice[3]


def test_numbers_in_the_description_that_are_not_the_mels(folder):
    def change(document):
        for name, band in (("band_mean", 3), ("band_std", 95)):
            document[name][band] *= 1 + 1e-5

    rewrite(folder, change)
    Collection.open(folder)
    assert [line.partition(" is ")[0] for line in problems(folder)] == [
        "collection.json: band_mean of band 3",
        "collection.json: band_std of band 95",
    ]
    rewrite(folder, lambda document: document["index"].update(tracks=7))
    assert problems(folder)[0] == "collection.json: 6 tracks, 7 in the index"


def test_the_tally_knows_the_values(folder, rng):
    mels = [Collection.open(folder).mel(row) for row in range(len(FRAMES))]
    values = np.concatenate(mels).astype(np.float64)
    tally = verify_collection(folder).tally
    expected = (values.min(), values.max(), values.mean(), values.std())
    assert tally.summary() == pytest.approx(expected, rel=1e-12)
    counts, edges = tally.histogram()
    np.testing.assert_array_equal(counts, np.histogram(values, edges)[0])
    np.testing.assert_array_equal(tally.low, values.min(0))


def test_a_damaged_description_is_refused_with_what_to_do(folder):
    rewrite(folder, lambda d: d["shards"][0].update(file="mel-00001.tfrecord"))
    for call in (verify_collection, repair_collection):
        with pytest.raises(CollectionError, match="is named twice"):
            call(folder)
