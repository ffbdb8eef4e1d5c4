"""``history.csv`` and TensorBoard: a row an epoch."""

from __future__ import annotations

import csv
import time
from collections.abc import Sequence
from pathlib import Path

import tensorflow as tf

from playlist_pretrain.errors import RunError
from playlist_pretrain.files import atomic_write
from playlist_pretrain.training.callbacks import Callback

COLUMNS = (
    "epoch", "step", "loss", "gradient_norm", "skipped_steps", "positive_similarity",
    "negative_similarity", "alignment", "uniformity", "learning_rate", "temperature", "seconds",
    "windows_per_second", "input_wait", "probe_top1", "probe_top10", "probe_chance1",
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

    def on_epoch_begin(self, epoch, logs=None):
        """Start the clocks."""
        super().on_epoch_begin(epoch, logs)
        self._waited = self.model.input_wait.seconds

    def values(self) -> dict[str, float]:
        """Speed, and what the model and its loss know."""
        waited = self.model.input_wait.seconds - self._waited
        return {
            "skipped_steps": 0,  # only mixed_float16 skips any
            "temperature": float(self.model.loss.temperature),
            "input_wait": round(waited / self._seconds, 4),
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
