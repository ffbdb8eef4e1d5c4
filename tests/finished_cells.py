"""Folders of finished cells, written by the program's own writers from made-up numbers."""

import csv
import json

import numpy as np

from playlist_pretrain.evaluation.scores import save_scores
from playlist_pretrain.evaluation.tagging import tagging_metrics, write_per_tag_table
from playlist_pretrain.evaluation.triplets import triplet_accuracy
from playlist_pretrain.experiments.cells import cells_of
from playlist_pretrain.records.collection import Collection
from playlist_pretrain.retrieval.similarity import Judged, Outcome
from playlist_pretrain.tasks.triplets import read_triplets

COUNTS = {"tracks": 48, "pairs_per_epoch": 24.0, "batch": 6, "steps_per_epoch": 4, "epochs": 6,
          "steps": 24}  # fmt: skip
ENVIRONMENT = {
    "playlist_pretrain": "0.0.test", "python": "3.11.test", "platform": "an <i>abacus</i>",
    "packages": {"tensorflow": "2.15.test", "essentia-tensorflow": None},
    "devices": [{"type": "CPU"}, {"type": "GPU", "device_name": "Pocket"}],
}  # fmt: skip
DIM = 6


def leave_all(plan, state, *, classes=("a", "b"), without=()):
    """Finish all cells of a plan of one collection but those ``without``."""
    for cell in cells_of(plan):
        if cell.id in without:
            continue
        folder = state.folder(cell)
        folder.mkdir(parents=True)
        if cell.row is None:
            state.finish(cell, 12.0, resumed=False, counts={})
            continue
        better = 2.0 * (cell.row.start == "playlist_co")
        rng = np.random.default_rng([len(cell.id), cell.seed])
        if cell.kind == "triplets":
            _triplets(cell, folder, better, rng)
        else:
            recipe = {**cell.spec["options"], "learning_rate": 1e-4 * (1 + better)}
            _json(folder / "recipe.json", {"version": "0.0.test", "recipe": recipe, "inputs": {}})
            _json(folder / "environment.json", ENVIRONMENT)
        if cell.kind == "pretrain":
            _json(folder / "summary.json", {"steps": 24})
            rows = [{"epoch": e, "step": 4 * e, "loss": 3 / e - 0.1 * better} for e in range(1, 7)]
            rows[-1] |= {"probe_top1": 0.25 + 0.1 * better, "probe_top10": 0.75,
                         "probe_chance1": 0.125, "probe_chance10": 0.5}  # fmt: skip
            _history(folder, rows)
        if cell.kind == "tags":
            _tags(folder, plan.finetune.runs, classes, better, rng, cell.seed)
        state.finish(cell, 12.0, resumed=False, counts=COUNTS if cell.kind == "pretrain" else {})
    return state


def _json(path, content):
    path.write_text(json.dumps(content))


def _history(folder, rows):
    folder.mkdir(exist_ok=True)
    names = ["epoch", "step", "loss", "probe_top1", "probe_top10", "probe_chance1",
             "probe_chance10", "validation_average_precision"]  # fmt: skip
    with open(folder / "history.csv", "w", newline="") as stream:
        table = csv.DictWriter(stream, names, lineterminator="\n", restval="")
        table.writeheader()
        table.writerows(rows)


def _tags(folder, count, classes, better, rng, seed):
    results, runs = [], []
    same = np.random.default_rng(seed)  # for all models, so that they are tested on the same tracks
    targets = same.permuted(np.arange(20)[:, np.newaxis] % 3 == np.arange(len(classes)) % 3, axis=0)
    for number in range(1, count + 1):
        scores = targets * (0.3 + better) + rng.random(targets.shape)
        rows = [{"epoch": e, "step": e, "loss": 1 / e, "validation_average_precision": 0.1 * e}
                for e in range(1, 4)]  # fmt: skip
        _history(folder / f"run-{number}", rows)
        ids = [f"t{k:02d}" for k in range(20)]
        save_scores(folder / f"run-{number}" / "scores.npz", ids, targets, scores, classes)
        results.append(tagging_metrics(targets, scores, classes))
        found = results[-1]
        runs.append({"roc_auc": found.macro_roc_auc,
                     "average_precision": found.macro_average_precision})  # fmt: skip
    write_per_tag_table(folder / "per_tag.csv", results)
    _json(folder / "summary.json", {"runs": runs})


def _triplets(cell, folder, better, rng):
    collection = cell.spec["options"]["collection"]
    triplets = read_triplets(f"{collection}/triplets.csv")
    vectors = rng.normal(size=(len(triplets.clips), DIM)).astype(np.float32)
    vectors[:, 0] += better * np.array([int(clip.track_id[1:]) % 2 for clip in triplets.clips])
    result = triplet_accuracy(vectors, triplets.rows)
    judged = Judged("a model", "a/saved_model", "key", "vggish", 16, 0, result,
                    vectors[triplets.named])  # fmt: skip
    key = Collection.open(collection).content_key
    source = {"kind": "collection", "path": collection, "key": key, "name": "tiny", "cut": False}
    outcome = Outcome(triplets, triplets, source, None, "repeat", 0, [judged])
    outcome.write(folder)
    outcome.write_embeddings(folder)
