"""Playlists that go on: what is read, what is written, and that it reads back."""

import json
from pathlib import Path

import numpy as np
import pytest

from playlist_pretrain.errors import EmbeddingsError, TableError
from playlist_pretrain.records.schema import PackedStrings
from playlist_pretrain.retrieval.continuation import read_playlist, write_continued
from playlist_pretrain.retrieval.embedding_table import EmbeddingTable
from playlist_pretrain.retrieval.table_groups import KnownTracks

IDS = ["a/1", "a/2", "#b", "c:d", "e"]
PATHS = ["a/1.ogg", "a/2.mp3", "#b.ogg", "c:d.ogg", "e.flac"]
KNOWN = KnownTracks(PackedStrings.pack(IDS))


def table(paths=None, ids=IDS):
    return EmbeddingTable(
        PackedStrings.pack(ids),
        np.eye(5, dtype=np.float32),
        paths=None if paths is None else PackedStrings.pack(paths),
    )


def read(path, known=KNOWN, **settings):
    return read_playlist(path, known, **settings)


def write(path, text, **settings):
    path.write_text(text, **settings)
    return path


M3U = "#EXTM3U\n\n#EXTINF:3,one\na/1.ogg\nnot/here.ogg\na/2.mp3\na/1.ogg\n"


def test_entries_and_what_is_not_there(tmp_path):
    found = read(write(tmp_path / "my list.m3u8", M3U))
    assert found.name == "my list"
    assert found.entries == ["a/1", "not/here", "a/2", "a/1"]
    assert found.rows.tolist() == [0, 1] and found.missing == ["not/here"]
    text = found.text()
    assert "4 entries, 3 in the embeddings (2 different tracks), 1 not" in text
    assert text.endswith("  not there: 'not/here'")
    many = "a/1\n" + "".join(f"{i}.ogg\n" for i in range(25))
    assert read(write(tmp_path / "many.m3u8", many)).text().endswith("  … and 5 more")


@pytest.mark.parametrize("kind", [".csv", ".json", ".m3u8"])
@pytest.mark.parametrize("source", ["m3u8", "csv", "jspf"])
@pytest.mark.parametrize("paths", [None, PATHS])
def test_what_is_written_reads_back_as_the_playlist_and_what_is_added(
    kind, source, paths, tmp_path
):
    entries = ["a/1", "gone", "a/2", "a/1"]
    content = {
        "m3u8": "#EXTM3U\n" + "".join(f"{entry}.ogg\n" for entry in entries),
        "csv": "group_id,track_id\n" + "".join(f"list,{entry}\n" for entry in entries),
        "jspf": json.dumps({"playlist": {"track": [{"identifier": one} for one in entries]}}),
    }[source]
    playlist = read(write(tmp_path / f"list.{source}", content))
    out = tmp_path / "out" / f"list{kind}"
    similarities = np.array([0.9, 0.8, 0.1])
    write_continued(out, playlist, table(paths), np.array([4, 2, 3]), similarities, tmp_path)
    again = read(out, audio=tmp_path)
    assert (again.name, again.entries) == ("list", [*entries, "e", "#b", "c:d"])
    assert again.rows.tolist() == [0, 1, 4, 2, 3]


def test_lines_of_an_m3u_file_are_kept(tmp_path):
    old = b"\xef\xbb\xbf" + M3U.replace("\n", "\r\n").replace("here", "hére").encode()
    (tmp_path / "list.m3u8").write_bytes(old)
    path = tmp_path / "list.m3u8"
    write_continued(path, read(path), table(PATHS), np.array([4]), np.array([0.5]))
    text = (tmp_path / "list.m3u8").read_text("utf-8")
    assert text == M3U.replace("here", "hére") + "e.flac\n"
    (tmp_path / "old.m3u").write_bytes("é.ogg\na/1.ogg\n".encode("cp1252"))
    playlist = read(tmp_path / "old.m3u")
    write_continued(tmp_path / "new.m3u8", playlist, table(), np.array([4]), np.array([0.5]))
    assert (tmp_path / "new.m3u8").read_text("utf-8") == "é.ogg\na/1.ogg\ne\n"


def test_absolute_paths_stay_absolute(tmp_path):
    music = tmp_path / "music"
    path = write(tmp_path / "list.m3u8", f"{music}/a/1.ogg\nfile://{music}/a/2.mp3\n")
    playlist = read(path, audio=music)
    assert playlist.rows.tolist() == [0, 1]
    out = tmp_path / "out.m3u8"
    write_continued(out, playlist, table(PATHS), np.array([3, 2]), np.ones(2), music)
    assert out.read_text().splitlines()[2:] == [f"{music}/c:d.ogg", f"{music}/#b.ogg"]
    assert read(out, audio=music).rows.tolist() == [0, 1, 3, 2]
    found = read(path)
    assert found.rows.tolist() == [0, 1]
    assert f"paths begin with '{music}/': found; --path-prefix sets it" in found.text()
    write(path, "/elsewhere/one.ogg\n/elsewhere/two.ogg\n")
    with pytest.raises(EmbeddingsError, match="none of the 2 entries") as caught:
        read(path)
    assert "; paths become ids below --audio-folder DIR, the" in str(caught.value)
    with pytest.raises(EmbeddingsError, match=r"read from \(now .*other\); "):
        read(path, audio=tmp_path / "other")


