"""Contrastive training of a backbone on pairs of one or several pairings."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from playlist_pretrain.models.gradient_caching import cached_gradients, cached_projections
from playlist_pretrain.models.layers import at_least_float32
from playlist_pretrain.models.nt_xent import (
    NAMES,
    NTXent,
    all_true,
    gathered,
    own_share,
    replica_count,
    similarity_metrics,
    total,
)
from playlist_pretrain.stack import check_keras


class ContrastiveModel(tf.keras.Model):
    """A backbone and a projector trained on pairs of windows.

    Compile and fit it as any Keras model, on any dataset of ``(x, y)``, or of
    ``(x, y, left_out)`` with the ``left_out`` of
    :func:`~playlist_pretrain.models.nt_xent.nt_xent` for the whole batch::

        model = ContrastiveModel(backbone, projector(backbone.output_shape[-1]))
        model.compile(optimizer=tf.keras.optimizers.Adam(1e-4), loss=NTXent(0.1))
        model.fit(pairs, epochs=50)

    Parameters
    ----------
    backbone, projector : tf.keras.Model
        ``[batch, frames, bands] → [batch, dim]``, which is kept after training, and
        ``[batch, dim] → [batch, dim']``, which is dropped.
    views : callable, optional
        ``(windows, step) → (x, y)``, see :class:`~playlist_pretrain.models.views.MixedViews`. The
        data are then single windows (or ``(windows, left_out)``), and both sides of a pair are made
        from each.
    y_tower : tf.keras.Model, optional
        ``[batch] → [batch, dim']``, see :func:`vector_tower`: the positive side is then not a
        window but a row.
    kinds : sequence of {"window", "views", "vector"}, optional
        For several pairings: the positive side of each, see
        :class:`~playlist_pretrain.pairs.Pairing`; ``views`` and ``vector`` at most once each. The
        data are then tuples with the data of each pairing. The loss is a weighted mean of their
        losses, each among its own pairs: those of another pairing are no negatives (what arXiv
        2304.12257, section 5, leaves to future work).
    weights : sequence of float, optional
        Of the pairings; divided by their sum [all equal].
    micro_batch : int, optional
        Pairs (of each pairing) that go through the shared tower at a time, see
        :mod:`~playlist_pretrain.models.gradient_caching`; a divisor of the batch [the whole batch].

    Notes
    -----
    Windows are ``[pairs, frames, bands]`` of any float type, cast where the model runs. All go
    through the shared tower in one pass, and batch statistics, if any, see the whole batch; with
    ``micro_batch`` they go, and are taken, slice by slice.
    ``first_bad_step`` is the step (counted from 0) whose loss or gradient was the first not to be
    finite, −1 as long as there is none. The loss alone would not tell: where ReLU turns NaN into
    0, as TensorFlow's does on CPUs, a broken backbone has the finite loss of chance.
    Made under the policy ``mixed_float16``, the optimizer is one that scales the loss. A gradient
    that overflows is then no bad step: the step is skipped, counted in ``skipped_steps``, and the
    scale halved. It is one when a window or the loss is not finite either, or when there is no
    scale left to halve. With ``jit_compile`` the passes through the towers are compiled by XLA.
    Beside the loss, a step reports the
    :func:`~playlist_pretrain.models.nt_xent.similarity_metrics` of its projections.
    Under a strategy of several replicas the loss is that of the pairs of all of them, so that
    negatives come from the whole batch; N replicas have the loss and the gradient of one.
    """

    def __init__(
        self,
        backbone: tf.keras.Model,
        projector: tf.keras.Model,
        *,
        views: Callable | None = None,
        y_tower: tf.keras.Model | None = None,
        kinds: Sequence[str] | None = None,
        weights: Sequence[float] | None = None,
        micro_batch: int | None = None,
        **kwargs: Any,
    ):
        if kinds is None and views is not None and y_tower is not None:
            raise ValueError("views have windows on both sides, a y_tower has not: give one")
        for kind, given in (("views", views), ("vector", y_tower)):
            if kinds is not None and kinds.count(kind) != (given is not None):
                raise ValueError(f"kinds {', '.join(kinds)}: one {kind} needs one of its kind")
        check_keras(backbone, projector, *([] if y_tower is None else [y_tower]))
        super().__init__(**kwargs)
        self.backbone = backbone
        self.projector = projector
        self.views = views
        self.y_tower = y_tower
        self.micro_batch = micro_batch
        self._single = kinds is None
        if kinds is None:
            kinds = ["views" if views else "vector" if y_tower is not None else "window"]
        weights = weights or [1.0] * len(kinds)
        self._kinds = tuple(kinds)
        self._shares = tuple(weight / sum(weights) for weight in weights)
        self.loss_tracker = tf.keras.metrics.Mean(name="loss")
        self.gradient_tracker = tf.keras.metrics.Mean(name="gradient_norm")
        self.skipped_tracker = tf.keras.metrics.Sum(name="skipped_steps")
        self.similarity_trackers = [tf.keras.metrics.Mean(name=name) for name in NAMES]
        self.first_bad_step = tf.Variable(
            -1, trainable=False, dtype=tf.int64,
            aggregation=tf.VariableAggregation.ONLY_FIRST_REPLICA,
        )  # fmt: skip

    def compile(self, optimizer="adam", loss=None, jit_compile=False, **kwargs):
        """Configure training; the default loss is NT-Xent with the paper's temperature."""
        super().compile(optimizer=optimizer, loss=tf.keras.losses.get(loss or NTXent()), **kwargs)
        # A loss is no layer: Keras sees its weight only where the model has it as well.
        self.log_temperature = getattr(self.loss, "log_temperature", None)
        # Views are drawn outside: only the passes through the towers are worth compiling.
        self._step_gradients = (
            tf.function(self._gradients, jit_compile=True) if jit_compile else self._gradients
        )

    @property
    def _scales_loss(self):
        return isinstance(self.optimizer, tf.keras.mixed_precision.LossScaleOptimizer)

    @property
    def metrics(self):
        """Metrics that Keras resets at the start of every epoch."""
        skipped = [self.skipped_tracker] if self._scales_loss else []
        return [self.loss_tracker, self.gradient_tracker, *skipped, *self.similarity_trackers]

    @property
    def parts(self):
        """Parts in a checkpoint, beside the optimizer and the metrics."""
        parts = {"backbone": self.backbone, "projector": self.projector}
        if self.y_tower is not None:  # its table is frozen, and made from the groups again
            parts["y_projector"] = self.y_tower.layers[-1]
        if self.log_temperature is not None:
            parts["log_temperature"] = self.log_temperature
        return parts

    def call(self, inputs, training=None):
        """Projections ``[batch, dim']`` of windows ``[batch, frames, bands]``."""
        return self.projector(self.backbone(inputs, training=training), training=training)

    def train_step(self, data):
        """Take one step of the optimizer on a batch of pairs, or of windows for views."""
        windows, rows, left_out = self._batch(data)
        loss, gradients, similarities = self._step_gradients(windows, rows, left_out)
        if self._scales_loss:
            can_be_halved = tf.identity(self.optimizer.loss_scale) > 1.0
            gradients = self.optimizer.get_unscaled_gradients(gradients)
        gradients = total(gradients)
        norm = tf.linalg.global_norm(gradients)
        self.optimizer.apply_gradients(
            zip(gradients, self.trainable_variables, strict=True),
            skip_gradients_aggregation=True,  # it is done, as the norm needs it
        )
        overflow = ~tf.math.is_finite(norm)
        bad = overflow | ~tf.math.is_finite(loss)
        if self._scales_loss:
            sound = [tf.reduce_all(tf.math.is_finite(side)) for side in windows]
            finite = all_true(tf.reduce_all(sound)) & tf.math.is_finite(loss)
            skipped = overflow & finite & can_be_halved
            bad &= ~skipped
            # A sum over replicas, all of which skip the same step.
            self.skipped_tracker.update_state(tf.cast(skipped, tf.float32) / replica_count())
            counts = tf.cast(~skipped, tf.float32)
            self.gradient_tracker.update_state(tf.where(skipped, 0.0, norm), counts)
        else:
            self.gradient_tracker.update_state(norm)
        step = tf.cast(self.optimizer.iterations, tf.int64) - 1
        self.first_bad_step.assign(
            tf.where((self.first_bad_step < 0) & bad, step, self.first_bad_step)
        )
        self.loss_tracker.update_state(loss)
        for tracker in self.similarity_trackers:
            tracker.update_state(similarities[tracker.name])
        return {metric.name: metric.result() for metric in self.metrics}

    def test_step(self, data):
        """Compute the loss of a batch in inference mode."""
        windows, rows, left_out = self._batch(data)
        projections = [*map(gathered, self._projections(windows, rows))]
        loss = self._mean_loss(projections, left_out)
        self.loss_tracker.update_state(loss)
        return {"loss": self.loss_tracker.result()}

    def _batch(self, data):
        """Sort this replica's batch of all pairings by what happens to it.

        Returns the sides of pairs that are windows, the rows of the pairing of kind ``vector`` or
        None, and which projections are no negatives of which, or None, for each pairing.
        """
        windows, rows, left_out = [], None, []
        for kind, part in zip(self._kinds, [data] if self._single else data, strict=True):
            part = part if isinstance(part, (tuple, list)) else (part,)
            sides = 1 if kind == "views" else 2
            if kind == "views":
                views = self.views(gathered(part[0]), self.optimizer.iterations)
                windows += map(own_share, views)
            elif kind == "vector":
                windows.append(part[0])
                rows = part[1]
            else:
                windows += part[:2]
            left_out.append(part[sides] if len(part) > sides else None)
        if "views" in self._kinds:  # mixed in float32, while other windows come in 16 bits
            windows = [tf.cast(side, tf.float32) for side in windows]
        return tuple(windows), rows, left_out

    def _gradients(self, windows, rows, left_out):
        """Compute the loss over the pairs of all replicas, gradients, and all similarities.

        A gradient is what flows through the projections of this replica; the sum over the replicas
        is the gradient of ``trainable_variables``, scaled if the optimizer scales the loss.
        """
        y_variables = [] if rows is None else self.y_tower.trainable_variables
        with tf.GradientTape() as y_tape:
            y_projections = () if rows is None else (self.y_tower(rows, training=True),)
        y_gradients, of_temperature, similarities = [], [], {}
        temperature = [] if self.log_temperature is None else [self.log_temperature]

        def of_projections(projections):
            loss, gradients, of_weights, found = self._loss_gradients(
                (*projections, *y_projections), temperature, left_out
            )
            y_gradients.extend(gradients[len(projections) :])
            of_temperature.extend(of_weights)
            similarities.update(found)
            return loss, gradients[: len(projections)]

        shared = [*self.backbone.trainable_variables, *self.projector.trainable_variables]
        if self.micro_batch is None:
            with tf.GradientTape() as tape:
                z = self._project(tf.concat(windows, 0), training=True)  # (2·pairs, dim')
            loss, of_sides = of_projections(tuple(tf.split(z, len(windows))))
            gradients = tape.gradient(z, shared, tf.concat(of_sides, 0))
        else:
            towers = [*self.backbone.variables, *self.projector.variables]
            loss, gradients = cached_gradients(
                lambda some: self._project(some, training=True),
                shared,
                # Statistics of batch normalisation: never trainable, unlike a frozen kernel.
                [v for v in towers if not v.trainable and v.dtype.is_floating],
                windows,
                self.micro_batch,
                of_projections,
            )
        of_y = (
            y_tape.gradient(y_projections, y_variables, tuple(y_gradients)) if y_variables else []
        )
        found = zip(
            [*shared, *y_variables, *temperature], [*gradients, *of_y, *of_temperature], strict=True
        )
        by_variable = {variable.ref(): gradient for variable, gradient in found}
        gradients = [by_variable[variable.ref()] for variable in self.trainable_variables]
        return loss, gradients, similarities

    def _loss_gradients(self, projections, weights, left_out):
        """Compute the loss of the pairs of all replicas, its gradients, and all similarities.

        The gradients are for this replica's projections and, in as many parts as there are
        replicas, for the weights of the loss itself. Every replica gathers the projections of all
        and computes the same loss: that is little beside the towers, and leaves any loss as it is.
        """
        everyone = tuple(map(gathered, projections))
        with tf.GradientTape() as tape:
            tape.watch(everyone)
            loss = self._mean_loss(everyone, left_out)
            scaled = self.optimizer.get_scaled_loss(loss) if self._scales_loss else loss
        of_projections, of_weights = tape.gradient(scaled, (everyone, weights))
        found = [similarity_metrics(*pair) for pair in self._pairs(everyone)]
        return (
            loss,
            tuple(map(own_share, of_projections)),
            [gradient / replica_count() for gradient in of_weights],
            {name: tf.add_n([one[name] for one in found]) / len(found) for name in NAMES},
        )

    def _mean_loss(self, projections, left_out):
        """Average the loss over pairs, and over pairings by their weights."""
        of_pairs = getattr(self.loss, "call", self.loss)  # a loss may be a plain function
        losses = [
            share * tf.reduce_mean(of_pairs(*pair) if mask is None else of_pairs(*pair, mask))
            for share, pair, mask in zip(
                self._shares, self._pairs(projections), left_out, strict=True
            )
        ]
        return tf.add_n(losses)

    def _pairs(self, projections):
        """Return the two sides of each pairing."""
        # The projections of vectors come last, whichever pairing has them.
        windows = iter(projections)
        return [
            (next(windows), projections[-1] if kind == "vector" else next(windows))
            for kind in self._kinds
        ]

    def _projections(self, windows, rows):
        """Project this replica's pairs in inference mode."""
        if self.micro_batch is None:
            z = self._project(tf.concat(windows, 0), training=False)
            projections = tf.split(z, len(windows))
        else:
            projections = cached_projections(
                lambda some: self._project(some, training=False), windows, self.micro_batch
            )
        return [*projections, *([] if rows is None else [self.y_tower(rows, training=False)])]

    def _project(self, windows, training):
        return at_least_float32(self(windows, training=training))


def vector_tower(table: np.ndarray, projector: tf.keras.Model) -> tf.keras.Model:
    """Build the positive side of ``playlist_w2v``, ``int32 [batch] → float32 [batch, dim']``.

    It is a frozen ``table`` (float32 [tracks, size]) with the vector of every row, and a
    ``projector`` of its own: the other side has another.
    """
    embedding = tf.keras.layers.Embedding(
        *table.shape,
        embeddings_initializer=lambda shape, dtype=None, **_: tf.convert_to_tensor(table, dtype),
        trainable=False,
        name="vectors",
    )
    return tf.keras.Sequential([embedding, projector], name="y_tower")
