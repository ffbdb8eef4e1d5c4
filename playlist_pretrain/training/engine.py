"""The training engine: the one loop that pre-training and fine-tuning share.

:meth:`Engine.train` is the run from its newest checkpoint to its last step;
:meth:`Engine.on_train_batch_end` and :meth:`Engine.on_epoch_end` are what happens after each step
and each epoch; the acts they name follow below. The step itself is the model's: ``train_step`` of
:class:`~playlist_pretrain.models.contrastive.ContrastiveModel`, and Keras's own with the loss of
:class:`~playlist_pretrain.models.tagger.TaggerTrainer`. A run that was stopped at any
moment, by SIGTERM, a kill or a power cut, goes on to the bit as if it had not been.
"""

from __future__ import annotations

import contextlib
import csv
import functools
import logging
import re
import shutil
import signal
import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from playlist_pretrain.errors import ModelError, PlaylistPretrainError, RunError, first_line
from playlist_pretrain.files import atomic_write, load_arrays, whole, write_arrays
from playlist_pretrain.messages import progress
from playlist_pretrain.models.load import load_model
from playlist_pretrain.models.saved_model import file_errors
from playlist_pretrain.models.trust import check_checkpoint
from playlist_pretrain.records.windows import WindowReader
from playlist_pretrain.runs import Run
from playlist_pretrain.training.strategy import Workers, shared_out

logger = logging.getLogger(__name__)

STARTS_OVER = "; --overwrite starts over"
KEPT = 2
"""Checkpoints that are kept."""
STEPS_BETWEEN_CHECKS = 20
MEASURED_STEPS, MEASURED_SECONDS = 20, 10
"""Steps after the first one, or seconds, from which the time that a run takes is estimated."""
PARITY_WINDOWS, PARITY_TOLERANCE = 8, 1e-4


class Preempted(Exception):
    """SIGTERM has stopped a run, and a checkpoint is written."""


