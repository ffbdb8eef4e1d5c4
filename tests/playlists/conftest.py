"""An example of every playlist format, written by hand and not by the readers."""

import datetime
import json
import plistlib
from xml.sax.saxutils import escape

import pytest


def table(folder, groups):
    path = folder / "playlists.csv"
    lines = [f"{group},{track}\n" for group, tracks in groups for track in tracks]
    path.write_text("group_id,track_id\n" + "".join(lines), encoding="utf-8")
    return path, groups


def mpd(folder, groups):
    path = folder / "mpd"
    path.mkdir()
    for number, (group, tracks) in enumerate(groups):
        playlist = {
            "pid": int(group),
            "tracks": [
                {"track_uri": track, "artist_uri": f"artist of {track}", "album_uri": "album"}
                for track in tracks
            ],
        }
        content = {"info": {}, "playlists": [playlist]}
        (path / f"mpd.slice.{number}-{number}.json").write_text(
            json.dumps(content, ensure_ascii=False), encoding="utf-8"
        )
    return path, groups


def melon(folder, groups):
    path = folder / "train.json"
    playlists = [
        {"id": int(group), "plylst_title": "ü", "tags": ["x"], "songs": tracks, "like_cnt": 1}
        for group, tracks in groups
    ]
    path.write_text(json.dumps(playlists, ensure_ascii=False), encoding="utf-8")
    return path, groups


def lists(folder, groups, suffix, text):
    """A file for each group in a folder: ``text`` of its tracks."""
    path = folder / "lists"
    path.mkdir()
    for group, tracks in groups:
        (path / f"{group}.{suffix}").write_text(text(tracks), encoding="utf-8", newline="")
    return path, groups


def m3u(folder, groups):
    return lists(folder, groups, "m3u8", lambda tracks: "#EXTM3U\r\n" + "".join(
        f"#EXTINF:1,x\r\n{track}.mp3\r\n" for track in tracks
    ))  # fmt: skip


def jspf(folder, groups):
    return lists(folder, groups, "jspf", lambda tracks: json.dumps(
        {"playlist": {"title": "x", "track": [{"identifier": track} for track in tracks]}},
        ensure_ascii=False,
    ))  # fmt: skip


def xspf(folder, groups):
    return lists(folder, groups, "xspf", lambda tracks: (
        '<?xml version="1.0" encoding="UTF-8"?><playlist xmlns="http://xspf.org/ns/0/" '
        'version="1"><title>y</title><trackList>' + "".join(
            f"<track><identifier>{escape(track)}</identifier><title>x</title></track>"
            for track in tracks
        ) + "</trackList></playlist>"
    ))  # fmt: skip


def history(folder, groups):
    path = folder / "listens.jsonl"
    lines, expected = [], []
    for group, tracks in groups:
        start = 1_500_000_000 + 100_000 * int(group)
        for number, track in enumerate(tracks):
            metadata = {"additional_info": {"recording_mbid": track}, "track_name": "x"}
            listen = {"user_name": group, "timestamp": start + 60 * number,
                      "track_metadata": metadata}  # fmt: skip
            lines.append(json.dumps(listen, ensure_ascii=False) + "\n")
        began = datetime.datetime.fromtimestamp(start, datetime.UTC)
        expected.append((f"{group}/{began:%Y-%m-%dT%H:%M:%SZ}", tracks))
    path.write_text("".join(lines), encoding="utf-8")
    return path, expected


def itunes(folder, groups):
    path = folder / "Library.xml"
    numbers = {track: n for n, track in enumerate(dict.fromkeys(t for _, ts in groups for t in ts))}
    library = {
        "Major Version": 1,
        "Tracks": {
            str(number): {"Track ID": number, "Name": "x", "Location": f"file:///m/{track}.mp3"}
            for track, number in numbers.items()
        },
        "Playlists": [
            {"Name": group, "Playlist Items": [{"Track ID": numbers[track]} for track in tracks]}
            for group, tracks in groups
        ],
    }
    path.write_bytes(plistlib.dumps(library, sort_keys=False))
    return path, [(group, [f"file:///m/{t}.mp3" for t in tracks]) for group, tracks in groups]


WRITERS = {
    "itunes": itunes, "mpd": mpd, "melon": melon, "jspf": jspf, "xspf": xspf, "m3u": m3u,
    "history": history, "table": table,
}  # fmt: skip


@pytest.fixture(scope="session")
def write_example():
    """Callable: (format, folder, groups) → path of an example, and the groups it holds."""
    return lambda name, folder, groups: WRITERS[name](folder, groups)
