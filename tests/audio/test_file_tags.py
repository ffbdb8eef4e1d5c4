"""Tags of files of every kind that has some, odd and hostile ones, and names that say nothing."""

import os
import random
import struct
import tracemalloc
import zlib

import mutagen
import numpy as np
import pytest
import soundfile
from mutagen.id3 import ID3, TALB, TCON, TDRC, TIT2, TPE1

from playlist_pretrain.audio import file_tags as module
from playlist_pretrain.audio.file_tags import (
    LONGEST,
    PLACEHOLDERS,
    FileTags,
    file_tags,
    names_in,
    names_something,
    plain_name,
)

WRITTEN = {"artist": "Ärzte; Die", "album": "名前", "title": "=1+1", "genre": "Rock",
           "date": "2004-05-06"}  # fmt: skip
READ = FileTags("Ärzte; Die", "名前", "=1+1", "Rock", "2004")


@pytest.fixture
def wav(tmp_path):
    soundfile.write(tmp_path / "a.wav", np.sin(np.arange(8000) * 0.1) * 0.3, 16000)
    return tmp_path / "a.wav"


SOUND = b"\xff\xfb\x90\x00".ljust(417, b"\0") * 20
"""Frames of an mp3."""


def with_id3(path, *frames):
    """An mp3 with a tag."""
    path.write_bytes(SOUND)
    tag = ID3()
    for frame in frames:
        tag.add(frame)
    tag.save(path)
    return path


@pytest.mark.parametrize(
    "name",
    ["a.mp3", "a.flac", "a.ogg", "a.opus", "a.m4a", "a.wma", "a.wv", "a.aiff"],
)
def test_tags_as_ffmpeg_writes_them(name, wav, ffmpeg, tmp_path):
    words = [f"{key}={value}" for key, value in WRITTEN.items()]
    metadata = [word for pair in words for word in ("-metadata", pair)]
    ffmpeg(
        "-i", wav, *metadata, "-write_id3v2", 1, tmp_path / name
    ) if name == "a.aiff" else ffmpeg("-i", wav, "-strict", -2, *metadata, tmp_path / name)
    assert file_tags(tmp_path / name) == READ


def test_tags_as_taggers_write_several(wav, tmp_path):
    several = ["A", " B\n", "A", "", "C|D"]
    soundfile.write(tmp_path / "a.flac", np.zeros(100), 16000)
    for path, tags in ((tmp_path / "a.flac", None), (wav, "id3")):
        file = mutagen.File(path)
        if tags:
            file.add_tags()
            file.tags.add(TPE1(encoding=3, text=several))
        else:
            file["ARTIST"] = several
        file.save()
        assert file_tags(path) == FileTags(artist="A|B|C/D")


@pytest.mark.parametrize(
    ("date", "year"),
    [("2004-05-06", "2004"), ("06.05.2004", "2004"), ("20040506", "2004"), ("0000", ""),
     ("200", ""), ("c. 1790", "1790"), ("0000-00-00 1999", "1999")],
)  # fmt: skip
def test_the_year_is_the_first_four_digits_of_the_date(date, year, wav):
    soundfile.write(wav.with_suffix(".ogg"), np.zeros(100), 16000)
    file = mutagen.File(wav.with_suffix(".ogg"))
    file["date"] = [date]
    file.save()
    assert file_tags(wav.with_suffix(".ogg")).year == year


def test_numbers_of_genres_and_old_tags(tmp_path):
    path = with_id3(tmp_path / "a.mp3", TCON(encoding=3, text=["(17)", "Jazz"]))
    assert file_tags(path).genre == "Rock|Jazz"
    old = b"TAG" + b"Title".ljust(30, b"\0") + b"Artist".ljust(30) + bytes(30) + b"1987" + bytes(31)
    (tmp_path / "b.mp3").write_bytes(SOUND + old)
    assert file_tags(tmp_path / "b.mp3")[:3] == ("Artist", "", "Title")


