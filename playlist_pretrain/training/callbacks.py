"""Keras callbacks of a run: finite loss, probe, history, checkpoints, progress.

``history.csv`` and TensorBoard: a row an epoch.

Keras callbacks of a fine-tuning: validation, the best epoch, the early stop.
"""

from __future__ import annotations

import contextlib
import csv
import math
import shutil
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from playlist_pretrain.errors import RunError, first_line
from playlist_pretrain.files import atomic_write
from playlist_pretrain.messages import progress
from playlist_pretrain.records.windows import WindowReader
from playlist_pretrain.training.probe import ProbePairs, ProbeResult, probe
from playlist_pretrain.training.strategy import Preempted

NAMED_TRACKS = 10
KEPT = 2
SECONDS_BETWEEN_LINES = 30


class Callback(tf.keras.callbacks.Callback):
    """Takes the logs of a batch as tensors: reading a number waits for the device."""

    def __init__(self):
        super().__init__()
        self._supports_tf_logs = True  # Keras has just set it to False


class KerasHistory(Callback, tf.keras.callbacks.History):
    """The history that every fit keeps, without its wait at every step."""


class FiniteLoss(Callback):
    """Stops the run when loss or gradient is not finite, and names the tracks of that batch.

    Parameters
    ----------
    track_ids_of : callable
        Step → ids of the tracks of its batch.
    every : int
        Steps between two looks; the step itself is kept on the device, so looking seldom costs
        nothing and misses nothing.
    """

    def __init__(self, track_ids_of: Callable, every: int = 20):
        super().__init__()
        self._track_ids_of = track_ids_of
        self._every = every

    def on_train_batch_end(self, batch, logs=None):
        """Look now and then."""
        if batch % self._every == 0:
            self.check()

    def on_epoch_end(self, epoch, logs=None):
        """Look before anything of this epoch is written."""
        self.check()

    def check(self):
        """Raise RunError when a step had a loss or a gradient that was not finite."""
        step = int(self.model.first_bad_step.numpy())
        if step < 0:
            return
        ids = self._track_ids_of(step)
        more = f" and {len(ids) - NAMED_TRACKS} more" if len(ids) > NAMED_TRACKS else ""
        raise RunError(
            f"loss or gradient of step {step} is not finite; its batch held the tracks "
            f"{', '.join(ids[:NAMED_TRACKS])}{more}. Try a lower --learning-rate or a longer "
            "--warmup-steps, with --overwrite or another --out"
        )


class RetrievalProbe(Callback):
    """Adds what the probe saw to the logs of an epoch: top-1, top-10, chance, mean cosine.

    Parameters
    ----------
    reader : WindowReader
        Reads the windows.
    pairs : ProbePairs
        Held-out pairs.
    every, epochs : int
        Epochs between two probes, and of the run; the last epoch is always probed.
    """

    def __init__(self, reader: WindowReader, pairs: ProbePairs, every: int, epochs: int):
        super().__init__()
        self._reader = reader
        self._pairs = pairs
        self._every = every
        self._epochs = epochs
        self._last: ProbeResult | None = None

    def final(self, model: tf.keras.Model) -> ProbeResult:
        """The last epoch's result; probes now when that epoch was in an earlier process."""
        return self._last or self._run(model)

    def _run(self, model: tf.keras.Model) -> ProbeResult:
        return probe(model.backbone, model.projector, self._reader, self._pairs)

    def on_epoch_end(self, epoch, logs=None):
        """Probe when it is time."""
        if (epoch + 1) % self._every and epoch + 1 < self._epochs:
            return
        result = self._run(self.model)
        if epoch + 1 == self._epochs:
            self._last = result
        logs["probe_top1"] = result.top(1)
        logs["probe_top10"] = result.top(10)
        logs["probe_chance1"] = result.chance(1)
        logs["probe_chance10"] = result.chance(10)
        logs["probe_mean_cosine"] = result.mean_cosine


