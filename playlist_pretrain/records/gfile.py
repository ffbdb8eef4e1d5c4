"""Remote shards for ``tf.data`` readers of one's own, by tensorflow-io.

The program itself reads through :mod:`playlist_pretrain.storage`: ``tf.io.gfile`` has no call
for many pieces at once, and answers ``exists`` with False when the server cannot be reached.
"""

from __future__ import annotations

import ctypes
import functools
import os

from playlist_pretrain.errors import CollectionError
from playlist_pretrain.tfio import tensorflow_io

_SAME = {
    "S3_ENDPOINT": ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"),
    "AWS_REGION": ("AWS_DEFAULT_REGION",),
    "S3_CA_FILE": ("AWS_CA_BUNDLE",),
}
"""tensorflow-io's names of variables that s3fs reads under others."""


@functools.cache
def register_file_systems() -> None:
    """Let ``tf.io.gfile`` and ``tf.data`` read ``s3://`` and ``hdfs://`` paths.

    The variables are those that the program itself reads, see ``docs/guides/make_tfrecords.md``.
    TensorFlow has ``gs://`` of its own. Call it before TensorFlow is given such a path.

    Raises
    ------
    CollectionError
        When tensorflow-io is missing, or does not fit TensorFlow.

    Examples
    --------
    >>> register_file_systems()
    >>> tf.data.TFRecordDataset([str(path) for path in collection.shard_paths])
    """
    for name, others in _SAME.items():
        value = next((os.environ[other] for other in others if os.environ.get(other)), None)
        if value is not None:
            os.environ.setdefault(name, value)
    tensorflow_io("remote", CollectionError)
    # Once s3:// was used, tensorflow-io 0.36 aborts a process that ends (exit code 134, "pure
    # virtual method called"): a client of the AWS library is destroyed after its logger. Of the
    # system's handlers at exit the last registered runs first, when Python has ended already;
    # it leaves with the exit code that it is handed, before the library's own handler.
    libc = ctypes.CDLL(None)
    libc.on_exit(libc._exit, None)
