"""What the projections of a batch look like: how close pairs are, and how spread all else is."""

from __future__ import annotations

import tensorflow as tf

NAMES = ("positive_similarity", "negative_similarity", "alignment", "uniformity")


def similarity_metrics(z_x: tf.Tensor, z_y: tf.Tensor) -> dict[str, tf.Tensor]:
    """Cosines, alignment and uniformity of N pairs (Wang & Isola 2020, arXiv 2005.10242).

    A loss says that something goes wrong, these say what: a collapse has an alignment and a
    uniformity near 0, a backbone that learns nothing has positives no closer than negatives.

    Parameters
    ----------
    z_x, z_y : tf.Tensor [N, dim]
        Projections of the two sides; row i of one belongs to row i of the other.

    Returns
    -------
    dict of str to tf.Tensor float32 []
        ``positive_similarity``, mean cosine of the pairs; ``negative_similarity``, mean cosine of
        any two of the 2N projections that are no pair; ``alignment``, mean squared distance d² of
        the pairs on the unit sphere, 0 … 4; ``uniformity``, ln of the mean of exp(−2·d²) over any
        two of the 2N projections, pairs included, −8 … 0. No gradient comes through.
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
