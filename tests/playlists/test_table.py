"""Long tables as groups; what holds for every table is tested with ``tables.py``."""

import pytest

from playlist_pretrain.errors import TableError
from playlist_pretrain.playlists.readers.table import LONGEST_PART, TableReader

READER = TableReader()
HEADER = b"group_id,track_id\n"


def write(folder, content, name="t.csv"):
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("group_id,track_id\na,1\na,2\nb,1\n", [("a", ["1", "2"]), ("b", ["1"])]),
        ("\ufefftrack_id\tx\tgroup_id\r\n1\t?\ta\r\n", [("a", ["1"])]),
        ("group_id,track_id\n\na,1\n\r\nb,2\n\n", [("a", ["1"]), ("b", ["2"])]),
        ("group_id,track_id\na,1\nb,2\na,3\n", [("a", ["1"]), ("b", ["2"]), ("a", ["3"])]),
        ("group_id,track_id\na,1\na,1\n", [("a", ["1", "1"])]),
    ],
    ids=["plain", "other order", "blank lines", "scattered", "repeated"],
)
def test_groups(tmp_path, content, expected):
    assert list(READER.read(write(tmp_path, content))) == expected


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "the file is empty"),
        (HEADER, "a header and no rows"),
        (
            b"artist,title\nx,y\n",
            "no column 'group_id', 'track_id'; its columns are: 'artist', 'title'; name the "
            "columns with --columns group=…,track=…",
        ),
        (b"group_id,song\nx,y\n", "no column 'track_id'; its columns are: 'group_id', 'song'; n"),
        (HEADER + b"a,1\na\nb,2\n", "line 3: 1 cells, the header has 2"),
        (HEADER + b"a,\n", "line 2: column 'track_id' is empty"),
        (HEADER + b" ,1\n", "line 2: column 'group_id' is empty"),
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


def test_artists_of_real_music(shared_data):
    path = shared_data("pop909") / "tracks.csv"
    parts = list(READER.read(path, {"group": "artist"}))
    assert sum(len(tracks) for _, tracks in parts) == 144
    assert len({group for group, _ in parts}) == 24
