"""Lists of track ids: plain, as a table, and what is neither."""

import pytest

from playlist_pretrain.errors import TableError
from playlist_pretrain.playlists.groups import read_track_ids


@pytest.mark.parametrize(
    "content",
    [
        "a/1\nb, 2\n\nç\n",
        "\ufeffa/1\r\nb, 2\r\nç",
        'track_id,why\na/1,x\n"b, 2",y\nç,\n',
        '"track_id";"why"\r\n"a/1";x\r\n"b, 2";\r\nç;z\r\n',
    ],
)
def test_reads(tmp_path, content):
    path = tmp_path / "ids.txt"
    path.write_bytes(content.encode())
    assert read_track_ids(path) == ["a/1", "b, 2", "ç"]


def test_ids_are_taken_as_they_are(tmp_path):
    path = tmp_path / "ids.txt"
    path.write_bytes(" a\u2028b \ntrack_ids\n".encode())
    assert read_track_ids(path) == [" a\u2028b ", "track_ids"]


@pytest.mark.parametrize(
    ("content", "word"),
    [
        (b"", "no track ids"),
        (b"a\n\xff\xfe", "line 2: not UTF-8"),
        (b"a\nb\rc\n", "line 2: a line end that is neither LF nor CRLF"),
        (b"x,track_id\n1,a\n2,\n", "line 3: column 'track_id' is empty"),
    ],
)
def test_refuses(tmp_path, content, word):
    path = tmp_path / "ids.txt"
    path.write_bytes(content)
    with pytest.raises(TableError, match=word) as refused:
        read_track_ids(path)
    assert str(path) in str(refused.value)
