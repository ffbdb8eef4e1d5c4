"""What a run comes to: the export and its proof, the figures, and what to say about them."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from playlist_pretrain.errors import ModelError, RunError
from playlist_pretrain.messages import command
from playlist_pretrain.runs import Run
from playlist_pretrain.training.recipes import PretrainRecipe

if TYPE_CHECKING:
    import tensorflow as tf

    from playlist_pretrain.training.pretrain_data import Data
    from playlist_pretrain.training.probe import ProbeResult

PARITY_WINDOWS = 8
PARITY_TOLERANCE = 1e-4
COLLAPSED_COSINE = 0.999
AT_CHANCE = 0.99
"""A final loss above this share of the loss at chance has not learned anything worth having."""
FEW_STEPS = 100
"""Nobody expects fewer to leave chance, where playlist pairs stay for hundreds of steps."""


def conclude(
    model: tf.keras.Model,
    recipe: PretrainRecipe,
    data: Data,
    run: Run,
    probe_result: ProbeResult | None,
) -> dict[str, Any]:
    """Export the backbone, prove it by reloading, draw the curves, and sum up."""
    from playlist_pretrain.models.layers import plain_float32
    from playlist_pretrain.models.saved_model import save_backbone
    from playlist_pretrain.training.callbacks import read_history
    from playlist_pretrain.training.figures import draw_curves
    from playlist_pretrain.training.probe import mean_cosine

    history = read_history(run.history)
    if not history:
        raise RunError(f"{run.history}: missing, though all is trained; --overwrite starts over")
    backbone = plain_float32(model.backbone)
    about = {"recipe": dataclasses.asdict(recipe), "collection": data.collection.name}
    save_backbone(backbone, data.collection.front_end, run.saved_model, about)
    rows = data.stream.rows_of(0)[:, 0]
    rows = np.resize(rows, PARITY_WINDOWS)
    windows = data.reader.read(rows, np.zeros(PARITY_WINDOWS, np.int32))
    difference, embeddings = check_export(backbone, run.saved_model, windows)
    tail = history[-max(1, len(history) // 10) :]
    loss = float(np.mean([float(row["loss"]) for row in tail]))
    probe_chance = probe_result.chance(1) if probe_result else float("nan")
    draw_curves(history, run.figures / "curves.png", data.chance, probe_chance)
    summary: dict[str, Any] = {
        "steps": recipe.epochs * data.stream.steps_per_epoch,
        "skipped_steps": sum(int(float(row["skipped_steps"])) for row in history),
        "loss": loss,
        "chance_loss": data.chance,
        "mean_cosine": probe_result.mean_cosine if probe_result else mean_cosine(embeddings),
        "export_difference": difference,
        "probe": None,
    }
    if probe_result:
        summary["probe"] = {
            "batch": data.probe_pairs.batch,
            "pairs": data.probe_pairs.pairs,
            **{
                f"top{k}": {
                    "share": probe_result.top(k),
                    "chance": probe_result.chance(k),
                    "p_value": probe_result.p_value(k),
                }
                for k in (1, 10)
            },
        }
    return summary


def check_export(
    backbone: tf.keras.Model, saved_model: Path, windows: np.ndarray
) -> tuple[float, np.ndarray]:
    """Largest difference between a backbone and its reloaded export, and the embeddings.

    Raises
    ------
    ModelError
        If it is above 1e-4 of the embeddings' standard deviation.
    """
    from playlist_pretrain.models.load import load_backbone

    before = backbone(windows, training=False).numpy()
    after = load_backbone(saved_model).model(windows, training=False).numpy()
    difference = float(np.abs(before - after).max())
    if difference > PARITY_TOLERANCE * max(float(before.std()), 1e-6):
        raise ModelError(
            f"{saved_model}: the export differs from the trained model by {difference:.3g} "
            f"(embeddings have a standard deviation of {before.std():.3g})"
        )
    return difference, before


def warnings_of(summary: dict[str, Any]) -> Sequence[str]:
    """What a user must hear about a run that did not learn."""
    found = []
    if summary["mean_cosine"] > COLLAPSED_COSINE:
        found.append(
            f"the embeddings have collapsed (mean cosine {summary['mean_cosine']:.5f}): try a "
            "lower --learning-rate, a longer --warmup-steps, or --temperature 0.1"
        )
    if _at_chance(summary) and summary["steps"] >= FEW_STEPS:
        found.append(
            f"the loss is still at chance ({summary['loss']:.4f} of {summary['chance_loss']:.4f}):"
            " try more --epochs (playlist pairs often stay there for hundreds of steps), another"
            " --learning-rate, or look at the groups (do their tracks sound alike?)"
        )
    return found


def _at_chance(summary: dict[str, Any]) -> bool:
    return summary["loss"] > AT_CHANCE * summary["chance_loss"]


def report(
    summary: dict[str, Any], run: Run, recipe: PretrainRecipe, say: Callable[[str], None]
) -> None:
    """Print what a run came to, warnings even when quiet, and the next command."""
    say(f"loss {summary['loss']:.4f} (chance {summary['chance_loss']:.4f})")
    if summary["skipped_steps"]:
        say(f"{summary['skipped_steps']} steps were skipped, their gradient overflowed float16")
    if summary["probe"]:
        for k in (1, 10):
            top = summary["probe"][f"top{k}"]
            if top["chance"] == 1:
                continue
            say(
                f"held-out retrieval top-{k} {top['share']:.3f} (chance {top['chance']:.3f}, "
                f"p = {top['p_value']:.4f}) among {summary['probe']['batch']}, "
                f"{summary['probe']['pairs']} pairs"
            )
    say(f"export reloaded, largest difference {summary['export_difference']:.1e}")
    if _at_chance(summary) and summary["steps"] < FEW_STEPS:
        say(
            f"the loss is at chance, as expected: {summary['steps']} steps try the command, and "
            "teach a model nothing"
        )
    for warning in warnings_of(summary):
        print(f"WARNING: {warning}", flush=True)
    say(f"model: {run.saved_model}; curves: {run.figures / 'curves.png'}")
    words = ["--model", str(run.saved_model), "--collection", str(recipe.collection)]
    say("next: " + command("embed", *words, "--out", f"{run.path.resolve().name}.parquet"))
