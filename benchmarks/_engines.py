"""A package in Essentia and the model in TensorFlow, each in a process that keeps it loaded."""

import time
from collections.abc import Callable
from pathlib import Path

_LOADED: dict[str, Callable] = {}
"""What the process runs; each holds one model."""


def load_in_essentia(graph: Path, outputs: list[str]) -> float:
    """Load a ``.pb``; the seconds that took."""
    import essentia

    essentia.log.infoActive = essentia.log.warningActive = False
    from essentia.standard import TensorflowPredict

    from playlist_pretrain.export.package import INPUT

    started = time.perf_counter()
    model = TensorflowPredict(graphFilename=str(graph), inputs=[INPUT], outputs=outputs)
    took = time.perf_counter() - started

    def run(windows):
        pool = essentia.Pool()
        pool.set(INPUT, windows[:, None])
        answers = model(pool)
        for output in outputs:
            assert len(answers[output]) == len(windows)

    _LOADED["run"] = run
    return took


def load_in_tensorflow(saved_model: Path) -> float:
    """Load the SavedModel that ``pretrain.py`` or ``finetune.py`` writes; the seconds that took."""
    import tensorflow as tf

    from playlist_pretrain.export.package import EMBEDDINGS
    from playlist_pretrain.models.tagger import embedding_of

    started = time.perf_counter()
    model = tf.keras.models.load_model(saved_model, compile=False)
    took = time.perf_counter() - started
    outputs = {EMBEDDINGS: model.output}
    if model.name == "tagger":  # as the package has them, both at once
        outputs = {**outputs, EMBEDDINGS: embedding_of(model), "activations": model.output}
    answers = tf.function(tf.keras.Model(model.inputs, outputs), autograph=False)

    def run(windows):
        for answer in answers(tf.constant(windows)).values():
            assert len(answer.numpy()) == len(windows)

    _LOADED["run"] = run
    return took


def windows_in_turn(frames: int, bands: int, count: int) -> float:
    """Seconds that the model takes for a batch of random windows, the same in every process."""
    import numpy as np

    windows = np.random.default_rng(0).uniform(0, 5, (count, frames, bands)).astype(np.float32)
    started = time.perf_counter()
    _LOADED["run"](windows)
    return time.perf_counter() - started
