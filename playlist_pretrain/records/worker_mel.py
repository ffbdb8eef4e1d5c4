"""The log-mel as worker processes compute it: with little of TensorFlow, and one thread each."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable
from typing import TYPE_CHECKING

from playlist_pretrain.audio.light_tensorflow import light_tensorflow
from playlist_pretrain.records.pool import in_worker

if TYPE_CHECKING:
    from playlist_pretrain.audio.front_end import FrontEnd


def stored_log_mel(front_end: FrontEnd, dtype: str, *, light: bool) -> Callable:
    """A function from a waveform float32 [samples] to its log-mel [frames, bands].

    Parameters
    ----------
    front_end : FrontEnd
    dtype : {"float16", "float32"}
        Of the log-mel.
    light : bool
        Whether a worker process needs nothing else of TensorFlow.
    """
    worker = in_worker()
    if worker:
        os.environ["CUDA_VISIBLE_DEVICES"] = "-1"
        os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"  # trouble is told by exceptions
    with warnings.catch_warnings():  # its dependencies' plans, once a worker, help nobody
        warnings.simplefilter("ignore")
        if worker and light:
            light_tensorflow()
        import tensorflow as tf

    if worker:
        # One thread each: the workers are what keeps the cores busy, and sums have one order.
        tf.config.threading.set_intra_op_parallelism_threads(1)
        tf.config.threading.set_inter_op_parallelism_threads(1)
    any_length = tf.TensorSpec([None], tf.float32)
    kind = getattr(tf, dtype)

    def stored(waveform):  # rounded as NumPy rounds, at a quarter of the time
        return tf.cast(front_end.log_mel(waveform), kind)

    # The control flow is TensorFlow's own: nothing to convert.
    return tf.function(stored, input_signature=[any_length], autograph=False)
