"""Gradient caching: the gradient of a large batch with the memory of a small one.

Gao et al. 2021, arXiv 2101.06983. A contrastive loss needs the projections of the whole batch, but
not the activations behind them. So projections are computed slice by slice without keeping
activations, the loss and its gradient with respect to them once, and then each slice is run
again and propagated back on its own (the last one is not run again: its activations are still
there). That most of a batch runs forward twice buys the memory.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import tensorflow as tf

Sides = tuple[tf.Tensor, ...]
Tower = Callable[[tf.Tensor], tf.Tensor]


def cached_gradients(
    tower: Tower,
    variables: Sequence[tf.Variable],
    statistics: Sequence[tf.Variable],
    sides: Sides,
    micro_batch: int,
    of_projections: Callable[[Sides], tuple[tf.Tensor, Sides]],
) -> tuple[tf.Tensor, list[tf.Tensor]]:
    """Compute the loss of a whole batch and its gradient, slice by slice.

    The gradient is that of the whole batch where a projection depends on its window alone. Both
    passes must give the same projections: a tower with dropout would not. With batch normalisation
    a slice sees its own statistics, and the moving statistics take one step a batch, towards the
    mean of the slices'.

    Parameters
    ----------
    tower : callable
        ``[windows, frames, bands] → float32 [windows, dim']``, in training mode.
    variables, statistics : sequence of tf.Variable
        Trained variables of the tower, and those that it moves when it runs.
    sides : tuple of tf.Tensor [shape=(pairs, frames, bands)]
        One or two windows for each pair, which go through the tower together.
    micro_batch : int
        Pairs of a slice; ValueError unless it divides the batch.
    of_projections : callable
        ``float32 [pairs, dim'] of each side → loss, gradient of each side``.
    """
    sides = _sliced(sides, micro_batch)
    last = sides[0].shape[0] - 1
    before = [tf.identity(variable) for variable in statistics]
    array, moved = _forward(tower, statistics, before, sides, last)
    # The activations of the last slice stay, so that it need not run twice.
    with tf.GradientTape() as tape:
        z = tower(_together(sides, last))
    moved = _moved(moved, statistics, before)
    loss, gradients = of_projections(_by_side(array.write(last, z), sides))
    gradients = _sliced(gradients, micro_batch)

    def of_slice(tape, z, index):
        given = _together(gradients, index)
        return tape.gradient(z, variables, given, unconnected_gradients="zero")

    def add_slice(index, totals):
        with tf.GradientTape() as tape:
            z = tower(_together(sides, index))
        found = of_slice(tape, z, index)
        return index + 1, [total + one for total, one in zip(totals, found, strict=True)]

    _, totals = tf.while_loop(
        lambda index, _: index < last,
        add_slice,
        (0, of_slice(tape, z, last)),
        parallel_iterations=1,  # two slices at a time would take the memory of two
        maximum_iterations=last,
    )
    # The second pass moved the statistics again; what counts is the first.
    for variable, value, movement in zip(statistics, before, moved, strict=True):
        variable.assign(value + movement / (last + 1))
    return loss, totals


def cached_projections(tower: Tower, sides: Sides, micro_batch: int) -> Sides:
    """Compute projections float32 [pairs, dim'] of each side slice by slice, in inference mode."""
    sides = _sliced(sides, micro_batch)
    return _by_side(_forward(tower, [], [], sides, sides[0].shape[0])[0], sides)


def _forward(tower, statistics, before, sides, count):
    """Project the first slices; sum by how much each moved the statistics of the batch before."""

    def run_slice(index, array, moved):
        array = array.write(index, tower(_together(sides, index)))
        moved = _moved(moved, statistics, before)
        for variable, value in zip(statistics, before, strict=True):
            variable.assign(value)
        return index + 1, array, moved

    array = tf.TensorArray(tf.float32, sides[0].shape[0])
    _, array, moved = tf.while_loop(
        lambda index, *_: index < count,
        run_slice,
        (0, array, [tf.zeros_like(value) for value in before]),
        parallel_iterations=1,
        maximum_iterations=count,
    )
    return array, moved


def _moved(moved, statistics, before):
    return [
        total + (variable - value)
        for total, variable, value in zip(moved, statistics, before, strict=True)
    ]


def _by_side(array: tf.TensorArray, sides: Sides) -> Sides:
    """Sort projections of slices into projections [pairs, dim'] of each side."""
    count = len(sides)
    slices, size = sides[0].shape[:2]
    z = array.stack()  # (slices, sides · size, dim')
    z = tf.reshape(z, [slices, count, size, z.shape[-1]])
    z = tf.reshape(tf.transpose(z, [1, 0, 2, 3]), [count, slices * size, z.shape[-1]])
    return tuple(tf.unstack(z))


def _sliced(sides: Sides, micro_batch: int) -> Sides:
    """Reshape each side to [slices, micro_batch, …], which a loop can index with a fixed shape."""
    pairs = sides[0].shape[0]
    if pairs is None:
        raise ValueError("micro_batch needs batches of one size: batch with drop_remainder=True")
    if pairs % micro_batch:
        raise ValueError(f"a batch of {pairs} pairs is no whole number of slices of {micro_batch}")
    shape = [pairs // micro_batch, micro_batch]
    return tuple(tf.reshape(side, [*shape, *side.shape[1:]]) for side in sides)


def _together(sides: Sides, index: tf.Tensor) -> tf.Tensor:
    """Concatenate the slices of all sides, [sides · micro_batch, …]."""
    return tf.concat([side[index] for side in sides], 0)
