"""Playlists that ``search`` writes play: every line is a file that other programs open."""

import os
import re
import subprocess
import urllib.parse
from pathlib import Path

import numpy as np
import pytest
import soundfile

from playlist_pretrain.cli import match_playlists as match_command
from playlist_pretrain.cli import search as search_command
from playlist_pretrain.retrieval.embedding_table import embedding_writer

FILES = ["Nina/First Light/01 #rain.flac", "Nina/02 50% off.wav", "Øre/a:b.ogg", "Øre/[x] 'y'.wav",
         "Zed/5.flac", "Zed/6.wav", "Zed/7.flac", "Zed/8.wav"]  # fmt: skip
IDS = [file.rpartition(".")[0] for file in FILES]


@pytest.fixture(scope="module")
def home(tmp_path_factory, make_collection):
    """A home folder: music, embeddings of it, playlists here and there."""
    home = tmp_path_factory.mktemp("home")
    rng = np.random.default_rng(0)
    for file in FILES:
        path = home / "music" / file
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, 0.1 * rng.normal(size=1600), 16_000)
    with embedding_writer(home / "e.parquet", 4, {"audio": str(home / "music")}, audio=True) as add:
        add(IDS, rng.normal(size=(8, 4)) + 1, paths=FILES)
    with embedding_writer(home / "plain.parquet", 4, {}) as add:  # as of a collection
        add(IDS, rng.normal(size=(8, 4)) + 1)
    for folder in ("music/lists", "elsewhere/lists", "out"):
        (home / folder).mkdir(parents=True)
    (home / "music" / "here.m3u8").write_text(
        f"#EXTM3U\n#EXTINF:1,Rain\n{FILES[0]}\n./{FILES[2]}\n"
    )
    up = "".join(f"../{file}\n" for file in FILES[:3])
    (home / "music" / "lists" / "up.m3u8").write_text(f"\ufeff#EXTM3U\r\n{up}")
    far = "".join(f"../../music/{file}\n" for file in FILES[1:4])
    (home / "elsewhere" / "lists" / "far.m3u").write_bytes(
        b"#EXTENC: ISO-8859-1\n" + far.encode("latin-1")
    )
    absolute = f"{home}/music/{FILES[1]}\nfile://{urllib.parse.quote(f'{home}/music/{FILES[0]}')}\n"
    (home / "elsewhere" / "absolute.m3u8").write_text(absolute)
    foreign = "".join("D:\\Tunes\\" + file.replace("/", "\\") + "\r\n" for file in FILES[2:5])
    (home / "elsewhere" / "windows.m3u8").write_text(foreign)
    tracks = "".join(f"<track><location>{urllib.parse.quote(f'../music/{file}')}</location></track>"
                     for file in FILES[:2])  # fmt: skip
    (home / "elsewhere" / "two.xspf").write_text(
        f'<playlist version="1" xmlns="http://xspf.org/ns/0/"><trackList>{tracks}</trackList>'
        "</playlist>"
    )
    make_collection(home / "collection", [4] * 8, ids=IDS)
    return home


PLAYLISTS = {"music/here.m3u8": 2, "music/lists/up.m3u8": 3, "elsewhere/lists/far.m3u": 3,
             "elsewhere/absolute.m3u8": 2, "elsewhere/windows.m3u8": 3,
             "elsewhere/two.xspf": 2}  # fmt: skip
OF_RELATIVE = list(PLAYLISTS)[:3]


def files_of(playlist: Path) -> list[Path]:
    """Files of an M3U8 playlist as players find them (Wikipedia, M3U): UTF-8, a path or an address
    a line, ``#`` begins a comment, relative paths start from the playlist's own folder.
    """
    found = []
    for line in playlist.read_bytes().decode("utf-8-sig").splitlines():
        if not line.strip() or line.startswith("#"):
            continue
        if re.match("file://", line):
            line = urllib.parse.unquote(urllib.parse.urlsplit(line).path)
        found.append(playlist.parent / line)
    return found


