"""Pairings at the size of the paper: time, memory, growth, and pairs an epoch.

python benchmarks/pairs.py [--shares 0.01 0.1 1] [--skip-peer] [--keep FOLDER]

Every step runs in a process of its own, so that its peak memory is its own. Peers are what a user
has today: sparse_dot_topn for the table of co-occurrences, and a plain loop in Python for an epoch.
"""

import argparse
import json
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from _playlists import PAPER_PAIRS, make_groups
from _table import print_table

BATCH = 384
W2V_SHARE = 0.02
W2V_EPOCHS = 20
WHY_THEY_DIFFER = """\
The averages are the paper's; how tracks spread around them is not known. artist_co loses half a
pair for each artist with an odd number of tracks. playlist_co leaves over the tracks for which no
second one of any of their playlists is free. playlist_tco depends most on how popular the popular
are: they are among the ten of very many, are soon taken, and leave those without a partner."""
STEPS = (
    "open", "playlist_co", "artist_co", "simclr", "tco table", "sp_matmul_topn", "playlist_tco",
    "loop in Python", "Word2Vec",
)  # fmt: skip


def peak_memory():
    """Peak of this process in GB; getrusage would count what its parent held when it forked."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) / 1e6


def load(folder, name="playlists"):
    from playlist_pretrain.playlists.groups import TrackGroups

    return TrackGroups.load(folder / f"groups-{name}.npz")


def timed_epoch(make):
    """Seconds of an epoch, of its first block, and its pairs; the kernels are compiled before."""
    from playlist_pretrain.pairs import Material
    from playlist_pretrain.playlists.groups import TrackGroups

    tiny = TrackGroups.from_lists("tiny", [[0, 1, 2], [1, 2]], tracks=3, collection_key="k")
    list(make(Material.of(tiny)).epoch(0))
    pairing = make(None)
    started = time.perf_counter()
    first = pairs = 0
    for block in pairing.epoch(0):
        first = first or time.perf_counter() - started
        pairs += len(block)
    return {"seconds": time.perf_counter() - started, "first": first, "pairs": pairs}


def step_open(folder):
    load(folder, "artists")  # compiles what checks the groups
    started = time.perf_counter()
    groups = load(folder)
    seconds = time.perf_counter() - started
    squares = int(np.square(groups.lengths).sum())
    return {
        "seconds": seconds, "entries": len(groups.rows), "squares": squares,
        "playlists": len(groups), "tracks": groups.tracks, "covered": int(groups.covered.sum()),
    }  # fmt: skip


def step_epoch(folder, name, groups_name="playlists"):
    from playlist_pretrain.pairs import PAIRINGS, Material

    factory = PAIRINGS.get(name)
    groups = load(folder, groups_name)
    whole = Material(groups, np.ones(groups.tracks, bool), folder=folder)
    return timed_epoch(lambda tiny: factory(tiny or whole, 0))


def step_table(folder):
    from playlist_pretrain.playlists.top_table import save_table, table_path, top_table

    groups = load(folder)
    top_table(groups.select(np.arange(len(groups)) < 2), threads=1)  # compiles
    started = time.perf_counter()
    table = top_table(groups)
    seconds = time.perf_counter() - started
    save_table(table, table_path(groups, folder))
    return {"seconds": seconds, "sum": int(table.counts.sum())}


def step_peer(folder):
    from scipy.sparse import csr_matrix
    from sparse_dot_topn import sp_matmul_topn

    groups = load(folder)
    ones = np.ones(len(groups.rows), np.int32)
    by_group = csr_matrix((ones, groups.rows, groups.indptr), (len(groups), groups.tracks))
    by_track = by_group.T.tocsr()
    started = time.perf_counter()
    found = sp_matmul_topn(by_track, by_group, top_n=11, sort=True, n_threads=2)
    seconds = time.perf_counter() - started
    # The largest of a row is the track with itself.
    return {"seconds": seconds, "sum": int(found.data.sum() - found.max(axis=1).sum())}


def step_loop(folder):
    groups = load(folder)
    playlists = [groups.group(i).tolist() for i in range(len(groups))]
    started = time.perf_counter()
    generator = random.Random(0)
    free = set(range(groups.tracks))
    pairs = []
    generator.shuffle(playlists)
    for playlist in playlists:
        left = [track for track in playlist if track in free]
        generator.shuffle(left)
        for i in range(0, len(left) - 1, 2):
            pairs.append((left[i], left[i + 1]))
            free -= {left[i], left[i + 1]}
    return {"seconds": time.perf_counter() - started, "pairs": len(pairs)}


def step_word2vec(folder):
    from playlist_pretrain.playlists.settings import TableSettings
    from playlist_pretrain.playlists.word2vec import train

    groups = load(folder)
    chosen = groups.select(np.arange(len(groups)) < max(2, W2V_SHARE * len(groups)))
    settings = TableSettings(w2v_workers=2)
    started = time.perf_counter()
    model = train(chosen, settings, epochs=1)
    seconds = time.perf_counter() - started
    squares = np.square(groups.lengths).sum() / np.square(chosen.lengths).sum()
    words = len(chosen.rows)
    return {
        "seconds": seconds, "words_a_second": words / model.total_train_time,
        "words": words, "squares": float(squares),
    }  # fmt: skip


STEP_OF = {
    "open": step_open,
    "playlist_co": lambda folder: step_epoch(folder, "playlist_co"),
    "artist_co": lambda folder: step_epoch(folder, "artist_co", "artists"),
    "simclr": lambda folder: step_epoch(folder, "simclr"),
    "tco table": step_table,
    "sp_matmul_topn": step_peer,
    "playlist_tco": lambda folder: step_epoch(folder, "playlist_tco"),
    "loop in Python": step_loop,
    "Word2Vec": step_word2vec,
}


def run_step(step, folder):
    """Result of one step in a process of its own, with its peak memory in GB."""
    done = subprocess.run(
        [sys.executable, __file__, "--step", step, "--keep", str(folder)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode:
        raise SystemExit(f"{step}: {done.stderr[-2000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def measure(share, folder, skip_peer):
    """All steps at one size."""
    started = time.perf_counter()
    if not (folder / "groups-playlists.npz").exists():
        make_groups(share, folder)
        print(f"share {share}: made in {time.perf_counter() - started:.0f} s", flush=True)
    results = {}
    for step in STEPS:
        if (step == "sp_matmul_topn" and skip_peer) or (step == "loop in Python" and share > 0.01):
            continue
        results[step] = run_step(step, folder)
        print(f"  {step}: {results[step]}", file=sys.stderr, flush=True)
    return results


def print_sizes(results, share):
    """Times, memory and growth at one size."""
    entries = results["open"]["entries"]
    rows = []
    for step, result in results.items():
        first = f"{result['first']:.2f}" if "first" in result else ""
        each = result["seconds"] / entries * 1e6
        rows.append(
            (step, f"{result['seconds']:.2f}", first, f"{each:.3f}", f"{result['peak']:.2f}")
        )
    about = results["open"]
    print_table(
        f"share {share} of the paper's size: {about['playlists']:,} playlists, {entries:,} "
        f"entries, {about['tracks']:,} tracks",
        ("", "seconds", "first pairs", "s / million entries", "peak GB"),
        rows,
    )
    if "sp_matmul_topn" in results:
        ours, peer = results["tco table"], results["sp_matmul_topn"]
        equal = "equal" if ours["sum"] == peer["sum"] else "DIFFERENT"
        print(
            f"tco table takes {ours['seconds'] / peer['seconds']:.2f} times sp_matmul_topn alone; "
            f"sums of counts {equal}"
        )
    words = results["Word2Vec"]
    whole = words["words"] / words["words_a_second"] * words["squares"] * W2V_EPOCHS
    print(
        f"Word2Vec on {W2V_SHARE:.0%} of the playlists: {words['words_a_second']:,.0f} words/s "
        f"with 2 workers; all of them, {W2V_EPOCHS} epochs, by the sum of squared lengths: "
        f"{whole / 3600:.1f} h"
    )


def print_pairs(results, share):
    """Pairs an epoch beside the paper's."""
    covered = results["open"]["covered"]
    rows = []
    for name, paper in PAPER_PAIRS.items():
        # simclr and playlist_w2v have all tracks, and those in a playlist; no table is needed.
        pairs = results[name]["pairs"] if name in results else covered
        pairs = pairs // BATCH * BATCH
        wanted = paper * share
        rows.append((name, f"{pairs:,}", f"{wanted:,.0f}", f"{pairs / wanted:.3f}"))
    print_table(
        f"pairs an epoch, whole batches of {BATCH}, share {share}",
        ("", "here", "Table 1 · share", "ratio"),
        rows,
    )
    print(WHY_THEY_DIFFER)


