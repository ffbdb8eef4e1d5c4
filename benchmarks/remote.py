"""Random windows from an object store, beside one request after the other and beside local ones.

python benchmarks/remote.py [--tracks 64] [--batch 64] [--batches 12] [--latency 20] [--rounds 3]

Puts a collection of random mels into moto's S3 server on loopback, which answers every request
``--latency`` milliseconds late: without, it would not resemble an object store at all. The server
is written in Python and shares the machine, so it is the limit; bare HTTP shows how far that is.
Every way is timed once a round, in turn; the table shows medians.
"""

import argparse
import http.client
import os
import statistics
import sys
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from _table import print_table
from windows import BANDS, FRAMES, WINDOW_BYTES, make_collection

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))
from remote_server import s3_server, upload, variables

NAIVE = 64
SIGNED = "AWS4-HMAC-SHA256 Credential=key/20260101/us-east-1/s3/aws4_request, Signature=0"
URL = "s3://benchmark/tfrecords/random"


class Ways:
    """The ways to get windows; each method reads them and returns how many it read."""

    def __init__(self, local, remote, port: int, batch: int, batches: int):
        from playlist_pretrain.records.windows import WindowReader

        self.remote, self.port, self.batch, self.batches = remote, port, batch, batches
        self.local_reader, self.reader = (WindowReader(c, FRAMES) for c in (local, remote))
        generator = np.random.default_rng(1)
        self.rows = generator.integers(0, len(local), (batches, 1, batch))
        ends = self.reader.last_start(self.rows)
        self.starts = (generator.random(ends.shape) * (ends + 1)).astype(np.int32)
        offsets = local.offset[self.rows] + self.starts.astype(np.int64) * BANDS * 2
        self.pieces = list(
            zip(local.shard[self.rows].ravel().tolist(), offsets.ravel().tolist(), strict=True)
        )
        self.connections = threading.local()

    def _dataset(self, reader, **options) -> int:
        from playlist_pretrain.records.windows import window_dataset

        def requests():
            return zip(self.rows, self.starts, strict=True)

        return sum(len(x) for x in window_dataset(reader, requests, batch=self.batch, **options))

    def window_dataset(self) -> int:
        """What training uses."""
        return self._dataset(self.reader)

    def batch_after_batch(self) -> int:
        """All windows of a batch at once, and then the next batch."""
        batches = zip(self.rows[:, 0], self.starts[:, 0], strict=True)
        return sum(len(self.reader.read(rows, starts)) for rows, starts in batches)

    def one_after_the_other(self) -> int:
        """A request a window, each when the one before has been answered."""
        from playlist_pretrain.storage import read_ranges

        for shard, offset in self.pieces[:NAIVE]:
            (data,) = read_ranges([self.remote.shard_paths[shard]], [offset], [WINDOW_BYTES])
            assert len(data) == WINDOW_BYTES
        return len(self.pieces[:NAIVE])

    def in_sequence(self) -> int:
        """Windows of one track after the other, as for embeddings: neighbours share requests."""
        each = int(self.reader.last_start(np.zeros(1, int))[0]) // FRAMES
        for i in range(self.batches):
            places = np.arange(i * self.batch, (i + 1) * self.batch)
            rows = places // each % len(self.remote)
            self.reader.read(rows, (places % each * FRAMES).astype(np.int32))
        return self.batch * self.batches

    def local(self) -> int:
        """The same windows from a local disk."""
        return self._dataset(self.local_reader)

    def bare_http(self) -> int:
        """The same ranges by the standard library, not signed, in 32 threads: the limit."""
        with ThreadPoolExecutor(32) as threads:
            return sum(threads.map(self._get, self.pieces))

    def _get(self, piece: tuple[int, int]) -> int:
        shard, offset = piece
        if not hasattr(self.connections, "http"):
            self.connections.http = http.client.HTTPConnection("127.0.0.1", self.port)
        path = str(self.remote.shard_paths[shard]).removeprefix("s3:/")
        headers = {"Range": f"bytes={offset}-{offset + WINDOW_BYTES - 1}", "Authorization": SIGNED}
        self.connections.http.request("GET", path, headers=headers)
        data = self.connections.http.getresponse().read()
        assert len(data) == WINDOW_BYTES, data[:300]
        return 1


def main():
    """Time every way in turn and print one table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tracks", type=int, default=64)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--batches", type=int, default=12)
    parser.add_argument("--latency", type=float, default=20, help="milliseconds")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, s3_server(options.latency / 1000) as port:
        from playlist_pretrain.records.collection import Collection

        os.environ.update(variables(port))
        local = make_collection(Path(folder), options.tracks)
        upload(local.path, URL)
        ways = Ways(local, Collection.open(URL), port, options.batch, options.batches)
        named = {
            "window_dataset from s3://": ways.window_dataset,
            "one batch after the other from s3://": ways.batch_after_batch,
            "one range after the other from s3://": ways.one_after_the_other,
            "neighbouring windows from s3://": ways.in_sequence,
            "bare HTTP ranges, 32 threads: the server's limit": ways.bare_http,
            "window_dataset from a local folder": ways.local,
        }
        rates = {name: [] for name in named}
        for round_ in range(options.rounds + 1):
            for name, way in named.items():
                start = time.perf_counter()
                count = way()
                if round_:  # the first round fills caches and opens connections
                    rates[name].append(count / (time.perf_counter() - start))
    medians = {name: statistics.median(values) for name, values in rates.items()}
    ours = next(iter(medians.values()))
    print_table(
        f"{FRAMES} x {BANDS} float16 windows, batches of {options.batch}, server on loopback "
        f"{options.latency:g} ms away, {len(os.sched_getaffinity(0))} cores, median of "
        f"{options.rounds} rounds",
        ["way", "windows/s", "lowest", "highest", "window_dataset is"],
        [
            [name, *(f"{r:,.0f}" for r in (rate, min(all_), max(all_))), f"{ours / rate:.2f} x"]
            for (name, rate), all_ in zip(medians.items(), rates.values(), strict=True)
        ],
    )


if __name__ == "__main__":
    main()
