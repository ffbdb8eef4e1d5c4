"""Long tables as groups; what holds for every table is tested with ``tables.py``."""

import datetime

import pytest

from playlist_pretrain.delimited import stop
from playlist_pretrain.errors import TableError
from playlist_pretrain.playlists.readers import Request
from playlist_pretrain.playlists.readers.source import LONGEST_PART
from playlist_pretrain.playlists.readers.table import TableReader

READER = TableReader()


def read(path, **request):
    return READER.read(READER.sources(path), Request(**request))


HEADER = b"group_id,track_id\n"


def write(folder, content, name="t.csv"):
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("\ufefftrack_id\tx\tgroup_id\r\n1\t?\ta\r\n", [("a", ["1"])]),
        ("group_id,track_id\na,1\nb,2\na,3\n", [("a", ["1"]), ("b", ["2"]), ("a", ["3"])]),
        ("group_id,track_id\na,1\na,1\n", [("a", ["1", "1"])]),
    ],
    ids=["other order", "scattered", "repeated"],
)
def test_groups(tmp_path, content, expected):
    assert list(read(write(tmp_path, content))) == expected


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "the file is empty"),
        (
            b"artist,title\nx,y\n",
            "no column 'group_id', 'track_id'; its columns are: 'artist', 'title'; name the "
            "columns with --columns group=…,track=…",
        ),
        (HEADER + b"a,1\na\nb,2\n", "line 3: 1 cells, the header has 2"),
        (HEADER + b"a,\n", "line 2: column 'track_id' is empty"),
    ],
)
def test_bad_tables(tmp_path, content, message):
    path = write(tmp_path, content)
    with pytest.raises(TableError) as caught:
        list(read(path, damaged=stop))
    assert str(caught.value).startswith(f"{path}: ")
    assert message in str(caught.value)


def test_columns(tmp_path):
    path = write(tmp_path, "group_id,track_id,artist,title\ng,1,x,y\n")
    assert list(read(path, columns={"track": "title"})) == [("g", ["y"])]
    columns = {"group": "artist", "track": "title"}
    assert list(read(path, columns=columns)) == [("x", ["y"])]


def test_a_long_group_comes_in_parts(tmp_path):
    size = 2 * LONGEST_PART + 1
    path = write(tmp_path, HEADER + b"".join(b"a,%d\n" % i for i in range(size)))
    parts = list(read(path))
    assert [len(tracks) for _, tracks in parts] == [LONGEST_PART, LONGEST_PART, 1]
    assert [track for _, tracks in parts for track in tracks] == list(map(str, range(size)))


def test_several_artists_in_a_cell(tmp_path):
    path = write(tmp_path, "group_id,track_id\n a | b|,1\nb,2\nb|b,3\n")
    assert list(read(path, separator="|")) == [("a", ["1"]), ("b", ["1", "2", "3"])]
    assert next(iter(read(path)))[0] == " a | b|"
    path = write(tmp_path, "group_id,track_id\na,1\n | ,2\n")
    with pytest.raises(TableError, match="line 3: column 'group_id' is empty"):
        list(read(path, separator="|", damaged=stop))


def test_parts_in_a_folder(tmp_path):
    write(tmp_path, "group_id,track_id\na,1\n", "1.csv")
    write(tmp_path, "track_id\tgroup_id\n2\ta\n", "2.tsv")
    write_parquet(tmp_path / "3.parquet", group_id=["b"], track_id=["3"])
    write(tmp_path, "nothing", "readme.txt")
    assert list(read(tmp_path)) == [("a", ["1"]), ("a", ["2"]), ("b", ["3"])]


def write_parquet(path, **columns):
    import pyarrow
    from pyarrow import parquet

    parquet.write_table(pyarrow.table(columns), path, row_group_size=2)
    return path


@pytest.mark.parametrize(
    ("columns", "expected"),
    [
        ({"group_id": ["a", "a", "b"], "track_id": ["1", "2", "3"]},
         [("a", ["1", "2"]), ("b", ["3"])]),
        ({"group_id": [7, 7, 8], "track_id": [1, 2, 3]}, [("7", ["1", "2"]), ("8", ["3"])]),
        ({"group_id": [["a", "b"], ["b"]], "track_id": ["1", "2"]},
         [("a", ["1"]), ("b", ["1", "2"])]),
        ({"group_id": ["a", "b"], "track_id": [[1, 2], [3]]}, [("a", ["1", "2"]), ("b", ["3"])]),
    ],
    ids=["text", "numbers", "lists of groups", "lists of tracks"],
)  # fmt: skip
@pytest.mark.parametrize("name", ["t.parquet", "without-suffix"])
def test_parquet(tmp_path, columns, expected, name):
    path = write_parquet(tmp_path / name, **columns, other=[1.5] * len(columns["track_id"]))
    assert READER.sniff(path)
    told = []
    assert list(read(path, advance=told.append)) == expected
    assert sum(told) == path.stat().st_size


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"group_id": ["a", None], "track_id": ["1", "2"]}, "row 2: column 'group_id' is empty"),
        ({"group_id": ["a", "b"], "track_id": ["1", " "]}, "row 2: column 'track_id' is empty"),
        ({"group_id": ["a"], "track_id": [1.5]}, "column 'track_id' holds double; ids are text"),
        ({"group_id": ["a"], "track_id": [True]}, "column 'track_id' holds bool; ids are text"),
        ({"group_id": [{"a": 1}], "track_id": [1]}, "column 'group_id' holds struct"),
        ({"group_id": ["a"], "track_id": [datetime.timedelta(1)]}, "holds duration"),
        ({"group_id": [[]], "track_id": ["1"]}, "row 1: column 'group_id' is empty"),
        ({"group_id": ["a"]}, "no column 'track_id'; its columns are: 'group_id'"),
        ({"group_id": [], "track_id": []}, "no rows"),
    ],
)
def test_bad_parquet(tmp_path, columns, message):
    path = write_parquet(tmp_path / "t.parquet", **columns)
    with pytest.raises(TableError) as caught:
        list(read(path, damaged=stop))
    assert str(caught.value).startswith(f"{path}: ") and message in str(caught.value)