def main():
    """Measure at every size and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--shares", type=float, nargs="+", default=[0.01, 0.1, 1.0])
    parser.add_argument("--skip-peer", action="store_true", help="without sparse_dot_topn")
    parser.add_argument("--keep", type=Path, help="folder for the playlists, kept afterwards")
    parser.add_argument("--step", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.step:
        result = STEP_OF[options.step](options.keep)
        print(json.dumps({**result, "peak": peak_memory()}))
        return
    growth = {}
    with tempfile.TemporaryDirectory() as temporary:
        for share in options.shares:
            folder = (options.keep or Path(temporary)) / f"share-{share}"
            folder.mkdir(parents=True, exist_ok=True)
            results = measure(share, folder, options.skip_peer)
            print_sizes(results, share)
            print_pairs(results, share)
            entries = results["open"]["entries"]
            growth[share] = {name: r["seconds"] / entries * 1e9 for name, r in results.items()}
    names = [name for name in STEPS if all(name in found for found in growth.values())]
    print_table(
        "nanoseconds an entry: what does not grow along a line grows as the entries do, or slower",
        ("", *(f"share {share}" for share in growth)),
        [(name, *(f"{found[name]:,.1f}" for found in growth.values())) for name in names],
    )


if __name__ == "__main__":
    main()
