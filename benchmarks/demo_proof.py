"""Does it learn? The demo run with every pairing, beside one on shuffled pairs.

python benchmarks/demo_proof.py [--seed 0]

Prints, for every pairing and for playlist pairs whose positives are dealt out at random: the
final loss against chance, and the accuracy on the triplets of
demo-eval (artists that are in no demo playlist) with its 95 % interval, beside the mean of the mel
and random weights. Losses of different pairings do not compare. Runs that are finished are not
repeated.
"""

import argparse
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from _table import print_table

RUNS = Path("runs")


class ShuffledPairs:
    """The anchors of ``playlist_co`` with its positives dealt out at random, anew each epoch."""

    name = "shuffled"
    y = "window"

    def __init__(self, material, seed: int):
        from playlist_pretrain.pairs import PAIRINGS

        self._pairing = PAIRINGS.get("playlist_co")(material, seed)
        self._seed = seed
        self.expected_pairs = self._pairing.expected_pairs

    def count(self, epoch: int) -> int:
        return self._pairing.count(epoch)

    def epoch(self, epoch: int) -> Iterator[np.ndarray]:
        pairs = np.concatenate(list(self._pairing.epoch(epoch)))
        order = np.random.default_rng((self._seed, epoch)).permutation(len(pairs))
        yield np.stack([pairs[:, 0], pairs[order, 1]], axis=1)


def main():
    """Train what is not trained yet, judge, and print one table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seed", type=int, default=0, help="seed of the runs")
    seed = parser.parse_args().seed

    from playlist_pretrain.demo import DEMO_COLLECTION, ready_demo
    from playlist_pretrain.evaluation.triplets import triplet_accuracy
    from playlist_pretrain.models.load import load_backbone
    from playlist_pretrain.models.track_outputs import mean_of_mel, track_means
    from playlist_pretrain.pairs import PAIRINGS
    from playlist_pretrain.records.collection import Collection
    from playlist_pretrain.tasks.triplets import read_triplets
    from playlist_pretrain.training.pretrain import build_model, pretrain
    from playlist_pretrain.training.pretrain_data import settle
    from playlist_pretrain.training.recipes import PretrainRecipe

    PAIRINGS.register("shuffled", ShuffledPairs)
    # The default runs of the demo are those that the script makes.
    runs = {
        pairs: pretrain(
            pairs,
            collection=ready_demo(),
            seed=seed,
            out=RUNS / f"demo-{pairs}-vggish-{seed}" if seed or pairs == "shuffled" else None,
        )
        for pairs in PAIRINGS
    }

    eval_path = DEMO_COLLECTION.with_name(DEMO_COLLECTION.name + "-eval")
    collection = Collection.open(eval_path)
    table = read_triplets(eval_path / "triplets.csv")
    triplets = collection.rows(clip.track_id for clip in table.clips)[table.rows]

    def embed(backbone) -> np.ndarray:
        return track_means(backbone, collection)

    def triplet_text(embeddings: np.ndarray) -> str:
        result = triplet_accuracy(embeddings, triplets)
        return f"{result.accuracy:.3f} [{result.interval[0]:.3f}, {result.interval[1]:.3f}]"

    recipe, data = settle(PretrainRecipe(collection=str(DEMO_COLLECTION), seed=seed))
    random_weights = build_model(recipe, data).backbone
    rows = [
        ("mean of the mel", "", "", triplet_text(mean_of_mel(collection))),
        ("random weights", "", "", triplet_text(embed(random_weights))),
    ]
    for pairs, run in runs.items():
        summary = run.summary
        backbone = load_backbone(run.saved_model).model
        rows.append(
            (
                pairs,
                f"{summary['loss']:.3f} / {summary['chance_loss']:.3f}",
                f"{summary['mean_cosine']:.3f}",
                triplet_text(embed(backbone)),
            )
        )
    print_table(
        f"Demo world, run seed {seed}",
        (
            "",
            "loss / chance",
            "mean cosine",
            "triplets [95 %]",
        ),
        rows,
    )


if __name__ == "__main__":
    main()