class Checkpoints(Callback):
    """Keeps the last two checkpoints of a run and goes on from the last that can be read.

    Parameters
    ----------
    folder : Path
        Where they are.
    steps_per_epoch, every_epochs, every_steps : int
        Steps of an epoch, epochs between two checkpoints, and steps within an epoch.
    before_save : callable
        Called before anything is written; it raises when the weights are not worth keeping.
    """

    def __init__(
        self,
        folder: Path,
        steps_per_epoch: int,
        every_epochs: int,
        every_steps: int,
        before_save: Callable[[], None],
    ):
        super().__init__()
        self._before_save = before_save
        self._done = 0
        self._folder = folder
        self._steps_per_epoch = steps_per_epoch
        self._every_epochs = every_epochs
        self._every_steps = every_steps
        self._resumed_metrics: list[Any] | None = None

    def restore(self, model: tf.keras.Model, source: Path | None = None) -> int:
        """Fill the model and its optimizer from the newest checkpoint; returns the steps done.

        Parameters
        ----------
        model : tf.keras.Model
            Its ``parts`` are what is kept of it.
        source : Path, optional
            Folder of another worker's checkpoints, which are left as they are [the own folder].
        """
        source = source or self._folder
        with model.distribute_strategy.scope():
            model.optimizer.build(model.trainable_variables)
        # The running means are part of it, so an epoch that was interrupted reports the loss of
        # all its steps.
        self._checkpoint = tf.train.Checkpoint(
            **model.parts, optimizer=model.optimizer, metrics=model.metrics
        )
        # The files themselves are asked, not the manager's list of them, which may be damaged.
        steps = sorted(int(path.stem[5:]) for path in source.glob("step-*.index"))
        for step in reversed(steps):
            path = str(source / f"step-{step}")
            try:
                self._checkpoint.read(path).assert_existing_objects_matched()
            except Exception as error:  # TensorFlow raises many kinds for a damaged file
                print(f"checkpoint {path} cannot be read ({first_line(error)})")
                continue
            self._resumed_metrics = [v.numpy() for v in self._metric_variables(model)]
            self._done = step
            break
        else:
            if steps:
                raise RunError(f"{source}: no checkpoint can be read; --overwrite starts over")
        self._folder.mkdir(parents=True, exist_ok=True)
        own = source.resolve() == self._folder.resolve()
        self._remove_others({step for step in steps if step <= self._done} if own else set())
        return self._done

    def on_epoch_begin(self, epoch, logs=None):
        """Give the interrupted epoch its running mean back, which Keras has just reset."""
        if self._resumed_metrics is not None and self._done % self._steps_per_epoch:
            variables = self._metric_variables(self.model)
            for variable, value in zip(variables, self._resumed_metrics, strict=True):
                variable.assign(value)
        self._resumed_metrics: list[Any] | None = None

    def on_train_batch_end(self, batch, logs=None):
        """Save within an epoch."""
        self._done += 1
        if not self.at_end_of_epoch and self._done % self._every_steps == 0:
            self.save()

    def on_epoch_end(self, epoch, logs=None):
        """Save at the end of an epoch."""
        if (epoch + 1) % self._every_epochs == 0:
            self.save()

    @property
    def at_end_of_epoch(self) -> bool:
        """Whether the step was the last one of its epoch."""
        return self._done % self._steps_per_epoch == 0

    def save(self) -> int:
        """Write a checkpoint named after the steps done, unless it is there; returns the steps."""
        if self._done not in self._kept:
            self._before_save()
            self._checkpoint.write(str(self._folder / f"step-{self._done}"))
            self._remove_others({*self._kept, self._done})
        return self._done

    @staticmethod
    def _metric_variables(model: tf.keras.Model) -> list[tf.Variable]:
        return [variable for metric in model.metrics for variable in metric.variables]

    def _remove_others(self, whole: set[int]) -> None:
        """Keep the newest of ``whole``; remove older ones, and what a kill left unfinished."""
        self._kept = set(sorted(whole)[-KEPT:])
        names = {f"step-{step}" for step in self._kept}
        for path in self._folder.glob("step-*"):
            if path.name.partition(".")[0] not in names:
                shutil.rmtree(path) if path.is_dir() else path.unlink()


class Preemption(Callback):
    """Stops a run on SIGTERM, with a checkpoint of the step it is at.

    Parameters
    ----------
    checkpoints : Checkpoints
        Comes before this callback, which relies on its count of steps.
    any_worker : callable
        Whether something is true on any worker: all of them stop after the same step.
    """

    def __init__(self, checkpoints: Checkpoints, any_worker: Callable[[bool], bool]):
        super().__init__()
        self._checkpoints = checkpoints
        self._any_worker = any_worker
        self._asked = False

    @contextlib.contextmanager
    def watching(self) -> Iterator[None]:
        """Take SIGTERM as a wish to stop as long as the block runs."""
        if threading.current_thread() is not threading.main_thread():
            yield  # signals are the main thread's: nothing to take
            return
        before = signal.signal(signal.SIGTERM, self._ask)
        try:
            yield
        finally:
            signal.signal(signal.SIGTERM, before)

    def _ask(self, *_):
        self._asked = True

    def on_train_batch_end(self, batch, logs=None):
        """Stop within an epoch; after its last step, what belongs to its end comes first."""
        if not self._checkpoints.at_end_of_epoch:
            self._stop_if_asked()

    def on_epoch_end(self, epoch, logs=None):
        """Stop between two epochs, or after the last."""
        self._stop_if_asked()

    def _stop_if_asked(self):
        if self._any_worker(self._asked):
            step = self._checkpoints.save()
            raise Preempted(f"stopped by SIGTERM after step {step}")


