"""How hard the worlds are: plain means of the mel fail where the latents succeed."""

import csv

import numpy as np
import pytest

from playlist_pretrain.demo.world import make_world


def mean_of_mel_accuracies(means, mean, std, triplets) -> dict[str, float]:
    """Accuracy of raw and standardised means of the mel [tracks, bands], by distance."""
    found = {}
    for name, vectors in (("raw", means), ("standardised", (means - mean) / std)):
        unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
        for distance, compared in (("cosine", unit), ("euclidean", vectors)):
            anchor, positive, negative = (compared[column] for column in triplets.T)
            near = np.linalg.norm(anchor - positive, axis=1)
            far = np.linalg.norm(anchor - negative, axis=1)
            found[f"{name} {distance}"] = float(np.mean(far > near))
    return found


@pytest.mark.slow
def test_mean_of_mel_does_not_solve_demo_eval_but_the_latents_do(built):
    root, (_, demo_eval) = built
    world = make_world(0)
    with open(root / "demo-eval" / "triplets.csv", newline="", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    triplets = np.array(
        [[demo_eval.row(row[c]) for c in ("anchor", "positive", "negative")] for row in rows]
    )
    means = np.array([demo_eval.mel(row).mean(axis=0, dtype=float) for row in range(120)])
    found = mean_of_mel_accuracies(means, demo_eval.band_mean, demo_eval.band_std, triplets)
    assert max(found.values()) <= 0.65, found
    latents = np.array([world.latents[world.song(i)] for i in demo_eval.track_ids])
    true = mean_of_mel_accuracies(latents, 0.0, 1.0, triplets)
    assert min(true["raw cosine"], true["raw euclidean"]) >= 0.9, true
