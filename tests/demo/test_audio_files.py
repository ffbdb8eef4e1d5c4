"""The songs as wav files."""

import wave

import numpy as np
import pytest

from playlist_pretrain.demo import __main__ as command
from playlist_pretrain.demo.build import write_songs
from playlist_pretrain.demo.songs import render
from playlist_pretrain.demo.world import PARTS, make_world
from playlist_pretrain.errors import AudioError


@pytest.mark.slow
def test_wav_files_are_the_songs(tmp_path):
    world = make_world(1)
    write_songs(tmp_path / "songs", 1, seconds=0.25, quiet=True)
    files = {
        str(path.relative_to(tmp_path / "songs").with_suffix(""))
        for path in (tmp_path / "songs").rglob("*.*")
    }
    assert files == {
        f"{part}/{world.track_ids[song]}" for part in PARTS for song in world.songs(part)
    }
    song = int(world.songs("demo-eval")[0])
    with wave.open(str(tmp_path / "songs/demo-eval" / f"{world.track_ids[song]}.wav")) as file:
        assert file.getparams()[:4] == (1, 2, 16000, 4000)
        samples = np.frombuffer(file.readframes(4000), "<i2")
    np.testing.assert_allclose(samples / 32767, render(world, song, 0.25), atol=2e-5)


def test_wav_files_want_an_empty_folder(tmp_path, capsys):
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(AudioError, match="is not empty"):
        write_songs(tmp_path, 0)
    arguments = ["--audio", str(tmp_path), "--out", str(tmp_path / "tfrecords")]
    assert command.main(arguments) == 1  # before anything is built
    assert "is not empty" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]
