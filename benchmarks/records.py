"""Building a collection: wall time beside decoding alone, and memory by the number of files.

python benchmarks/records.py [--data ../shared/data] [--files 200] [--many 2000] [--rounds 3]

Makes ogg and mp3 files from the real recordings of ``--data`` (folders pop909 and esc10), links
them as often as it takes, and times two whole commands in turn, from the shell to their end with
the start of all their processes: ``make_tfrecords.py``, and one that has the same workers decode
the same files and does nothing with them, which is the limit.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from _table import print_table

ROOT = Path(__file__).resolve().parents[1]
SCRIPT = ROOT / "scripts" / "make_tfrecords.py"


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


@dataclass(frozen=True)
class Decode:
    """What the workers of the limit do with a shard's tracks."""

    root: str

    def __call__(self, task, announce):
        """Decode every track, keep none."""
        from playlist_pretrain.audio.decode import AudioLoader

        load = AudioLoader()
        for position, track in enumerate(task.tracks):
            announce(position)
            load(os.path.join(self.root, track.source))


def decode_alone(audio, workers):
    """The limit, as a command of its own."""
    from playlist_pretrain.records.plan import tracks_per_shard
    from playlist_pretrain.records.pool import work_through
    from playlist_pretrain.records.shards import ShardTask
    from playlist_pretrain.records.sources import find_audio

    tracks = find_audio(audio).tracks
    size = tracks_per_shard(len(tracks))
    starts = range(0, len(tracks), size)
    tasks = [ShardTask(i, tuple(tracks[a : a + size])) for i, a in enumerate(starts)]
    nothing = {"on_step": lambda *_: None, "on_death": lambda *_: None}
    for _ in work_through(Decode(audio), tasks, workers, **nothing):
        pass


def run(*words):
    """Seconds a command took, and the peak memory in MB of it and of its largest child."""
    began = time.perf_counter()
    with subprocess.Popen([sys.executable, *map(str, words)]) as process:
        peaks = {}
        while process.poll() is None:
            for pid in [process.pid, *_children(process.pid)]:
                peaks[pid] = max(peaks.get(pid, 0), _peak(pid))
            time.sleep(0.05)
    if process.returncode:
        raise SystemExit(f"{words}: exit code {process.returncode}")
    seconds = time.perf_counter() - began
    own = peaks.pop(process.pid, 0)
    return seconds, own, max(peaks.values(), default=0)


def _children(pid):
    try:
        return [
            int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        ]
    except OSError:
        return []


def _peak(pid):
    try:
        status = Path(f"/proc/{pid}/status").read_text()
        return int(status.partition("VmHWM:")[2].split()[0]) / 1000
    except (OSError, IndexError):  # it has just ended
        return 0


def measure(audio, folder, workers, rounds):
    """Figures of ``rounds`` runs of both commands in turn: lists of (seconds, own, child)."""
    ours, limit = [], []
    for number in range(rounds):
        limit.append(run(__file__, "--decode", audio, "--workers", workers))
        out = folder / f"{audio.name}-{number}"
        words = ["--audio", audio, "--out", out, "--workers", workers, "--quiet"]
        ours.append(run(SCRIPT, *words))
    return ours, limit


def main():
    """Make the files, measure, print one table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, help="folder of recordings [../shared/data]")
    parser.add_argument("--files", type=int, default=200)
    parser.add_argument("--many", type=int, default=2000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--workers", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--decode", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.decode:
        decode_alone(options.decode, options.workers)
        return
    names = ("pop909", "esc10")
    data = options.data or ROOT.parent / "shared" / "data"
    sources = [path for name in names for path in sorted((data / name).rglob("*.ogg"))]
    if not sources:
        said = f"nothing is measured: no recordings in {data}/pop909 and esc10; give --data"
        if options.data:
            raise SystemExit(said)
        print(said)
        return
    rows = []
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        files = cut(sources, folder / "files", options.files)
        for count in (options.files, options.many):
            audio = link(files, folder / f"audio-{count}", count)
            ours, limit = measure(audio, folder, options.workers, options.rounds)
            seconds, base = (statistics.median(one[0] for one in all_) for all_ in (ours, limit))
            memory = [f"{max(one[i] for one in ours):,.0f}" for i in (1, 2)]
            times = (f"{seconds:.1f}", f"{base:.1f}", f"{seconds / base:.2f}")
            rows.append((f"{count:,} files", *times, *memory))
    print_table(
        f"{options.workers} workers, {options.files} different files, medians of {options.rounds} "
        "rounds; both are whole commands",
        ("", "make_tfrecords.py, s", "decoding alone, s", "ratio", "parent, MB", "worker, MB"),
        rows,
    )


if __name__ == "__main__":
    main()
