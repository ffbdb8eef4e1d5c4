"""The model that is trained: the two sides of a pair, a tower for each, and a loss between them.

Several pairings in one step: one backbone, and a loss for each.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from playlist_pretrain.models import nt_xent as replicas
from playlist_pretrain.models.gradient_caching import cached_gradients, cached_projections
from playlist_pretrain.models.input_wait import InputWait, timed
from playlist_pretrain.models.layers import at_least_float32
from playlist_pretrain.models.nt_xent import NAMES, NTXent, similarity_metrics


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
    backbone : tf.keras.Model
        ``[batch, frames, bands] → [batch, dim]``; what is kept after training.
    projector : tf.keras.Model
        ``[batch, dim] → [batch, dim']``; dropped after training.
    views : callable, optional
        ``(windows, step) → (x, y)``, see :class:`~playlist_pretrain.models.views.MixedViews`. The
        data are then single windows (or ``(windows, left_out)``), and both sides of a pair are made
        from each.
    y_tower : tf.keras.Model, optional
        ``[batch] → [batch, dim']``, see :func:`vector_tower`: the positive side is then not a
        window but a row.
    micro_batch : int, optional
        Pairs that go through the shared tower at a time, see
        :mod:`~playlist_pretrain.models.gradient_caching`; a divisor of the batch. The default is
        the whole batch.

    Notes
    -----
    Windows are ``[pairs, frames, bands]`` of any float type; the cast to float32 happens where
    the model runs, so the host moves half the bytes. Where x and y share a tower they go through
    it in one concatenated pass, so batch statistics, where a backbone has them, see the whole
    batch.
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
        micro_batch: int | None = None,
        **kwargs: Any,
    ):
        if views is not None and y_tower is not None:
            raise ValueError("views have windows on both sides, a y_tower has not: give one")
        super().__init__(**kwargs)
        self.backbone = backbone
        self.projector = projector
        self.views = views
        self.y_tower = y_tower
        self.micro_batch = micro_batch
        self.loss_tracker = tf.keras.metrics.Mean(name="loss")
        self.gradient_tracker = tf.keras.metrics.Mean(name="gradient_norm")
        self.skipped_tracker = tf.keras.metrics.Sum(name="skipped_steps")
        self.similarity_trackers = [tf.keras.metrics.Mean(name=name) for name in NAMES]
        self.input_wait = InputWait()
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
        """What a checkpoint holds, beside the optimizer and the metrics."""
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
        """One step of the optimizer on a batch of pairs ``(x, y)``, or of windows for views."""
        x, y = self._sides(data)
        loss, gradients, similarities = self._step_gradients(x, y, self._left_out(data))
        if self._scales_loss:
            can_be_halved = tf.identity(self.optimizer.loss_scale) > 1.0
            gradients = self.optimizer.get_unscaled_gradients(gradients)
        gradients = replicas.total(gradients)
        norm = tf.linalg.global_norm(gradients)
        self.optimizer.apply_gradients(
            zip(gradients, self.trainable_variables, strict=True),
            skip_gradients_aggregation=True,  # it is done, as the norm needs it
        )
        overflow = ~tf.math.is_finite(norm)
        bad = overflow | ~tf.math.is_finite(loss)
        if self._scales_loss:
            windows = [tf.reduce_all(tf.math.is_finite(side)) for side in self._windows(x, y)]
            finite = replicas.all_true(tf.reduce_all(windows)) & tf.math.is_finite(loss)
            skipped = overflow & finite & can_be_halved
            bad &= ~skipped
            # A sum over replicas, all of which skip the same step.
            self.skipped_tracker.update_state(tf.cast(skipped, tf.float32) / replicas.count())
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

    def make_train_function(self, force=False):
        """Keras's function of one step, whose wait for its batch is counted in ``input_wait``."""
        if self.train_function is not None and not force:
            return self.train_function
        if self.run_eagerly or self._cluster_coordinator or self._several_steps_an_execution:
            return super().make_train_function(force)
        return timed(super().make_train_function, self, self.input_wait)

    @property
    def _several_steps_an_execution(self):
        steps = self._steps_per_execution
        return self.autotune_steps_per_execution or (steps is not None and int(steps.numpy()) > 1)

    def test_step(self, data):
        """Loss of a batch of pairs ``(x, y)``, or of windows for views."""
        x, y = self._sides(data)
        projections = tuple(map(replicas.gathered, self._projections(x, y)))
        loss = self._mean_loss(projections, self._left_out(data))
        self.loss_tracker.update_state(loss)
        return {"loss": self.loss_tracker.result()}

    def _sides(self, data):
        """The two sides of this replica's pairs."""
        if self.views is None:
            return data[0], data[1]
        return self._seen(data[0] if isinstance(data, (tuple, list)) else data)

    def _seen(self, windows):
        """The two views of this replica's windows."""
        sides = self.views(replicas.gathered(windows), self.optimizer.iterations)
        return tuple(map(replicas.own_share, sides))

    def _left_out(self, data):
        """Which projections of the whole batch are no negatives of which, if data end with it."""
        sides = 2 if self.views is None else 1
        return data[sides] if isinstance(data, (tuple, list)) and len(data) > sides else None

    def _gradients(self, x, y, left_out=None):
        """Loss of all pairs, its gradient (scaled, if the optimizer asks) by way of this replica's,
        and their similarities: the gradients of all replicas together are that of
        ``trainable_variables``."""
        own = [] if self.y_tower is None else self.y_tower.trainable_variables
        with tf.GradientTape() as y_tape:
            given = () if self.y_tower is None else (self.y_tower(y, training=True),)
        of_given, of_loss, similarities = [], [], {}
        in_loss = [] if self.log_temperature is None else [self.log_temperature]

        def of_projections(projections):
            loss, gradients, of_weights, found = self._loss_gradients(
                (*projections, *given), in_loss, left_out
            )
            of_given.extend(gradients[len(projections) :])
            of_loss.extend(of_weights)
            similarities.update(found)
            return loss, gradients[: len(projections)]

        shared = [*self.backbone.trainable_variables, *self.projector.trainable_variables]
        if self.micro_batch is None:
            sides = self._windows(x, y)
            with tf.GradientTape() as tape:
                z = self._project(tf.concat(sides, 0), training=True)  # (2·pairs, dim')
            loss, of_sides = of_projections(tuple(tf.split(z, len(sides))))
            gradients = tape.gradient(z, shared, tf.concat(of_sides, 0))
        else:
            loss, gradients = cached_gradients(
                lambda windows: self._project(windows, training=True),
                shared,
                self._moving_statistics,
                self._windows(x, y),
                self.micro_batch,
                of_projections,
            )
        of_own = y_tape.gradient(given, own, tuple(of_given)) if own else []
        found = zip([*shared, *own, *in_loss], [*gradients, *of_own, *of_loss], strict=True)
        by_variable = {variable.ref(): gradient for variable, gradient in found}
        gradients = [by_variable[variable.ref()] for variable in self.trainable_variables]
        return loss, gradients, similarities

    def _loss_gradients(self, projections, weights, left_out):
        """Loss of the pairs of all replicas, its gradient for this replica's projections and, in
        as many parts as there are replicas, for the weights of the loss itself; and the
        similarities of all pairs.

        Every replica gathers the projections of all and computes the same loss: that is little
        beside the towers, and leaves any loss as it is.
        """
        everyone = tuple(map(replicas.gathered, projections))
        with tf.GradientTape() as tape:
            tape.watch(everyone)
            loss = self._mean_loss(everyone, left_out)
            scaled = self.optimizer.get_scaled_loss(loss) if self._scales_loss else loss
        of_projections, of_weights = tape.gradient(scaled, (everyone, weights))
        return (
            loss,
            tuple(map(replicas.own_share, of_projections)),
            [gradient / replicas.count() for gradient in of_weights],
            self._similarities(everyone),
        )

    def _similarities(self, projections):
        return similarity_metrics(*projections)

    def _mean_loss(self, projections, left_out):
        """Mean loss over pairs; Keras takes none itself where there are several replicas."""
        given = projections if left_out is None else (*projections, left_out)
        of_pairs = getattr(self.loss, "call", self.loss)  # a loss may be a plain function
        return tf.reduce_mean(of_pairs(*given))

    @property
    def _moving_statistics(self):
        """What batch normalisation moves: never trainable, unlike a kernel that was frozen."""
        variables = [*self.backbone.variables, *self.projector.variables]
        return [v for v in variables if not v.trainable and v.dtype.is_floating]

    def _windows(self, x, y):
        """The sides of a pair that are windows."""
        return (x,) if self.y_tower is not None else (x, y)

    def _project(self, windows, training):
        return at_least_float32(self(windows, training=training))

    def _projections(self, x, y):
        """Projections of this replica's pairs, in inference mode."""
        windows = self._windows(x, y)
        if self.micro_batch is not None:
            projections = cached_projections(
                lambda some: self._project(some, training=False), windows, self.micro_batch
            )
        else:
            z = self._project(tf.concat(windows, 0), training=False)
            projections = tuple(tf.split(z, len(windows)))
        if self.y_tower is not None:
            projections = (*projections, self.y_tower(y, training=False))
        return projections


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


