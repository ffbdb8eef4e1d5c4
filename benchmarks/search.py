"""Nearest tracks by FAISS, exactly, and the plain matrix product that exact search cannot beat.

python benchmarks/search.py [--tracks 100000] [--dim 128] [--queries 1000] [--rounds 5]

The vectors are made up (seed 0): 2,000 centres drawn from a normal distribution, each track one of
them plus noise of a deviation, and an offset of 0.7 in every dimension, which all share, as
embeddings of tracks do; small noise makes clusters, large noise hardly any, which is hard for any
index. Queries are tracks, 10 nearest others; recall is the share of the exact 10 that was found.
Every row is measured in a process of its own; memory is what making the search adds, at its peak
and in the end, beside the embeddings.
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

CENTRES, OFFSET, K = 2000, 0.7, 10
NOISES = (0.5, 1.0, 2.0)
PROBES = (4, 16, 64, 256)
HNSW = {"M": 32, "efConstruction": 80}


def make_vectors(tracks: int, dim: int, noise: float) -> np.ndarray:
    """float32 [tracks, dim]; see the module."""
    generator = np.random.default_rng(0)
    centres = generator.normal(size=(CENTRES, dim)).astype(np.float32)
    vectors = centres[generator.integers(CENTRES, size=tracks)]
    vectors += noise * generator.standard_normal(vectors.shape, np.float32) + OFFSET
    return vectors


def resident(field: str) -> float:
    """MB of this process: ``VmRSS`` now, ``VmHWM`` at most so far."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(field)) * 1024 / 1e6


def rates(search, queries: np.ndarray, rounds: int) -> dict[str, float]:
    """Queries a second, one by one and all at once: medians; and what all at once gave."""
    found = {"single": [], "batch": []}
    few = queries[: max(1, len(queries) // 10)]
    for _ in range(rounds + 1):
        began = time.perf_counter()
        for query in few:
            search(query[np.newaxis])
        middle = time.perf_counter()
        search(queries)
        found["single"].append(len(few) / (middle - began))
        found["batch"].append(len(queries) / (time.perf_counter() - middle))
    return {name: statistics.median(values[1:]) for name, values in found.items()}


def measure(options) -> None:
    """Print a JSON list of figures, one a search; the exact neighbours travel as a file."""
    import faiss

    from playlist_pretrain.evaluation.neighbours import ExactSearch, unit_vectors
    from playlist_pretrain.retrieval.faiss_index import FaissSearch

    vectors = make_vectors(options.tracks, options.dim, options.noise)
    rows = np.random.default_rng(1).choice(len(vectors), options.queries, replace=False)
    before, began = resident("VmRSS"), time.perf_counter()
    Path("/proc/self/clear_refs").write_text("5")  # the peak counts from here
    variants = {"": None}
    if options.measure == "exact":
        made = ExactSearch(vectors)
    elif options.measure == "faiss":
        made = FaissSearch.build(vectors)
        variants = {f"{probes} lists of {made.index.nlist:,}": probes for probes in PROBES}
    else:
        units = unit_vectors(vectors, "float32")
        if options.measure == "hnsw":
            made = faiss.IndexHNSWFlat(options.dim, HNSW["M"], faiss.METRIC_INNER_PRODUCT)
            made.hnsw.efConstruction = HNSW["efConstruction"]
            made.add(units)
            variants = {f"{width} candidates": width for width in (32, 128)}
    figures = {"build": time.perf_counter() - began}
    figures |= {"peak": resident("VmHWM") - before, "left": resident("VmRSS") - before}
    for name, value in variants.items():
        if options.measure == "product":
            found = rates(lambda query: query @ units.T, units[rows], options.rounds)
        elif options.measure == "hnsw":
            made.hnsw.efSearch = value
            found = rates(lambda query: made.search(query, K + 1), units[rows], options.rounds)
            near = made.search(units[rows], K + 1)[1].tolist()
            pairs = zip(rows.tolist(), near, strict=True)
            near = [[other for other in line if other != row][:K] for row, line in pairs]
        else:
            if value is not None:
                made.probes = value
            # A vector of a track finds the track too, so one more is asked for.
            found = rates(
                lambda query: made.of_vectors(query, K + 1), vectors[rows], options.rounds
            )
            near = made.of_tracks(K, rows).rows.tolist()
        if options.measure == "exact":
            np.save(options.exact, near)
        if options.measure != "product":
            pairs = zip(np.load(options.exact).tolist(), near, strict=True)
            found["recall"] = np.mean(
                [len({*one} & {*map(int, other)}) / K for one, other in pairs]
            )
        print(json.dumps({**figures, **found, "name": name}))


def main():
    """Measure in processes, print one table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tracks", type=int, default=100_000)
    parser.add_argument("--dim", type=int, default=128)
    parser.add_argument("--queries", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--measure", help=argparse.SUPPRESS)
    parser.add_argument("--noise", type=float, help=argparse.SUPPRESS)
    parser.add_argument("--exact", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        measure(options)
        return
    rows = []
    names = {"exact": "exact search", "faiss": "--index faiss", "hnsw": "HNSW of FAISS, bare",
             "product": "matrix product, bare"}  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        for noise in NOISES:
            for kind, name in names.items():
                words = [sys.executable, __file__, "--measure", kind, "--noise", str(noise)]
                words += ["--exact", f"{folder}/exact.npy"]
                for option in ("tracks", "dim", "queries", "rounds"):
                    words += [f"--{option}", str(getattr(options, option))]
                done = subprocess.run(words, stdout=subprocess.PIPE, check=True, text=True)
                for line in done.stdout.splitlines():
                    found = json.loads(line)
                    rows.append([
                        f"noise {noise}, {name}" + (found["name"] and f", {found['name']}"),
                        f"{found['recall']:.4f}" if "recall" in found else "",
                        f"{found['single']:,.0f}", f"{found['batch']:,.0f}",
                        f"{found['build']:.1f}", f"{found['peak']:.0f}", f"{found['left']:.0f}",
                    ])  # fmt: skip
    print_table(
        f"{options.tracks:,} vectors of {options.dim}, {len(os.sched_getaffinity(0))} cores; "
        f"queries/s one by one and {options.queries:,} at once, median of {options.rounds} rounds",
        ["search", f"recall@{K}", "one by one", "at once", "made in, s", "peak, MB", "left, MB"],
        rows,
    )


if __name__ == "__main__":
    main()