def test_relative_paths_still_lead_to_their_files_from_another_folder(tmp_path):
    music, out = tmp_path / "music", tmp_path / "elsewhere" / "out.m3u8"
    lines = ["#EXTM3U", "", "a/1.ogg", "../music/a/2.mp3", "./#b.ogg"]
    lines += ["http://x/y.mp3", "C:\\z.mp3"]
    music.mkdir()
    path = write(music / "list.m3u8", "\n".join(lines) + "\n")
    playlist = read(path, audio=music)
    write_continued(out, playlist, table(PATHS), np.array([3]), np.ones(1), music)
    moved = [f"{music}/a/1.ogg", f"{music}/a/2.mp3", f"{music}/#b.ogg"]
    assert out.read_text().splitlines() == [*lines[:2], *moved, *lines[5:], f"{music}/c:d.ogg"]
    assert read(out, audio=music).rows.tolist() == [0, 1, 2, 3]
    there = music / "new.m3u8"
    write_continued(there, playlist, table(PATHS), np.array([3]), np.ones(1), music)
    assert there.read_text().splitlines() == [*lines, "c:d.ogg"]


OUTSIDE = ["/etc/passwd", "../x", "a/../../x", "a\\..\\..\\x", "..", "a//b", "./a", "http://a/b"]


@pytest.mark.parametrize("name", OUTSIDE)
@pytest.mark.parametrize("as_path", [False, True])
def test_no_m3u_file_leads_out_of_the_audio_folder(name, as_path, tmp_path):
    playlist = read(write(tmp_path / "list.m3u8", "/music/a/1\n"), audio="/music")
    other = table([*PATHS[:4], name]) if as_path else table(ids=[*IDS[:4], name])
    for audio in (None, Path("/music")):
        with pytest.raises(TableError, match="is no path below the audio folder"):
            write_continued(
                tmp_path / "out.m3u8", playlist, other, np.array([4]), np.ones(1), audio
            )
    assert not (tmp_path / "out.m3u8").exists()


def test_an_address_that_the_embeddings_know_stays(tmp_path):
    playlist = read(
        write(tmp_path / "list.m3u8", "http://x/1.mp3\n"), KnownTracks(PackedStrings.pack(OTHERS))
    )
    assert playlist.rows.tolist() == [0]
    out = tmp_path / "out.m3u8"
    lost = write_continued(out, playlist, table(ids=OTHERS), np.array([1]), np.ones(1))
    assert out.read_text("utf-8") == f"http://x/1.mp3\n{tmp_path}/a/2\n"
    assert lost == [f"{tmp_path}/a/2"]  # an address is no file


OTHERS = ["http://x/1.mp3", *IDS[1:]]


def test_an_id_like_an_address_is_written_as_a_file_and_read_back(tmp_path):
    playlist = read(write(tmp_path / "list.m3u8", "a/1\n"))
    other = table(ids=[*IDS[:4], "javascript:x"])
    write_continued(tmp_path / "out.m3u8", playlist, other, np.array([4]), np.ones(1))
    assert (tmp_path / "out.m3u8").read_text("utf-8") == "a/1\n./javascript:x\n"
    known = KnownTracks(other.track_ids)
    assert read(tmp_path / "out.m3u8", known).entries == ["a/1", "javascript:x"]


def test_formulas_are_written_so_that_they_are_not_run_and_read_back(tmp_path):
    ids = ["=cmd|x", "+1+1", "-a", "@b", "'=c"]
    known = KnownTracks(PackedStrings.pack(ids))
    playlist = read(write(tmp_path / "=p.csv", f"group_id,track_id\n=g,{ids[0]}\n"), known)
    write_continued(tmp_path / "out.csv", playlist, table(ids=ids), np.arange(1, 5), np.ones(4))
    for line in (tmp_path / "out.csv").read_text("utf-8").splitlines()[1:]:
        assert all(cell.startswith("\"'") for cell in line.split(",")[:2])
    again = read(tmp_path / "out.csv", known)
    assert again.name == "=g" and again.entries == ids


@pytest.mark.parametrize("name", [" x", "x\ny", "x\r"])
def test_what_fits_no_line_is_refused_and_nothing_written(name, tmp_path):
    playlist = read(write(tmp_path / "list.m3u8", "a/1\n"))
    other = table(ids=[*IDS[:4], name])
    with pytest.raises(TableError, match="fits no line of an M3U file"):
        write_continued(tmp_path / "out.m3u8", playlist, other, np.array([4]), np.ones(1))
    assert not list(tmp_path.glob("*out*"))
    write_continued(tmp_path / "out.csv", playlist, other, np.array([4]), np.ones(1))
    assert (tmp_path / "out.csv").exists()


