"""What the replicas of a ``tf.distribute`` strategy do together; with one, nothing happens.

Called within ``strategy.run``, where Keras calls the steps of a model.
"""

from __future__ import annotations

from collections.abc import Sequence

import tensorflow as tf


def count() -> int:
    """Replicas that take a step together."""
    return tf.distribute.get_strategy().num_replicas_in_sync


def gathered(own: tf.Tensor) -> tf.Tensor:
    """Every replica's tensor [n, …] behind each other in the order of replicas, [replicas · n, …].

    No gradient comes through: :func:`own_share` of the gradient for the whole is what goes on.
    """
    if count() == 1:
        return own
    gathered = tf.distribute.get_replica_context().all_gather(tf.stop_gradient(own), axis=0)
    rows = own.shape[0]
    return tf.ensure_shape(gathered, [rows and rows * count(), *own.shape[1:]])


def own_share(of_all: tf.Tensor) -> tf.Tensor:
    """This replica's rows [n, …] of what :func:`gathered` has the shape of."""
    if count() == 1:
        return of_all
    index = tf.distribute.get_replica_context().replica_id_in_sync_group
    rows = tf.shape(of_all)[0] // count()
    share = of_all[index * rows : (index + 1) * rows]
    static = of_all.shape[0]
    return tf.ensure_shape(share, [static and static // count(), *of_all.shape[1:]])


def total(own: Sequence[tf.Tensor]) -> list[tf.Tensor]:
    """Sums over all replicas of each of some tensors, in one message."""
    if count() == 1:
        return list(own)
    context = tf.distribute.get_replica_context()
    return context.all_reduce(tf.distribute.ReduceOp.SUM, list(own))


def all_true(own: tf.Tensor) -> tf.Tensor:
    """Whether a bool is true on every replica."""
    (false,) = total([tf.cast(~own, tf.float32)])
    return false == 0.0