class Engine(tf.keras.callbacks.Callback):
    """Trains a compiled model, with checkpoints, history, progress and exact resume.

    A checkpoint keeps the model's ``parts``. ``columns`` are those of ``history.csv``, the first
    two ``epoch`` and ``step``; what an epoch does not know stays empty. A step has ``windows``
    windows, for the speed. ``check(epoch, logs)`` raises RunError when the loss is not finite; it
    is called now and then, and before anything is written. ``evaluate(epoch)`` gives more values
    for the row of an epoch, which counts from 1. ``best`` keeps the best weights, and may stop the
    run when nothing gets better. Between two checkpoints are ``checkpoint_epochs`` epochs and,
    within an epoch, ``checkpoint_steps`` steps [none].
    """

    def __init__(
        self,
        model: tf.keras.Model,
        run: Run,
        columns: Sequence[str],
        *,
        steps_per_epoch: int,
        epochs: int,
        windows: int,
        check: Callable[[int, Mapping[str, Any]], None],
        evaluate: Callable[[int], dict[str, float]] = lambda epoch: {},
        best: BestEpoch | None = None,
        checkpoint_epochs: int = 1,
        checkpoint_steps: int | None = None,
    ):
        super().__init__()
        self._supports_tf_logs = True  # logs stay tensors: reading a number waits for the device
        self.set_model(model)
        self.run, self.columns = run, columns
        self.steps_per_epoch, self.epochs, self.windows = steps_per_epoch, epochs, windows
        self.check, self.evaluate, self.best = check, evaluate, best
        self.checkpoint_epochs, self.checkpoint_steps = checkpoint_epochs, checkpoint_steps
        self.total = epochs * steps_per_epoch
        self.done, self.epoch = 0, 0
        self.logs: Mapping[str, Any] = {}
        self.rows: list[dict[str, Any]] = []
        self.stop_is_asked: Callable[[], bool] = lambda: False
        self.summary_writer = tf.summary.create_file_writer(str(run.tensorboard))

    def train(
        self,
        dataset: Callable[..., tf.data.Dataset],
        *,
        reader: WindowReader,
        workers: Workers,
        resumes_from: Run,
        callbacks: Sequence[tf.keras.callbacks.Callback] = (),
    ) -> list[dict[str, Any]]:
        """Fit to the last step, from the newest checkpoint of ``resumes_from`` if there is one.

        ``dataset(first=…, last=…, share=…)`` gives the batches of the steps ``first … last − 1``;
        it reads ``reader``, and what stops that comes out as its own error. ``resumes_from`` is
        the folder of the chief, the same as ``run`` on the chief itself. Returns the rows of
        ``history.csv``; raises Preempted after SIGTERM.
        """
        # 1. Weights, optimizer and metrics of the newest checkpoint; all workers from the same.
        self.done = workers.together(
            "checkpoints", lambda: self.restore_checkpoint(resumes_from.checkpoints), str
        )
        # 2. The history up to there; later epochs will come again.
        rows = read_history(resumes_from.history, self.columns)
        self.rows = [row for row in rows if int(row["step"]) <= self.done]
        if 0 < self.done < self.total:
            logger.info(f"{resumes_from.path}: going on after step {self.done} of {self.total}")
        self.start_progress()
        with reading_errors(reader), noted_sigterm() as asked:
            self.stop_is_asked = lambda: workers.any_true(asked.is_set())
            # 3. The rest of an interrupted epoch, then whole epochs.
            for first, last, steps in fits(self.done, self.steps_per_epoch, self.epochs):
                if self.best and self.best.exhausted(self.rows):
                    break
                stop = last * self.steps_per_epoch
                start = stop - (last - first) * steps
                self.model.fit(
                    shared_out(
                        self.model.distribute_strategy,
                        functools.partial(dataset, first=start, last=stop),
                    ),
                    initial_epoch=first,
                    epochs=last,
                    steps_per_epoch=steps,
                    callbacks=[*callbacks, KerasHistory(), self],
                    verbose=0,
                )
        # 4. The last step is kept whatever --checkpoint-epochs says.
        self.save_checkpoint()
        return self.rows

    def on_epoch_begin(self, epoch, logs=None):
        """Start the clock of an epoch."""
        self.epoch = epoch + 1
        self.restore_running_means()
        self.started, self.steps_now = time.monotonic(), 0

    def on_train_batch_end(self, batch, logs=None):
        """After each step: check, save, show progress, stop."""
        self.done += 1
        self.steps_now += 1  # a resumed epoch has fewer
        self.seconds = time.monotonic() - self.started  # without the evaluation that follows
        self.logs = logs
        if batch % STEPS_BETWEEN_CHECKS == 0:
            self.check(self.epoch, logs)
        within_epoch = self.done % self.steps_per_epoch
        if within_epoch and self.checkpoint_steps and self.done % self.checkpoint_steps == 0:
            self.save_checkpoint()
        self.show_progress()
        if within_epoch:  # after the last step, what belongs to the epoch's end comes first
            self.stop_if_asked()

    def on_epoch_end(self, epoch, logs=None):
        """After each epoch: check, evaluate, write the history, keep the best, save, stop."""
        self.logs = logs
        self.check(self.epoch, logs)
        values = {**self.evaluate(self.epoch), **{k: float(value) for k, value in logs.items()}}
        self.write_history(values)
        if self.best:
            self.best.keep(self.rows)
            self.model.stop_training = self.best.exhausted(self.rows)
        if self.epoch % self.checkpoint_epochs == 0:
            self.save_checkpoint()
        shown = {k: f"{v:.4f}" for k, v in values.items() if k == "loss" or k.startswith("probe_")}
        self.bar.set_postfix(shown, refresh=False)
        self.stop_if_asked()

    # Checkpoints

    def restore_checkpoint(self, source: Path) -> int:
        """Restore the newest checkpoint of a folder that can be read; returns the steps done.

        The folder is that of the chief; where that is another process it is left as it is.
        """
        model = self.model
        with model.distribute_strategy.scope():
            model.optimizer.build(model.trainable_variables)
        # The running means are part of it, so that an interrupted epoch reports the loss of all
        # its steps.
        self.checkpoint = tf.train.Checkpoint(
            **model.parts, optimizer=model.optimizer, metrics=model.metrics
        )
        done, self.running_means = 0, None
        # The files themselves are asked, not TensorFlow's list of them, which may be damaged.
        steps = checkpoint_steps(source)
        for step in reversed(steps):
            path = str(source / f"step-{step}")
            try:
                check_checkpoint(Path(path))
                self.checkpoint.read(path).assert_existing_objects_matched()
            except Exception as error:  # TensorFlow raises many kinds for a damaged file
                logger.warning(f"checkpoint {path} cannot be read ({first_line(error)})")
                continue
            if step % self.steps_per_epoch:
                self.running_means = [v.numpy() for v in self.metric_variables()]
            done = step
            break
        else:
            if steps:
                raise RunError(f"{source}: no checkpoint can be read; --overwrite starts over")
        self.run.checkpoints.mkdir(parents=True, exist_ok=True)
        own = source.resolve() == self.run.checkpoints.resolve()
        self.keep_checkpoints({step for step in steps if step <= done} if own else set())
        return done

    def restore_running_means(self) -> None:
        """Give a resumed epoch the metrics of its first steps, which Keras has just reset."""
        if self.running_means is not None:
            for variable, value in zip(self.metric_variables(), self.running_means, strict=True):
                variable.assign(value)
            self.running_means = None

    def metric_variables(self) -> list[tf.Variable]:
        """Variables of the running means."""
        return [variable for metric in self.model.metrics for variable in metric.variables]

    def save_checkpoint(self) -> None:
        """Write a checkpoint named after the steps done, unless it is there."""
        if self.done not in self.kept:
            self.check(self.epoch, self.logs)
            self.checkpoint.write(str(self.run.checkpoints / f"step-{self.done}"))
            self.keep_checkpoints({*self.kept, self.done})
            if self.best:
                self.best.drop_others(self.rows, self.kept)

    def keep_checkpoints(self, whole: set[int]) -> None:
        """Keep the newest of the ``whole`` checkpoints; remove all other files."""
        self.kept = set(sorted(whole)[-KEPT:])
        names = {f"step-{step}" for step in self.kept}
        for path in self.run.checkpoints.glob("step-*"):
            if path.name.partition(".")[0] not in names:
                shutil.rmtree(path) if path.is_dir() else path.unlink()

    # Stop

    def stop_if_asked(self) -> None:
        """Save and raise Preempted if any worker has received SIGTERM."""
        if self.stop_is_asked():
            self.save_checkpoint()
            raise Preempted(f"stopped by SIGTERM after step {self.done}")

    # History

    def write_history(self, values: Mapping[str, float]) -> None:
        """Add the row of an epoch to ``history.csv`` and to TensorBoard's events."""
        step = self.epoch * self.steps_per_epoch
        row = {
            "epoch": self.epoch,
            "step": step,
            "learning_rate": float(self.model.optimizer.learning_rate.numpy()),  # of the last step
            "seconds": round(self.seconds, 3),
            "windows_per_second": round(self.windows * self.steps_now / self.seconds, 1),
            **values,
        }
        row = {name: row.get(name, "") for name in self.columns}
        self.rows.append(row)
        with atomic_write(self.run.history, "w") as stream:
            table = csv.DictWriter(stream, self.columns, lineterminator="\n")
            table.writeheader()
            table.writerows(self.rows)
        with self.summary_writer.as_default(step=step):
            for name in self.columns[2:]:
                if row[name] != "":
                    tf.summary.scalar(name, row[name])
        self.summary_writer.flush()

    # Progress

    def start_progress(self) -> None:
        """Start the progress over all steps."""
        self.bar = progress(
            total=self.total, initial=self.done, desc="training", unit="step",
            facts=lambda: f"loss {float(self.logs['loss']):.4f}",
        )  # fmt: skip
        self.begun = self.done
        self.first_step_at: float | None = None
        self.estimated = False

    def show_progress(self) -> None:
        """Tell of a step."""
        self.bar.update()
        if self.done == self.total:
            self.bar.close()
        self.estimate(time.monotonic())

    def estimate(self, now: float) -> None:
        """Say once how long the run will take, from its first steps but the very first."""
        measured = self.done - self.begun - 1
        if not measured:
            self.first_step_at = now  # it has compiled the graph
        elif not self.estimated and self.done < self.total:
            seconds = now - self.first_step_at
            if measured < MEASURED_STEPS and seconds < MEASURED_SECONDS:
                return
            float(self.logs["loss"])  # steps are handed to a device before they are done
            seconds = time.monotonic() - self.first_step_at
            left = seconds / measured * (self.total - self.done)
            self.estimated = True
            logger.info(
                f"the {self.total - self.done:,} steps that are left will take about "
                f"{_duration(left)}, at {measured * self.windows / seconds:.0f} windows/s"
            )


