"""Packed strings and the description of a collection."""

import copy

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from playlist_pretrain.errors import CollectionError, TrackError
from playlist_pretrain.records import schema

STEADY = settings(deadline=None, derandomize=True)
IDS = st.text(st.characters(blacklist_categories=["Cs"]), min_size=1, max_size=300)


@STEADY
@given(st.lists(IDS))
def test_packed_strings_are_the_strings(strings):
    packed = schema.PackedStrings.pack(strings)
    again = schema.PackedStrings(packed.data, packed.ends)
    assert list(again) == strings == [again[i] for i in range(len(again))] == again[:]
    assert len(again) == len(strings)
    if strings:
        assert again[-1] == strings[-1] and strings[0] in again


@pytest.mark.parametrize(
    ("data", "ends"),
    [
        (b"abc", [1, 2]),
        (b"abc", [3, 2]),
        (b"abc", [0, 3]),
        (b"abc", [1, 1, 3]),
        (b"", [1]),
        (b"abc", []),
        ("é".encode(), [1, 2]),
        (b"\xff", [1]),
    ],
)
def test_packed_strings_refuse_what_does_not_fit(data, ends):
    with pytest.raises(ValueError):
        schema.PackedStrings(np.frombuffer(data, np.uint8), np.array(ends, np.int64))


@pytest.mark.parametrize("track_id", ["", None, 7, b"bytes", "\udcff.mp3"])
def test_what_is_no_id_is_refused(track_id):
    with pytest.raises(TrackError, match="track id"):
        schema.check_track_id(track_id)


def document():
    shard = {"file": "mel-00000.tfrecord", "size": 10, "sha256": "ab", "tracks": 2}
    content = {
        "type": schema.TYPE,
        "format": 1,
        "creator": "somebody",
        "version": "1",
        "front_end": {"bands": 2, "ü": 0.1},
        "dtype": "float16",
        "bands": 2,
        "tracks": 2,
        "frames": 9,
        "band_mean": [0.0, 1.0],
        "band_std": [0, 1.5],
        "source": {},
        "index": {"file": "index-0.npz", "size": 5, "sha256": "cd", "tracks": 2},
        "shards": [shard],
    }
    content["content_key"] = schema.collection_key(content["front_end"], content["shards"])
    return content


def test_a_sound_document_passes():
    assert schema.check_document(document(), "here") == document()


def change(path, value):
    def apply(content):
        *folders, last = path
        for folder in folders:
            content = content[folder]
        content[last] = value

    return apply


@pytest.mark.parametrize(
    ("damage", "word"),
    [
        (change(["type"], "else"), "not the description of a collection"),
        (change(["format"], 2), "format 2, this version reads format 1"),
        (change(["format"], None), "format None"),
        (lambda c: c.pop("frames"), "'frames' is missing"),
        (change(["tracks"], "2"), "'tracks' is '2', expected int"),
        (change(["tracks"], True), "'tracks' is True"),
        (change(["tracks"], 3), "3 tracks, but its shards"),
        (change(["dtype"], "float32"), "'float32'"),
        (change(["band_mean"], [1.0]), "'band_mean' needs 2"),
        (change(["band_std"], [1.0, float("nan")]), "'band_std' needs 2"),
        (change(["band_std"], [1.0, "2"]), "'band_std' needs 2"),
        (change(["band_std"], [1.0, -1.0]), "'band_std' needs 2"),
        (change(["content_key"], "0" * 32), "content key '000"),
        (change(["front_end", "bands"], 3), "content key"),
        (change(["shards", 0], "mel-00000.tfrecord"), "no file entry"),
        (change(["shards", 0, "size"], -1), "no file entry"),
        (change(["shards", 0, "file"], "../mel"), "'../mel' is not a plain name"),
        (change(["shards", 0, "file"], "/etc/passwd"), "not a plain name"),
        (change(["shards", 0, "file"], ".."), "not a plain name"),
        (change(["index", "file"], "a\\b"), "not a plain name"),
        (change(["index", "file"], "a\0b"), "not a plain name"),
        (change(["index", "sha256"], "é"), "not hexadecimal"),
    ],
)
def test_a_damaged_document_says_what_is_wrong(damage, word):
    content = copy.deepcopy(document())
    damage(content)
    with pytest.raises(CollectionError, match=f"^here: .*{word}"):
        schema.check_document(content, "here")


@pytest.mark.parametrize("content", [None, [], "text", 1, {}, {"name": "a package"}])
def test_foreign_json_is_no_collection(content):
    with pytest.raises(CollectionError, match="here: not the description of a collection"):
        schema.check_document(content, "here")
