"""The songs of a world as files, to listen to or to walk the way from audio files."""

from __future__ import annotations

import wave
from pathlib import Path

import numpy as np

from playlist_pretrain.demo.synth import SAMPLE_RATE, render
from playlist_pretrain.demo.world import PARTS, make_world
from playlist_pretrain.errors import AudioError
from playlist_pretrain.files import atomic_write
from playlist_pretrain.progress import progress


def check_empty(folder: Path) -> None:
    """Raise AudioError when ``folder`` holds anything: songs of two worlds must not mix."""
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise AudioError(f"{folder} is not empty; give the wav files a folder of their own")


def write_songs(
    folder: str | Path, seed: int, *, seconds: float = 30.0, quiet: bool = False
) -> None:
    """Write every song of a world as ``folder/<part>/<track id>.wav``, 16 bits, 16 kHz, mono.

    Parameters
    ----------
    folder : str or Path
        Empty, or not there yet.
    seed : int
        Number of the world.
    seconds : float
        Length of each song.
    quiet : bool
        No progress bar.

    Raises
    ------
    AudioError
        The folder is not empty.
    """
    folder = Path(folder)
    check_empty(folder)
    world = make_world(seed)
    songs = [(part, song) for part in PARTS for song in world.songs(part)]
    for part, song in progress(songs, desc=folder.name, unit=" songs", quiet=quiet):
        samples = np.rint(render(world, song, seconds) * 32767).astype("<i2")
        with (
            atomic_write(folder / part / f"{world.track_ids[song]}.wav") as stream,
            wave.open(stream, "wb") as file,
        ):
            file.setnchannels(1)
            file.setsampwidth(2)
            file.setframerate(SAMPLE_RATE)
            file.writeframes(samples.tobytes())
