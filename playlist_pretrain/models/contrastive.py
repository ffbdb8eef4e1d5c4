"""The model that is trained: the two sides of a pair, a tower for each, and a loss between them."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import tensorflow as tf

from playlist_pretrain.models.nt_xent import NTXent


class ContrastiveModel(tf.keras.Model):
    """A backbone and a projector trained on pairs of windows.

    Compile and fit it as any Keras model, on any dataset of ``(x, y)``::

        model = ContrastiveModel(backbone, projector(backbone.output_shape[-1]))
        model.compile(optimizer=tf.keras.optimizers.Adam(1e-4), loss=NTXent(0.1))
        model.fit(pairs, epochs=50)

    Parameters
    ----------
    backbone : tf.keras.Model
        ``[batch, frames, bands] → [batch, dim]``; what is kept after training.
    projector : tf.keras.Model
        ``[batch, dim] → [batch, dim']``; dropped after training.
    views : callable, optional
        ``(windows, step) → (x, y)``, see :class:`~playlist_pretrain.models.views.MixedViews`. The
        data are then single windows, and both sides of a pair are made from each.
    y_tower : tf.keras.Model, optional
        ``[batch] → [batch, dim']``, see :func:`vector_tower`: the positive side is then not a
        window but a row.

    Notes
    -----
    Windows are ``[pairs, frames, bands]`` of any float type; the cast to float32 happens where
    the model runs, so the host moves half the bytes. Where x and y share a tower they go through
    it in one concatenated pass, so batch statistics, where a backbone has them, see the whole
    batch.
    ``first_bad_step`` is the step (counted from 0) whose loss or gradient was the first not to be
    finite, −1 as long as there is none. The loss alone would not tell: where ReLU turns NaN into
    0, as TensorFlow's does on CPUs, a broken backbone has the finite loss of chance.
    """

    def __init__(
        self,
        backbone: tf.keras.Model,
        projector: tf.keras.Model,
        *,
        views: Callable | None = None,
        y_tower: tf.keras.Model | None = None,
        **kwargs,
    ):
        if views is not None and y_tower is not None:
            raise ValueError("views have windows on both sides, a y_tower has not: give one")
        super().__init__(**kwargs)
        self.backbone = backbone
        self.projector = projector
        self.views = views
        self.y_tower = y_tower
        self.loss_tracker = tf.keras.metrics.Mean(name="loss")
        self.gradient_tracker = tf.keras.metrics.Mean(name="gradient_norm")
        self.first_bad_step = tf.Variable(-1, trainable=False, dtype=tf.int64)

    def compile(self, optimizer="adam", loss=None, **kwargs):
        """Configure training; the default loss is NT-Xent with the paper's temperature."""
        super().compile(optimizer=optimizer, loss=tf.keras.losses.get(loss or NTXent()), **kwargs)

    @property
    def metrics(self):
        """Metrics that Keras resets at the start of every epoch."""
        return [self.loss_tracker, self.gradient_tracker]

    def call(self, inputs, training=None):
        """Projections ``[batch, dim']`` of windows ``[batch, frames, bands]``."""
        return self.projector(self.backbone(inputs, training=training), training=training)

    def train_step(self, data):
        """One step of the optimizer on a batch of pairs ``(x, y)``, or of windows for views."""
        x, y = self._sides(data)
        with tf.GradientTape() as tape:
            loss = self._pair_loss(x, y, training=True)
        gradients = tape.gradient(loss, self.trainable_variables)
        norm = tf.linalg.global_norm(gradients)
        self.optimizer.apply_gradients(zip(gradients, self.trainable_variables, strict=True))
        step = tf.cast(self.optimizer.iterations, tf.int64) - 1
        bad = ~(tf.math.is_finite(loss) & tf.math.is_finite(norm))
        self.first_bad_step.assign(
            tf.where((self.first_bad_step < 0) & bad, step, self.first_bad_step)
        )
        self.loss_tracker.update_state(loss)
        self.gradient_tracker.update_state(norm)
        return {metric.name: metric.result() for metric in self.metrics}

    def test_step(self, data):
        """Loss of a batch of pairs ``(x, y)``, or of windows for views."""
        x, y = self._sides(data)
        self.loss_tracker.update_state(self._pair_loss(x, y, training=False))
        return {"loss": self.loss_tracker.result()}

    def _sides(self, data):
        if self.views is None:
            return data
        windows = data[0] if isinstance(data, (tuple, list)) else data
        return self.views(windows, self.optimizer.iterations)

    def _pair_loss(self, x, y, training):
        if self.y_tower is not None:
            return self.loss(self(x, training=training), self.y_tower(y, training=training))
        projections = self(tf.concat([x, y], 0), training=training)  # (2·pairs, dim')
        z_x, z_y = tf.split(projections, 2)
        return self.loss(z_x, z_y)


def vector_tower(table: np.ndarray, projector: tf.keras.Model) -> tf.keras.Model:
    """The positive side of ``playlist_w2v``: a frozen table of vectors, then a projector.

    Parameters
    ----------
    table : ndarray [shape=(tracks, size), float32]
        Vector of every row; it is not trained.
    projector : tf.keras.Model
        ``[batch, size] → [batch, dim']``, of its own: the other side has another.

    Returns
    -------
    tf.keras.Model
        ``int32 [batch] → float32 [batch, dim']``.
    """
    embedding = tf.keras.layers.Embedding(
        *table.shape,
        embeddings_initializer=lambda shape, dtype=None, **_: tf.convert_to_tensor(table, dtype),
        trainable=False,
        name="vectors",
    )
    return tf.keras.Sequential([embedding, projector], name="y_tower")
