"""How long training waits for its input: what a faster reader could save, and no more."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import tensorflow as tf

Logs = dict[str, tf.Tensor]


class InputWait:
    """Seconds in which the next batch was awaited and nothing was being computed.

    Attributes
    ----------
    seconds : float
        Of all steps so far; what an epoch waited is a difference.

    Notes
    -----
    An accelerator goes on computing when the host already asks for the next batch, so the wait
    counts from the moment at which the step before is done. A thread waits for that moment, which
    leaves the host as far ahead of the device as it would be.
    """

    def __init__(self):
        self.seconds = 0.0
        self._done: Future | None = None
        self._watcher = ThreadPoolExecutor(1, "step-watcher")

    def __deepcopy__(self, memo: dict) -> InputWait:
        return InputWait()  # of a copied model, which has waited for nothing

    def next(self, batches: Iterator[Any]) -> Any:
        """The next of ``batches``; what it took is counted."""
        asked = time.monotonic()
        batch = next(batches)
        arrived = time.monotonic()
        if self._done is None:
            self.seconds += arrived - asked
        elif self._done.done():
            self.seconds += max(0.0, arrived - max(asked, self._done.result()))
        return batch

    def started(self, logs: Logs) -> None:
        """A step was given to the device; its last value is ``gradient_norm``."""
        self._done = self._watcher.submit(_moment_of, logs["gradient_norm"])


def _moment_of(value: tf.Tensor) -> float:
    """When a value was computed."""
    value.numpy()
    return time.monotonic()


def timed(
    make_train_function: Callable[..., Callable], model: tf.keras.Model, wait: InputWait
) -> Callable[[Iterator[Any]], Logs]:
    """Keras's function of one step, compiled without its ``next``, which is called and timed.

    Parameters
    ----------
    make_train_function : callable
        Keras's own, of ``model``.
    model : tf.keras.Model
        Neither eager nor of several steps an execution.
    wait : InputWait
        Counts.
    """
    chosen = model._run_eagerly
    model.run_eagerly = True  # its function is then plain Python, to be compiled here
    try:
        step_of = make_train_function(force=True)
    finally:
        model.run_eagerly = chosen

    @tf.function(reduce_retracing=True)
    def step(batch):
        return step_of(iter((batch,)))

    def train_function(batches):
        logs = step(wait.next(batches))
        wait.started(logs)
        return logs

    model.train_tf_function = step
    model.train_function = train_function
    return train_function
