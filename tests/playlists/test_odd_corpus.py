"""Playlists, tables and histories in odd forms: every row is delivered, or counted with a reason.

``python tests/playlists/test_odd_corpus.py`` prints, by reader, the rows of the corpus, those that
are delivered and those that are counted.
"""

import dataclasses
import gzip
import io
import json
import plistlib
import sys
import tempfile
import time
import zipfile
from collections import Counter
from pathlib import Path
from xml.sax.saxutils import escape

import pytest

from playlist_pretrain.playlists.readers import READERS, Request
from playlist_pretrain.playlists.readers.source import LeftOut

GROUPS = {"1": ["a/1", "a/2", "ü/3"], "2": ["a/2", "“x”/4", "a/2"], "33": ["b/5", "Ж/6"]}
ROWS = [(group, track) for group, tracks in GROUPS.items() for track in tracks]
PACKINGS = ("plain", "gz", "zip", "folder")
UUID = "b9ad642e-b012-41c7-b72a-42cf4911f9f"


@dataclasses.dataclass
class Case:
    """Files of one source, the rows in them by construction, and the groups that are right."""

    reader: str
    form: str
    files: dict
    rows: int
    groups: dict | None = None
    counted: int = 0
    encoding: str | None = None
    damaged: int = 0
    request: dict = dataclasses.field(default_factory=dict)


def without(*places):
    """The groups without the rows at some places."""
    found = {}
    for place, (group, track) in enumerate(ROWS):
        found.setdefault(group, [])
        if place not in places:
            found[group].append(track)
    return {group: tracks for group, tracks in found.items() if tracks}


def lines_of_table(delimiter, rows=ROWS, header=("group_id", "track_id"), quote=False):
    lines = [header, *rows]
    mark = '"' if quote else ""
    return [delimiter.join(f"{mark}{cell}{mark}" for cell in line) for line in lines]


