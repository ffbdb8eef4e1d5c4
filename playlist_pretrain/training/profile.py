"""``--profile``: what ten steps of a call do and when, for TensorBoard's profiler."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from pathlib import Path

import tensorflow as tf
from tqdm import tqdm

from playlist_pretrain.training.callbacks import Callback

FIRST, STEPS = 10, 10
"""Steps of a call before the profile, among them those that trace, and steps of the profile."""


class Profile(Callback):
    """Profiles ten steps of a call: the steps 10 … 19 of it, or its last ten when it has fewer.

    Keras marks every step of a fit, and the profile has the marks of its own steps, whole: it
    starts between two steps, when the device has done the one before, and stops likewise. Comes
    before the callbacks whose work at the end of an epoch is to stay outside.

    A context manager: what is not stopped when the block ends, however it does, is stopped and
    written then.

    Parameters
    ----------
    folder : Path
        Of TensorBoard's files; the profile lies below, in ``plugins/profile/TIME/``.
    steps : int
        Steps that this call has left, 1 at least.
    say : callable
        Told where the profile lies and how to see it.
    """

    def __init__(self, folder: Path, steps: int, say: Callable[[str], None]):
        super().__init__()
        self._folder = folder
        self._say = say
        self._last = min(FIRST + STEPS, steps)
        self._first = max(self._last - STEPS, 0)
        self._done = 0
        self._logs = None
        self._running = False

    def __enter__(self) -> Profile:
        return self

    def __exit__(self, *_):
        self._stop()

    def on_epoch_begin(self, epoch, logs=None):
        """Start when the first step of the profile is the first of an epoch."""
        self._start_if_due()

    def on_train_batch_begin(self, batch, logs=None):
        """Stop here, when the mark of the last step has been closed."""
        self._stop_if_due()

    def on_train_batch_end(self, batch, logs=None):
        """Count, and start when the next step is the first; an epoch's end is no part of it."""
        self._done += 1
        self._logs = logs
        if batch + 1 < self.params["steps"]:
            self._start_if_due()

    def on_epoch_end(self, epoch, logs=None):
        """Stop when the last step was the last of an epoch."""
        self._stop_if_due()

    def _start_if_due(self):
        if self._done == self._first:
            self._wait()
            tf.profiler.experimental.start(str(self._folder))
            self._running = True

    def _stop_if_due(self):
        if self._done == self._last:
            self._wait()
            self._stop()

    def _wait(self):
        """Wait until the device has done the step before."""
        if self._logs is not None:
            self._logs["loss"].numpy()

    def _stop(self):
        if not self._running:
            return
        self._running = False
        tf.profiler.experimental.stop()
        steps = self._done - self._first
        with tqdm.external_write_mode():  # beside the bar, not in it
            self._say(
                f"profile of {steps} step{'s' if steps != 1 else ''}: "
                f"{self._folder / 'plugins' / 'profile'}; to see it: "
                f"tensorboard --logdir {shlex.quote(str(self._folder))}"
            )
