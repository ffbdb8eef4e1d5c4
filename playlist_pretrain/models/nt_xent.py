"""NT-Xent, the normalised temperature-scaled cross-entropy of SimCLR, on one or more replicas."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from playlist_pretrain.models import SMALLEST_LEARNED_TEMPERATURE
from playlist_pretrain.models.layers import at_least_float32


def replica_count() -> int:
    """Return the number of replicas that take a step together."""
    return tf.distribute.get_strategy().num_replicas_in_sync


def gathered(own: tf.Tensor) -> tf.Tensor:
    """Concatenate the tensors [n, …] of all replicas in their order, [replicas · n, …].

    Call it and the next ones within ``strategy.run``. No gradient comes through: take
    :func:`own_share` of the gradient for the whole.
    """
    if replica_count() == 1:
        return own
    gathered = tf.distribute.get_replica_context().all_gather(tf.stop_gradient(own), axis=0)
    rows = own.shape[0]
    return tf.ensure_shape(gathered, [rows and rows * replica_count(), *own.shape[1:]])


def own_share(of_all: tf.Tensor) -> tf.Tensor:
    """Return this replica's rows [n, …] of a tensor of the shape of :func:`gathered`."""
    if replica_count() == 1:
        return of_all
    index = tf.distribute.get_replica_context().replica_id_in_sync_group
    rows = tf.shape(of_all)[0] // replica_count()
    share = of_all[index * rows : (index + 1) * rows]
    static = of_all.shape[0]
    return tf.ensure_shape(share, [static and static // replica_count(), *of_all.shape[1:]])


def total(own: Sequence[tf.Tensor]) -> list[tf.Tensor]:
    """Sum each tensor over all replicas, in one message."""
    if replica_count() == 1:
        return list(own)
    context = tf.distribute.get_replica_context()
    return context.all_reduce(tf.distribute.ReduceOp.SUM, list(own))


def all_true(own: tf.Tensor) -> tf.Tensor:
    """Return whether a bool is true on every replica."""
    (false,) = total([tf.cast(~own, tf.float32)])
    return false == 0.0


def nt_xent(
    z_x: tf.Tensor,
    z_y: tf.Tensor,
    temperature: float | tf.Tensor = 0.1,
    *,
    hard_negatives: float = 0.0,
    left_out: tf.Tensor | None = None,
) -> tf.Tensor:
    """Compute NT-Xent of N pairs against each other (Chen et al. 2020, equation 1).

    For each of the 2N projections, the cross-entropy of finding its partner among the 2N − 1
    others by cosine similarity divided by ``temperature``. Computed in float32, in float64
    where that comes in.

    Parameters
    ----------
    z_x, z_y : tf.Tensor [N, dim]
        Projections of the two sides; row i of one belongs to row i of the other.
    temperature : float or tf.Tensor [shape=()]
        τ, 0.1 in arXiv 2304.12257.
    hard_negatives : float
        β ≥ 0, see Notes; 0 is NT-Xent.
    left_out : tf.Tensor bool [2N, 2N], optional
        Which projections (columns) are no negatives of which (rows), those of x before those of
        y: false-negative elimination (Huynh et al. 2022, arXiv 2011.11765). Partners stay, whatever
        it says.

    Returns
    -------
    tf.Tensor float32 or float64 [N]
        Loss of each pair, the mean over its two directions. Chance is :func:`chance_loss`.

    Notes
    -----
    With sᵢⱼ = cos(zᵢ, zⱼ) / τ, partner p and negatives Nᵢ, the loss of projection i is
    −log(exp sᵢₚ / (exp sᵢₚ + Σ_{j ∈ Nᵢ} wᵢⱼ exp sᵢⱼ)), where
    wᵢⱼ = exp(β sᵢⱼ) / mean_{k ∈ Nᵢ} exp(β sᵢₖ): importance weights of mean 1 (Robinson et al. 2021,
    arXiv 2010.04592, with τ⁺ = 0, so without its debiasing). As in that work β is the
    exponent of the similarity divided by τ, and the gradient goes through the weights too.
    """
    pairs = tf.shape(z_x)[0]
    z = tf.concat([at_least_float32(z_x), at_least_float32(z_y)], 0)  # (2N, dim)
    z = tf.math.l2_normalize(z, axis=1)
    logits = tf.matmul(z, z, transpose_b=True) / tf.cast(temperature, z.dtype)  # (2N, 2N)
    partner = tf.concat([tf.range(pairs) + pairs, tf.range(pairs)], 0)  # (2N,)
    if hard_negatives or left_out is not None:
        logits = _among_negatives(logits, partner, hard_negatives, left_out)
    logits = tf.linalg.set_diag(logits, tf.fill([2 * pairs], logits.dtype.min))
    losses = tf.nn.sparse_softmax_cross_entropy_with_logits(labels=partner, logits=logits)
    return tf.reduce_mean(tf.reshape(losses, [2, pairs]), axis=0)


def _among_negatives(logits, partner, hard_negatives, left_out):
    """Add the log-weights of negatives to logits [2N, 2N]; mask all but negatives and partners."""
    size = tf.shape(logits)[0]
    partners = tf.one_hot(partner, size, on_value=True, off_value=False, dtype=tf.bool)
    negative = ~(partners | tf.eye(size, dtype=tf.bool))
    if left_out is not None:
        negative &= ~left_out
    weighted = logits
    if hard_negatives:
        exponents = tf.where(negative, hard_negatives * logits, logits.dtype.min)
        count = tf.reduce_sum(tf.cast(negative, logits.dtype), axis=1, keepdims=True)
        total = tf.reduce_logsumexp(exponents, axis=1, keepdims=True)
        # A projection without negatives has no weights: its total is nothing to take from.
        weights = hard_negatives * logits - tf.where(count > 0, total, 0.0)
        weighted += weights + tf.math.log(tf.maximum(count, 1.0))
    return tf.where(negative, weighted, tf.where(partners, logits, logits.dtype.min))


def chance_loss(pairs: int) -> float:
    """Return NT-Xent of ``pairs`` pairs with equal projections: ln(2·pairs − 1)."""
    return math.log(2 * pairs - 1)


@tf.keras.saving.register_keras_serializable("playlist_pretrain")
class NTXent(tf.keras.losses.Loss):
    """:func:`nt_xent` as a Keras loss of ``(z_x, z_y)``.

    If ``learnable``, log τ is a weight, ``log_temperature``, that starts at log ``temperature`` and
    that the model compiled with the loss trains (Radford et al. 2021, CLIP, arXiv 2103.00020,
    section 2.5). As there, logits are never scaled by more than 100: after a step that takes τ
    below 0.01 it is 0.01.
    """

    def __init__(
        self,
        temperature: float = 0.1,
        *,
        hard_negatives: float = 0.0,
        learnable: bool = False,
        name: str = "nt_xent",
        **kwargs: Any,
    ):
        super().__init__(name=name, **kwargs)
        self._initial = temperature
        self.hard_negatives = hard_negatives
        self.log_temperature = None
        if learnable:
            self.log_temperature = tf.Variable(
                math.log(temperature),
                name="log_temperature",
                dtype=tf.float32,
                constraint=lambda value: tf.maximum(value, math.log(SMALLEST_LEARNED_TEMPERATURE)),
                aggregation=tf.VariableAggregation.ONLY_FIRST_REPLICA,
            )

    @property
    def temperature(self) -> float | tf.Tensor:
        """Current τ."""
        return self._initial if self.log_temperature is None else tf.exp(self.log_temperature)

    def call(self, y_true, y_pred, left_out=None):
        """Compute the loss of each pair [N]; ``y_true`` and ``y_pred`` are the two sides."""
        settings = {"hard_negatives": self.hard_negatives, "left_out": left_out}
        return nt_xent(y_true, y_pred, self.temperature, **settings)

    def get_config(self):
        """Return the settings of the loss as it was at first."""
        return {
            **super().get_config(),
            "temperature": self._initial,
            "hard_negatives": self.hard_negatives,
            "learnable": self.log_temperature is not None,
        }


NAMES = ("positive_similarity", "negative_similarity", "alignment", "uniformity")


def similarity_metrics(z_x: tf.Tensor, z_y: tf.Tensor) -> dict[str, tf.Tensor]:
    """Compute cosines, alignment and uniformity of N pairs (Wang & Isola 2020, arXiv 2005.10242).

    In a collapse alignment and uniformity are near 0; where nothing is learned positives are no
    closer than negatives. Row i of one side [N, dim] belongs to row i of the other. The result, by
    name and without a gradient: ``positive_similarity``, mean cosine of the pairs;
    ``negative_similarity``, mean cosine of any two of the 2N projections that are no pair;
    ``alignment``, mean squared distance d² of the pairs on the unit sphere, 0 … 4; ``uniformity``,
    ln of the mean of exp(−2·d²) over any two of the 2N projections, pairs included, −8 … 0.
    """
    z_x, z_y = (
        tf.math.l2_normalize(tf.stop_gradient(tf.cast(z, tf.float32)), axis=1) for z in (z_x, z_y)
    )
    z = tf.concat([z_x, z_y], 0)  # (2N, dim)
    cosines = tf.matmul(z, z, transpose_b=True)  # (2N, 2N)
    count = tf.cast(tf.shape(z)[0], tf.float32)
    of_others = count * (count - 1)
    positive = tf.reduce_mean(tf.reduce_sum(z_x * z_y, axis=1))
    # Each pair is there twice, once from either side; a batch of one pair has no negatives.
    off_diagonal = tf.linalg.set_diag(cosines, tf.zeros_like(z[:, 0]))
    negative = tf.math.divide_no_nan(
        tf.reduce_sum(off_diagonal) - count * positive, of_others - count
    )
    closeness = 4.0 * cosines - 4.0  # −2·d², since d² = 2 − 2·cosine
    closeness = tf.linalg.set_diag(closeness, tf.fill([tf.shape(z)[0]], closeness.dtype.min))
    values = (
        positive,
        negative,
        tf.reduce_mean(tf.reduce_sum(tf.square(z_x - z_y), axis=1)),
        tf.reduce_logsumexp(closeness) - tf.math.log(of_others),
    )
    return dict(zip(NAMES, values, strict=True))
