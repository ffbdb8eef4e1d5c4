"""The inverted file: what exact search gives, and an index on disk that is never a wrong one."""

import builtins
import json
import os
import sys
import tempfile

import faiss
import numpy as np
import pytest

from playlist_pretrain.errors import EmbeddingsError
from playlist_pretrain.evaluation.neighbours import ExactSearch
from playlist_pretrain.files import content_key
from playlist_pretrain.retrieval import faiss_index
from playlist_pretrain.retrieval.faiss_index import FaissSearch, cached_search, index_path

EVERY_LIST = 10**6


def clustered(rng, tracks=3000, dim=16, clusters=60, noise=0.4):
    centres = rng.normal(size=(clusters, dim))
    apart = noise * rng.normal(size=(tracks, dim))
    return (centres[rng.integers(clusters, size=tracks)] + apart).astype(np.float32)


def test_with_every_list_it_is_exact_search(rng):
    vectors = np.repeat(clustered(rng, 250), 2, axis=0)  # with ties
    exact, found = ExactSearch(vectors), FaissSearch.build(vectors, probes=EVERY_LIST)
    for name in ("queries", "rows", "similarities"):
        expected = getattr(exact.of_tracks(12, range(0, 500, 3)), name)
        np.testing.assert_array_equal(
            getattr(found.of_tracks(12, range(0, 500, 3)), name), expected
        )
    queries = rng.normal(size=(5, 16))
    for a, b in zip(
        exact.of_vectors(queries, 7, [1, 4]), found.of_vectors(queries, 7, [1, 4]), strict=True
    ):
        np.testing.assert_array_equal(a, b)
    assert found.of_tracks(3, []).rows.shape == (0, 3)


@pytest.mark.slow
def test_finds_nearly_all_of_clusters_and_more_with_more_lists(rng):
    vectors = clustered(rng, 1500, noise=1)
    exact = ExactSearch(vectors).of_tracks(10)
    recalls = []
    for probes in (1, 16, 10**6):
        found = FaissSearch.build(vectors, probes=probes).of_tracks(10)
        pairs = zip(found.rows, exact.rows, strict=True)
        recalls.append(np.mean([len(set(a) & set(b)) / 10 for a, b in pairs]))
        assert not (found.rows == found.queries[:, np.newaxis]).any()
        assert (np.diff(found.similarities, axis=1) <= 0).all()
    assert recalls[0] < recalls[1] < recalls[2] == 1 and recalls[1] > 0.9
    tried = FaissSearch.build(vectors, probes=16)
    assert tried.recall(queries=10**6) == pytest.approx(recalls[1])
    assert tried.recall() == pytest.approx(recalls[1], abs=0.05)


def test_looks_further_where_the_lists_hold_too_few(rng):
    vectors = clustered(rng, 200)
    found = FaissSearch.build(vectors, lists=100, probes=1)
    rows, _ = found.of_vectors(vectors[:2], 150, range(50))
    assert rows.shape == (2, 150) and rows.min() >= 50 and len(set(rows[0])) == 150
    assert found.of_tracks(199).rows.shape == (200, 199)


@pytest.mark.parametrize(("call", "message"), [
    (lambda s: s.of_vectors(np.ones((1, 4)), 30, [2]), "30 tracks, without the 1 asked about"),
    (lambda s: FaissSearch.build(np.full((3, 4), np.nan)), "row 0: NaN"),
    (lambda s: FaissSearch.build(np.ones((0, 4))), "nothing to index"),
    (lambda s: FaissSearch.build(np.eye(3), lists=0), "lists 0"),
    (lambda s: FaissSearch.build(np.eye(3), probes=-1), "probes -1"),
    (lambda s: FaissSearch.build(np.eye(3), seed=2**31), "seed 2147483648"),
])  # fmt: skip
def test_refuses(call, message, rng):
    search = FaissSearch.build(rng.normal(size=(30, 4)).astype(np.float32))
    with pytest.raises(EmbeddingsError, match=message):
        call(search)


@pytest.fixture
def said(caplog):
    """What is logged, a line each."""
    caplog.set_level("INFO", "playlist_pretrain")
    return lambda: [record.getMessage() for record in caplog.records]


def test_is_kept_and_read(tmp_path, rng, said):
    vectors = clustered(rng, 300)
    table = tmp_path / "e.parquet"
    first = cached_search(table, vectors)
    content = index_path(table).read_bytes()
    again = cached_search(table, vectors, probes=3)
    assert "300 tracks in 69 lists" in said()[0] and said()[1] == f"{index_path(table)}: read"
    assert index_path(table).read_bytes() == content
    np.testing.assert_array_equal(
        first.index.search(vectors, 4)[1], again.index.search(vectors, 4)[1]
    )
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "e.parquet.faiss", "e.parquet.faiss.json",
    ]  # fmt: skip


