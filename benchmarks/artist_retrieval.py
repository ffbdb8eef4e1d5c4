"""Are tracks of an artist found that no training has seen? Before and after pre-training on others.

python benchmarks/artist_retrieval.py [--data ../shared/data/pop909] [--folds 3] [--seed 0]

Builds a collection of real songs by 24 artists (music-x-lab/POP909-Dataset, rendered with one
piano timbre) and, for each fold, pre-trains with ``artist_co`` on all artists but those of the
fold, whose tracks ``--exclude`` names. The tracks left out are then searched among themselves, and
so are those of the training, which show whether it learned anything at all.
Queries of all folds count together; their intervals resample artists. What is built and trained
is kept in ``--work`` and not made again.
"""

import argparse
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
from _table import print_table

ROOT = Path(__file__).resolve().parents[1]
KS = (1, 5)


def script(name, *words):
    """Run one of the commands."""
    subprocess.run([sys.executable, ROOT / "scripts" / name, *map(str, words)], check=True)


def artist_mates(embedder, collection, groups):
    """The tracks of some artists, searched among each other."""
    from playlist_pretrain.evaluation.neighbours import mates_among, nearest
    from playlist_pretrain.models.track_outputs import track_means
    from playlist_pretrain.playlists.groups import TrackGroups

    rows = np.sort(np.concatenate(groups))
    vectors = track_means(embedder.model, collection, rows=rows)
    there = TrackGroups.from_lists(
        "artists",
        [np.searchsorted(rows, group) for group in groups],
        tracks=len(rows),
        collection_key=collection.content_key,
    )
    return mates_among(nearest(vectors, k=max(KS)), there)


def main():
    """Build, train, judge, print one table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data" / "pop909")
    parser.add_argument("--work", type=Path, default=Path("runs") / "artist-retrieval")
    parser.add_argument("--folds", type=int, default=3)
    parser.add_argument("--batch", type=int, default=24, help="pairs a step; 48 are an epoch")
    parser.add_argument("--epochs", type=int, default=1500, help="of each training")
    parser.add_argument("--seed", type=int, default=0, help="of the folds and of the weights")
    options = parser.parse_args()
    if not options.data.is_dir():
        print(f"nothing is measured: no folder {options.data}; give --data")
        return
    from playlist_pretrain.evaluation.neighbours import Mates, retrieval
    from playlist_pretrain.models.load import MEAN_OF_MEL, Untrained, load_embedder
    from playlist_pretrain.playlists.groups import load_groups
    from playlist_pretrain.records.collection import Collection
    from playlist_pretrain.runs import Run

    table, path = options.data / "tracks.csv", options.work / "collection"
    if not path.exists():
        script("make_tfrecords.py", "--audio", options.data, "--tracks", table, "--out", path)
        columns = "group=artist,track=track_id"
        script("match_playlists.py", "--playlists", table, "--collection", path,
               "--name", "artists", "--columns", columns)  # fmt: skip
    collection = Collection.open(path)
    artists = load_groups(collection, "artists")
    order = np.random.default_rng(options.seed).permutation(len(artists))
    untrained = Untrained(
        collection.front_end,
        collection.band_mean,
        collection.band_std,
        width=0.25,
        seed=options.seed,
    )
    judged, losses = {}, []
    for fold, left_out in enumerate(np.array_split(order, options.folds)):
        trained = np.setdiff1d(order, left_out)
        rows = np.sort(np.concatenate([artists.group(artist) for artist in left_out]))
        exclude = options.work / f"left-out-{options.seed}-{fold}.txt"
        exclude.write_text("".join(f"{collection.track_ids[row]}\n" for row in rows))
        out = options.work / f"run-{options.seed}-{fold}-{options.batch}-{options.epochs}"
        script("pretrain.py", "--pairs", "artist_co", "--collection", path, "--preset", "demo",
               "--exclude", exclude, "--seed", options.seed, "--out", out,
               "--batch", options.batch, "--epochs", options.epochs)  # fmt: skip
        losses.append(Run(out).summary)
        models = {
            "mean of the mel": MEAN_OF_MEL,
            "random weights": "scratch",
            "artist_co": str(out / "saved_model"),
        }
        for label, name in models.items():
            embedder = load_embedder(name, untrained)
            for whose, some in {"left out": left_out, "trained on": trained}.items():
                mates = artist_mates(embedder, collection, [artists.group(a) for a in some])
                mates = replace(mates, groups=[some[group] for group in mates.groups])
                judged.setdefault((whose, label), []).append(mates)
    lines = []
    for (whose, label), parts in sorted(judged.items(), key=lambda item: item[0][0]):
        mates = Mates(
            np.concatenate([part.found for part in parts]),
            np.concatenate([part.there for part in parts]),
            [some for part in parts for some in part.groups],
        )
        result = retrieval(mates, KS)
        names = [f"{what}@{k}" for what in ("recall", "map") for k in KS]
        means = [*result.recall.values(), *result.average_precision.values()]
        spans = [result.intervals[name] for name in names]
        cells = [f"{m:.3f} [{a:.3f}, {b:.3f}]" for m, (a, b) in zip(means, spans, strict=True)]
        lines.append((f"{whose}: {label}", result.queries, *cells))
    print_table(
        f"Tracks of the same artist among the nearest, {options.folds} folds: artists that were "
        "left out of training, searched among each other, and those that it was on",
        ("", "queries", *names),
        lines,
    )
    for fold, summary in enumerate(losses):
        print(f"fold {fold}: loss {summary['loss']:.3f}, by chance {summary['chance_loss']:.3f}")


if __name__ == "__main__":
    main()