def tables():
    name = {"\t": "t.tsv", ",": "t.csv", ";": "t.csv"}
    for sign, file in name.items():
        lines = lines_of_table(sign)
        plain = "\n".join(lines) + "\n"
        forms = {
            "plain": plain,
            "CRLF": plain.replace("\n", "\r\n"),
            "mark": "\ufeff" + plain,
            "no last line end": plain[:-1],
            "blank lines": plain.replace("\n", "\n\n\n"),
            "quoted": "\n".join(lines_of_table(sign, quote=True)),
            "sep=": f"sep={sign}\n" + plain,
            "sep= after a mark": f"\ufeffsep={sign}\r\n" + plain.replace("\n", "\r\n"),
            "blanks in the header": plain.replace("track_id", " track_id ", 1),
            "another column": "\n".join(f"x y{sign}{line}" for line in lines),
        }
        for form, text in forms.items():
            yield Case("table", f"{form} {sign!r}", {file: text.encode()}, len(ROWS), GROUPS)
        yield Case("table", f"UTF-16 {sign!r}", {file: plain.encode("utf-16")}, len(ROWS), GROUPS)
        big = b"\xfe\xff" + plain.encode("utf-16-be")
        yield Case("table", f"UTF-16 BE {sign!r}", {file: big}, len(ROWS), GROUPS)
        for form, change in {
            "blank track": lambda cells, sign: f"{cells[0]}{sign}",
            "blanks for a track": lambda cells, sign: f"{cells[0]}{sign}  ",
            "blank group": lambda cells, sign: f"{sign}{cells[1]}",
            "a cell too few": lambda cells, sign: cells[0],
            "a cell too many": lambda cells, sign: sign.join([*cells, "x"]),
        }.items():
            odd = list(lines)
            for place in (1, 4):
                odd[1 + place] = change(ROWS[place], sign)
            text = "\n".join(odd).encode()
            yield Case("table", f"{form} {sign!r}", {file: text}, len(ROWS), without(1, 4), 2)
        odd = [*lines[:3], f'1{sign}"open', *lines[3:], f'2{sign}"again']
        if sign == "\t":
            groups = {"1": ["a/1", "a/2", '"open', "ü/3"], "33": GROUPS["33"],
                      "2": [*GROUPS["2"], '"again']}  # fmt: skip
            yield Case("table", "open quotes in tabs", {file: "\n".join(odd).encode()},
                       len(ROWS) + 2, groups)  # fmt: skip
            beside = [f"{line}\t{chr(34) * (n % 3 == 1)}x" for n, line in enumerate(lines)]
            yield Case("table", "open quotes in a column nobody asked for",
                       {file: "\n".join(beside).encode()}, len(ROWS), GROUPS)  # fmt: skip
        else:
            yield Case("table", f"open quotes {sign!r}", {file: "\n".join(odd).encode()},
                       len(ROWS) + 2, GROUPS, 2)  # fmt: skip
    cyrillic = [("7", "Ж/1"), ("7", "Ж/2")]
    text = "\n".join(lines_of_table(";", cyrillic)).encode("cp1251")
    yield Case("table", "cp1251", {"t.csv": text}, 2, {"7": ["Ж/1", "Ж/2"]}, encoding="cp1251")
    yield Case("table", "a mark and --encoding", {"t.csv": b"\xef\xbb\xbf" + "\n".join(
        lines_of_table(",")).encode()}, len(ROWS), GROUPS, encoding="cp1251")  # fmt: skip
    yield Case("table", "UTF-16 and --encoding", {"t.csv": "\n".join(
        lines_of_table(",")).encode("utf-16")}, len(ROWS), GROUPS, encoding="cp1251")  # fmt: skip
    multi = 'group_id,track_id\n"1","a\nb"\n1,"c,d"\n'
    yield Case("table", "lines in cells", {"t.csv": multi.encode()}, 2, {"1": ["a\nb", "c,d"]})
    no_text = "\n".join(lines_of_table(",")).encode().replace(b"a/2", b"\xe9", 1)
    yield Case("table", "a line no UTF-8", {"t.csv": no_text}, len(ROWS), without(1), 1)
    swallow = 'group_id\ttrack_id\n1\t"a\tx\n1\tb\n1\tc"\n'
    yield Case("table", "a quote in a row of other cells", {"t.tsv": swallow.encode()}, 3,
               {"1": ["b", 'c"']}, 1)  # fmt: skip
    parts = {"1.csv": "\n".join(lines_of_table(",", ROWS[:3])).encode(),
             "2.tsv": "\n".join(lines_of_table("\t", ROWS[3:])).encode()}  # fmt: skip
    yield Case("table", "parts", parts, len(ROWS), GROUPS)
    lines = [
        '"Track URI","Track Name"',
        '"spotify:track:1","x"',
        '"","gone"',
        '"spotify:track:2",""',
    ]
    text = "\r\n".join(lines).encode()
    yield Case("table", "Exportify", {"evening.csv": text}, 3,
               {"evening": ["spotify:track:1", "spotify:track:2"]}, 1)  # fmt: skip


def parquets():
    import pyarrow as pa
    from pyarrow import feather, parquet

    groups, tracks = zip(*ROWS, strict=True)
    size = max(len(track.encode()) for track in tracks)
    padded = [track.encode().ljust(size, b"\0") for track in tracks]
    text = pa.array(tracks)
    columns = {
        "text": text,
        "large": text.cast(pa.large_string()),
        "view": pa.array(tracks, pa.string_view()),
        "dictionary": text.dictionary_encode(),
        "dictionary of large": text.cast(pa.large_string()).dictionary_encode(),
        "bytes": text.cast(pa.binary()),
        "large bytes": text.cast(pa.large_binary()),
        "fixed size": pa.array(padded, pa.binary(size)),
        "dictionary of fixed size": pa.array(padded, pa.binary(size)).dictionary_encode(),
    }

    def table(groups, tracks):
        sink = io.BytesIO()
        parquet.write_table(pa.table({"group_id": groups, "track_id": tracks}), sink)
        return {"t.parquet": sink.getvalue()}

    def arrow(tracks, compression):
        sink = io.BytesIO()
        content = pa.table({"more": [1.5] * len(ROWS), "group_id": groups, "track_id": tracks})
        feather.write_feather(content, sink, compression=compression, chunksize=3)
        return {"t.arrow": sink.getvalue()}

    for form, column in columns.items():
        yield Case("table", f"Parquet, {form}", table(pa.array(groups), column), len(ROWS), GROUPS)
        for how in ("uncompressed", "lz4", "zstd"):
            yield Case("table", f"Arrow, {form}, {how}", arrow(column, how), len(ROWS), GROUPS)
    nulls = pa.array([None if place in (1, 4) else t for place, t in enumerate(tracks)])
    for form in ("string", "string_view"):
        cells = nulls.cast(getattr(pa, form)())
        yield Case("table", f"Arrow, nulls in {form}", arrow(cells, "lz4"), len(ROWS),
                   without(1, 4), 2)  # fmt: skip
    blank = [None if place in (1, 4) else track for place, track in enumerate(tracks)]
    yield Case("table", "Parquet, nulls", table(pa.array(groups), pa.array(blank)), len(ROWS),
               without(1, 4), 2)  # fmt: skip
    bad = [b"\xff" if place in (1, 4) else track.encode() for place, track in enumerate(tracks)]
    yield Case("table", "Parquet, no UTF-8", table(pa.array(groups), pa.array(bad)), len(ROWS),
               without(1, 4), 2)  # fmt: skip


