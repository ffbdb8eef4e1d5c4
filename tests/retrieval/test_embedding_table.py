"""The file of embeddings: what is written comes back, and what is damaged is named."""

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet

from playlist_pretrain.errors import EmbeddingsError
from playlist_pretrain.retrieval.embedding_table import embedding_writer, overview, read_embeddings

ABOUT = {"model": "runs/a/saved_model", "model_key": "0" * 32, "frames": 256}


def write(path, rng, **settings):
    vectors = rng.normal(size=(5, 3)).astype(np.float32)
    with embedding_writer(path, 3, ABOUT, **settings) as add:
        if settings.get("windows"):
            add(["a", "a", "b"], vectors[:3], start_seconds=[0.0, 3.0, 0.0])
            add(["b", "c"], vectors[3:], start_seconds=[3.0, 0.0])
        else:
            add(list("ab"), vectors[:2])
            add(list("cde"), vectors[2:])
    return vectors


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_what_was_written(tmp_path, rng, dtype):
    path = tmp_path / "e.parquet"
    vectors = write(path, rng, dtype=dtype)
    table = read_embeddings(path)
    np.testing.assert_array_equal(table.vectors, vectors.astype(dtype).astype(np.float32))
    assert list(table.track_ids) == list("abcde")
    assert table.start_seconds is table.paths is None
    assert table.about == {"format": 1, **ABOUT}
    assert table.by_track() is table


def test_windows_and_their_means(tmp_path, rng):
    vectors = write(tmp_path / "e.parquet", rng, windows=True)
    table = read_embeddings(tmp_path / "e.parquet")
    assert table.start_seconds.tolist() == [0, 3, 0, 3, 0]
    tracks = table.by_track()
    assert list(tracks.track_ids) == ["a", "b", "c"]
    for row, windows in enumerate([[0, 1], [2, 3], [4]]):
        np.testing.assert_allclose(tracks.vectors[row], vectors[windows].mean(axis=0), rtol=1e-6)
    assert tracks.start_seconds is None


def test_a_file_of_other_origin(tmp_path):
    columns = {"other": ["x", "y"], "embedding": [[1.0, 2.0], [3.0, 4.0]], "track_id": [7, 8]}
    parquet.write_table(pa.table(columns), tmp_path / "e.parquet")
    table = read_embeddings(tmp_path / "e.parquet")
    assert list(table.track_ids) == ["7", "8"] and table.about == {}
    assert table.vectors.tolist() == [[1, 2], [3, 4]]


IDS = ["a", "ü", "a b"]
WRITTEN = {
    "large": pa.array(IDS, pa.large_string()),
    "view": pa.array(IDS, pa.string_view()),
    "dictionary": pa.array(IDS).dictionary_encode(),
    "bytes": pa.array([one.encode() for one in IDS]),
    "fixed size": pa.array([one.encode().ljust(3, b"\0") for one in IDS], pa.binary(3)),
}


@pytest.mark.parametrize("kind", WRITTEN)
def test_ids_as_any_program_writes_them(tmp_path, kind):
    path = tmp_path / "e.parquet"
    vectors = pa.array([[1.0], [2.0], [3.0]], pa.large_list(pa.float32()))
    columns = {"track_id": WRITTEN[kind], "path": WRITTEN[kind], "embedding": vectors}
    parquet.write_table(pa.table(columns), path)
    table = read_embeddings(path)
    assert list(table.track_ids) == list(table.paths) == IDS
    assert overview(path).first_track == "a"


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"track_id": [b"\xff"], "embedding": [[1.0]]}, "holds bytes that are not UTF-8"),
        ({"track_id": ["a"], "vector": [[1.0]]}, "no column 'embedding'"),
        ({"track_id": ["a"], "embedding": [1.0]}, "holds double, not lists of floats"),
        ({"track_id": ["a"], "embedding": [["x"]]}, "not lists of floats"),
        ({"track_id": [1.5], "embedding": [[1.0]]}, "'track_id' holds double, not text"),
        ({"track_id": ["a", "a"], "embedding": [[1.0], [2.0]]}, "row 1: track 'a': it comes twice"),
        ({"track_id": ["a", None], "embedding": [[1.0], [2.0]]}, "row 1: no track_id"),
        ({"track_id": ["a", "b"], "embedding": [[1.0], [2.0, 3.0]]}, r"row 1 .*'b'.*: 2 values"),
        ({"track_id": ["a", "b"], "embedding": [[1.0], None]}, r"row 1 .*'b'"),
        ({"track_id": ["a"], "embedding": pa.array([[]], pa.list_(pa.float32()))}, "row 0 .*'a'"),
        ({"track_id": ["a", "b"], "embedding": [[1.0], [np.nan]]}, "row 1 .*'b'.*: NaN"),
        (
            {
                "track_id": ["a", "b", "a"],
                "embedding": [[1.0]] * 3,
                "start_seconds": [0.0, 0.0, 3.0],
            },
            "row 2: track 'a': its windows are not adjacent",
        ),
        ({"track_id": pa.array([], pa.string()),
          "embedding": pa.array([], pa.list_(pa.float32()))}, "no rows"),
    ],
)  # fmt: skip
def test_what_is_refused(tmp_path, columns, message):
    path = tmp_path / "e.parquet"
    parquet.write_table(pa.table(columns), path)
    with pytest.raises(EmbeddingsError, match=message) as caught:
        read_embeddings(path)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize(("dtype", "value"), [("float32", np.nan), ("float16", 1e6)])
