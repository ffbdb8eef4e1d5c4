"""Gradient caching: the gradient of a large batch with the memory of a small one.

Gao et al. 2021, arXiv 2101.06983. A contrastive loss needs the projections of the whole batch, but
not the activations behind them. So projections are computed slice by slice without keeping
activations, the loss and its gradient with respect to them once, and then each slice is run
again and propagated back on its own. One more forward pass buys the memory.
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
    """Loss of a whole batch, and its gradient by way of slices.

    The gradient is that of the whole batch where a projection depends on its window alone. Both
    passes must give the same projections: a tower with dropout would not. With batch normalisation
    a slice sees its own statistics, and the moving statistics take one step a batch, towards the
    mean of the slices'.

    Parameters
    ----------
    tower : callable
        ``[windows, frames, bands] → float32 [windows, dim']``, in training mode.
    variables : sequence of tf.Variable
        What the tower trains.
    statistics : sequence of tf.Variable
        What the tower moves when it runs.
    sides : tuple of tf.Tensor [shape=(pairs, frames, bands)]
        One or two windows for each pair, which go through the tower together.
    micro_batch : int
        Pairs of a slice.
    of_projections : callable
        ``float32 [pairs, dim'] of each side → loss, gradient of each side``.

    Returns
    -------
    loss : tf.Tensor
        What ``of_projections`` gave.
    gradients : list of tf.Tensor
        One for each of ``variables``.

    Raises
    ------
    ValueError
        If the batch is not a whole number of slices.
    """
    sides = _sliced(sides, micro_batch)
    slices = sides[0].shape[0]
    before = [tf.identity(variable) for variable in statistics]
    projections, moved = _forward(tower, statistics, before, sides)
    loss, gradients = of_projections(projections)
    gradients = _sliced(gradients, micro_batch)

    def add_slice(index, totals):
        with tf.GradientTape() as tape:
            z = tower(_together(sides, index))
        found = tape.gradient(
            z, variables, _together(gradients, index), unconnected_gradients="zero"
        )
        return index + 1, [total + one for total, one in zip(totals, found, strict=True)]

    _, totals = tf.while_loop(
        lambda index, _: index < slices,
        add_slice,
        (0, [tf.zeros(variable.shape, variable.dtype) for variable in variables]),
        parallel_iterations=1,  # two slices at a time would take the memory of two
        maximum_iterations=slices,
    )
    # The second pass moved the statistics again; what counts is the first.
    for variable, value, movement in zip(statistics, before, moved, strict=True):
        variable.assign(value + movement / slices)
    return loss, totals


def cached_projections(tower: Tower, sides: Sides, micro_batch: int) -> Sides:
    """Projections float32 [pairs, dim'] of each side, slice by slice and nothing else.

    Parameters
    ----------
    tower, sides, micro_batch
        As in :func:`cached_gradients`; a tower in inference mode moves nothing.
    """
    return _forward(tower, [], [], _sliced(sides, micro_batch))[0]


def _forward(tower, statistics, before, sides):
    """Projections of each side, and how far the statistics moved in all slices together.

    Every slice finds the statistics as they were before the batch.
    """
    count, slices, size = len(sides), *sides[0].shape[:2]

    def run_slice(index, array, moved):
        array = array.write(index, tower(_together(sides, index)))
        moved = [
            total + (variable - value)
            for total, variable, value in zip(moved, statistics, before, strict=True)
        ]
        for variable, value in zip(statistics, before, strict=True):
            variable.assign(value)
        return index + 1, array, moved

    _, array, moved = tf.while_loop(
        lambda index, *_: index < slices,
        run_slice,
        (0, tf.TensorArray(tf.float32, slices), [tf.zeros_like(value) for value in before]),
        parallel_iterations=1,
        maximum_iterations=slices,
    )
    z = array.stack()  # (slices, sides · size, dim')
    z = tf.reshape(z, [slices, count, size, z.shape[-1]])
    z = tf.reshape(tf.transpose(z, [1, 0, 2, 3]), [count, slices * size, z.shape[-1]])
    return tuple(tf.unstack(z)), moved


def _sliced(sides: Sides, micro_batch: int) -> Sides:
    """Each side as [slices, micro_batch, …]: what a loop takes by index has a fixed shape."""
    pairs = sides[0].shape[0]
    if pairs is None:
        raise ValueError("micro_batch needs batches of one size: batch with drop_remainder=True")
    if pairs % micro_batch:
        raise ValueError(f"a batch of {pairs} pairs is no whole number of slices of {micro_batch}")
    shape = [pairs // micro_batch, micro_batch]
    return tuple(tf.reshape(side, [*shape, *side.shape[1:]]) for side in sides)


def _together(sides: Sides, index: tf.Tensor) -> tf.Tensor:
    """The slices of all sides behind each other, [sides · micro_batch, …]."""
    return tf.concat([side[index] for side in sides], 0)
