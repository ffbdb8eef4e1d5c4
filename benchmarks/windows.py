"""Random windows as ``tf.data`` batches, beside parsing whole records and beside bare preads.

python benchmarks/windows.py [--tracks 400] [--batch 768] [--batches 200] [--rounds 7]

Makes a collection of random mels in a temporary folder and reads it from the page cache. Every
way is timed once a round, in turn, from its start to its last batch; the table shows medians.
"""

import argparse
import os
import statistics
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from _table import print_table

FRAMES, BANDS, TRACK_FRAMES = 256, 96, 2554
WINDOW_BYTES = FRAMES * BANDS * 2
PARSED_BATCHES = 12


def make_collection(folder: Path, tracks: int):
    """Collection of random tracks of 30 s in shards of 16."""
    from playlist_pretrain.audio.front_end import front_end
    from playlist_pretrain.records.collection import Collection
    from playlist_pretrain.records.schema import shard_name
    from playlist_pretrain.records.writer import ShardWriter, write_collection

    generator = np.random.default_rng(0)
    parts = []
    for first in range(0, tracks, 16):
        with ShardWriter(folder / shard_name(len(parts)), BANDS) as shard:
            for track in range(first, min(first + 16, tracks)):
                mel = generator.random((TRACK_FRAMES, BANDS), np.float32)
                shard.add(f"track-{track}", mel, 0.0, 30.0)
        parts.append(shard.part)
    write_collection(folder, front_end("paper"), parts, {})
    return Collection.open(folder)


class Ways:
    """The ways to get windows; each method reads them all and returns how many it read."""

    def __init__(self, collection, batch: int, batches: int):
        from playlist_pretrain.records.windows import WindowReader

        self.collection, self.batch, self.batches = collection, batch, batches
        self.reader = WindowReader(collection, FRAMES)
        self.rows = np.random.default_rng(1).integers(0, len(collection), (batches, batch))
        self.starts = self._random_starts(0, batches)
        self.files = [os.open(path, os.O_RDONLY) for path in collection.shard_paths]
        positions = collection.offset[self.rows] + self.starts.astype(np.int64) * BANDS * 2
        files = np.array(self.files, np.int32)[collection.shard[self.rows]]
        self.pieces = [
            (f, p, f.tolist(), p.tolist()) for f, p in zip(files, positions, strict=True)
        ]
        self.sizes = np.full(batch, WINDOW_BYTES)
        self.buffers = np.zeros((2, batch, WINDOW_BYTES // 2), np.uint16)

    def _random_starts(self, first: int, last: int) -> np.ndarray:
        from playlist_pretrain.records.windows import random_starts

        ends = self.reader.last_start(self.rows[first:last])
        return random_starts(ends.reshape(-1, 1), 0, 0, first * self.batch).reshape(ends.shape)

    def window_dataset(self) -> int:
        """What training uses: rows and random positions in, batches out."""
        from playlist_pretrain.records.windows import window_dataset

        def requests():
            for i in range(self.batches):
                yield self.rows[i : i + 1], self._random_starts(i, i + 1)

        return sum(len(x) for x in window_dataset(self.reader, requests, batch=self.batch))

    def parse_records(self) -> int:
        """Whole records in the order of the files, parsed and cropped by TensorFlow's own ops."""
        import tensorflow as tf

        features = {"mel": tf.io.FixedLenFeature([], tf.string)}

        def crop(record):
            mel = tf.io.parse_single_example(record, features)["mel"]
            mel = tf.reshape(tf.io.decode_raw(mel, tf.float16), [-1, BANDS])
            start = tf.random.uniform([], 0, tf.shape(mel)[0] - FRAMES + 1, tf.int32)
            return tf.ensure_shape(mel[start : start + FRAMES], [FRAMES, BANDS])

        paths = [str(path) for path in self.collection.shard_paths]
        dataset = (
            tf.data.TFRecordDataset(paths, num_parallel_reads=tf.data.AUTOTUNE)
            .repeat()
            .map(crop, num_parallel_calls=tf.data.AUTOTUNE)
            .batch(self.batch, num_parallel_calls=tf.data.AUTOTUNE)
            .take(min(self.batches, PARSED_BATCHES))
            .prefetch(2)
        )
        return sum(len(x) for x in dataset)

    def preadv(self) -> int:
        """``os.preadv`` of the same windows in a loop, one thread, one warm buffer."""
        lines = [memoryview(line) for line in self.buffers[0]]
        for _, _, files, positions in self.pieces:
            for line, file, position in zip(lines, files, positions, strict=True):
                os.preadv(file, [line], position)
        return self.batch * self.batches

    def kernel(self) -> int:
        """The compiled loop of preads that the reader uses, one thread, one warm buffer."""
        return self._fill(0, 1)

    def kernel_two_threads(self) -> int:
        """The same in two threads, each with a warm buffer of its own."""
        with ThreadPoolExecutor(2) as threads:
            return sum(threads.map(self._fill, (0, 1), (2, 2)))

    def _fill(self, thread: int, threads: int) -> int:
        from playlist_pretrain.records.windows import fill_kernel

        pieces = self.pieces[thread::threads]
        for files, positions, _, _ in pieces:
            failed, _ = fill_kernel()(self.buffers[thread], files, positions, self.sizes, 0)
            if failed >= 0:
                raise OSError("a window could not be read")
        return self.batch * len(pieces)


def main():
    """Time every way in turn and print one table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tracks", type=int, default=400)
    parser.add_argument("--batch", type=int, default=768)
    parser.add_argument("--batches", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        collection = make_collection(Path(folder), options.tracks)
        ways = Ways(collection, options.batch, options.batches)
        named = {
            "window_dataset (tf.data batches)": ways.window_dataset,
            "TFRecordDataset + parse + crop + batch": ways.parse_records,
            "raw os.preadv, 1 thread, warm buffer": ways.preadv,
            "raw compiled pread, 1 thread, warm buffer": ways.kernel,
            "raw compiled pread, 2 threads, warm buffers": ways.kernel_two_threads,
        }
        rates = {name: [] for name in named}
        for round_ in range(options.rounds + 1):
            for name, way in named.items():
                start = time.perf_counter()
                count = way()
                if round_:  # the first round fills caches and compiles
                    rates[name].append(count / (time.perf_counter() - start))
    medians = {name: statistics.median(values) for name, values in rates.items()}
    ours = next(iter(medians.values()))
    print_table(
        f"{FRAMES} x {BANDS} float16 windows, batches of {options.batch}, {options.tracks} tracks "
        f"of 30 s, {len(os.sched_getaffinity(0))} cores, median of {options.rounds} rounds",
        ["way", "windows/s", "lowest", "highest", "window_dataset is"],
        [
            [name, *(f"{r:,.0f}" for r in (rate, min(all_), max(all_))), f"{ours / rate:.2f} x"]
            for (name, rate), all_ in zip(medians.items(), rates.values(), strict=True)
        ],
    )


if __name__ == "__main__":
    main()
