"""What holds for every reader, whatever it reads."""

import pytest

from playlist_pretrain.errors import TableError
from playlist_pretrain.playlists.readers import READERS, Request, check_request, find_reader

GROUPS = [("7", ["a", "b"]), ("8", ["b", "ü/c"]), ("9", ["x", "a", "a"])]


@pytest.fixture(params=list(READERS))
def named(request):
    return request.param


@pytest.fixture
def reader(named):
    return READERS.get(named)


@pytest.fixture
def example(named, tmp_path, write_example):
    """Path of an example, and what is in it."""
    return write_example(named, tmp_path, GROUPS)


def read(reader, path, **request):
    return list(reader.read(reader.sources(path), Request(**request)))


def one_line(error, *words):
    text = str(error.value)
    assert "\n" not in text and all(word in text for word in words)
    return True


def test_exactly_one_reader_recognises_its_example(named, example):
    path, _ = example
    assert [name for name in READERS if READERS.get(name).sniff(path)] == [named]
    assert find_reader(path).name == named


def files_of(path):
    return sorted(path.iterdir()) if path.is_dir() else [path]


DEEP = 100_000


@pytest.mark.parametrize(
    "content",
    [
        b"", b"\0" * 99, b"\xff\xfea\x00b\x00", b'{"a', b'[{"id": ' * DEEP, b"<playlist>" * DEEP,
        "gruppe_ü,é\nx,y\n".encode("latin-1"),
    ],
)  # fmt: skip
def test_garbage_gives_one_message_with_the_file(named, reader, example, content):
    path, _ = example
    file = files_of(path)[0]
    file.write_bytes(content)
    if named == "m3u" and content[:1] in (b"{", b"[", b"<"):
        return  # any line of text is an entry of such a playlist
    with pytest.raises(TableError) as caught:
        read(reader, path)
    assert one_line(caught, str(file))


def test_a_byte_order_mark_and_any_name(named, reader, example, tmp_path):
    path, expected = example
    file = tmp_path / "seven"
    first = files_of(path)[0].read_bytes()
    file.write_bytes(b"\xef\xbb\xbf" + first.replace(b'"pid"', b'"pid" '))
    assert find_reader(file).name == named
    found = read(reader, file)
    assert [tracks for _, tracks in found][:1] == [tracks for _, tracks in expected][:1]


def test_kinds_and_options_that_a_reader_does_not_have_are_refused(reader, tmp_path):
    for kind in reader.kinds:
        check_request(reader, tmp_path, Request(kind))
    with pytest.raises(TableError, match="--kind moods"):
        check_request(reader, tmp_path, Request("moods"))
    given = {"columns": {"group": "g"}, "separator": "|", "gap": 5.0, "audio": tmp_path}
    for option, value in given.items():
        request = Request(reader.kinds[0], **{option: value})
        if option in reader.options:
            check_request(reader, tmp_path, request)
        else:
            with pytest.raises(TableError, match=f"--{option} is not for format {reader.name}"):
                check_request(reader, tmp_path, request)


def test_unknown_format(tmp_path):
    with pytest.raises(TableError, match=r"'xml'.*mpd, .*table"):
        find_reader(tmp_path, "xml")


@pytest.mark.parametrize(
    "content", [b"", b"just words\n", b"\x00\x01,\x02\n", b"<a,b>\n", b"\xff,\n"]
)
def test_a_source_nobody_recognises(tmp_path, content):
    (tmp_path / "source").write_bytes(content)
    with pytest.raises(TableError) as caught:
        find_reader(tmp_path / "source")
    assert one_line(caught, "--format")
    assert all(READERS.get(name).description in str(caught.value) for name in READERS)
    assert find_reader(tmp_path / "source", "table").name == "table"
