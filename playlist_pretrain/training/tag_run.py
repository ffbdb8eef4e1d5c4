"""One run of a fine-tuning: model, fit, best epoch, test, export."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from playlist_pretrain.errors import ModelError
from playlist_pretrain.runs import Run
from playlist_pretrain.training.epochs import fits, reading_errors
from playlist_pretrain.training.strategy import Workers, shared_out

if TYPE_CHECKING:
    import tensorflow as tf

    from playlist_pretrain.evaluation.tagging import TaggingResult
    from playlist_pretrain.models.starting_points import StartingPoint
    from playlist_pretrain.recipes import FinetuneRecipe
    from playlist_pretrain.records.windows import WindowReader
    from playlist_pretrain.tasks.match import SplitRows
    from playlist_pretrain.training.finetune_inputs import TaggingData

VALIDATION_SECONDS = 30.0
"""Validation looks at the centre of each track, the test at all of it (section 3.2)."""
PARITY_WINDOWS = 8
PARITY_TOLERANCE = 1e-4
SCORES = "scores.npz"


@dataclass(frozen=True)
class OneRun:
    """One of the runs.

    Attributes
    ----------
    folder : Run
        Below the folder of all runs.
    number : int
        From 1.
    point : StartingPoint
    seed : int
        Of new weights, the order of the tracks and the window positions.
    """

    folder: Run
    number: int
    point: StartingPoint
    seed: int


def build(recipe: FinetuneRecipe, run: OneRun, data: TaggingData, steps: int) -> tf.keras.Model:
    """Compiled trainer of a run, whose epochs have so many ``steps``."""
    import tensorflow as tf

    from playlist_pretrain.models.layers import precision
    from playlist_pretrain.models.tagger import TaggerTrainer, tagger
    from playlist_pretrain.training.schedules import triangular

    with precision(recipe.precision):
        backbone = run.point.build(run.seed)
        backbone.trainable = not recipe.freeze
        model = TaggerTrainer(
            tagger(
                backbone,
                len(data.task.classes),
                head=recipe.head,
                initializer=recipe.initializer,
                seed=run.seed + 1,
            ),
            recipe.l2,
        )
        schedule = triangular(
            recipe.low_learning_rate, recipe.high_learning_rate, recipe.cycle_epochs * steps
        )
        model.compile(
            optimizer=tf.keras.optimizers.Adam(schedule),
            loss=tf.keras.losses.BinaryCrossentropy(),
            metrics=[tf.keras.metrics.BinaryCrossentropy(name="cross_entropy")],
        )
        # Keras makes the running means at the first step only; a checkpoint needs them before.
        activations = tf.zeros([1, len(data.task.classes)])
        model.compiled_loss.build(activations)
        model.compiled_metrics.build(activations, activations)
    return model


def train_and_test(
    recipe: FinetuneRecipe,
    run: OneRun,
    data: TaggingData,
    workers: Workers,
    strategy: tf.distribute.Strategy,
    *,
    resumes_from: Run,
    quiet: bool,
    say: Callable[[str], None],
) -> None:
    """Go through one run, or through what is missing of it; it ends with its summary."""
    from playlist_pretrain.records.windows import WindowReader
    from playlist_pretrain.tasks.dataset import TaggingStream

    reader = WindowReader(data.collection, run.point.frames, short="repeat")
    stream = TaggingStream(data.task.train, recipe.batch, run.seed)
    with strategy.scope():
        model = build(recipe, run, data, stream.steps_per_epoch)
    best = _fit(
        model, recipe, run, data, reader, stream, workers, resumes_from=resumes_from, quiet=quiet,
        say=say,
    )  # fmt: skip
    best.restore(model.tagger)
    _conclude(model.tagger, best, recipe, run, data, reader, quiet=quiet)


def _fit(model, recipe, run, data, reader, stream, workers, *, resumes_from, quiet, say):
    """Fit to the last epoch or the early stop, from the newest checkpoint if there is one."""
    from playlist_pretrain.tasks.dataset import tagging_dataset
    from playlist_pretrain.training import callbacks, tag_callbacks
    from playlist_pretrain.training.history import EpochTable, read_history

    folder = run.folder
    per_epoch, total = stream.steps_per_epoch, recipe.epochs * stream.steps_per_epoch
    checkpoints = callbacks.Checkpoints(folder.checkpoints, per_epoch, 1, total, lambda: None)
    done = workers.together(
        "checkpoints", lambda: checkpoints.restore(model, resumes_from.checkpoints), str
    )
    if done and done < total:
        say(f"{resumes_from.path}: going on after step {done}")
    before = read_history(resumes_from.history, tag_callbacks.COLUMNS)
    table = EpochTable(
        folder.history, folder.tensorboard, tag_callbacks.COLUMNS, per_epoch, recipe.batch, done,
        before,
    )  # fmt: skip
    metrics = functools.partial(
        _validation_metrics, reader, data.task.validation, data.task.classes
    )
    # All workers have to agree on which epoch is the best, and stop together.
    validation = tag_callbacks.Validation(
        lambda tagger: tuple(map(workers.of_chief, metrics(tagger)))
    )
    best = tag_callbacks.BestEpoch(
        folder.checkpoints, resumes_from.checkpoints, table, recipe.patience
    )
    bar = callbacks.Progress(total, done, quiet)
    preemption = callbacks.Preemption(checkpoints, workers.any_true)
    used = [
        callbacks.KerasHistory(), tag_callbacks.FiniteEpoch(), validation, table, best,
        checkpoints, bar, preemption,
    ]  # fmt: skip
    with reading_errors(reader):
        for first, last, steps in fits(done, per_epoch, recipe.epochs):
            if best.exhausted:
                break
            dataset = functools.partial(
                tagging_dataset,
                reader,
                stream,
                first=last * per_epoch - (last - first) * steps,
                last=last * per_epoch,
            )
            with preemption.watching():
                model.fit(
                    shared_out(model.distribute_strategy, dataset),
                    initial_epoch=first,
                    epochs=last,
                    steps_per_epoch=steps,
                    callbacks=used,
                    verbose=0,
                )
    return best


def track_scores(
    model: tf.keras.Model,
    reader: WindowReader,
    rows: np.ndarray,
    seconds: float | None,
    *,
    quiet: bool,
) -> np.ndarray:
    """Mean activations of non-overlapping windows, float32 [tracks, classes].

    Parameters
    ----------
    model : tf.keras.Model
        A tagger.
    reader : WindowReader
    rows : ndarray [shape=(tracks,), int]
    seconds : float or None
        In the centre of each track; None for all of it.
    quiet : bool
        No progress.
    """
    from playlist_pretrain.embedding.tracks import track_means
    from playlist_pretrain.records.positions import WindowPositions

    return track_means(model, WindowPositions(reader, rows, seconds), quiet=quiet)


def _validation_metrics(
    reader: WindowReader, split: SplitRows, classes: tuple[str, ...], model: tf.keras.Model
) -> tuple[float, float]:
    from playlist_pretrain.evaluation.tagging import tagging_metrics

    scores = track_scores(model, reader, split.rows, VALIDATION_SECONDS, quiet=True)
    result = tagging_metrics(split.targets, scores, classes)
    return result.macro_roc_auc, result.macro_average_precision


def _conclude(
    model: tf.keras.Model,
    best: Any,
    recipe: FinetuneRecipe,
    run: OneRun,
    data: TaggingData,
    reader: WindowReader,
    *,
    quiet: bool,
) -> None:
    """Export the best epoch, prove it, test it, and sum up."""
    from playlist_pretrain.evaluation.tagging import bootstrap_intervals, save_scores
    from playlist_pretrain.export.saved_model import save_tagger
    from playlist_pretrain.models.layers import plain_float32

    folder, classes, test = run.folder, data.task.classes, data.task.test
    tagger = plain_float32(model)
    about = {
        "recipe": dataclasses.asdict(recipe),
        "collection": data.collection.name,
        "task": data.name,
        "citation": data.citation,
        "run": run.number,
        "seed": run.seed,
    }
    save_tagger(tagger, classes, run.point.front_end, folder.saved_model, about)
    rows = np.resize(test.rows, PARITY_WINDOWS)
    windows = reader.read(rows, np.zeros(PARITY_WINDOWS, np.int32))
    difference = check_tagger(tagger, folder.saved_model, windows)
    scores = track_scores(tagger, reader, test.rows, None, quiet=quiet)
    track_ids = [data.collection.track_ids[row] for row in test.rows]
    save_scores(folder.path / SCORES, track_ids, test.targets, scores, classes)
    result = measure(folder.path / SCORES)
    intervals = bootstrap_intervals(test.targets, scores)
    row = best.row
    folder.finish(
        {
            "model": run.point.label,
            "seed": run.seed,
            "epochs": best.epochs,
            "best_epoch": best.epoch,
            "validation_roc_auc": float(row["validation_roc_auc"]),
            "validation_average_precision": float(row["validation_average_precision"]),
            "roc_auc": result.macro_roc_auc,
            "average_precision": result.macro_average_precision,
            "intervals": {name: list(ends) for name, ends in intervals.items()},
            "left_out": list(result.left_out),
            "export_difference": difference,
        }
    )
    folder.drop_checkpoints()


def measure(path: Path) -> TaggingResult:
    """Metrics of a file of per-track scores."""
    from playlist_pretrain.evaluation.tagging import load_scores, tagging_metrics

    _, targets, scores, classes = load_scores(path)
    return tagging_metrics(targets, scores, classes)


def check_tagger(tagger: tf.keras.Model, saved_model: Path, windows: np.ndarray) -> float:
    """Largest difference between a tagger and its reloaded export.

    Raises
    ------
    ModelError
        If it is above 1e-4: activations go from 0 to 1.
    """
    from playlist_pretrain.export.saved_model import load_tagger

    before = tagger(windows, training=False).numpy()
    after = load_tagger(saved_model).model(windows, training=False).numpy()
    difference = float(np.abs(before - after).max())
    if not difference <= PARITY_TOLERANCE:
        raise ModelError(
            f"{saved_model}: the export differs from the trained model by {difference:.3g}"
        )
    return difference