def playlist_files():
    tracks = ["a/1", "é/2", "c/3"]
    groups = {"l": tracks}
    lines = [f"{track}.mp3" for track in tracks]
    plain = "\n".join(lines)
    m3u = {
        "plain": plain.encode(),
        "CRLF": plain.replace("\n", "\r\n").encode(),
        "mark": b"\xef\xbb\xbf" + plain.encode(),
        "comments": ("#EXTM3U\n#EXTINF:1,x\n\n" + plain + "\n#end").encode(),
        "blanks": "\n".join(f"  {line}\t" for line in lines).encode(),
        "UTF-16": plain.encode("utf-16"),
        "backslashes": plain.replace("/", "\\").encode(),
        "dots": "\n".join(f"./{line}" for line in lines).encode(),
        "upper case endings": plain.replace("mp3", "MP3").encode(),
    }
    for suffix in (".m3u", ".m3u8"):
        for form, data in m3u.items():
            yield Case("m3u", f"{form} {suffix}", {f"l{suffix}": data}, 3, groups)
    yield Case("m3u", "Windows-1252", {"l.m3u": plain.encode("cp1252")}, 3, groups)
    named = "#EXTENC: iso-8859-2\nČ/1.mp3\nŽ/2.mp3\n".encode("iso-8859-2")
    yield Case("m3u", "EXTENC", {"l.m3u": named}, 2, {"l": ["Č/1", "Ž/2"]})
    yield Case("m3u", "--encoding", {"l.m3u8": "Ж/1.mp3\nЖ/2.mp3".encode("cp1251")}, 2,
               {"l": ["Ж/1", "Ж/2"]}, encoding="cp1251")  # fmt: skip
    yield Case("m3u", "one line no UTF-8", {"l.m3u8": b"a/1.mp3\n\xff.mp3\nc/3.mp3"}, 3,
               {"l": ["a/1", "c/3"]}, 1)  # fmt: skip
    yield Case("m3u", "one name twice", {"l.m3u": b"a.mp3", "l.m3u8": b"b.mp3\nc.mp3"}, 3,
               {"l.m3u": ["a"], "l.m3u8": ["b", "c"]})  # fmt: skip
    files = {"l.m3u": b"a.mp3", "l.m3u8": b"b.mp3", "l.m3u.m3u": b"c.mp3"}
    yield Case("m3u", "one name thrice", files, 3,
               {"l.m3u": ["a"], "l.m3u8": ["b"], "l.m3u.m3u": ["c"]})  # fmt: skip
    files = {"l.m3u8": b"Mozart: Requiem/1.mp3\nAC\\DC.mp3\nspotify:track:x"}
    yield Case("m3u", "colons and backslashes", files, 3,
               {"l": ["Mozart: Requiem/1", "AC/DC", "spotify:track:x"]})  # fmt: skip

    def xspf(*inside, encoding="utf-8", declared=None, namespace=' xmlns="http://xspf.org/ns/0/"'):
        text = f'<?xml version="1.0" encoding="{declared or encoding}"?>\n<playlist{namespace}>'
        text += "<trackList>" + "".join(f"<track>{one}</track>" for one in inside)
        return {"l.xspf": (text + "</trackList></playlist>").encode(encoding)}

    located = [f"<location>{escape(line)}</location><title>x</title>" for line in lines]
    for encoding in ("utf-8", "iso-8859-1", "utf-16"):
        yield Case("xspf", encoding, xspf(*located, encoding=encoding), 3, groups)
    yield Case("xspf", "no namespace", xspf(*located, namespace=""), 3, groups)
    yield Case("xspf", "identifiers", xspf(*(f"<identifier>{t}</identifier>" for t in tracks)), 3,
               groups)  # fmt: skip
    yield Case("xspf", "nothing in a track", xspf(*located, "", "<title> </title>"), 5, groups, 2)
    yield Case("xspf", "titles", xspf("<creator>A</creator><title>T</title>"), 1, {"l": ["A – T"]})
    cut = {"l.xspf": xspf(*located)["l.xspf"][:-60]}
    yield Case("xspf", "cut off", cut, 3, damaged=1)

    def jspf(*tracks, around=True, **change):
        content = {"track": list(tracks)} | change
        return {"l.jspf": json.dumps({"playlist": content} if around else content).encode()}

    located = [{"location": [line]} for line in lines]
    yield Case("jspf", "locations", jspf(*located), 3, groups)
    yield Case("jspf", "bare", jspf(*located, around=False), 3, groups)
    yield Case("jspf", "text", jspf(*({"identifier": track} for track in tracks)), 3, groups)
    odd = [5, {}, {"identifier": [7]}, {"title": ""}, None]
    yield Case("jspf", "odd tracks", jspf(*located, *odd), 8, groups, 5)
    marked = {"l.jspf": b"\xef\xbb\xbf" + jspf(*located)["l.jspf"]}
    yield Case("jspf", "mark", marked, 3, groups)
    yield Case("jspf", "cut off", {"l.jspf": jspf(*located)["l.jspf"][:-9]}, 3, damaged=1)


