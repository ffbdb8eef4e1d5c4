"""Tables as spreadsheets, databases and people write them, and as nobody should."""

import csv
import io

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from playlist_pretrain.delimited import (
    LONGEST_LINE,
    has_column,
    read_columns,
    read_header,
    text_lines,
)
from playlist_pretrain.errors import TableError

NAMES = ("group_id", "track_id")
HEADER = b"group_id,track_id\n"


def write(folder, content, name="t.csv"):
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("group_id,track_id\na,1\nb,2\n", [(2, ("a", "1")), (3, ("b", "2"))]),
        ("group_id,track_id\r\na,1\r\na,2\r\n", [(2, ("a", "1")), (3, ("a", "2"))]),
        ("\ufeffgroup_id,track_id\na,1\n", [(2, ("a", "1"))]),
        ('\ufeff"group_id","track_id"\na,1\n', [(2, ("a", "1"))]),
        ("group_id\ttrack_id\na,b\t1\n", [(2, ("a,b", "1"))]),
        ("group_id;track_id\na,b;1\n", [(2, ("a,b", "1"))]),
        ("track_id,x,group_id\n1,,a\n", [(2, ("a", "1"))]),
        (
            '"group_id","track_id"\n"a,""b""","1\n2"\nc,3\n',
            [(2, ('a,"b"', "1\n2")), (4, ("c", "3"))],
        ),
        ("group_id,track_id\na,1", [(2, ("a", "1"))]),
        ("group_id,track_id\n\na,1\n\r\nb,2\n\n", [(3, ("a", "1")), (5, ("b", "2"))]),
        ("group_id,track_id\n周杰伦,不能/说\n", [(2, ("周杰伦", "不能/说"))]),
        ("group_id,track_id,x\n a,1 ,\n", [(2, (" a", "1 "))]),
        ("x, group_id ,track_id \n,a,1\n", [(2, ("a", "1"))]),
        ("a;b;c\tgroup_id\ttrack_id\n1;2;3\ta\t1\n", [(2, ("a", "1"))]),
    ],
    ids=["plain", "crlf", "bom", "bom and quotes", "tab", "semicolon", "other order", "quotes",
         "no last line end", "blank lines", "unicode", "blanks are kept in cells",
         "blanks do not count in the header", "wanted columns decide"],
)  # fmt: skip
def test_tables(tmp_path, content, expected):
    assert list(read_columns(write(tmp_path, content), NAMES)) == expected


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "the file is empty"),
        (b"\xef\xbb\xbf", "columns are: none"),
        (HEADER, "a header and no rows"),
        (
            b"artist,title\nx,y\n",
            "no column 'group_id', 'track_id'; its columns are: 'artist', 'title'; rename them",
        ),
        (b"group_id,song\nx,y\n", "no column 'track_id'; its columns are: 'group_id', 'song'; re"),
        (b"group_id,track_id, group_id\nx,y,z\n", "more than one column 'group_id'; its"),
        (b'"group_id,track_id\na,1\n', "line 1: a quote that does not end"),
        (b"group_id,track_id\ra,1\r", "line 1: a quote that does not end with its cell, or a line"),
        (HEADER + b"a,1\na\nb,2\n", "line 3: 1 cells, the header has 2"),
        (HEADER + b'a,"1\n\n2"\nb\n', "line 5: 1 cells"),
        (HEADER + b"a,1\n\na, \n", "line 4: column 'track_id' is empty; fill it in"),
        (HEADER + b"a,1\na,\xe9t\xe9\n", "line 3: not UTF-8 (byte 3 of the line is 0xe9)"),
        (b"\xff\xfeg\0r\0", "its columns are: 'gr'; rename them"),
        (b"\xff\xfeg\0r", "not text in utf-16-le"),
        (b"g\0r\0", "line 1: holds a zero byte, so it is not text in UTF-8"),
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
        list(read_columns(path, NAMES, mend="rename them"))
    assert str(caught.value).startswith(f"{path}: ")
    assert message in str(caught.value)


def test_tables_that_are_none(tmp_path):
    with pytest.raises(TableError, match=r"t\.csv: no such file"):
        next(read_columns(tmp_path / "t.csv", NAMES))
    with pytest.raises(TableError, match=f"{tmp_path}: a folder, not a file"):
        next(read_columns(tmp_path, NAMES))
    with pytest.raises(TableError, match=r"t\.csv/x: cannot be read: Not a directory"):
        next(read_columns(write(tmp_path, HEADER) / "x", NAMES))


def test_good_rows_before_the_damage_are_yielded(tmp_path):
    rows = read_columns(write(tmp_path, HEADER + b"a,1\nb,2\nc\n"), NAMES)
    assert [next(rows), next(rows)] == [(2, ("a", "1")), (3, ("b", "2"))]
    with pytest.raises(TableError, match="line 4"):
        next(rows)


def test_every_byte_is_told_and_along_the_way(tmp_path):
    path = write(tmp_path, b"\xef\xbb\xbf" + HEADER + (b"a," + b"1" * 95 + b"\r\n\n") * 25_000)
    told = []
    assert sum(1 for _ in read_columns(path, NAMES, told.append)) == 25_000
    assert sum(told) == path.stat().st_size
    assert len(told) > 2


