"""How near tracks of a kind lie: models that know nothing beside three that were pre-trained.

python benchmarks/triplets.py [--seed 0] [--only NAME …]

Prints, for the triplets of demo (artists of the demo's playlists) and of demo-eval (artists that
are in none), the accuracy with its 95 % interval, the mean difference of the distances, raw and
centred, and the difference to random weights with McNemar's p, for random weights, the mean of the
mel, SimCLR, Artist CO and Playlist CO, trained by the preset of the demo. Runs that are finished
are not repeated; --only takes some of these pairings, so as not to train the others.
"""

import argparse

from _table import print_table

PAIRINGS = {"simclr": "SimCLR", "artist_co": "Artist CO", "playlist_co": "Playlist CO"}


def main():
    """Train what is not trained yet, judge all, and print a table for each set of triplets."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--only", nargs="+", choices=PAIRINGS, default=list(PAIRINGS), help="pairings [all]"
    )
    parser.add_argument("--seed", type=int, default=0, help="of the runs and of random weights")
    options = parser.parse_args()

    from playlist_pretrain.demo import DEMO_COLLECTION
    from playlist_pretrain.retrieval.similarity import similarity
    from playlist_pretrain.training.pretrain import pretrain
    from playlist_pretrain.training.recipes import FINETUNE_PRESETS

    # The default runs of the demo are those that the script makes, others those of demo_proof.py.
    seed = options.seed
    runs = {
        name: pretrain(
            name,
            collection=DEMO_COLLECTION,
            seed=seed,
            out=f"runs/demo-{name}-vggish-{seed}" if seed else None,
        )
        for name in PAIRINGS
        if name in options.only
    }
    labels = ["random weights", "mean of the mel", *(PAIRINGS[name] for name in runs)]
    models = ["scratch", "mean-of-mel", *(str(run.saved_model) for run in runs.values())]
    for name in (DEMO_COLLECTION.name, f"{DEMO_COLLECTION.name}-eval"):
        outcome = similarity(
            models,
            collection=DEMO_COLLECTION.with_name(name),
            width=FINETUNE_PRESETS["demo"]["width"],
            seed=seed,
        )
        rows = []
        for number, (label, judged) in enumerate(zip(labels, outcome.models, strict=True)):
            result = judged.result
            row = [
                label,
                f"{result.accuracy:.3f} [{result.interval[0]:.3f}, {result.interval[1]:.3f}]",
                f"{result.difference:.4f}",
                f"{result.centred_difference:.4f}",
                "",
            ]
            if number:
                apart = outcome.against_first[number - 1]
                row[-1] = f"{apart.difference:+.3f} (p = {apart.p_value:.1g})"
            rows.append(row)
        header = ("", "accuracy [95 %]", "difference", "centred", "less random weights")
        print_table(f"{name}, {len(outcome.used)} triplets, run seed {seed}", header, rows)


if __name__ == "__main__":
    main()