def datasets():
    def mpd(*playlists):
        return {"mpd.slice.0-9.json": json.dumps({"info": {}, "playlists": playlists}).encode()}

    whole = [
        {"pid": int(group), "tracks": [{"track_uri": track} for track in tracks]}
        for group, tracks in GROUPS.items()
    ]
    yield Case("mpd", "plain", mpd(*whole), len(ROWS), GROUPS)
    blank = {"pid": 4, "tracks": [{"track_uri": " \t"}, {"track_uri": "z"}]}
    yield Case("mpd", "blanks for a track", mpd(*whole, blank), len(ROWS) + 2,
               GROUPS | {"4": ["z"]}, 1)  # fmt: skip
    odd = [{"track_uri": ""}, {"track_uri": 4}, {}, None, {"track_uri": "z"}]
    more = {"pid": 4, "tracks": odd}
    yield Case("mpd", "odd tracks", mpd(*whole, more), len(ROWS) + 5, GROUPS | {"4": ["z"]}, 4)
    yield Case("mpd", "odd playlists", mpd(*whole, 5, {"tracks": []}, {"pid": 1}), len(ROWS) + 3,
               GROUPS, 3)  # fmt: skip
    again = {"track_uri": "t", "artist_uri": "A"}
    yield Case("mpd", "artists in several playlists",
               mpd({"pid": 1, "tracks": [again, again]}, {"pid": 2, "tracks": [again]}), 3,
               {"A": ["t"] * 3}, request={"kind": "artists"})  # fmt: skip
    named = {"pid": 1, "tracks": [{"track_uri": "t", "artist_name": "A"},
                                  {"track_uri": "u", "artist_name": ""}]}  # fmt: skip
    yield Case(
        "mpd", "artists by name", mpd(named), 2, {"A": ["t"]}, 1, request={"kind": "artists"}
    )
    named["tracks"][1]["artist_name"] = " "
    yield Case("mpd", "blanks for an artist", mpd(named), 2, {"A": ["t"]}, 1,
               request={"kind": "artists"})  # fmt: skip
    yield Case("mpd", "cut off", {"mpd.slice.0-9.json": mpd(*whole)["mpd.slice.0-9.json"][:-30]},
               len(ROWS), damaged=1)  # fmt: skip

    def melon(*playlists):
        return {"train.json": json.dumps(playlists).encode()}

    whole = [{"id": int(g), "plylst_title": "x", "songs": tracks} for g, tracks in GROUPS.items()]
    yield Case("melon", "plain", melon(*whole), len(ROWS), GROUPS)
    odd = {"id": 9, "songs": ["s", "", None, 2.5, 7, " "]}
    yield Case(
        "melon", "odd songs", melon(*whole, odd), len(ROWS) + 6, GROUPS | {"9": ["s", "7"]}, 4
    )
    yield Case("melon", "odd playlists", melon(*whole, 5, {"songs": []}, {"id": 1, "songs": 2}),
               len(ROWS) + 3, GROUPS, 3)  # fmt: skip

    def itunes(*playlists):
        numbers = {track: n for n, track in enumerate({track for _, track in ROWS})}
        tracks = {str(n): {"Track ID": n, "Name": t, "Artist": "A"} for t, n in numbers.items()}
        own = [
            {"Name": g, "Playlist Items": [{"Track ID": numbers[t]} for t in ts]}
            for g, ts in GROUPS.items()
        ]
        content = {"Major Version": 1, "Tracks": tracks, "Playlists": [*own, *playlists]}
        return {"Library.xml": plistlib.dumps(content)}

    groups = {group: [f"A – {track}" for track in tracks] for group, tracks in GROUPS.items()}
    yield Case("itunes", "plain", itunes(), len(ROWS), groups)
    yield Case("itunes", "odd items", itunes({"Name": "x", "Playlist Items": [
        {"Track ID": 999}, {}, 5, {"Track ID": 0}]}), len(ROWS) + 4, None, 3)  # fmt: skip
    master = {"Name": "Library", "Master": True, "Playlist Items": [{"Track ID": 0}] * 4}
    yield Case("itunes", "the whole library", itunes(master), len(ROWS) + 4, groups, 4)
    again = {"Name": "1", "Playlist Persistent ID": "F0", "Playlist Items": []}
    yield Case("itunes", "a name twice", itunes(again), len(ROWS), groups | {"1 (F0)": []})
    yield Case("itunes", "empty", itunes({"Name": "e"}), len(ROWS), groups | {"e": []})
    two = {f"{name}/Library.xml": itunes()["Library.xml"] for name in "ab"}
    owned = {f"{name}/Library/{group}": ts for name in "ab" for group, ts in groups.items()}
    yield Case("itunes", "two libraries", two, 2 * len(ROWS), owned)


