"""The contract of backbones."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from playlist_pretrain.testing.clauses import ContractError, require

if TYPE_CHECKING:
    import tensorflow as tf

STOCK = ("keras.", "tf_keras.", "keras_cv.")
"""Packages whose layers can be loaded without the program that trained them."""
SMALL = 1e-3


def check_backbone(
    make: Callable[..., tf.keras.Model], *, frames: int = 64, bands: int = 32, **settings: Any
) -> None:
    """Check a backbone as training, saving and fine-tuning need it.

    ``make`` is called by keyword with ``frames``, ``bands``, ``mean``, ``std``, ``initializer`` and
    ``seed``, as it is registered. ``frames`` and ``bands`` are the size of the window to check it
    with, ``settings`` further keywords, such as a small ``width``.
    Raises ContractError at the first clause that is broken.
    """
    import tensorflow as tf

    from playlist_pretrain.models.layers import plain_float32, precision, under_policy

    given = {"frames": frames, "bands": bands, **settings}

    def build(**more: Any) -> tf.keras.Model:
        usual = {"mean": None, "std": None, "initializer": "he_normal", "seed": 0}
        try:
            return make(**given, **{**usual, **more})
        except Exception as error:
            raise ContractError(
                "made by frames, bands, mean, std, initializer and seed, with or without "
                f"statistics; raised {error!r}"
            ) from error

    model = build()
    _structure(model, frames, bands)

    require(model.trainable_weights, "there is something to train")
    weights = model.get_weights()

    def same(other: tf.keras.Model) -> bool:
        return all(map(np.array_equal, weights, other.get_weights()))

    require(same(build()), "seed: the same one gives the same weights")
    require(not same(build(seed=1)), "seed: another one gives other weights")
    glorot = build(initializer="glorot_uniform")
    require(not same(glorot), "initializer: glorot_uniform gives other weights than he_normal")

    windows = np.random.default_rng(0).uniform(0, 6, (3, frames, bands)).astype(np.float16)
    output = _embeddings(model, windows, "windows of a collection (float16)")
    generator = np.random.default_rng(1)
    mean, std = generator.uniform(1, 3, bands), generator.uniform(0.5, 2, bands)
    inside = _embeddings(build(mean=mean, std=std), windows, "windows")
    outside = _embeddings(model, ((windows - mean) / std).astype(np.float32), "windows")
    require(
        _near(inside, outside),
        "mean and std: the input is standardised by them, each band, inside the model",
    )
    silent = build(mean=np.zeros(bands), std=np.zeros(bands))
    _embeddings(silent, windows, "windows when a band never changes (std 0)")

    try:
        with precision("mixed_bfloat16"):
            mixed = [build(), under_policy(model)]
    except ContractError:
        raise
    except Exception as error:
        raise ContractError(f"can be copied for mixed precision; raised {error!r}") from error
    for one in mixed:
        back = _embeddings(plain_float32(one), windows, "windows")
        clause = "made under mixed_bfloat16 and taken back to float32, the same"
        require(_near(back, output), clause)

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "saved_model"
        try:
            plain_float32(model).save(path, save_format="tf")
            loaded = tf.keras.models.load_model(path, compile=False)
        except Exception as error:
            raise ContractError(f"can be saved and loaded; raised {error!r}") from error
    require(_near(_embeddings(loaded, windows, "windows"), output), "saved and loaded, the same")
    trained = model.trainable_weights
    as_many = len(loaded.trainable_weights) == len(trained)
    require(as_many, "saved and loaded, as many weights can be trained")

    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(model(windows, training=True) ** 2)
    found = zip(trained, tape.gradient(loss, trained), strict=True)
    without = [weight.name for weight, gradient in found if gradient is None]
    require(not without, f"every trained weight has a gradient; not {', '.join(without[:3])}")


def _structure(model: tf.keras.Model, frames: int, bands: int) -> None:
    """A functional model of stock layers, one window in and one vector out."""
    import tensorflow as tf

    functional = isinstance(model, tf.keras.Model) and getattr(model, "_is_graph_network", False)
    require(functional, f"a functional Keras model, not {type(model).__name__}")
    inputs, outputs = ([tuple(x.shape) for x in xs] for xs in (model.inputs, model.outputs))
    require(
        inputs == [(None, frames, bands)],
        f"one input [batch, {frames}, {bands}], not {[list(shape) for shape in inputs]}",
    )
    require(
        len(outputs) == 1 and len(outputs[0]) == 2 and outputs[0][1],
        f"one output [batch, dim], not {[list(shape) for shape in outputs]}",
    )
    for layer in model.layers:
        kind = type(layer)
        require(
            kind.__module__.startswith(STOCK) and not isinstance(layer, tf.keras.layers.Lambda),
            f"stock layers, which load without this program; {layer.name} is {kind.__name__}",
        )


def _embeddings(model: tf.keras.Model, windows: np.ndarray, case: str) -> np.ndarray:
    try:
        output = model(windows, training=False)
    except Exception as error:
        raise ContractError(f"{case} are taken; raised {error!r}") from error
    require(output.dtype.name == "float32", f"{case}: float32 embeddings, not {output.dtype.name}")
    require(np.isfinite(output).all(), f"{case}: finite embeddings")
    return np.asarray(output)


def _near(one: np.ndarray, other: np.ndarray) -> bool:
    return bool(np.abs(one - other).max() <= SMALL * max(np.abs(other).max(), SMALL))
