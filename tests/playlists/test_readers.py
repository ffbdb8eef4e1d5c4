"""What holds for every reader, whatever it reads."""

import gzip
import shutil
import zipfile

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


def test_every_reader_has_an_example_here(example_formats):
    assert example_formats == set(READERS)


def test_anatomy(named, reader):
    assert reader.name == named
    assert reader.description and "\n" not in reader.description
    assert reader.kinds and len(set(reader.kinds)) == len(reader.kinds)
    assert reader.options <= {"columns", "separator", "gap", "audio"}


def test_reads_what_was_written_and_tells_every_byte(reader, example):
    path, expected = example
    told = []
    assert read(reader, path, advance=told.append) == expected
    assert min(told) >= 0
    assert sum(told) == sum(source.size for source in reader.sources(path))
    assert read(reader, path) == expected


def test_exactly_one_reader_recognises_its_example(named, example):
    path, _ = example
    assert [name for name in READERS if READERS.get(name).sniff(path)] == [named]
    assert find_reader(path).name == named


def files_of(path):
    return sorted(path.iterdir()) if path.is_dir() else [path]


def test_a_zip_file_holds_the_same_and_one_reader_recognises_it(named, reader, example, tmp_path):
    path, expected = example
    with zipfile.ZipFile(tmp_path / "all.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for file in files_of(path):
            archive.write(file, f"{path.stem}/{file.name}" if named == "mpd" else file.name)
    told = []
    assert read(reader, tmp_path / "all.zip", advance=told.append) == expected
    assert sum(told) == sum(source.size for source in reader.sources(tmp_path / "all.zip"))
    assert find_reader(tmp_path / "all.zip").name == named


def gzipped(path):
    for file in files_of(path):
        with open(file, "rb") as stream, gzip.open(f"{file}.gz", "wb") as packed:
            shutil.copyfileobj(stream, packed)
        file.unlink()
    return path if path.is_dir() else path.with_name(path.name + ".gz")


def test_gzipped_sources_are_the_same(named, reader, example):
    path, expected = example
    path = gzipped(path)
    told = []
    assert read(reader, path, advance=told.append) == expected
    assert sum(told) == sum(source.size for source in reader.sources(path))
    assert find_reader(path).name == named


@pytest.mark.parametrize("packed", [False, True])
def test_cut_off_anywhere_it_reads_a_beginning_or_says_what_is_wrong(reader, example, packed):
    path, expected = example
    path = gzipped(path) if packed else path
    file = files_of(path)[-1]
    whole = file.read_bytes()
    every = [(group, track) for group, tracks in expected for track in tracks]
    for size in range(len(whole)):
        file.write_bytes(whole[:size])
        seen, damage = [], []
        for part in reader.read(reader.sources(path), Request(damaged=damage.append)):
            seen.append(part)
        assert all(str(file) in str(error) and "\n" not in str(error) for error in damage)
        assert len(damage) <= 1
        assert damage or not packed
        found = [(group, track) for group, tracks in seen for track in tracks]
        assert found[:-1] == every[: len(found)][:-1]
        if found:  # the last cell of a table may have lost its end, which nothing can tell
            (group, track), (expected_group, whole_track) = found[-1], every[len(found) - 1]
            assert group == expected_group
            assert whole_track.startswith(track) or track.startswith(whole_track)


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
    if named == "m3u" and content[:1] in b"{[<":
        return  # any line of text is an entry of such a playlist
    with pytest.raises(TableError) as caught:
        read(reader, path)
    assert one_line(caught, str(file))


@pytest.mark.parametrize("named", ["mpd", "jspf", "xspf", "m3u"], indirect=True)
def test_what_is_whole_elsewhere_is_kept_only_when_asked_for(reader, example):
    path, expected = example
    files = files_of(path)
    files[1].write_bytes(b"\0")
    with pytest.raises(TableError):
        read(reader, path)
    damage = []
    found = read(reader, path, damaged=damage.append)
    assert found == [expected[0], expected[2]] and len(damage) == 1


@pytest.mark.parametrize("named", sorted({*READERS} - {"xspf", "m3u"}), indirect=True)
def test_ids_with_control_characters_are_kept_as_they_are(named, reader, tmp_path, write_example):
    groups = [("7", ["a\x1b[31m", "b\x07"])]
    path, expected = write_example(named, tmp_path, groups)
    assert read(reader, path) == expected


@pytest.mark.slow
def test_a_group_of_a_million_entries(reader, named, tmp_path, write_example):
    tracks = [f"t{i % 1000}" for i in range(1_000_000)]
    path, expected = write_example(named, tmp_path, [("7", tracks)])
    if named == "history":
        expected = [(expected[0][0], tracks)]
    parts = read(reader, path)
    assert {group for group, _ in parts} == {expected[0][0]}
    assert [track for _, part in parts for track in part] == tracks


def test_an_empty_folder_holds_nothing_to_read(reader, tmp_path):
    with pytest.raises(TableError, match="folder"):
        reader.sources(tmp_path)


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