def _duration(seconds: float) -> str:
    """Text of a time that nobody needs to the second."""
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    if seconds < 90 * 60:
        return f"{round(seconds / 60)} min"
    return f"{seconds / 3600:.1f} h"


def checkpoint_steps(folder: Path) -> list[int]:
    """Steps of the checkpoints in a folder, ascending; copies of their files are none."""
    names = (re.fullmatch(r"step-([0-9]+)\.index", path.name) for path in folder.glob("step-*"))
    return sorted(int(name[1]) for name in names if name)


class KerasHistory(tf.keras.callbacks.History):
    """The history that every fit keeps, without reading numbers, hence waiting, at each step."""

    def __init__(self):
        super().__init__()
        self._supports_tf_logs = True


class BestEpoch:
    """Keeps the weights of the epoch with the highest value of a metric, of equals the first.

    ``models`` are those whose weights are kept. Files are written to ``folder``; an earlier process
    may have left them in ``source``, which is another folder for workers that are not the chief.
    ``metric`` is a column of the history, empty where it was not measured; after ``patience``
    epochs without a better one the run stops [never].
    """

    def __init__(
        self,
        models: Sequence[tf.keras.Model],
        folder: Path,
        source: Path,
        metric: str,
        patience: int | None = None,
    ):
        self.models, self.metric, self.patience = models, metric, patience
        self.folder, self.source = folder, source

    def row(self, rows: Sequence[dict[str, Any]]) -> dict[str, Any] | None:
        """Row of the best epoch; None before anything is measured."""
        measured = [row for row in rows if row[self.metric] != ""]
        return max(measured, key=lambda row: float(row[self.metric]), default=None)

    def exhausted(self, rows: Sequence[dict[str, Any]]) -> bool:
        """Whether the run has waited long enough for a better epoch."""
        best = self.row(rows)
        if best is None or self.patience is None:
            return False
        return len(rows) - int(best["epoch"]) >= self.patience

    def keep(self, rows: Sequence[dict[str, Any]]) -> None:
        """Write the weights if the last epoch is the best."""
        best = self.row(rows)
        if best is not None and int(best["epoch"]) == len(rows):
            values = (weights for model in self.models for weights in model.get_weights())
            arrays = {f"arr_{k}": weights for k, weights in enumerate(values)}
            write_arrays(self.folder / self._name(best), **arrays)

    def drop_others(self, rows: Sequence[dict[str, Any]], steps: Collection[int]) -> None:
        """Remove files that neither the whole run needs nor one that goes on after ``steps``."""
        whole_and_parts = [rows, *([r for r in rows if int(r["step"]) <= s] for s in steps)]
        best = [self.row(part) for part in whole_and_parts]
        needed = {self._name(row) for row in best if row is not None}
        for path in self.folder.glob("best-*[0-9].npz"):
            if path.name not in needed:
                path.unlink()

    def restore(self, rows: Sequence[dict[str, Any]]) -> None:
        """Give the models the weights of the best epoch.

        Raises RunError if their file is damaged.
        """
        path = self.folder / self._name(self.row(rows))
        if not path.exists():
            path = self.source / path.name
        with whole(path, "file of the weights of the best epoch", RunError, STARTS_OVER):
            arrays = load_arrays(path)
            counts = [len(model.weights) for model in self.models]
            weights = [arrays[f"arr_{k}"] for k in range(sum(counts))]
            if not all(np.isfinite(weight).all() for weight in weights):
                raise ValueError("values that are not finite")
            for model, count in zip(self.models, counts, strict=True):
                model.set_weights(weights[:count])
                weights = weights[count:]

    def _name(self, row: Mapping[str, Any]) -> str:
        return f"best-{int(row['epoch']):05d}.npz"


