"""Audio files of known content."""

import subprocess

import pytest


@pytest.fixture(scope="session")
def ffmpeg():
    """Callable: arguments → runs ffmpeg, which has to succeed."""
    import imageio_ffmpeg

    binary = imageio_ffmpeg.get_ffmpeg_exe()

    def run(*arguments):
        subprocess.run([binary, "-v", "error", "-y", *map(str, arguments)], check=True)

    return run
