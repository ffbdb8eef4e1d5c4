"""Long tables as spreadsheets, databases and people write them."""

import csv
import io

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from playlist_pretrain.errors import TableError
from playlist_pretrain.playlists.readers.table import LONGEST_LINE, LONGEST_PART, TableReader

READER = TableReader()


def write(folder, content, name="t.csv"):
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("group_id,track_id\na,1\na,2\nb,1\n", [("a", ["1", "2"]), ("b", ["1"])]),
        ("group_id,track_id\r\na,1\r\na,2\r\n", [("a", ["1", "2"])]),
        ("\ufeffgroup_id,track_id\na,1\n", [("a", ["1"])]),
        ("group_id\ttrack_id\na,b\t1\n", [("a,b", ["1"])]),
        ("group_id;track_id\na,b;1\n", [("a,b", ["1"])]),
        ("track_id,x,group_id\n1,?,a\n", [("a", ["1"])]),
        ('"group_id","track_id"\n"a,""b""","1\n2"\n', [('a,"b"', ["1\n2"])]),
        ("group_id,track_id\na,1", [("a", ["1"])]),
        ("group_id,track_id\n\na,1\n\r\nb,2\n\n", [("a", ["1"]), ("b", ["2"])]),
        ("group_id,track_id\na,1\nb,2\na,3\n", [("a", ["1"]), ("b", ["2"]), ("a", ["3"])]),
        ("group_id,track_id\n周杰伦,不能/说\n", [("周杰伦", ["不能/说"])]),
        ("group_id,track_id, x\n a,1 ,\n", [(" a", ["1 "])]),
        ("a;b;c\tgroup_id\ttrack_id\n1;2;3\ta\t1\n", [("a", ["1"])]),
    ],
    ids=["plain", "crlf", "bom", "tab", "semicolon", "other order", "quotes", "no last line end",
         "blank lines", "scattered", "unicode", "blanks are kept", "wanted columns decide"],
)  # fmt: skip
def test_tables(tmp_path, content, expected):
    assert list(READER.read(write(tmp_path, content))) == expected


HEADER = b"group_id,track_id\n"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "the file is empty"),
        (b"\xef\xbb\xbf", "columns are: none"),
        (HEADER, "a header and no rows"),
        (HEADER + b"\n\n", "a header and no rows"),
        (
            b"artist,title\nx,y\n",
            "no column 'group_id' for the group; its columns are: 'artist', 't",
        ),
        (b"group_id,song\nx,y\n", "no column 'track_id' for the track"),
        (b"group_id,track_id,group_id\nx,y,z\n", "more than one column 'group_id'"),
        (b"\ngroup_id,track_id\nx,y\n", "columns are: none"),
        (b"Group_id|track_id\n", "columns are: 'Group_id|track_id'"),
        (HEADER + b"a,1\na\nb,2\n", "line 3: 1 cells, the header has 2"),
        (HEADER + b"a,1,x\n", "line 2: 3 cells"),
        (HEADER + b'a,"1\n\n2"\nb\n', "line 5: 1 cells"),
        (HEADER + b"a,\n", "line 2: column 'track_id' is empty"),
        (HEADER + b",1\n", "line 2: column 'group_id' is empty"),
        (HEADER + b"a,1\na,\xe9t\xe9\n", "line 3: not UTF-8 (byte 3 of the line is 0xe9)"),
        (b"\xff\xfeg\0r\0", "line 1: holds a zero byte"),
        (HEADER + b"a,1\0\n", "line 2: holds a zero byte"),
        (HEADER + b"a," + b"x" * 200_000 + b"\n", "line 2: field larger than field limit"),
        (HEADER + b"a," + b"x" * LONGEST_LINE, "line 2: longer than 1,048,576 bytes"),
        (HEADER + b'a,"1\nb,2\n', "line 2: unexpected end of data"),
        (HEADER + b'a,"1"x\n', "line 2: ',' expected after '\"'"),
        (HEADER + b"a,1\rb,2\r", "line 2: new-line character"),
    ],
)
def test_bad_tables(tmp_path, content, message):
    path = write(tmp_path, content)
    with pytest.raises(TableError) as caught:
        list(READER.read(path))
    assert str(caught.value).startswith(f"{path}: ")
    assert message in str(caught.value)


def test_good_rows_before_the_damage_are_yielded(tmp_path):
    parts = READER.read(write(tmp_path, HEADER + b"a,1\nb,2\nc\n"))
    assert next(parts) == ("a", ["1"])
    with pytest.raises(TableError, match="line 4"):
        next(parts)


@pytest.mark.parametrize(
    ("columns", "expected"),
    [
        ({"group": "artist"}, [("x", ["1"])]),
        ({"track": "title"}, [("g", ["y"])]),
        ({"group": "artist", "track": "title"}, [("x", ["y"])]),
    ],
)
def test_columns(tmp_path, columns, expected):
    path = write(tmp_path, "group_id,track_id,artist,title\ng,1,x,y\n")
    assert list(READER.read(path, columns)) == expected


def test_a_long_group_comes_in_parts(tmp_path):
    size = 2 * LONGEST_PART + 1
    path = write(tmp_path, HEADER + b"".join(b"a,%d\n" % i for i in range(size)))
    parts = list(READER.read(path))
    assert [len(tracks) for _, tracks in parts] == [LONGEST_PART, LONGEST_PART, 1]
    assert [track for _, tracks in parts for track in tracks] == list(map(str, range(size)))


CELL = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1)


@settings(max_examples=200, deadline=None, derandomize=True)
@given(
    st.lists(st.tuples(CELL, CELL), min_size=1, max_size=8),
    st.sampled_from("\t,;"),
    st.sampled_from(["\n", "\r\n"]),
    st.booleans(),
)
def test_what_a_csv_writer_writes_is_read_back(tmp_path_factory, rows, delimiter, end, mark):
    text = io.StringIO(newline="")
    writer = csv.writer(text, delimiter=delimiter, lineterminator=end, quoting=csv.QUOTE_ALL)
    writer.writerows([("group_id", "track_id"), *rows])
    path = tmp_path_factory.mktemp("t") / "t.tsv"
    path.write_bytes(b"\xef\xbb\xbf" * mark + text.getvalue().encode())
    read = [(group, track) for group, tracks in READER.read(path) for track in tracks]
    assert read == rows


@settings(max_examples=300, deadline=None, derandomize=True)
@given(st.binary(max_size=120))
def test_any_bytes_below_a_header_give_rows_or_a_message(tmp_path_factory, content):
    path = write(tmp_path_factory.mktemp("t"), HEADER + content)
    try:
        for group, tracks in READER.read(path):
            assert group and all(tracks)
    except TableError as error:
        assert str(path) in str(error)


def test_artists_of_real_music(shared_data):
    path = shared_data("pop909") / "tracks.csv"
    parts = list(READER.read(path, {"group": "artist"}))
    assert sum(len(tracks) for _, tracks in parts) == 144
    assert len({group for group, _ in parts}) == 24
