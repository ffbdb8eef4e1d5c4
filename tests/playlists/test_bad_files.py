"""Files of every format that cannot be read: one line that names the file, the place and why."""

import json

import pytest

from playlist_pretrain.delimited import stop
from playlist_pretrain.errors import TableError
from playlist_pretrain.playlists.readers import READERS, Request


def xspf(*tracks, head='<?xml version="1.0"?>'):
    body = "".join(f"<track>{track}</track>" for track in tracks)
    return f"{head}<playlist version='1'><trackList>{body}</trackList></playlist>"


def slice_of(*tracks):
    return {"playlists": [{"pid": 17, "tracks": [{"track_uri": "t"}, *tracks]}]}


def listen(**change):
    metadata = {"additional_info": {"recording_mbid": "a"}}
    return {"user_name": "u", "timestamp": 0, "track_metadata": metadata} | change


LAUGHS = '<!DOCTYPE l [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;">]>'
DEEP = "[" * 100_000
BAD = {
    "mpd.slice.0-999.json": [
        (b"  \n", "the file is empty"),
        (b'{"playlists": [', "not JSON, cut off or damaged"),
        (b'{"playlists": [}]}', "line 1 column 16 (char 15)"),
        (b'{"playlists": "\xff"}', "byte 15: not UTF-8"),
        ('{"playlists": ' + DEEP, "nested too deeply"),
        ('{"playlists": ' + "9" * 5000 + "}", "not JSON"),
        ({"playlists": {"0": {}}}, "no list 'playlists'"),
        ({"playlists": [{"pid": 1, "tracks": []}, 5]}, "playlist 1 of the slice: not an object"),
        ({"playlists": [{"tracks": []}]}, "playlist 0 of the slice: no 'pid'"),
        ({"playlists": [{"pid": True, "tracks": []}]}, "'pid' is not a whole number"),
        ({"playlists": [{"pid": 17, "tracks": {}}]}, "pid 17: 'tracks' is not a list"),
        (slice_of(None), "pid 17, track 1: not an object"),
        (slice_of({}), "pid 17, track 1: no 'track_uri'"),
        (slice_of({"track_uri": 3}), "'track_uri' is not text"),
        (slice_of({"track_uri": "\ud800"}), "track 1: 'track_uri' is not valid Unicode"),
    ],
    "train.json": [
        ([5], "playlist 0: not an object"),
        ([{"songs": []}], "playlist 0: no 'id'"),
        ([{"id": None, "songs": []}], "neither a whole number nor text"),
        ([{"id": 1, "songs": {}}], "playlist 1: 'songs' is not a list"),
        ([{"id": 1, "songs": [2, 3.5]}], "playlist 1, song 1: neither a whole number nor text"),
        ([{"id": 1, "songs": [""]}], "playlist 1, song 0 is empty"),
        ('[{"id": 1, "songs": []}] x', "Extra data"),
        (DEEP, "nested too deeply"),
    ],
    "x.m3u8": [
        (b"", "the file is empty"),
        (b"#EXTM3U\ra.mp3\rb.mp3\r", "line 1: a line end that is neither LF nor CRLF"),
        (b"a\n\xff\n", "line 2: not UTF-8 (byte 1 of the line is 0xff)"),
        (b"a\n\0\n", "line 2: holds a zero byte"),
        (b"#EXTENC: klingon\na\n", "line 1: #EXTENC: 'klingon' is no encoding"),
        (b"a\n" + b"x" * 2_000_000, "line 2: longer than"),
    ],
    "x.m3u": [(b"\x81\n", "line 1: neither UTF-8 nor Windows-1252")],
    "x.xspf": [
        ("", "the file is empty"),
        (xspf("<title>&b;</title>", head=LAUGHS), "line 1: a document type"),
        (xspf(head='<!DOCTYPE x SYSTEM "file:///etc/passwd">'), "a document type"),
        ("<html/>", "<html> is not a playlist"),
        ("<playlist><trackList>", "not XML, cut off or damaged: no element found: line 1"),
        (xspf("<title>a</title>", "<image>x</image>"), "line 1: track 2: no 'identifier'"),
        ("<playlist>" + "<a>" * 200, "nested too deeply"),
        ("<playlist><title/></playlist>", "no trackList"),
        (xspf(head='<?xml version="1.0" encoding="klingon"?>'), "not XML"),
        (b"<playlist>\xff</playlist>", "not XML, cut off or damaged"),
    ],
    "x.jspf": [
        ([], "not an object"),
        ('{"track": [], "x": ' + DEEP, "JSON nested too deeply"),
        ({"playlist": []}, "playlist: not an object"),
        ({"playlist": {"track": {}}}, "'track' is not a list"),
        ({"playlist": {"track": [{"title": "a"}, 5]}}, "track 1: not an object"),
        ({"playlist": {"track": [{"identifier": [5]}]}}, "track 0: 'identifier' is not text"),
        ({"playlist": {"track": [{}]}}, "track 0: no 'identifier', 'location' or 'title'"),
        ({"playlist": {"track": [{"title": "\ud800"}]}}, "track 0: 'title' is not valid Unicode"),
    ],
    "x.jsonl": [
        (b"\n[5]", "listen 0: not an object"),
        (b'{"a": "\xff"}', "line 1: byte 7: not UTF-8"),
        ('{"a": ' + DEEP, "line 1: JSON nested too deeply"),
        ({}, "line 1: no 'timestamp', 'listened_at' or 'ts'"),
        (listen(timestamp=True), "no 'timestamp', 'listened_at' or 'ts'"),
        ({"user_name": "u", "timestamp": 0}, "line 1: no 'track_metadata'"),
        (listen(track_metadata={}), "no recording id"),
        (listen(user_name=""), "user is empty"),
        (b'{"a": "' + b"x" * 2_000_000, "line 1: longer than"),
    ],
}  # fmt: skip
FORMATS = {"mpd.slice.0-999.json": "mpd", "train.json": "melon", "x.m3u8": "m3u", "x.m3u": "m3u",
           "x.xspf": "xspf", "x.jspf": "jspf", "x.jsonl": "history"}  # fmt: skip


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [(name, *case) for name, cases in BAD.items() for case in cases],
    ids=lambda value: value[:40] if isinstance(value, str) else "",
)
def test_one_line_says_what_is_wrong(tmp_path, name, content, message):
    path = tmp_path / name
    if not isinstance(content, bytes):
        content = (content if isinstance(content, str) else json.dumps(content)).encode()
    path.write_bytes(content)
    reader = READERS.get(FORMATS[name])
    with pytest.raises(TableError) as caught:
        list(reader.read(reader.sources(path), Request(reader.kinds[0], damaged=stop)))
    assert str(caught.value).startswith(f"{path}: ") and message in str(caught.value)
    assert "\n" not in str(caught.value)