class Progress(Callback):
    """A bar over all steps on a terminal, else a line now and then.

    Parameters
    ----------
    steps, done : int
        Steps of the run, and of those done before.
    quiet : bool
        Neither.
    """

    def __init__(self, steps: int, done: int, quiet: bool):
        super().__init__()
        self._quiet = quiet
        self._bar = progress(total=steps, initial=done, quiet=quiet, desc="training", unit="step")
        self._steps, self._done, self._first = steps, done, done
        self._started = self._last = time.monotonic()

    def on_train_batch_end(self, batch, logs=None):
        """Advance."""
        self._done += 1
        self._bar.update()
        now = time.monotonic()
        lines = not (self._quiet or sys.stderr.isatty())
        if lines and (now - self._last > SECONDS_BETWEEN_LINES or self._done == self._steps):
            self._last = now
            rate = (self._done - self._first) / (now - self._started)
            left = math.ceil((self._steps - self._done) / rate)
            print(
                f"step {self._done}/{self._steps}  loss {float(logs['loss']):.4f}  "
                f"{rate:.2f} steps/s  {left // 60}:{left % 60:02d} left",
                flush=True,
            )

    def on_epoch_end(self, epoch, logs=None):
        """Show the loss of the epoch beside the bar, and the probe when there was one."""
        shown = {
            name: f"{float(value):.4f}"
            for name, value in logs.items()
            if name == "loss" or name.startswith("probe_")
        }
        self._bar.set_postfix(shown, refresh=False)

    def on_train_end(self, logs=None):
        """Leave the line to what comes next."""
        if self._done >= self._steps:
            self._bar.close()


COLUMNS = (
    "epoch", "step", "loss", "gradient_norm", "skipped_steps", "positive_similarity",
    "negative_similarity", "alignment", "uniformity", "learning_rate", "temperature", "seconds",
    "windows_per_second", "probe_top1", "probe_top10", "probe_chance1",
    "probe_chance10", "probe_mean_cosine",
)  # fmt: skip


class EpochTable(Callback):
    """Writes ``history.csv`` and TensorBoard scalars, a row an epoch.

    Parameters
    ----------
    path : Path
        Of the table.
    tensorboard : Path
        Folder of the event files.
    columns : sequence of str
        The first two are ``epoch`` and ``step``; what an epoch does not know stays empty.
    steps_per_epoch, windows : int
        Steps of an epoch, and windows of a step.
    done : int
        Steps done before.
    before : sequence of dict
        Rows there were; those of epochs after ``done`` are dropped, they will come again.
    """

    def __init__(
        self,
        path: Path,
        tensorboard: Path,
        columns: Sequence[str],
        steps_per_epoch: int,
        windows: int,
        done: int,
        before: Sequence[dict[str, str]],
    ):
        super().__init__()
        self._path = path
        self._columns = columns
        self._steps_per_epoch = steps_per_epoch
        self._windows = windows
        self.rows = [row for row in before if int(row["step"]) <= done]
        self._writer = tf.summary.create_file_writer(str(tensorboard))
        self._steps = 0

    def on_epoch_begin(self, epoch, logs=None):
        """Start the clock."""
        self._started = time.monotonic()
        self._steps = 0

    def on_train_batch_end(self, batch, logs=None):
        """Count the steps, since a resumed epoch has fewer, and stop the clock before the probe."""
        self._steps += 1
        self._seconds = time.monotonic() - self._started

    def values(self) -> dict[str, float]:
        """What the logs of an epoch do not say."""
        return {}

    def on_epoch_end(self, epoch, logs=None):
        """Write the row."""
        step = (epoch + 1) * self._steps_per_epoch
        row = {
            "epoch": epoch + 1,
            "step": step,
            "learning_rate": float(self.model.optimizer.learning_rate.numpy()),  # of the last step
            "seconds": round(self._seconds, 3),
            "windows_per_second": round(self._windows * self._steps / self._seconds, 1),
            **self.values(),
            **{name: float(value) for name, value in (logs or {}).items()},
        }
        row = {name: row.get(name, "") for name in self._columns}
        self.rows.append(row)
        with atomic_write(self._path, "w") as stream:
            table = csv.DictWriter(stream, self._columns, lineterminator="\n")
            table.writeheader()
            table.writerows(self.rows)
        with self._writer.as_default(step=step):
            for name in self._columns[2:]:
                if row[name] != "":
                    tf.summary.scalar(name, row[name])
        self._writer.flush()


class HistoryTable(EpochTable):
    """The table of a pre-training run."""

    def values(self) -> dict[str, float]:
        """Speed, and what the model and its loss know."""
        return {
            "skipped_steps": 0,  # only mixed_float16 skips any
            "temperature": float(self.model.loss.temperature),
        }


