"""Files for benchmarks, made of real recordings."""

import os
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path


def recordings(data, *names):
    """The ogg files in folders ``names`` of ``data``; says so, and returns none, without any."""
    place = data or Path(__file__).resolve().parents[2] / "shared" / "data"
    sources = [path for name in names for path in sorted((place / name).rglob("*.ogg"))]
    if not sources:
        where = f"{place}/{' and '.join(names)}"
        said = f"nothing is measured: no recordings in {where}; give --data"
        if data:
            raise SystemExit(said)
        print(said)
    return sources


def cut(sources, folder, count):
    """``count`` files of up to 30 s, half ogg and half mp3, no two of them alike."""
    import imageio_ffmpeg

    ffmpeg = imageio_ffmpeg.get_ffmpeg_exe()
    folder.mkdir()

    def one(number):
        lap, source = divmod(number, len(sources))
        codec = [("ogg", "libvorbis"), ("mp3", "libmp3lame")][number % 2]
        path = folder / f"{number:04d}.{codec[0]}"
        command = [ffmpeg, "-v", "error", "-ss", 0.1 * lap, "-i", sources[source], "-ac", 2,
                   "-ar", 44100, "-c:a", codec[1], "-b:a", "128k", path]  # fmt: skip
        subprocess.run(list(map(str, command)), check=True)
        return path

    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as threads:
        return list(threads.map(one, range(count)))


def link(files, folder, count):
    """Folder with ``count`` names for ``files``."""
    for number in range(count):
        name = folder / f"{number // len(files):03d}" / files[number % len(files)].name
        name.parent.mkdir(parents=True, exist_ok=True)
        os.link(files[number % len(files)], name)
    return folder
