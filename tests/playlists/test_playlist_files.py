"""M3U, XSPF and JSPF: what a track's id is, and what is refused."""

import gzip
import json
from pathlib import Path, PurePosixPath

import pytest

from playlist_pretrain.playlists.readers import READERS, Request
from playlist_pretrain.playlists.readers.paths import track_id_of_path

UUID = "b9ad642e-b012-41c7-b72a-42cf4911f9ff"


def read(name, path, **request):
    reader = READERS.get(name)
    return list(reader.read(reader.sources(path), Request(**request)))


def write(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


@pytest.mark.parametrize(
    ("entry", "playlist", "audio", "expected"),
    [
        ("a.mp3", "x.m3u", None, "a"),
        ("a.b.FLAC", "x.m3u", None, "a.b"),
        ("a.txt", "x.m3u", None, "a.txt"),
        ("../b/a.ogg", "lists/x.m3u", None, "b/a"),
        ("b\\a.ogg", "x.m3u", None, "b/a"),
        ("./b//c/../a.ogg", "x.m3u", None, "b/a"),
        ("../a.ogg", "x.m3u", None, "../a.ogg"),
        ("/music/b/a.mp3", "x.m3u", None, "/music/b/a.mp3"),
        ("/music/b/a.mp3", "x.m3u", "/music", "b/a"),
        ("/music/../etc/a.mp3", "x.m3u", "/music", "/music/../etc/a.mp3"),
        ("/musical/a.mp3", "x.m3u", "/music", "/musical/a.mp3"),
        ("file:///music/b%20c/a%25.mp3", "x.m3u", "/music", "b c/a%"),
        ("C:\\music\\a.mp3", "x.m3u", None, "C:\\music\\a.mp3"),
        ("https://example.org/a.mp3", "x.m3u", None, "https://example.org/a.mp3"),
        ("http://[", "x.m3u", None, "http://["),
        ("file://[/a.mp3", "x.m3u", None, "file://[/a.mp3"),
        ("spotify:track:1", "x.m3u", None, "spotify:track:1"),
        (f"https://musicbrainz.org/recording/{UUID.upper()}", "x.m3u", None, UUID),
    ],
)
def test_track_id_of_an_entry(entry, playlist, audio, expected):
    audio = Path(audio) if audio else None
    assert track_id_of_path(entry, PurePosixPath(playlist), audio) == expected


@pytest.mark.parametrize(
    ("entry", "playlist", "folder", "expected"),
    [
        ("../a.ogg", "x.m3u", "/music/lists", "a"),
        ("b/a.ogg", "x.m3u", "/music/lists", "lists/b/a"),
        ("../../music/b/a.ogg", "deep/x.m3u", "/lists", "b/a"),
        ("..\\b\\a.ogg", "x.m3u", "/music/lists", "b/a"),
        ("b/a.ogg", "x.m3u", "/elsewhere", "b/a"),  # leads out of the audio: as it was written
        ("../b/a.ogg", "deep/x.m3u", "/elsewhere", "b/a"),
        ("../../b/a.ogg", "deep/x.m3u", "/elsewhere", "../../b/a.ogg"),
    ],
)
def test_relative_entries_start_from_the_playlists_own_folder(entry, playlist, folder, expected):
    found = track_id_of_path(entry, PurePosixPath(playlist), Path("/music"), Path(folder))
    assert found == expected


@pytest.mark.parametrize("kind", ["m3u8", "xspf", "jspf", "m3u8.gz"])
def test_every_playlist_file_knows_its_folder(kind, tmp_path):
    content = {
        "xspf": xspf("<location>../b%20c/a.ogg</location>"),
        "jspf": '{"playlist": {"track": [{"location": "../b%20c/a.ogg"}]}}',
    }.get(kind, "../b c/a.ogg\n")
    data = gzip.compress(content.encode()) if kind.endswith("gz") else content
    path = write(tmp_path / "music" / "lists" / f"x.{kind}", data)
    audio = tmp_path / "music"
    for start in (path, path.parent, audio):
        ((_, entries),) = read(kind.removesuffix(".gz").removesuffix("8"), start, audio=audio)
        assert entries[0].replace("%20", " ") == "b c/a"


def test_m3u(tmp_path):
    write(tmp_path / "a.m3u8", "\ufeff#EXTM3U\r\n#EXTINF:1,A - B\r\n ü.mp3 \r\n\r\nb/c.ogg")
    write(tmp_path / "deep" / "b.m3u", "é.mp3\n".encode("latin-1"))
    write(tmp_path / "deep" / "empty.m3u", "#EXTM3U\n")
    assert read("m3u", tmp_path) == [
        ("a", ["ü", "b/c"]), ("deep/b", ["deep/é"]), ("deep/empty", []),
    ]  # fmt: skip
    assert read("m3u", tmp_path / "deep" / "b.m3u") == [("b", ["é"])]


def xspf(*tracks, head='<?xml version="1.0"?>', namespace=' xmlns="http://xspf.org/ns/0/"'):
    body = "".join(f"<track>{track}</track>" for track in tracks)
    return f'{head}<playlist version="1"{namespace}><trackList>{body}</trackList></playlist>'


TRACKS = [
    f"<identifier>https://musicbrainz.org/recording/{UUID}</identifier><location>a.mp3</location>",
    "<location> file:///music/b%20c.mp3 </location><location>other.mp3</location>",
    "<title>T &amp; t</title><creator>C</creator>",
    "<identifier/><identifier>spotify:track:1</identifier>"
    '<extension application="x"><identifier>no</identifier></extension>',
]


@pytest.mark.parametrize("namespace", ["", ' xmlns="http://xspf.org/ns/0/"'])
def test_xspf(tmp_path, namespace):
    path = write(tmp_path / "a.xspf", xspf(*TRACKS, namespace=namespace))
    expected = [UUID, "b c", "C – T & t", "spotify:track:1"]
    assert read("xspf", path, audio=Path("/music")) == [("a", expected)]
    write(path, xspf())
    assert read("xspf", path) == [("a", [])]


def test_jspf(tmp_path):
    tracks = [
        {"identifier": [f"https://musicbrainz.org/recording/{UUID}"], "location": "a.mp3"},
        {"identifier": "spotify:track:1"},
        {"identifier": [], "location": ["/music/b/c.flac"], "title": "x"},
        {"identifier": None, "creator": "C", "title": "T"},
    ]
    expected = [UUID, "spotify:track:1", "b/c", "C – T"]
    for content in ({"playlist": {"track": tracks, "title": "x"}}, {"track": tracks}):
        path = write(tmp_path / "a.jspf", "\ufeff" + json.dumps(content))
        assert read("jspf", path, audio=Path("/music")) == [("a", expected)]
    path = write(tmp_path / "b.json", json.dumps({"playlist": {"track": []}}))
    assert READERS.get("jspf").sniff(path) and read("jspf", path) == [("b", [])]