@pytest.mark.parametrize(
    ("line", "has"),
    [
        ("track_id\n", True),
        ('x;" track_id "\r\n', True),
        ("a,b\ttrack_id", True),
        ("track_ids,track id", False),
        ('"track_id', False),
        ("", False),
    ],
)
def test_has_column(line, has):
    assert has_column(line, "track_id") == has


CELL = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0")).filter(str.strip)


@settings(max_examples=40, deadline=None, derandomize=True)
@given(
    st.lists(st.tuples(CELL, CELL), min_size=1, max_size=8),
    st.sampled_from("\t,;"),
    st.sampled_from(["\n", "\r\n"]),
    st.booleans(),
)
def test_what_a_csv_writer_writes_is_read_back(tmp_path_factory, rows, delimiter, end, mark):
    text = io.StringIO(newline="")
    writer = csv.writer(text, delimiter=delimiter, lineterminator=end, quoting=csv.QUOTE_ALL)
    writer.writerows([NAMES, *rows])
    path = tmp_path_factory.mktemp("t") / "t.tsv"
    path.write_bytes(b"\xef\xbb\xbf" * mark + text.getvalue().encode())
    assert [cells for _, cells in read_columns(path, NAMES)] == rows


@settings(max_examples=100, deadline=None, derandomize=True)
@given(st.binary(max_size=120))
def test_any_bytes_below_a_header_give_rows_or_a_message(tmp_path_factory, content):
    path = write(tmp_path_factory.mktemp("t"), HEADER + content)
    try:
        for number, cells in read_columns(path, NAMES):
            assert number >= 2 and len(cells) == 2 and all(map(str.strip, cells))
    except TableError as error:
        assert str(path) in str(error)


def test_cells_that_may_be_empty_are_said_by_column(tmp_path):
    file = tmp_path / "t.csv"
    file.write_text("a,b,c\n,,3\n1,,3\n")
    with pytest.raises(TableError, match="line 2: column 'a' is empty"):
        list(read_columns(file, ["b", "a"], blank={"b"}))
    rows = list(read_columns(file, ["b", "a", "c"], blank={"a", "b"}))
    assert rows == [(2, ("", "", "3")), (3, ("", "1", "3"))]


def test_the_header_alone(tmp_path):
    file = tmp_path / "t.csv"
    file.write_text("\ufeff a ;b,c; d \n")
    assert read_header(file, ["d"]) == ["a", "b,c", "d"]
    with pytest.raises(TableError, match=r"t\.csv: no column 'e'.*'b,c', 'd'; look again"):
        read_header(file, ["a", "e"], "look again")
    file.write_text("")
    with pytest.raises(TableError, match=r"t\.csv: the file is empty"):
        read_header(file, ["a"])


def test_lines_keep_their_ends_and_names_may_have_blanks(tmp_path):
    path = write(tmp_path, "a,b,c\n1,2,3\n")
    assert list(read_columns(str(path), [" c ", "a"])) == [(2, ("3", "1"))]
    path = write(tmp_path, "\ufeffä\r\n\n\u2028b\rc")
    assert list(text_lines(path)) == ["ä\r\n", "\n", "\u2028b\rc"]


def test_rows_that_cannot_be_used_are_told_and_left_out(tmp_path):
    lines = ["a,1", ",2", "c", 'd,"x', "e,3", "f,4,5", "g,6"]
    path = write(tmp_path, HEADER + "\n".join(lines).encode())
    told = []
    assert list(read_columns(path, NAMES, row=told.append)) == [
        (2, ("a", "1")), (6, ("e", "3")), (8, ("g", "6")),
    ]  # fmt: skip
    assert [(error.reason, error.usual) for error in told] == [
        ("column 'group_id' is empty", True),
        ("other cells than the header", False),
        ("a quote that is open", False),
        ("other cells than the header", False),
    ]
    assert [
        f"line {number}: " in str(error) for number, error in zip((3, 4, 5, 7), told, strict=True)
    ] == [True] * 4


@pytest.mark.parametrize(
    ("text", "cells"),
    [
        ('g\t"open\ng\tb\n', ['"open', "b"]),
        ('g\t"Weird Al" Yankovic\ng\t12" mix\n', ['"Weird Al" Yankovic', '12" mix']),
        ('g\t"whole"\ng\t"with ""quotes"""\n', ["whole", 'with "quotes"']),
        ('"open\t1\n"too\t2\n', ["1", "2"]),
        ('g\t"two\nlines"\ng\tb\n', ["two\nlines", "b"]),
        ('g\t"open at the end', ['"open at the end']),
    ],
)
def test_quotes_in_tables_with_tabs_are_signs_unless_they_enclose_a_cell(tmp_path, text, cells):
    path = write(tmp_path, "group_id\ttrack_id\n" + text)
    assert [track for _, (_, track) in read_columns(path, NAMES)] == cells


def test_open_quotes_are_counted_however_many_there_are(tmp_path):
    lines = ['a,"x\n', "b,1\n" * 9] * 3000
    told = []
    path = write(tmp_path, HEADER + "".join(lines).encode())
    assert len(list(read_columns(path, NAMES, row=told.append))) == 27_000
    assert {error.reason for error in told} == {"a quote that is open"}
    assert len(told) == 3000
