"""Two views of a window, each mixed with another window of the batch (pairing ``simclr``)."""

from __future__ import annotations

import tensorflow as tf

from playlist_pretrain.audio.front_end import FrontEnd
from playlist_pretrain.audio.log_mel import from_power, to_power

ALPHA, BETA = 5.0, 2.0


class MixedViews:
    """Two views of every window of a batch: mixes with two other windows of it.

    A view is ``g · window + (1 − g) · other`` in linear power: the logarithm of the front end is
    undone and redone. The gain g ~ Beta(5, 2) and the other window are drawn anew for each
    view of each window (arXiv 2304.12257, section 2; the paper does not say how it mixes). Views
    depend on ``(seed, step)`` and on the whole batch, and on nothing else.
    """

    def __init__(self, front_end: FrontEnd, seed: int = 0):
        self.front_end, self.seed = front_end, seed

    def __call__(self, windows: tf.Tensor, step: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Make two views, float32, of every window of the whole batch [batch, frames, bands]."""
        power = to_power(self.front_end, tf.cast(windows, tf.float32))

        def view(side):
            gains, others = self.draws(step, side, tf.shape(windows)[0])
            gains = gains[:, None, None]
            mixed = gains * power + (1.0 - gains) * tf.gather(power, others)
            return from_power(self.front_end, mixed)

        return view(0), view(1)

    def draws(self, step: tf.Tensor, side: int, batch: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Draw gains [shape=(batch,), float32] and others [shape=(batch,), int32] of one side."""
        step = tf.cast(step, tf.int64)
        seeds = [tf.stack([tf.constant(self.seed, tf.int64), step * 6 + side * 3 + k])
                 for k in range(3)]  # fmt: skip
        # A beta is the share of one gamma in the sum of two.
        one = tf.random.stateless_gamma([batch], seeds[0], ALPHA)
        two = tf.random.stateless_gamma([batch], seeds[1], BETA)
        # An offset of 1 … batch − 1 around the batch is any window but the own one.
        offsets = tf.random.stateless_uniform([batch], seeds[2], 1, batch, tf.int32)
        return one / (one + two), (tf.range(batch) + offsets) % batch