def test_text_is_on_one_line_without_controls_and_bounded(tmp_path):
    odd = "  a\x1b[2J\tb\u2028c\r\nd\u200ce  "
    path = with_id3(
        tmp_path / "a.mp3",
        TPE1(encoding=3, text=[odd]),
        TIT2(encoding=3, text=["x" * 10**6]),
        TALB(encoding=3, text=[str(i) for i in range(1000)]),
        TDRC(encoding=3, text=["1999"]),
    )
    found = file_tags(path)
    assert found.artist == "a [2J b c d\u200ce"
    assert found.title == "x" * LONGEST and found.year == "1999"
    assert found.album == "|".join(map(str, range(module.MOST)))


def test_what_is_no_file_or_has_no_tags(wav, tmp_path):
    os.mkfifo(tmp_path / "pipe.mp3")
    (tmp_path / "text.mp3").write_text("no audio at all\n" * 100)
    (tmp_path / "empty.mp3").touch()
    for path in (
        wav,
        tmp_path,
        *(tmp_path / f"{one}.mp3" for one in ("pipe", "text", "empty", "gone")),
    ):
        assert file_tags(path) == FileTags()
    assert file_tags(os.fsencode(wav)) == FileTags()


def frame(name, data, flags=0):
    size = len(data)
    sizes = bytes([size >> 21 & 127, size >> 14 & 127, size >> 7 & 127, size & 127])
    return name + sizes + struct.pack(">H", flags) + data


def id3v2(content):
    size = len(content)
    sizes = bytes([size >> 21 & 127, size >> 14 & 127, size >> 7 & 127, size & 127])
    return b"ID3\4\0\0" + sizes + content + SOUND


def test_frames_that_expand_beyond_all_measure_are_left_out(tmp_path):
    bomb = zlib.compress(b"\3" + b"x" * (200 << 20), 9)
    frames = frame(b"TPE1", b"\0\0\0\0" + bomb, 0x0008) + frame(b"TIT2", b"\3title")
    (tmp_path / "a.mp3").write_bytes(id3v2(frames))
    tracemalloc.start()
    try:
        assert file_tags(tmp_path / "a.mp3") == FileTags(title="title")
        assert tracemalloc.get_traced_memory()[1] < 20 << 20
    finally:
        tracemalloc.stop()
    from mutagen.id3 import _frames

    assert _frames.zlib is zlib  # and whoever else reads tags in this process has its own


def test_more_tags_than_anyone_has_are_not_read(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "FREELY", 20_000)
    for size, title in ((1_000, "title"), (21_000, "")):
        frames = frame(b"TIT2", b"\3title") + frame(b"PRIV", b"x\0" + bytes(size))
        (tmp_path / "a.mp3").write_bytes(id3v2(frames))
        assert file_tags(tmp_path / "a.mp3").title == title


@pytest.mark.parametrize("seed", range(3))
def test_damaged_files_give_text_or_none(seed, wav, ffmpeg, tmp_path):
    rng = random.Random(seed)
    for name in ("a.flac", "a.ogg", "a.m4a", "a.wma"):
        ffmpeg("-i", wav, "-strict", -2, "-metadata", "artist=A", tmp_path / name)
        whole = bytearray((tmp_path / name).read_bytes())
        for _ in range(60):
            data = bytearray(whole)
            for _ in range(rng.choice([1, 4, 50])):
                data[rng.randrange(min(len(data), 4000))] = rng.randrange(256)
            del data[rng.randrange(len(data)) :]
            (tmp_path / name).write_bytes(data)
            assert all(isinstance(value, str) for value in file_tags(tmp_path / name))


@pytest.mark.parametrize(
    "text",
    ["", " ", "unknown", "Unknown Artist", "<Unknown>", "[unknown]", " VARIOUS  artists ", "VA",
     "V.A.", "n/a", "None", "-", "?", "(none)", "Verschiedene Interpreten", "[ <unknown> ]",
     "spotify:artist:0LyfQWJT6nXafLPZqxke9Of"],
)  # fmt: skip
def test_names_that_say_nothing(text):
    assert not names_something(text)


@pytest.mark.parametrize(
    "text",
    ["Unknown Mortal Orchestra", "The Unknown", "Various Cruelties", "!!!", "0", "a", "(x)",
     "The Artists", "Vampire"],
)  # fmt: skip
def test_names_that_say_something(text):
    assert names_something(text)


def test_the_list_is_as_names_are_compared():
    assert {plain_name(one) for one in PLACEHOLDERS} == PLACEHOLDERS
    assert names_in("A| unknown |B|A||b ") == ["A", "B", "b"]
