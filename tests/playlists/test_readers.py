"""Contract of every reader, and readers that break one clause of it each."""

import dataclasses
import json

import pytest

from playlist_pretrain.errors import TableError
from playlist_pretrain.playlists.readers import READERS, Request, check_request, find_reader
from playlist_pretrain.playlists.readers.table import TableReader
from playlist_pretrain.testing import ContractError, check_reader

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


def test_the_contract_is_kept(reader, example):
    check_reader(reader, *example)


def test_exactly_one_reader_recognises_its_example(named, example):
    path, _ = example
    assert [name for name in READERS if READERS.get(name).sniff(path)] == [named]
    assert find_reader(path).name == named


def test_a_byte_order_mark_and_any_name(named, reader, example, tmp_path):
    path, expected = example
    file = tmp_path / "seven"
    first = reader.sources(path)[0].read()
    file.write_bytes(b"\xef\xbb\xbf" + first.replace(b'"pid"', b'"pid" '))
    assert find_reader(file).name == named
    found = reader.read(reader.sources(file), Request(reader.kinds[0]))
    assert [tracks for _, tracks in found][:1] == [tracks for _, tracks in expected][:1]


def test_kinds_and_options_that_a_reader_does_not_have_are_refused(reader, tmp_path):
    for kind in reader.kinds:
        check_request(reader, tmp_path, Request(kind))
    with pytest.raises(TableError, match="--kind moods"):
        check_request(reader, tmp_path, Request("moods"))
    given = {"columns": {"group": "g"}, "separator": "|", "gap": 5.0, "audio": tmp_path,
             "min_played": 0.0}  # fmt: skip
    for option, value in given.items():
        request, written = Request(reader.kinds[0], **{option: value}), option.replace("_", "-")
        if option in reader.options:
            check_request(reader, tmp_path, request)
        else:
            with pytest.raises(TableError, match=f"--{written} is not for format {reader.name}"):
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
    said = str(caught.value)
    assert "--format" in said and "\n" not in said
    assert all(READERS.get(name).description in said for name in READERS)
    assert find_reader(tmp_path / "source", "table").name == "table"


def groups_through(change):
    return lambda self, *given: map(change, TableReader.read(self, *given))


def swallows(self, sources, request):
    try:
        yield from TableReader.read(self, sources, request)
    except TableError:
        return


def tells_nothing(self, sources, request):
    return TableReader.read(self, sources, dataclasses.replace(request, advance=lambda size: None))


BROKEN = {
    "sniffs all": ({"sniff": lambda self, path: True}, "sniff: nothing is not recognised"),
    "not streaming": (
        {"read": lambda self, *given: list(TableReader.read(self, *given))}, "read: streams",
    ),
    "odd id": ({"read": groups_through(lambda group: ("g", ["\udcff"]))}, "ids: valid Unicode"),
    "other tracks": (
        {"read": groups_through(lambda group: ("7", ["a"]))}, "read: the example holds",
    ),
    "tells nothing": ({"read": tells_nothing}, "advance: is told .* bytes in all, not 0"),
    "swallows damage": ({"read": swallows}, "raises TableError, but nothing"),
}  # fmt: skip


@pytest.mark.parametrize("case", BROKEN)
def test_broken_readers(case, tmp_path, write_example):
    changes, clause = BROKEN[case]
    broken = type("Broken", (TableReader,), changes)()
    with pytest.raises(ContractError, match=clause):
        check_reader(broken, *write_example("table", tmp_path, GROUPS))


def spotify(folder):
    path = folder / "Streaming_History_Audio_2024.json"
    plays = [
        {
            "ts": f"2024-01-01T00:0{minute}:00Z",
            "ms_played": 60_000,
            "spotify_track_uri": track,
            "username": "me",
        }
        for minute, track in ((1, "spotify:track:a"), (3, "spotify:track:b"))
    ]
    path.write_text(json.dumps(plays))
    return path, [("me/2024-01-01T00:00:00Z", ["spotify:track:a", "spotify:track:b"])]


def listenbrainz(folder):
    path = folder / "export"
    (path / "listens" / "2025").mkdir(parents=True)
    listens = [
        {"listened_at": 1_740_800_000 + 60 * number, "track_metadata": {"track_name": track}}
        for number, track in enumerate("ab")
    ]
    text = "\n".join(map(json.dumps, listens))
    (path / "listens" / "2025" / "3.jsonl").write_text(text)
    (path / "user.json").write_text('{"user_id": 7, "username": "someone"}')
    for name in ("feedback.jsonl", "pinned_recording.jsonl"):
        (path / name).write_text('{"recording_mbid": "c"}')
    return path, [("someone/2025-03-01T03:33:20Z", ["a", "b"])]


def last_fm(folder):
    path = folder / "me.csv"
    header = "uts,utc_time,artist,artist_mbid,album,album_mbid,track,track_mbid"
    path.write_text(f"{header}\n60,x,A,,B,,T,\n120,x,A,,B,,U,b9\n")
    return path, [("me/1970-01-01T00:01:00Z", ["A – T", "b9"])]


def exportify(folder):
    path = folder / "evening.csv"
    path.write_text('"Track URI","Track Name"\n"spotify:track:a","x"\n"spotify:track:b","y"\n')
    return path, [("evening", ["spotify:track:a", "spotify:track:b"])]


EXPORTS = {"history": (spotify, listenbrainz, last_fm), "table": (exportify,)}


@pytest.mark.parametrize(
    ("name", "write"), [(name, write) for name, writes in EXPORTS.items() for write in writes]
)
def test_exports_of_services_keep_the_contract(name, write, tmp_path):
    path, expected = write(tmp_path)
    assert find_reader(path).name == name
    reader = READERS.get(name)
    if write is listenbrainz:  # the contract's copies lie elsewhere than what names their user
        for folder in (path, path / "listens"):
            assert list(reader.read(reader.sources(folder), Request("sessions"))) == expected
    else:
        check_reader(reader, path, expected)
