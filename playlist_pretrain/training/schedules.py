"""Learning-rate schedules."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from playlist_pretrain.stack import tensorflow_addons


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
    addons = tensorflow_addons()
    kind = addons.optimizers.TriangularCyclicalLearningRate if addons else Triangular
    return kind(low, high, step_size=max(steps_per_cycle, 2) / 2)


@tf.keras.utils.register_keras_serializable(package="playlist_pretrain")
class Triangular(tf.keras.optimizers.schedules.LearningRateSchedule):
    """The schedule of tensorflow-addons, to the last bit, for a TensorFlow that it does not fit."""

    def __init__(
        self, initial_learning_rate: float, maximal_learning_rate: float, step_size: float
    ):
        self.initial_learning_rate = initial_learning_rate
        self.maximal_learning_rate = maximal_learning_rate
        self.step_size = step_size

    def __call__(self, step: tf.Tensor) -> tf.Tensor:
        """Rate at ``step``, float32 []."""
        low, high, half, step = (
            tf.cast(value, tf.float32)
            for value in (
                self.initial_learning_rate, self.maximal_learning_rate, self.step_size, step
            )
        )  # fmt: skip
        cycle = tf.floor(1 + step / (2 * half))
        return low + (high - low) * tf.maximum(0.0, 1 - tf.abs(step / half - 2 * cycle + 1))

    def get_config(self) -> dict[str, Any]:
        """Arguments of the constructor."""
        return {
            "initial_learning_rate": self.initial_learning_rate,
            "maximal_learning_rate": self.maximal_learning_rate,
            "step_size": self.step_size,
        }