def histories():
    tracks = ["a/1", "ü/2", "c/3"]
    session = {"u/2020-09-13T12:26:40Z": tracks}
    start = 1_600_000_000

    def rows(times, header="user_id,timestamp,track_id", sign=","):
        lines = [f"u,{time},{track}" for time, track in zip(times, tracks, strict=False)]
        return "\n".join([header, *lines]).replace(",", sign).encode()

    times = {
        "seconds": [start, start + 60, start + 120],
        "milliseconds": [1000 * start, 1000 * start + 60_000, 1000 * start + 120_000],
        "ISO": [f"2020-09-13T12:2{minute}:40Z" for minute in (6, 7, 8)],
        "ISO, no zone": [f"2020-09-13 12:2{minute}:40" for minute in (6, 7, 8)],
        "scattered": [f"2020-09-13 12:2{minute}:40.5+00:00" for minute in (6, 7, 8)],
    }
    for form, values in times.items():
        for sign, file in ((",", "h.csv"), ("\t", "h.tsv"), (";", "h.csv")):
            yield Case("history", f"{form} {sign!r}", {file: rows(values, sign=sign)}, 3, session)
    yield Case("history", "UTF-16", {"h.csv": rows(times["ISO"]).decode().encode("utf-16")}, 3,
               session)  # fmt: skip
    bad = ["yesterday", start, ""]
    yield Case("history", "no times", {"h.csv": rows(bad)}, 3,
               {"u/2020-09-13T12:26:40Z": ["ü/2"]}, 2)  # fmt: skip
    days = {"h.csv": rows([44_087.5, 44_087.6, 44_088])}
    yield Case("history", "day numbers", days, 3, {}, 3)
    mixed = {"h.csv": rows([44_087.5, start, 44_088])}
    yield Case("history", "some day numbers", mixed, 3, {"u/2020-09-13T12:26:40Z": ["ü/2"]}, 2)

    def listen(track, time, **change):
        info = {"recording_mbid": track}
        metadata = {"track_name": "x", "additional_info": info}
        return {"user_name": "u", "listened_at": time, "track_metadata": metadata} | change

    listens = [listen(track, start + 60 * n) for n, track in enumerate(tracks)]
    text = [json.dumps(one) for one in listens]
    yield Case("history", "JSON lines", {"l.jsonl": "\n".join(text).encode()}, 3, session)
    yield Case("history", "listens", {"l.listens": "\n\n".join(text).encode()}, 3, session)
    odd = ["{", "[]", "{}", json.dumps(listen("x", "never")), json.dumps(listen("x", None)),
           json.dumps(listen("x", 1, user_name=[])), json.dumps(listen("x", 1, track_metadata={})),
           '{"a": "\ud800"}'.encode("utf-8", "surrogatepass").decode("latin-1")]  # fmt: skip
    data = "\n".join([text[0], *odd, *text[1:]]).encode()
    yield Case("history", "odd lines", {"l.jsonl": data}, 11, session, 8)
    no_text = b"\n".join([text[0].encode(), b'{"\xff": 1}', *(one.encode() for one in text[1:])])
    yield Case("history", "a line no UTF-8", {"l.jsonl": no_text}, 4, session, 1)
    array = json.dumps([*listens, 5, {}]).encode()
    yield Case("history", "array", {"u_lb-2023-10-31.json": array}, 5, session, 2)
    bare = [{key: value for key, value in one.items() if key != "user_name"} for one in listens]
    lines = "\n".join(map(json.dumps, bare)).encode()
    export = {"user.json": b'{"user_id": 7, "username": "u"}', "listens/2020/9.jsonl": lines,
              "feedback.jsonl": b"{}\n", "pinned_recording.jsonl": b"{}\n"}  # fmt: skip
    yield Case("history", "export", export, 3, session)
    played = [
        {"ts": f"2020-09-13T12:{27 + n}:40Z", "ms_played": 60_000, "spotify_track_uri": track,
         "username": "u", "ip_addr": "x", "skipped": None}
        for n, track in enumerate(tracks)
    ]  # fmt: skip
    left = [played[0] | {"skipped": True}, played[0] | {"ms_played": 29_999},
            played[0] | {"spotify_track_uri": None}, played[0] | {"ms_played": "x"}]  # fmt: skip
    data = json.dumps([*left, *played]).encode()
    yield Case("history", "Spotify", {"Streaming_History_Audio_2020.json": data}, 7, session, 4)
    fewer = {"Streaming_History_Audio_2020.json": json.dumps([left[1], *played]).encode()}
    yield Case("history", "Spotify, --min-played", fewer, 4, None, 0, request={"min_played": 0.0})
    fm = f"uts,utc_time,artist,album,track,track_mbid\n{start},x,A,,T,\n{start + 9},x,A,,,\n"
    fm += f"{start + 60},x,A,B,U,{UUID}a\n"
    yield Case("history", "Last.fm", {"u.csv": fm.encode()}, 3,
               {"u/2020-09-13T12:26:40Z": ["A – T", f"{UUID}a"]}, 1)  # fmt: skip

    bare = '"A","B","T","13 Sep 2020 12:26"\n"A","","U, V","13 Sep 2020 12:28"\n'
    bare += '"A","","","13 x 2020"\n'
    yield Case("history", "Last.fm, no header", {"u.csv": bare.encode()}, 3,
               {"u/2020-09-13T12:26:00Z": ["A – T", "A – U, V"]}, 1)  # fmt: skip


