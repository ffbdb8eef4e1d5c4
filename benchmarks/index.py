"""The index of a collection of a million tracks: opening it, looking ids up, reading from it.

python benchmarks/index.py [--tracks 1000000] [--small 1000] [--windows 200000] [--rounds 5]

Makes two collections of mels of one or two frames in a temporary folder. Every figure is measured
in a fresh process; memory is what opening (or the first look-up) adds at its peak.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from _table import print_table

BANDS, PER_SHARD, BATCH = 96, 2048, 768


def make_collection(folder: Path, tracks: int) -> None:
    """Tracks of one or two frames."""
    from playlist_pretrain.audio.front_end import front_end
    from playlist_pretrain.records.schema import shard_name
    from playlist_pretrain.records.writer import ShardWriter, write_collection

    mels = np.random.default_rng(0).uniform(0, 6, (64, 2, BANDS)).astype(np.float32)
    parts = []
    for first in range(0, tracks, PER_SHARD):
        with ShardWriter(folder / shard_name(len(parts)), BANDS) as shard:
            for track in range(first, min(first + PER_SHARD, tracks)):
                shard.add(track_id(track), mels[track % 64, : 1 + track % 2], 0.0, 30.0)
        parts.append(shard.part)
    write_collection(folder, front_end("paper"), parts, {})


def track_id(track: int) -> str:
    """An id as long as those of real folders."""
    return f"artist {track % 9973:05d}/track {track:07d}"


def resident(field: str) -> float:
    """MB of this process: ``VmRSS`` now, ``VmHWM`` at most so far."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(field)) * 1024 / 1e6


def measure(folder: Path, windows: int, rounds: int) -> None:
    """Print one JSON object of figures about a collection."""
    from playlist_pretrain.records.collection import Collection
    from playlist_pretrain.records.windows import WindowReader, fill_kernel

    fill = fill_kernel()
    figures = {}
    json.loads((folder / "collection.json").read_bytes())  # the modules are loaded
    before, began = resident("VmRSS"), time.perf_counter()
    Path("/proc/self/clear_refs").write_text("5")  # the peak counts from here
    collection = Collection.open(folder)
    figures["open_seconds"] = time.perf_counter() - began
    figures["open_peak"] = resident("VmHWM") - before
    figures["open_left"] = resident("VmRSS") - before
    generator = np.random.default_rng(1)
    ids = [track_id(track) for track in generator.integers(0, len(collection), windows)]
    Path("/proc/self/clear_refs").write_text("5")
    before, began = resident("VmRSS"), time.perf_counter()
    collection.rows(ids[:1])
    figures["first_seconds"] = time.perf_counter() - began
    figures["first_peak"] = resident("VmHWM") - before
    began = time.perf_counter()
    rows = collection.rows(ids)
    figures["look_up"] = len(ids) / (time.perf_counter() - began)
    assert (rows >= 0).all() and collection.track_ids[rows[-1]] == ids[-1]
    reader = WindowReader(collection, 1)
    files = {path: os.open(path, os.O_RDONLY) for path in collection.shard_paths}
    descriptors = np.array(list(files.values()), np.int32)
    batches, pieces = [], []
    for part in np.array_split(rows, max(1, len(rows) // BATCH)):
        batches.append((part, np.zeros_like(part)))
        sizes = np.full(len(part), BANDS * 2)
        pieces.append((descriptors[collection.shard[part]], collection.offset[part], sizes))
    buffer = np.zeros((max(len(part) for part, _ in batches), BANDS), np.uint16)
    rates = {"windows": [], "preads": []}
    for _ in range(rounds + 1):
        for name, read in (
            ("windows", lambda: [reader.read(*batch) for batch in batches]),
            ("preads", lambda: [fill(buffer[: len(p[0])], *p, 0) for p in pieces]),
        ):
            began = time.perf_counter()
            read()
            rates[name].append(len(rows) / (time.perf_counter() - began))
    figures |= {name: statistics.median(values[1:]) for name, values in rates.items()}
    print(json.dumps(figures))


def main():
    """Make, measure, print one table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tracks", type=int, default=1_000_000)
    parser.add_argument("--small", type=int, default=1000)
    parser.add_argument("--windows", type=int, default=200_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--measure", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        measure(options.measure, options.windows, options.rounds)
        return
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        for tracks in (options.small, options.tracks):
            make_collection(Path(folder) / str(tracks), tracks)
        for tracks in (options.small, options.tracks):
            words = [sys.executable, __file__, "--measure", f"{folder}/{tracks}"]
            words += ["--windows", str(options.windows), "--rounds", str(options.rounds)]
            done = subprocess.run(words, stdout=subprocess.PIPE, check=True, text=True)
            found[tracks] = json.loads(done.stdout.splitlines()[-1])
    print_table(
        f"Collections of mels of 1 or 2 frames, {len(os.sched_getaffinity(0))} cores; windows of 1 "
        f"frame in batches of {BATCH}, median of {options.rounds} rounds",
        ["tracks", "open, s", "adds, MB", "peak, MB", "first look-up, s", "peak, MB",
         "ids/s", "windows/s", "bare preads/s"],
        [
            [
                f"{tracks:,}", f"{f['open_seconds']:.3f}", f"{f['open_left']:.0f}",
                f"{f['open_peak']:.0f}", f"{f['first_seconds']:.2f}", f"{f['first_peak']:.0f}",
                f"{f['look_up']:,.0f}", f"{f['windows']:,.0f}",
                f"{f['preads']:,.0f}",
            ]
            for tracks, f in found.items()
        ],
    )  # fmt: skip


if __name__ == "__main__":
    main()