def flip(index, about):
    content = bytearray(index.read_bytes())
    content[len(content) // 2] ^= 1
    index.write_bytes(content)


def name_another_faiss(index, about):
    about.write_text(json.dumps({**json.loads(about.read_text()), "faiss": "0"}))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (flip, "not the content"),
        (lambda index, about: about.unlink(), "faiss.json: cannot be read: No such file"),
        (lambda index, about: about.write_text("["), "whole"),
        (name_another_faiss, "an index of other faiss"),
    ],
)
def test_damage_is_said_and_made_again(damage, message, tmp_path, rng, said):
    vectors = clustered(rng, 300)
    table = tmp_path / "e.parquet"
    cached_search(table, vectors)
    content = index_path(table).read_bytes()
    damage(index_path(table), tmp_path / "e.parquet.faiss.json")
    cached_search(table, vectors)
    assert message in said()[1] and said()[1].endswith("made again")
    assert index_path(table).read_bytes() == content
    cached_search(table, vectors)
    assert said()[-1].endswith("read")


def test_a_stale_one_is_not_used(tmp_path, rng, said):
    vectors, table = clustered(rng, 300), tmp_path / "e.parquet"
    cached_search(table, vectors)
    for given, settings in ((vectors[::-1], {}), (vectors[::-1], {"seed": 7})):
        found = cached_search(table, given, **settings)
        assert "made again" in said()[-2]
    found.probes = EVERY_LIST
    exact = ExactSearch(given).of_tracks(3)
    np.testing.assert_array_equal(found.of_tracks(3).rows, exact.rows)


def test_without_faiss(monkeypatch, rng, tmp_path):
    imported = builtins.__import__

    def without(name, *rest):
        if name == "faiss":
            raise ModuleNotFoundError("No module named 'faiss'", name="faiss")
        return imported(name, *rest)

    monkeypatch.delitem(sys.modules, "faiss", raising=False)
    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(EmbeddingsError, match=r"needs FAISS: pip install '.*\[faiss\]'"):
        cached_search(tmp_path / "e.parquet", clustered(rng, 30))
    assert faiss_index.index_path(tmp_path / "e.parquet").exists() is False


def with_ids(change):
    """An index of 300 vectors whose ids are changed, as bytes."""

    def changed(index):
        ids = index.invlists
        sizes = [ids.list_size(i) for i in range(ids.nlist)]
        number = int(np.argmax(sizes))
        change(faiss.rev_swig_ptr(ids.get_ids(number), sizes[number]))
        return faiss.serialize_index(index).tobytes()

    return changed


def another(index):
    """An index of another kind."""
    flat = faiss.IndexFlatIP(index.d)
    flat.add(np.zeros((300, index.d), np.float32))
    return faiss.serialize_index(flat).tobytes()


def on_disk(index):
    """An index whose lists are in the file that it names, which is gone."""
    return with_lists_on_disk(index, index)


def with_lists_on_disk(changed, whole):
    with tempfile.TemporaryDirectory() as folder:
        file = os.path.join(folder, "lists")
        lists = faiss.OnDiskInvertedLists(changed.nlist, changed.code_size, file)
        changed.replace_invlists(lists)
        return faiss.serialize_index(whole).tobytes()


def within(index):
    """Such an index in place of the centres of another one."""
    inner = faiss.IndexIVFFlat(faiss.downcast_index(index.quantizer), index.d, index.nlist)
    outer = faiss.IndexIVFFlat(inner, index.d, index.nlist, faiss.METRIC_INNER_PRODUCT)
    inner.is_trained = outer.is_trained = True
    return with_lists_on_disk(inner, outer)


def beyond(ids):
    ids[0] = 10**9


def below(ids):
    ids[0] = -5


def twice(ids):
    ids[0] = ids[1]


@pytest.mark.parametrize(
    "change",
    [
        with_ids(beyond),
        with_ids(below),
        with_ids(twice),
        another,
        on_disk,
        within,
        lambda index: b"",
        lambda _: b"x",
    ],
    ids=["beyond", "below", "twice", "another", "on disk", "within", "empty", "short"],
)
def test_an_index_that_would_read_elsewhere_is_made_again(change, tmp_path, rng, said):
    """Its key fits: whoever wrote it knows how."""
    vectors = clustered(rng, 300)
    table = tmp_path / "e.parquet"
    first = cached_search(table, vectors)
    index, about = index_path(table), tmp_path / "e.parquet.faiss.json"
    data = change(faiss.deserialize_index(np.frombuffer(index.read_bytes(), np.uint8)))
    index.write_bytes(data)
    found = {**json.loads(about.read_text()), "content_key": content_key(data)}
    about.write_text(json.dumps(found))
    again = cached_search(table, vectors)
    assert f"{index}: not a whole index (" in said()[1] and said()[1].endswith("made again")
    assert "could not open" not in said()[1]
    queries = np.arange(20)
    np.testing.assert_array_equal(
        again.of_tracks(5, queries).rows, first.of_tracks(5, queries).rows
    )