def corpus():
    for made in (tables, parquets, playlist_files, datasets, histories):
        for case in made():
            for packing in PACKINGS:
                alone = len(case.files) == 1
                if alone or packing in ("zip", "folder"):
                    yield case, packing


def written(case, packing, folder):
    """Path of a case in a folder."""
    if packing == "zip":
        with zipfile.ZipFile(folder / "u.zip", "w") as archive:
            for name, data in case.files.items():
                archive.writestr(name, data)
        return folder / "u.zip"
    root = folder / "u"
    files = dict(case.files)
    if packing == "folder":
        files |= {"cover.jpg": b"\xff\xd8", ".hidden.m3u": b"no.mp3"}
    for name, data in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(data)
    if packing == "folder":
        return root
    (path,) = root.iterdir()
    if packing == "gz":
        (root / f"{path.name}.gz").write_bytes(gzip.compress(path.read_bytes()))
        path = root / f"{path.name}.gz"
    return path


def read(case, path):
    """Groups that a reader delivers, what it leaves out, and the reader's files."""
    reader = READERS.get(case.reader)
    left_out = LeftOut(keep_going=True)
    request = {"kind": reader.kinds[0]} | case.request
    sources = reader.sources(path)
    for source in sources:
        source.encoding = case.encoding
    groups = {}
    for group, tracks in reader.read(sources, Request(**request, damaged=left_out)):
        groups.setdefault(group, []).extend(tracks)
    return groups, left_out