def test_nothing_is_written_of_vectors_that_are_not_finite(tmp_path, dtype, value):
    path = tmp_path / "e.parquet"
    message = f"track 'b' is not finite {dtype}"
    with (
        pytest.raises(EmbeddingsError, match=message),
        embedding_writer(path, 1, ABOUT, dtype=dtype) as add,
    ):
        add(["a", "b"], np.array([[1.0], [value]]))
    assert not list(tmp_path.iterdir())


def bomb(path, kind):
    """A file of some kilobytes that would take gigabytes."""
    rows, ids = 300_000, [f"t{i}" for i in range(300_000)]
    vectors = pa.FixedSizeListArray.from_arrays(pa.array(np.ones(rows * 64, np.float32)), 64)
    columns = {"track_id": ids, "embedding": vectors}
    if kind == "texts":
        text = pa.DictionaryArray.from_arrays(np.zeros(3_000, np.int32), ["x" * 100_000])
        columns = {"track_id": text, "embedding": vectors[:3_000], "path": text}
        columns["start_seconds"] = np.arange(3_000.0)
    parquet.write_table(pa.table(columns), path, compression="zstd")
    return path.stat().st_size


@pytest.mark.parametrize("kind", ["vectors", "texts"])
def test_a_small_file_that_expands_beyond_measure_is_refused(tmp_path, kind, monkeypatch):
    path = tmp_path / "e.parquet"
    size = bomb(path, kind)
    expanded = 4 * 64 * 300_000 if kind == "vectors" else 100_000 * 3_000
    assert expanded > 64 << 20
    monkeypatch.setattr("playlist_pretrain.files.LARGEST_EXPANSION", 40)
    assert expanded > 40 * size
    with pytest.raises(EmbeddingsError, match="expands to more than 40 times its size") as caught:
        read_embeddings(path)
    assert str(path) in str(caught.value)


def test_a_footer_that_ends_the_process_when_it_is_asked_for_its_columns_is_an_error(tmp_path):
    path = tmp_path / "e.parquet"
    parquet.write_table(pa.table({"track_id": ["a", "b"], "embedding": [[1.0], [2.0]]}), path)
    content = path.read_bytes()
    optional, required = b"\x25\x02", b"\x25\x00"  # the repetition of a field in Thrift's coding
    assert content.count(optional) == 2
    path.write_bytes(required.join(content.rsplit(optional, 1)))
    with pytest.raises(EmbeddingsError, match=r"e\.parquet: cannot be read: Definition level"):
        read_embeddings(path)


def test_ids_of_any_kind_of_text_are_read(tmp_path):
    texts = ["a", "é", "a b"]
    for kind in (
        pa.string(), pa.large_string(), pa.string_view(),
        pa.dictionary(pa.int32(), pa.string()), pa.dictionary(pa.int8(), pa.large_string()),
    ):  # fmt: skip
        column = pa.array(texts).cast(kind)
        path = tmp_path / "e.parquet"
        parquet.write_table(
            pa.table({"track_id": column, "embedding": [[1.0], [2.0], [3.0]]}), path
        )
        assert read_embeddings(path).ids == texts, kind


@pytest.mark.parametrize(
    ("about", "message"),
    [
        (b"[" * 100_000, "not JSON"),
        (b"[]", "it holds a list, not an object"),
        (b'{"format": 1, "a": NaN}', "not finite"),
        (b'{"format": 2}', "format 2, this version reads 1"),
        (b"\xff", "not JSON"),
    ],
    ids=lambda value: str(value)[:20],
)
def test_metadata_that_are_refused(tmp_path, about, message):
    path = tmp_path / "e.parquet"
    columns = pa.table({"track_id": ["a"], "embedding": [[1.0]]})
    columns = columns.replace_schema_metadata({b"playlist_pretrain": about})
    parquet.write_table(columns, path)
    for read in (read_embeddings, overview):
        with pytest.raises(EmbeddingsError, match=message) as caught:
            read(path)
        assert str(caught.value).startswith(f"{path}: ")
