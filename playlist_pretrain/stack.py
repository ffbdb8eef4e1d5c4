"""Differences of the two stacks: TensorFlow 2.15 with its Keras 2, or a later one with tf-keras.

Later TensorFlows have Keras 3 as ``tf.keras``; the models here are Keras 2, which the package
tf-keras supplies there. tensorflow-addons and tensorflow-io fit TensorFlow 2.15 alone.
"""

from __future__ import annotations

import importlib.util
import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:  # the package's root imports this: nothing else, so that Ctrl-C is soon heeded
    from types import ModuleType
    from typing import Any

LEGACY_KERAS = "TF_USE_LEGACY_KERAS"
"""Environment variable that makes ``tf.keras`` tf-keras; read when ``tf.keras`` is first used."""


def prepare_tensorflow() -> None:
    """Make ``tf.keras`` Keras 2 unless it was used already, and keep TensorFlow's notes back.

    Both by environment variables, which hold for this process and those it starts, and which a user
    may set otherwise. Where Keras 2 is what is installed as ``keras``, its variable stays unset.
    """
    # Its notes on CPU instructions and missing GPU libraries ask for nothing that a user can do.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    if not _keras_3_installed():
        return
    os.environ.setdefault(LEGACY_KERAS, "1")
    if "tensorflow" in sys.modules and _tf_keras_chosen():
        # Imported before, TensorFlow takes ``from tensorflow.keras import …`` from Keras 3.
        folder = os.path.join(_folder("tf_keras"), "api", "_v2")
        sys.modules["tensorflow"].__path__.insert(0, folder)


def check_keras(*parts: Any) -> None:
    """Raise ModelError if ``tf.keras`` is Keras 3, or one of ``parts`` no layer or model of it."""
    from playlist_pretrain.errors import ModelError, needs

    tensorflow = sys.modules.get("tensorflow")
    if _keras_3_installed() and not _folder("tf_keras"):
        raise ModelError(needs("a model of Keras 2", "tf_keras"))
    if tensorflow is None:
        wrong = _keras_3_installed() and not _tf_keras_chosen()
    else:
        wrong = getattr(tensorflow.keras, "__version__", "2").startswith("3")
    if wrong:
        raise ModelError(
            "tf.keras is Keras 3 in this process, and models here are Keras 2: in a new kernel, "
            f"import playlist_pretrain (or set {LEGACY_KERAS}=1) before tf.keras is used"
        )
    for part in parts:
        if not isinstance(part, tensorflow.keras.layers.Layer):
            raise ModelError(
                f"a {type(part).__module__}.{type(part).__qualname__} is no model of tf.keras, "
                "which is Keras 2 here: make it with tf.keras, not with the package keras"
            )


def tensorflow_addons() -> ModuleType | None:
    """Import tensorflow-addons; None where it is missing or does not fit TensorFlow."""
    import contextlib
    import io
    import warnings

    with warnings.catch_warnings(), contextlib.redirect_stderr(io.StringIO()):
        warnings.simplefilter("ignore")  # it is at the end of its life
        try:
            import tensorflow_addons as module
        except Exception:  # a library that does not fit raises what it likes
            return None
    return module


def load_tensorflow_io() -> None:
    """Have tensorflow-io teach TensorFlow its file systems.

    CollectionError where it is missing, or does not fit TensorFlow: later ones import it all the
    same, and have none of its operations.
    """
    import tensorflow as tf

    from playlist_pretrain.errors import CollectionError, first_line

    why = "TensorFlow learned no file system from it"
    try:
        import tensorflow_io  # noqa: F401
    except Exception as problem:  # as above
        why = first_line(problem)
    if "s3" not in tf.io.gfile.get_registered_schemes():
        raise CollectionError(
            f"tensorflow-io cannot be used with TensorFlow {tf.__version__} ({why}): open the "
            "collection with Collection.open(URL), which takes fsspec, or read its shards through "
            "fsspec as docs/guides/make_tfrecords.md shows"
        )


def with_constants(function: Any, *, aggressive_inlining: bool = False) -> Any:
    """Freeze a concrete function: constants in place of its variables.

    Later TensorFlows note on standard error that they look for GPUs, whatever
    ``TF_CPP_MIN_LOG_LEVEL`` is; these lines are left out, others pass.
    """
    import re

    from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

    from playlist_pretrain.processes import without_interrupts

    note = re.compile(rb"WARNING: All log messages before absl::InitializeLog|I\d{4} \d\d:\d\d:")
    error = os.dup(2)
    # What an interrupt says would be lost, or come twice.
    with open(error, "wb"), open(os.memfd_create("said"), "w+b") as said, without_interrupts():
        os.dup2(said.fileno(), 2)
        try:
            return convert_variables_to_constants_v2(
                function, aggressive_inlining=aggressive_inlining
            )
        finally:
            os.dup2(error, 2)
            said.seek(0)
            os.write(2, b"".join(line for line in said if not note.match(line)))


def _keras_3_installed() -> bool:
    """True if the installed ``keras`` is Keras 3, by the folder that TensorFlow looks for."""
    folder = _folder("keras")
    return bool(folder) and os.path.isdir(os.path.join(folder, "_tf_keras"))


def _tf_keras_chosen() -> bool:
    return os.environ.get(LEGACY_KERAS) in ("1", "true", "True")


def _folder(package: str) -> str:
    """Folder of a package, which is not imported; empty where there is none."""
    spec = importlib.util.find_spec(package)
    return os.path.dirname(spec.origin or "") if spec else ""