CORPUS = list(corpus())


def test_the_corpus_is_large():
    assert len(CORPUS) >= 200
    assert {case.reader for case, _ in CORPUS} == set(READERS)


@pytest.mark.parametrize(
    ("case", "packing"), CORPUS, ids=[f"{c.reader}-{c.form}-{p}" for c, p in CORPUS]
)
def test_every_row_is_delivered_or_counted(case, packing, tmp_path):
    path = written(case, packing, tmp_path)
    groups, left_out = read(case, path)
    if case.groups is not None:
        assert groups == case.groups
    delivered = sum(map(len, groups.values()))
    counted = sum(count for count, _ in left_out.rows.values())
    assert len(left_out.sources) == case.damaged
    assert all(str(path) in message for message in left_out.sources)
    if case.damaged:  # what comes after it is not counted but said to be there
        assert delivered + counted <= case.rows
    else:
        assert counted == case.counted
        assert delivered + counted == case.rows
    for reason, (_, first) in left_out.rows.items():
        assert reason and reason.isprintable() and str(path) in first


@pytest.mark.parametrize("blank", [b"\n", b" "], ids=["lines", "blanks"])
@pytest.mark.parametrize("name", READERS)
def test_very_many_blanks_take_time_in_proportion(name, blank, tmp_path):
    case = next(one for one, packing in CORPUS if (one.reader, packing) == (name, "plain"))
    ((file, data),) = case.files.items()
    case = dataclasses.replace(case, files={file: data + b"\n" + blank * 300_000})
    begun = time.process_time()
    groups, _ = read(case, written(case, "plain", tmp_path))
    assert groups == case.groups
    assert time.process_time() - begun < 10  # some tenths; time squared would be minutes


def main():
    """Print the table."""
    figures = {name: Counter() for name in READERS}
    for case, packing in CORPUS:
        with tempfile.TemporaryDirectory() as folder:
            groups, left_out = read(case, written(case, packing, Path(folder)))
        delivered = sum(map(len, groups.values()))
        counted = sum(count for count, _ in left_out.rows.values())
        rest = case.rows - delivered - counted
        figures[case.reader] += Counter({
            "sources": 1, "rows in": case.rows, "rows out": delivered, "rows counted": counted,
            "after a damage that is told": rest if case.damaged else 0,
            "unaccounted": 0 if case.damaged else abs(rest),
        })  # fmt: skip
    names = ("sources", "rows in", "rows out", "rows counted", "after a damage that is told",
             "unaccounted")  # fmt: skip
    print("\t".join(["reader", *names]))
    for reader, row in figures.items():
        print("\t".join([reader, *(str(row[name]) for name in names)]))
    return sum(row["unaccounted"] for row in figures.values())


if __name__ == "__main__":
    sys.exit(main() > 0)