def fits(done: int, per_epoch: int, epochs: int) -> list[tuple[int, int, int]]:
    """List ``(initial_epoch, epochs, steps_per_epoch)`` of the fits from step ``done`` to the end.

    Keras takes one number of steps for all epochs of a fit, so the rest of an interrupted epoch
    is a fit of its own.
    """
    epoch, within = divmod(done, per_epoch)
    parts = [(epoch, epoch + 1, per_epoch - within)] if within else []
    if epoch + bool(within) < epochs:
        parts.append((epoch + bool(within), epochs, per_epoch))
    return parts


@contextlib.contextmanager
def noted_sigterm() -> Iterator[threading.Event]:
    """Turn SIGTERM into an event as long as the block runs."""
    asked = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield asked  # signals are the main thread's
        return
    before = signal.signal(signal.SIGTERM, lambda *_: asked.set())
    try:
        yield asked
    finally:
        signal.signal(signal.SIGTERM, before)


@contextlib.contextmanager
def reading_errors(reader: WindowReader) -> Iterator[None]:
    """Raise what stopped a reader as it was, not as the error that TensorFlow makes of it."""
    try:
        yield
    except Exception:
        if reader.error is not None:
            raise reader.error from None
        raise


@contextlib.contextmanager
def tensorflow_errors(
    path: Path,
    kind: type[PlaylistPretrainError] = RunError,
    mend: str = "the same command goes on from the last checkpoint",
) -> Iterator[None]:
    """Turn what stops TensorFlow (a full disk, too little memory) into one message.

    It is an OSError where that says all, else one of ``kind`` on ``path``.
    """
    try:
        with file_errors():
            yield
    except tf.errors.OpError as error:
        raise kind(
            f"{path}: TensorFlow had to stop: {first_line(error)}; when that is mended, {mend}"
        ) from error


