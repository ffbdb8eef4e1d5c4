"""What holds for every reader, whatever it reads."""

import pytest

from playlist_pretrain.errors import TableError
from playlist_pretrain.playlists.readers import READERS, Request, check_request, find_reader

"""Formats whose every file says where it ends."""
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


def test_every_reader_has_an_example_here(example_formats):
    assert example_formats == set(READERS)


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
        b"", b"\0" * 99, b"\xff\xfe\x00", b"\xff\xfea\x00b\x00", b'{"a', b"[" * DEEP,
        b'{"playlist": {"track": ' * 1000, b'[{"id": ' * DEEP, b"<playlist>" * DEEP,
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


def test_ids_with_control_characters_are_kept_as_they_are(named, reader, tmp_path, write_example):
    groups = [("7", ["a\x1b[31m", "b\x07\u202e"])]
    path, expected = write_example(named, tmp_path, groups)
    if named == "xspf":  # XML does not have them
        with pytest.raises(TableError, match="not XML"):
            read(reader, path)
    else:
        assert read(reader, path) == expected


def test_another_encoding_is_read_rightly_or_refused(named, reader, example):
    path, _ = example
    for file in files_of(path):
        file.write_bytes(file.read_text(encoding="utf-8").encode("utf-16"))
    if named == "xspf":  # XML says what it is
        with pytest.raises(TableError, match=r"7\.xspf: not XML.*encoding.*: line 1"):
            read(reader, path)
    else:
        with pytest.raises(TableError) as caught:
            read(reader, path)
        assert one_line(caught, str(files_of(path)[0]), "zero byte" if named in (
            "m3u", "table") else "not UTF-8")  # fmt: skip


def test_a_byte_order_mark_and_any_name(named, reader, example, tmp_path):
    path, expected = example
    file = tmp_path / "seven"
    first = files_of(path)[0].read_bytes()
    file.write_bytes(b"\xef\xbb\xbf" + first.replace(b'"pid"', b'"pid" '))
    assert find_reader(file).name == named
    found = read(reader, file)
    assert [tracks for _, tracks in found][:1] == [tracks for _, tracks in expected][:1]


def test_a_group_that_is_damaged_does_not_take_those_before_it(named, reader, example):
    path, expected = example
    file = files_of(path)[-1]
    damage = []
    file.write_bytes(file.read_bytes()[:-2] + b"\xff\0")
    found = read(reader, path, damaged=damage.append)
    assert len(damage) == 1 and str(file) in str(damage[0])
    # History sorts what it has; of a table and an M3U the last group may have lost its end.
    assert found[:2] == expected[:2]
    with pytest.raises(TableError):
        read(reader, path)


@pytest.mark.slow
def test_a_group_of_a_million_entries(reader, named, tmp_path, write_example):
    tracks = [f"t{i % 1000}" for i in range(1_000_000)]
    path, expected = write_example(named, tmp_path, [("7", tracks)])
    if named == "history":
        expected = [(expected[0][0], tracks)]
    parts = read(reader, path)
    assert {group for group, _ in parts} == {expected[0][0]}
    assert [track for _, part in parts for track in part] == tracks


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


def test_no_such_file(tmp_path):
    with pytest.raises(TableError, match=r"nowhere\.csv: no such file"):
        find_reader(tmp_path / "nowhere.csv")


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
