"""Learning-rate schedules."""

from __future__ import annotations

import contextlib
import io
import warnings

import tensorflow as tf


def warmup_cosine(
    peak: float, warmup_steps: int, total_steps: int
) -> tf.keras.optimizers.schedules.LearningRateSchedule:
    """Linear from 0 to ``peak``, then a cosine to 0 at the last step (arXiv 2304.12257, 3.1).

    The cosine starts where the warm-up ends: a warm-up wrapped around a cosine over all steps
    would never reach the peak and be late ever after.
    """
    return tf.keras.optimizers.schedules.CosineDecay(
        initial_learning_rate=0.0,
        decay_steps=max(total_steps - warmup_steps, 1),
        alpha=0.0,
        warmup_target=peak,
        warmup_steps=warmup_steps,
    )


def triangular(
    low: float, high: float, steps_per_cycle: float
) -> tf.keras.optimizers.schedules.LearningRateSchedule:
    """Straight lines from ``low`` up to ``high`` and down again (Smith, arXiv 1506.01186)."""
    with warnings.catch_warnings(), contextlib.redirect_stderr(io.StringIO()):
        warnings.simplefilter("ignore")  # it is at the end of its life, and TensorFlow is held back
        from tensorflow_addons.optimizers import TriangularCyclicalLearningRate

    return TriangularCyclicalLearningRate(low, high, step_size=max(steps_per_cycle, 2) / 2)