def seconds_by_ffmpeg(files):
    """Length of all files in a row, as FFmpeg decodes them one after the other."""
    import imageio_ffmpeg

    inputs = [word for file in files for word in ("-i", f"file:{os.path.abspath(file)}")]
    joined = "".join(f"[{i}:a]" for i in range(len(files))) + f"concat=n={len(files)}:v=0:a=1"
    words = ["-v", "error", "-nostdin", *inputs, "-filter_complex", joined]
    words += ["-f", "f32le", "-ac", "1", "-ar", "16000", "-"]
    done = subprocess.run(
        [imageio_ffmpeg.get_ffmpeg_exe(), *words], capture_output=True, check=True, cwd="/"
    )
    assert not done.stderr
    return len(done.stdout) / 4 / 16_000


def search(home, capsys, *words, embeddings="e.parquet"):
    given = ["--embeddings", os.path.relpath(home / embeddings), *map(str, words)]
    code = search_command.main(given)
    out, errors = capsys.readouterr()
    assert (code, errors) == (0, "")
    return out


@pytest.mark.slow
@pytest.mark.parametrize("playlist", list(PLAYLISTS))
@pytest.mark.parametrize("start", [".", "music/Nina", "elsewhere"])
def test_every_line_is_a_file_wherever_it_is_read_and_written(
    playlist, start, home, monkeypatch, capsys, tmp_path
):
    monkeypatch.chdir(home / start)
    given = os.path.relpath(home / playlist)
    outs = [home / playlist, home / "music" / "new", home / "out", tmp_path / "deep" / "er"]
    outs[0] = outs[0].parent
    for folder in outs:
        out = folder / f"{start.replace('/', '-')} longer.m3u8"
        text = search(home, capsys, "--playlist", given, "--add", 3, "--out", os.path.relpath(out))
        files = files_of(out)
        entries = PLAYLISTS[playlist]
        assert f"{entries} entries, {entries} in the embeddings" in text
        assert "lead" not in text.partition("written")[2]
        real = [os.path.relpath(file.resolve(), home / "music") for file in files]
        assert len(set(real)) == len(real) == entries + 3 and set(real) <= set(FILES)
        assert all(soundfile.info(file).frames == 1600 for file in files)
        relative = not any(line.startswith("/") for line in out.read_text().splitlines())
        assert relative == (folder == outs[0] and playlist in OF_RELATIVE)
        if folder == outs[-1]:
            seconds = seconds_by_ffmpeg(files)
            assert seconds == pytest.approx(0.1 * len(files), abs=0.02 * len(files))
        # It is the same playlist again.
        again = search(home, capsys, "--playlist", os.path.relpath(out))
        assert f"{entries + 3} entries, {entries + 3} in the embeddings" in again
        out.unlink()


def test_files_are_found_by_their_names_where_the_embeddings_have_no_paths(
    home, monkeypatch, capsys, tmp_path
):
    monkeypatch.chdir(tmp_path)
    words = ["--playlist", home / "music" / "lists" / "up.m3u8", "--out", tmp_path / "l.m3u8"]
    text = search(
        home, capsys, *words, "--audio-folder", home / "music", embeddings="plain.parquet"
    )
    assert all(soundfile.info(file) for file in files_of(tmp_path / "l.m3u8"))
    assert "lead" not in text.partition("written")[2]
    table = tmp_path / "list.csv"
    table.write_text(f"group_id,track_id\nmine,{IDS[4]}\nmine,{IDS[5]}\n")
    words = ["--playlist", table, "--out", tmp_path / "t.m3u8", "--add", 2]
    text = search(home, capsys, *words, embeddings="plain.parquet")
    assert "4 lines lead to no file here, such as " in text
    assert "the embeddings have no paths; --audio-folder says where the audio is" in text
    assert (tmp_path / "t.m3u8").read_text().splitlines()[1] == IDS[4]


