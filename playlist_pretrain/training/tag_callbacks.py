"""Keras callbacks of a fine-tuning: validation, the best epoch, the early stop."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import tensorflow as tf

from playlist_pretrain.errors import RunError
from playlist_pretrain.files import atomic_write
from playlist_pretrain.training.callbacks import Callback
from playlist_pretrain.training.history import EpochTable

COLUMNS = (
    "epoch", "step", "loss", "cross_entropy", "learning_rate", "seconds", "windows_per_second",
    "validation_roc_auc", "validation_average_precision",
)  # fmt: skip
KEPT = 2


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
            for old in sorted(self._folder.glob("best-*.npz"))[:-KEPT]:
                old.unlink()
        if self.exhausted:
            self.model.stop_training = True

    @staticmethod
    def _name(epoch: int) -> str:
        return f"best-{epoch:05d}.npz"


def _average_precision(row: dict) -> float:
    return float(row["validation_average_precision"])