class JointModel(ContrastiveModel):
    """A backbone and a projector trained on a batch of each of several pairings at a time.

    The loss is a weighted mean of the losses of the pairings, each among its own pairs: those of
    another pairing are no negatives. All windows go through the shared tower in one pass. Such a
    combination is what arXiv 2304.12257 (section 5) leaves to future work.

    Parameters
    ----------
    backbone, projector, micro_batch
        As in :class:`ContrastiveModel`; a slice has ``micro_batch`` pairs of each pairing.
    kinds : sequence of {"window", "views", "vector"}
        What the positive side of each pairing is, see :class:`~playlist_pretrain.pairs.Pairing`;
        ``views`` and ``vector`` at most once each.
    weights : sequence of float
        Of the pairings; divided by their sum.
    views : callable, optional
        Of the pairing whose kind is ``views``.
    y_tower : tf.keras.Model, optional
        Of the pairing whose kind is ``vector``.

    Notes
    -----
    Data are tuples with the data of each pairing, in the order of ``kinds``.
    """

    def __init__(
        self,
        backbone: tf.keras.Model,
        projector: tf.keras.Model,
        *,
        kinds: Sequence[str],
        weights: Sequence[float],
        views: Callable | None = None,
        y_tower: tf.keras.Model | None = None,
        micro_batch: int | None = None,
        **kwargs: Any,
    ):
        for kind, given in (("views", views), ("vector", y_tower)):
            if kinds.count(kind) != (given is not None):
                raise ValueError(f"kinds {', '.join(kinds)}: one {kind} needs one of its kind")
        super().__init__(backbone, projector, micro_batch=micro_batch, **kwargs)
        self.views = views
        self.y_tower = y_tower
        self._kinds = tuple(kinds)
        self._shares = tuple(weight / sum(weights) for weight in weights)

    def _sides(self, data):
        """All sides that are windows, pairing after pairing, and the rows of the one that has
        vectors."""
        windows, rows = [], ()
        for kind, part in zip(self._kinds, data, strict=True):
            if kind == "views":
                windows += self._seen(part[0] if isinstance(part, (tuple, list)) else part)
            elif kind == "window":
                windows += part[:2]
            else:
                windows.append(part[0])
                rows = part[1]
        if "views" in self._kinds:  # mixed in float32, while other windows come in 16 bits
            windows = [tf.cast(side, tf.float32) for side in windows]
        return tuple(windows), rows

    def _left_out(self, data):
        masks = [
            part[-1]
            for kind, part in zip(self._kinds, data, strict=True)
            if isinstance(part, (tuple, list)) and len(part) > (1 if kind == "views" else 2)
        ]
        return tuple(masks) or None

    def _windows(self, x, y):
        return x

    def _mean_loss(self, projections, left_out):
        masks = left_out or (None,) * len(self._kinds)
        losses = [
            super(JointModel, self)._mean_loss(pair, mask)
            for pair, mask in zip(self._pairs(projections), masks, strict=True)
        ]
        return tf.add_n([share * loss for share, loss in zip(self._shares, losses, strict=True)])

    def _similarities(self, projections):
        """Means over the pairings."""
        found = [super(JointModel, self)._similarities(pair) for pair in self._pairs(projections)]
        return {name: tf.add_n([one[name] for one in found]) / len(found) for name in found[0]}

    def _pairs(self, projections):
        """The two sides of each pairing."""
        # The projections of vectors come last, whichever pairing has them.
        windows = iter(projections)
        return [
            (next(windows), projections[-1] if kind == "vector" else next(windows))
            for kind in self._kinds
        ]