def test_audio_that_has_moved_is_told(home, monkeypatch, capsys, tmp_path):
    monkeypatch.chdir(tmp_path)
    with embedding_writer(tmp_path / "m.parquet", 2, {"audio": "/no/such"}, audio=True) as add:
        add(["a", "b", "c"], np.eye(3)[:, :2] + 1, paths=["a.mp3", "b.mp3", "c.mp3"])
    (tmp_path / "l.m3u8").write_text("/no/such/a.mp3\n")
    words = ["--playlist", tmp_path / "l.m3u8", "--out", tmp_path / "o.m3u8"]
    text = search(tmp_path, capsys, *words, embeddings="m.parquet")
    assert "audio folder /no/such, which the embeddings name, is not there; --audio-folder" in text
    assert "3 lines lead to no file here, such as '/no/such/" in text
    assert "the audio has moved" in text


def test_relative_lines_start_from_their_own_folder_in_match_playlists_too(
    home, monkeypatch, capsys, tmp_path
):
    for start in (".", "music/lists", "elsewhere"):
        monkeypatch.chdir(home / start)
        for playlist, entries in PLAYLISTS.items():
            words = ["--playlists", os.path.relpath(home / playlist), "--audio",
                     os.path.relpath(home / "music"), "--collection", home / "collection",
                     "--overwrite"]  # fmt: skip
            assert match_command.main([*map(str, words)]) == 0
            text = capsys.readouterr().out
            assert re.search(rf"matched +{entries} +100.0 %", text), (start, playlist, text)
    # Through a link to the music as well.
    (tmp_path / "link").symlink_to(home / "music")
    monkeypatch.chdir(tmp_path)
    words = ["--playlists", home / "music" / "lists" / "up.m3u8", "--audio", "link",
             "--collection", home / "collection", "--overwrite"]  # fmt: skip
    assert match_command.main([*map(str, words)]) == 0
    assert re.search(r"matched +3 +100.0 %", capsys.readouterr().out)


def test_silent_tracks_of_a_playlist_stay_and_are_not_asked_about(
    home, monkeypatch, capsys, tmp_path
):
    monkeypatch.chdir(tmp_path)
    about = {"audio": str(home / "music"), "silent": [IDS[1], IDS[3]]}
    with embedding_writer(tmp_path / "s.parquet", 4, about, audio=True) as add:
        add(IDS, np.random.default_rng(1).normal(size=(8, 4)) + 1, paths=FILES)
    (tmp_path / "list.csv").write_text(f"group_id,track_id\nmine,{IDS[1]}\nmine,{IDS[4]}\n")
    (tmp_path / "foreign.m3u8").write_text(f"D:/Tunes/{FILES[1]}\nD:/Tunes/{FILES[4]}\n")
    for playlist in ("list.csv", "foreign.m3u8"):
        out = tmp_path / f"{playlist}.m3u8"
        words = ["--playlist", playlist, "--add", 5, "--out", out]
        text = search(tmp_path, capsys, *words, embeddings="s.parquet")
        assert "2 entries, 2 in the embeddings" in text and "lead" not in text
        assert "1 of its tracks silent, or nearly: not asked about" in text
        files = [os.path.relpath(file, home / "music") for file in files_of(out)]
        assert files[:2] == [FILES[1], FILES[4]]
        assert sorted(files[2:]) == sorted(FILES[i] for i in (0, 2, 5, 6, 7))
        one = search(tmp_path, capsys, "--track", IDS[4], "--top", 5, embeddings="s.parquet")
        ranks = [line for line in text.splitlines() if re.match(" +[1-5] .* %", line)]
        assert ranks == [line for line in one.splitlines() if re.match(" +[1-5] .* %", line)]
    (tmp_path / "list.csv").write_text(f"group_id,track_id\nmine,{IDS[1]}\n")
    words = ["--embeddings", "s.parquet", "--playlist", "list.csv"]
    assert search_command.main(words) == 1
    assert "no track of playlist 'mine' in the embeddings has sound" in capsys.readouterr().err