def check_export(
    model: tf.keras.Model,
    saved_model: Path,
    reader: WindowReader,
    rows: np.ndarray,
    scale: float | None = None,
) -> tuple[float, np.ndarray]:
    """Compare a model with its reloaded export; returns the largest difference and its outputs.

    Raises ModelError if the difference is above 1e-4 of the ``scale`` of the outputs [their
    standard deviation] for the first windows of eight tracks at some ``rows``.
    """
    windows = reader.read(np.resize(rows, PARITY_WINDOWS), np.zeros(PARITY_WINDOWS, np.int32))
    before = model(windows, training=False).numpy()
    # Trusted: it was written just now, by this program.
    after = load_model(saved_model, trust=True).model(windows, training=False).numpy()
    difference = float(np.abs(before - after).max())
    scale = max(float(before.std()), 1e-6) if scale is None else scale
    if not difference <= PARITY_TOLERANCE * scale:
        raise ModelError(
            f"{saved_model}: the export differs from the trained model by {difference:.3g} "
            f"(outputs have a standard deviation of {before.std():.3g})"
        )
    return difference, before


def read_history(path: Path, columns: Sequence[str]) -> list[dict[str, Any]]:
    """Read ``history.csv``, values as text; no rows when there is no file yet."""
    if not path.exists():
        return []
    with whole(path, "history", RunError, STARTS_OVER):
        with open(path, encoding="utf-8", newline="") as stream:
            rows = list(csv.DictReader(stream))
        for row in rows:
            if set(row) != set(columns) or None in row.values():
                raise ValueError(f"not a table of {', '.join(columns)}")
            epoch, step = int(row["epoch"]), int(row["step"])
            if min(epoch, step) < 0:
                raise ValueError(f"epoch {epoch}, step {step}")
            int(float(row.get("skipped_steps", 0)))
            for name, value in row.items():
                if value or name.startswith(("loss", "validation_")):
                    float(value)
        return rows
