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
import tempfile
from dataclasses import dataclass
from pathlib import Path

from _audio_files import cut, link, recordings
from _commands import run
from _table import print_table

ROOT = Path(__file__).resolve().parents[1]
SCRIPT = ROOT / "scripts" / "make_tfrecords.py"


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
    from playlist_pretrain.processes import work_through
    from playlist_pretrain.records.build_folder import tracks_per_shard
    from playlist_pretrain.records.shards import ShardTask
    from playlist_pretrain.records.sources import find_audio

    tracks = find_audio(audio).tracks
    size = tracks_per_shard(len(tracks))
    starts = range(0, len(tracks), size)
    tasks = [ShardTask(i, tuple(tracks[a : a + size])) for i, a in enumerate(starts)]
    nothing = {"on_step": lambda *_: None, "on_death": lambda *_: None}
    for _ in work_through(Decode(audio), tasks, workers, **nothing):
        pass


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
    sources = recordings(options.data, "pop909", "esc10")
    if not sources:
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