def test_foreign_ids(tmp_path):
    (tmp_path / "ids.csv").write_text("foreign_id,track_id\nspotify:1,a/2\nspotify:2,elsewhere\n")
    rows = "".join(f"p,spotify:{i}\n" for i in (1, 2, 3))
    path = write(tmp_path / "list.csv", "group_id,track_id\n" + rows)
    found = read(path, id_map=tmp_path / "ids.csv")
    assert found.entry_rows.tolist() == [1, -1, -2]
    assert found.missing == ["spotify:2", "spotify:3"]
    write_continued(tmp_path / "out.csv", found, table(), np.array([0]), np.ones(1))
    assert read(tmp_path / "out.csv").entries == ["a/2", "spotify:2", "spotify:3", "a/1"]


def test_one_of_several(tmp_path):
    path = write(tmp_path / "list.csv", "group_id,track_id\nx,a/1\ny,e\nx,a/2\n")
    with pytest.raises(TableError, match=r"several playlists; say which with --name: 'x', 'y'$"):
        read(path)
    assert read(path, name="x").rows.tolist() == [0, 1]
    assert read(path, name="y", columns={"group": "group_id", "track": "track_id"}).rows == [4]
    with pytest.raises(TableError, match="no playlist 'z'; there are: 'x', 'y'"):
        read(path, name="z")
    folder = tmp_path / "lists"
    folder.mkdir()
    for name in ("one", "two"):
        write(folder / f"{name}.m3u8", f"#{name}\na/1\n")
    found = read(folder, name="two")
    assert (found.name, found.lines) == ("two", [("#two", -1), ("a/1", 0)])
    rows = "".join(f"p{i:02},a/1\n" for i in range(30))
    with pytest.raises(TableError, match="'p19', …"):
        read(write(tmp_path / "many.csv", "group_id,track_id\n" + rows))


@pytest.mark.parametrize(("name", "content", "error", "message"), [
    ("a.m3u8", "", TableError, "the file is empty"),
    ("a.m3u8", "#EXTM3U\n", TableError, "playlist 'a' has no entries"),
    ("a.m3u8", "x.ogg\ny.ogg\n", EmbeddingsError, "none of the 2 entries .* look like 'x', 'y', "
                                                 "theirs like 'a/1', 'a/2', '#b'; --map joins"),
    ("a.csv", "group_id,track_id\nx,/y\n", EmbeddingsError, "'#b'; --map joins"),
    ("a.jspf", "{", TableError, "a.jspf: not JSON"),
    ("a.csv", "group_id,track_id\nx\n", TableError, "line 2: 1 cells"),
])  # fmt: skip
def test_playlists_that_cannot_be_used(name, content, error, message, tmp_path):
    with pytest.raises(error, match=message):
        read(write(tmp_path / name, content))


def test_json_says_what_was_added_and_what_is_not_there(tmp_path):
    playlist = read(write(tmp_path / "list.m3u8", M3U))
    for name in ("o.json", "o.csv"):
        write_continued(tmp_path / name, playlist, table(), np.array([4]), np.array([0.25]))
    content = json.loads((tmp_path / "o.json").read_text("utf-8"))
    assert content["added"] == [{"rank": 1, "similarity": 0.25, "track_id": "e"}]
    assert content["not_in_embeddings"] == ["not/here"]
    assert (tmp_path / "o.csv").read_text().splitlines()[-1] == '"list","e",0.25'


def test_paths_however_they_are_written_and_rows_that_are_left_out(tmp_path):
    folder = tmp_path / "lists"
    folder.mkdir()
    write(folder / "cover.jpg", "")
    tracks = "<location>A\\1.OGG</location>", "<location>a/%32.mp3</location>", "<title/>"
    body = "".join(f"<track>{track}</track>" for track in tracks)
    write(folder / "l.xspf", f"<playlist><trackList>{body}</trackList></playlist>")
    found = read(folder)
    assert found.rows.tolist() == [0, 1] and len(found.entries) == 2
    lines = found.text().splitlines()
    assert "  1 matched percent-decoded" in lines
    assert "  1 matched in another letter case" in lines
    assert "  files of other kinds left alone: 1 .jpg" in lines
    assert lines[1].startswith("  1 rows left out: ") and "track 3: no 'identifier'" in lines[1]
    there = write(tmp_path / "w.m3u8", "D:\\m\\a\\1.ogg\nD:\\m\\a\\2.mp3\n")
    for prefix in (None, "D:\\m"):
        assert read(there, path_prefix=prefix).rows.tolist() == [0, 1]
    with pytest.raises(EmbeddingsError, match="2 not found are paths elsewhere; "):
        read(there, path_prefix="E:\\m")
