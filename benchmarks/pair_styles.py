"""What a pairing's pairs have in common in synthetic worlds: a style, an artist.

python benchmarks/pair_styles.py [--worlds tfrecords/worlds] [--epochs 20] [--seed 0]

Worlds are folders of ``--worlds``, each with a collection ``demo``, as ``make demo-tables`` makes
them; tags and triplets of a world follow its styles. Prints one table, means over the worlds with
the smallest and the largest; ``--collection DIR`` is for one collection, the demo by default.
"""

import argparse
import csv
from pathlib import Path

import numpy as np
from _table import print_table

PAIRINGS = ("artist_co", "playlist_co", "playlist_tco", "playlist_w2v")
COLUMNS = ("of one style", "of one artist", "tracks", "different pairs")


def figures(collection, pairing, epochs, seed):
    """Shares of pairs of one style and of one artist; different tracks and pairs."""
    from playlist_pretrain.training.pretrain_data import settle
    from playlist_pretrain.training.recipes import PretrainRecipe

    _, data = settle(
        PretrainRecipe(collection=str(collection), pairs=pairing, preset="demo", seed=seed)
    )
    with open(Path(collection) / "tracks.csv", encoding="utf-8", newline="") as stream:
        about = {row["track_id"]: (row["style"], row["artist"]) for row in csv.DictReader(stream)}
    labels = np.array([about[track_id] for track_id in data.collection.track_ids])
    blocks = [block for epoch in range(epochs) for block in data.stream.pairings[0].epoch(epoch)]
    pairs = np.concatenate(blocks)
    same = (labels[pairs[:, 0]] == labels[pairs[:, 1]]).mean(axis=0)
    return (*same, len(np.unique(pairs)), len(np.unique(pairs, axis=0)))


def main():
    """Make pairs, look at them, print one table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--worlds", type=Path, help="folder of worlds")
    parser.add_argument("--collection", type=Path, help="one collection [the demo]")
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0, help="of the pairs")
    options = parser.parse_args()
    if options.worlds:
        collections = sorted(path.parent for path in options.worlds.glob("*/demo/collection.json"))
        if not collections:
            print(f"nothing is measured: no */demo in {options.worlds}; make demo-tables makes it")
            return
    else:
        from playlist_pretrain.demo import ready_demo

        collections = [options.collection or ready_demo()]
    rows = []
    for pairing in PAIRINGS:
        found = np.array([figures(c, pairing, options.epochs, options.seed) for c in collections])
        cells = []
        for column, digits in zip(found.T, (3, 3, 0, 0), strict=True):
            text = f"{column.mean():,.{digits}f}"
            if len(column) > 1:
                text += f" [{column.min():,.{digits}f}, {column.max():,.{digits}f}]"
            cells.append(text)
        rows.append((pairing, *cells))
    print_table(
        f"pairs of {options.epochs} epochs in {len(collections)} synthetic world(s): mean "
        "[smallest, largest]",
        ("", *COLUMNS),
        rows,
    )


if __name__ == "__main__":
    main()
