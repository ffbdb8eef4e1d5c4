"""Long inputs of a request worked on part by part, which bounds the memory it takes."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import tensorflow as tf


def in_parts(
    part: Callable[[tf.Tensor, tf.Tensor], tf.Tensor],
    count: tf.Tensor,
    at_once: tf.Tensor | int,
    shape: Sequence[int | None] = (None,),
) -> tf.Tensor:
    """What ``part`` gives for one stretch of a number of things after the other, end to end.

    Parameters
    ----------
    part : callable
        ``(first, stop)``, int64 [] → float32 of ``shape``.
    count, at_once : tf.Tensor int64 []
        How many things there are, which may be none, and how many a stretch has.
    shape : sequence
        Of the result, whose first dimension is None.

    Returns
    -------
    tf.Tensor float32
    """
    at_once = tf.cast(at_once, tf.int64)
    pieces = tf.TensorArray(
        tf.float32,
        size=tf.cast(-(-count // at_once), tf.int32),
        element_shape=shape,
        infer_shape=False,
    )

    def add(index, first, pieces):
        stop = tf.minimum(first + at_once, count)
        return index + 1, stop, pieces.write(index, part(first, stop))

    *_, pieces = tf.while_loop(
        lambda _, first, __: first < count,
        add,
        (0, tf.constant(0, tf.int64), pieces),
        parallel_iterations=1,
    )
    return pieces.concat()