def read_history(path: Path, columns: Sequence[str] = COLUMNS) -> list[dict[str, str]]:
    """Rows of ``history.csv``, values as text; none when there is no file yet.

    Raises
    ------
    RunError
        If it is not a table of those columns.
    """
    if not path.exists():
        return []
    try:
        with open(path, encoding="utf-8", newline="") as stream:
            rows = list(csv.DictReader(stream))
        for row in rows:
            if set(row) != set(columns) or None in row.values() or not row["step"].isdecimal():
                raise ValueError(f"not a table of {', '.join(columns)}")
            for value in filter(None, row.values()):
                float(value)
    except (ValueError, csv.Error) as error:
        raise RunError(f"{path}: damaged: {error}; --overwrite starts over") from error
    return rows


TAG_CALLBACKS_COLUMNS = (
    "epoch", "step", "loss", "cross_entropy", "learning_rate", "seconds", "windows_per_second",
    "validation_roc_auc", "validation_average_precision",
)  # fmt: skip
TAG_CALLBACKS_KEPT = 2


class FiniteEpoch(Callback):
    """Stops a run whose loss is not finite, before anything of that epoch is written."""

    def on_epoch_end(self, epoch, logs=None):
        """Look."""
        if not math.isfinite(loss := float(logs["loss"])):
            raise RunError(
                f"the loss of epoch {epoch + 1} is {loss}; try a lower --high-learning-rate or "
                "--l2, with --overwrite or another --out"
            )


class Validation(Callback):
    """Adds the validation metrics to the logs of an epoch.

    Parameters
    ----------
    metrics : callable
        Tagger → (macro ROC-AUC, macro average precision) on the validation split.
    """

    def __init__(self, metrics: Callable[[tf.keras.Model], tuple[float, float]]):
        super().__init__()
        self._metrics = metrics

    def on_epoch_end(self, epoch, logs=None):
        """Validate."""
        roc_auc, average_precision = self._metrics(self.model.tagger)
        logs["validation_roc_auc"] = roc_auc
        logs["validation_average_precision"] = average_precision


class BestEpoch(Callback):
    """Keeps the weights of the epoch with the best average precision; stops when it stays.

    The weights are a file an epoch, and the two newest are kept: the run may go on from the
    checkpoint before the last, at which another epoch was the best.

    Parameters
    ----------
    folder, source : Path
        Of the files; where those are that an earlier process has left, the same folder but for
        workers that are not the chief.
    table : EpochTable
        Has the row of an epoch before this callback is called.
    patience : int
        Epochs without a better one after which the run stops.
    """

    def __init__(self, folder: Path, source: Path, table: EpochTable, patience: int):
        super().__init__()
        self._folder = folder
        self._source = source
        self._table = table
        self._patience = patience

    @property
    def row(self) -> dict | None:
        """Row of the best epoch so far, of equals the first; None when there is none."""
        return max(self._table.rows, key=_average_precision, default=None)

    @property
    def epoch(self) -> int:
        """The best epoch so far, counted from 1; 0 when there is none."""
        return int(self.row["epoch"]) if self.row else 0

    @property
    def epochs(self) -> int:
        """Epochs done."""
        return len(self._table.rows)

    @property
    def exhausted(self) -> bool:
        """Whether the run has waited long enough for a better epoch."""
        return self.epochs - self.epoch >= self._patience

    def restore(self, tagger: tf.keras.Model) -> None:
        """Give a tagger the weights of the best epoch.

        Raises
        ------
        RunError
            If their file is missing or damaged.
        """
        path = self._folder / self._name(self.epoch)
        if not path.exists():
            path = self._source / path.name
        try:
            with np.load(path, allow_pickle=False) as archive:
                weights = [archive[f"arr_{k}"] for k in range(len(tagger.weights))]
            tagger.set_weights(weights)
        except Exception as error:  # a damaged zip fails in a dozen ways
            raise RunError(
                f"{path}: the weights of the best epoch cannot be read ({error}); --overwrite "
                "starts over"
            ) from error

    def on_epoch_end(self, epoch, logs=None):
        """Keep the weights of an epoch that is the best."""
        if self.epoch == epoch + 1:
            self._folder.mkdir(parents=True, exist_ok=True)
            with atomic_write(self._folder / self._name(epoch + 1)) as stream:
                np.savez(stream, *self.model.tagger.get_weights())
            for old in sorted(self._folder.glob("best-*.npz"))[:-TAG_CALLBACKS_KEPT]:
                old.unlink()
        if self.exhausted:
            self.model.stop_training = True

    @staticmethod
    def _name(epoch: int) -> str:
        return f"best-{epoch:05d}.npz"


def _average_precision(row: dict) -> float:
    return float(row["validation_average_precision"])
