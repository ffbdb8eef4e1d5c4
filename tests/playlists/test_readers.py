"""What holds for every reader, whatever it reads."""

import json

import pytest

from playlist_pretrain.errors import TableError
from playlist_pretrain.playlists.readers import READERS, find_reader

GROUPS = [("7", ["a", "b"]), ("8", ["b", "ü/c"]), ("9", ["x", "a", "a"])]


def table(folder, groups):
    path = folder / "playlists.csv"
    lines = [f"{group},{track}\n" for group, tracks in groups for track in tracks]
    path.write_text("group_id,track_id\n" + "".join(lines), encoding="utf-8")
    return path


def mpd(folder, groups):
    path = folder / "mpd"
    path.mkdir()
    for number, (group, tracks) in enumerate(groups):
        playlist = {"pid": int(group), "tracks": [{"track_uri": track} for track in tracks]}
        content = {"info": {}, "playlists": [playlist]}
        (path / f"mpd.slice.{number}-{number}.json").write_text(
            json.dumps(content, ensure_ascii=False), encoding="utf-8"
        )
    return path


WRITERS = {"mpd": mpd, "table": table}


@pytest.fixture(params=list(READERS))
def named(request):
    return request.param


def test_every_reader_has_an_example_here():
    assert set(WRITERS) == set(READERS)


def test_anatomy(named):
    reader = READERS.get(named)
    assert reader.name == named
    assert reader.description and "\n" not in reader.description


def test_reads_what_was_written_and_tells_every_byte(named, tmp_path):
    reader = READERS.get(named)
    path = WRITERS[named](tmp_path, GROUPS)
    told = []
    assert list(reader.read(path, None, told.append)) == GROUPS
    assert sum(told) == sum(file.stat().st_size for file in reader.files(path))
    assert list(reader.read(path)) == GROUPS


def test_exactly_one_reader_recognises_its_example(named, tmp_path):
    path = WRITERS[named](tmp_path, GROUPS)
    assert [name for name in READERS if READERS.get(name).sniff(path)] == [named]
    assert find_reader(path).name == named


def test_cut_off_anywhere_it_reads_a_beginning_or_says_what_is_wrong(named, tmp_path):
    reader = READERS.get(named)
    path = WRITERS[named](tmp_path, GROUPS)
    file = reader.files(path)[-1]
    whole = file.read_bytes()
    every = [(group, track) for group, tracks in GROUPS for track in tracks]
    for size in range(len(whole)):
        file.write_bytes(whole[:size])
        seen = []
        try:
            for part in reader.read(path):
                seen.append(part)
        except TableError as error:
            assert str(file) in str(error)
        read = [(group, track) for group, tracks in seen for track in tracks]
        assert read[:-1] == every[: len(read)][:-1]
        if read:  # the last cell of a table may have lost its end, which nothing can tell
            (group, track), (expected, whole_track) = read[-1], every[len(read) - 1]
            assert group == expected and whole_track.startswith(track)


@pytest.mark.parametrize("content", [b"", b"\0" * 99, b"\xff\xfe\x00", b'{"a', b"[" * 5000])
def test_garbage_gives_one_message_with_the_file(named, tmp_path, content):
    reader = READERS.get(named)
    path = WRITERS[named](tmp_path, GROUPS)
    file = reader.files(path)[0]
    file.write_bytes(content)
    with pytest.raises(TableError) as caught:
        list(reader.read(path))
    assert str(file) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_empty_folder_holds_nothing_to_read(named, tmp_path):
    with pytest.raises(TableError, match="folder"):
        READERS.get(named).files(tmp_path)


def test_no_such_file(tmp_path):
    with pytest.raises(TableError, match=r"nowhere\.csv: no such file"):
        find_reader(tmp_path / "nowhere.csv")


def test_unknown_format(tmp_path):
    with pytest.raises(TableError, match=r"'xml'.*mpd, table"):
        find_reader(tmp_path, "xml")


@pytest.mark.parametrize(
    "content", [b"", b"just words\n", b"\x00\x01,\x02\n", b"<a,b>\n", b"\xff,\n"]
)
def test_a_source_nobody_recognises(tmp_path, content):
    (tmp_path / "source").write_bytes(content)
    with pytest.raises(TableError) as caught:
        find_reader(tmp_path / "source")
    assert "--format" in str(caught.value) and "\n" not in str(caught.value)
    assert all(READERS.get(name).description in str(caught.value) for name in READERS)
    assert find_reader(tmp_path / "source", "table").name == "table"
