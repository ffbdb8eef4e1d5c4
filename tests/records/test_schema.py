"""The description of a collection, and the look-up of ids, also of those whose hashes collide."""

import numpy as np
import pytest

from playlist_pretrain.errors import CollectionError
from playlist_pretrain.records import schema
from playlist_pretrain.records.collection import IdTable
from playlist_pretrain.records.schema import PackedStrings, did_you_mean


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
        (dict.clear, "not the description of a collection"),
        (change(["format"], 2), "format 2, this version reads format 1"),
        (lambda c: c.pop("frames"), "'frames' is missing"),
        (change(["tracks"], "2"), "'tracks' is '2', expected int"),
        (change(["tracks"], 3), "3 tracks, but its shards"),
        (change(["dtype"], "float32"), "'float32'"),
        (change(["band_mean"], [1.0]), "'band_mean' needs 2"),
        (change(["band_mean"], [1.0, 10**400]), "'band_mean' needs 2"),
        (change(["band_std"], [1.0, 1e39]), "'band_std' needs 2"),
        (change(["band_std"], [1.0, float("nan")]), "'band_std' needs 2"),
        (change(["band_std"], [1.0, -1.0]), "'band_std' needs 2"),
        (change(["content_key"], "0" * 32), "content key '000"),
        (change(["front_end", "bands"], 3), "content key"),
        (change(["shards", 0], "mel-00000.tfrecord"), "no file entry"),
        (change(["shards", 0, "file"], "../mel"), "'../mel' is not a plain name"),
        (change(["index", "file"], "a\\b"), "not a plain name"),
        (change(["index", "sha256"], "é"), "not hexadecimal"),
        (change(["shards", 0, "file"], "\udcff"), "'shards' has text that is not valid Unicode"),
        (change(["front_end", "name"], "\udcff"), "'front_end' has text that is not valid"),
    ],
)
def test_a_damaged_document_says_what_is_wrong(damage, word):
    content = document()
    damage(content)
    with pytest.raises(CollectionError, match=f"^here: .*{word}"):
        schema.check_document(content, "here")


IDS = ["a", "b/c", "é", "..", "日本", "a ", "x" * 300, *map(str, range(500))]


@pytest.fixture(params=["hashes", "colliding", "all one hash"])
def kind(request, monkeypatch):
    if request.param == "colliding":
        monkeypatch.setattr(schema, "hash", len, raising=False)
    if request.param == "all one hash":
        monkeypatch.setattr(schema, "hash", lambda text: 2**63 - 1, raising=False)


def test_every_id_has_its_row_and_no_other_has_one(kind, rng):
    table = IdTable(PackedStrings.pack(IDS))
    wanted = [*IDS, "nobody", "", "B/c", "\udc80", "y" * 300]
    order = rng.permutation(len(wanted))
    rows = table.rows([wanted[i] for i in order])
    assert rows.dtype == np.int32
    assert rows.tolist() == [i if i < len(IDS) else -1 for i in order]
    assert table.rows([]).shape == (0,)
    assert table.rows(["a", "a"]).tolist() == [0, 0]


@pytest.mark.parametrize(
    ("wanted", "meant"),
    [
        ("63", "063"), ("0063", "063"), ("0", "000"), ("00", "000"), ("07", "7"), ("8", None),
        ("63a", None), ("a", None), ("", None), ("²", None), ("5", None), ("9" * 99, None),
    ],
)  # fmt: skip
def test_an_id_that_lost_its_zeros_is_recognised(wanted, meant):
    table = IdTable(PackedStrings.pack(["063", "000", "7", "0a", "063a", "05", "005", "-7"]))
    assert did_you_mean(wanted, table.rows) == (f" (did you mean {meant!r}?)" if meant else "")