@pytest.mark.slow
def test_parquet_bombs(tmp_path):
    import pyarrow
    from pyarrow import parquet

    long = "x" * (1 << 20)
    path = tmp_path / "t.parquet"
    groups = pyarrow.DictionaryArray.from_arrays([0] * 65_536, [long])
    parquet.write_table(
        pyarrow.table({"group_id": groups, "track_id": ["a"] * 65_536}), path, compression="zstd"
    )
    assert path.stat().st_size < 10_000
    ((group, tracks),) = read(path)  # 64 GiB if every row had its own
    assert group == long and len(tracks) == 65_536
    rows = pyarrow.table({"group_id": [long] * 100, "track_id": ["a"] * 100})
    parquet.write_table(rows, path, compression="zstd", use_dictionary=False)
    with pytest.raises(TableError, match="expands to more than 200 times"):
        list(read(path))


def write_arrow(path, compression="zstd", **columns):
    import pyarrow
    from pyarrow import feather

    feather.write_feather(pyarrow.table(columns), path, compression=compression, chunksize=2)
    return path


@pytest.mark.parametrize("name", ["t.feather", "t.arrow", "without-suffix"])
def test_arrow(tmp_path, name):
    columns = {"group_id": [7, 7, 8], "track_id": [["1", "2"], ["3"], ["4"]], "other": [1.5] * 3}
    path = write_arrow(tmp_path / name, **columns)
    assert READER.sniff(path)
    told = []
    found = list(read(path, advance=told.append))
    assert found == [("7", ["1", "2", "3"]), ("8", ["4"])]
    assert sum(told) == path.stat().st_size
    with pytest.raises(TableError, match="column 'other' holds double; ids are text"):
        list(read(path, columns={"track": "other"}))


def test_arrow_bombs(tmp_path):
    import numpy
    import pyarrow

    size = 65 << 20
    long = pyarrow.Array.from_buffers(  # one text of zeros in place of a list, so that it is quick
        pyarrow.large_string(), 1, [None, pyarrow.py_buffer(numpy.array([0, size])),
                                    pyarrow.py_buffer(b"x" * size)])  # fmt: skip
    path = write_arrow(tmp_path / "t.arrow", group_id=["a"], track_id=long)
    assert path.stat().st_size < 100_000
    with pytest.raises(TableError, match="expands to more than 200 times"):
        list(read(path))
    views = numpy.zeros((1000, 4), numpy.int32)  # length, prefix, buffer, place in it
    views[:, 0], views[:, 1] = 100_000, int.from_bytes(b"xxxx", "little")
    buffers = [None, pyarrow.py_buffer(views), pyarrow.py_buffer(b"x" * 100_000)]
    texts = pyarrow.Array.from_buffers(pyarrow.string_view(), 1000, buffers)
    path = write_arrow(tmp_path / "v.arrow", group_id=["a"] * 1000, track_id=texts)
    with pytest.raises(TableError, match="expands to more than 200 times"):
        list(read(path))
    dictionary = pyarrow.DictionaryArray.from_arrays([0] * 1000, ["x" * 100_000])
    path = write_arrow(tmp_path / "d.arrow", group_id=dictionary, track_id=["a"] * 1000)
    ((group, tracks),) = read(path)
    assert group == "x" * 100_000 and len(tracks) == 1000


@pytest.mark.parametrize("write", [write_arrow, write_parquet])
def test_what_is_cut_off_anywhere_is_not_read(write, tmp_path):
    path = write(tmp_path / "t", group_id=["a", "b", "c"], track_id=["1", "2", "3"])
    whole = path.read_bytes()
    for size in range(0, len(whole), 23):
        path.write_bytes(whole[:size])
        with pytest.raises(TableError, match=r"t: (not a whole Parquet|the file is empty)"):
            list(read(path))
