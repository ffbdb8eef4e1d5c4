"""As much of TensorFlow as a log-mel takes, for processes that do nothing else with it.

``import tensorflow`` loads some 3,500 modules, nearly all of them for models and their training,
and takes longer than a worker needs for the log-mels of a hundred tracks. :func:`light_tensorflow`
puts a module ``tensorflow`` in place that has what :mod:`playlist_pretrain.audio.log_mel` calls:
the very functions, from TensorFlow's own files, so the numbers are the same to the bit. Asked for
any other name, or if one of these is not where it was, the module becomes all of TensorFlow, in
place, by running TensorFlow's ``__init__``.

What it cannot do is ``import tensorflow.io`` and the like. So it is for processes that run only
code of this package, never for one that a user's code shares.
"""

from __future__ import annotations

import gc
import importlib
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec, module_from_spec
from types import ModuleType, SimpleNamespace
from typing import Any

# As TensorFlow's own __init__ (2.15) has them: public name, module below tensorflow.python, name.
_NAMES = """
    TensorArray ops.tensor_array_ops TensorArray
    TensorSpec framework.tensor TensorSpec
    cast ops.math_ops cast
    concat ops.array_ops concat
    config.threading.set_inter_op_parallelism_threads framework.config *
    config.threading.set_intra_op_parallelism_threads framework.config *
    convert_to_tensor framework.tensor_conversion convert_to_tensor_v2_with_dispatch
    executing_eagerly eager.context executing_eagerly
    float16 framework.dtypes float16
    float32 framework.dtypes float32
    function eager.polymorphic_function.polymorphic_function function
    math.imag ops.math_ops imag
    math.log ops.math_ops log
    math.real ops.math_ops real
    matmul ops.math_ops matmul
    maximum ops.gen_math_ops maximum
    minimum ops.gen_math_ops minimum
    pad ops.array_ops pad_v2
    reduce_prod ops.math_ops reduce_prod
    reshape ops.array_ops reshape
    shape ops.array_ops shape_v2
    signal.rfft ops.signal.fft_ops rfft
    sqrt ops.math_ops sqrt
    square ops.gen_math_ops square
    where ops.array_ops where_v2
    while_loop ops.while_loop while_loop_v2
"""
# What enable_v2_behavior() switches, but for tf.data, which is not there.
_SWITCHES = """
    tf2 enable
    framework.ops enable_eager_execution
    framework.tensor_shape enable_v2_tensorshape
    ops.variable_scope enable_resource_variables
    framework.tensor enable_tensor_equality
    ops.control_flow_v2_toggles enable_control_flow_v2
"""


def light_tensorflow() -> ModuleType:
    """Make ``import tensorflow`` give the light module; what is imported already stays.

    Returns
    -------
    module
        ``tensorflow``, light or, after any trouble, whole.
    """
    if "tensorflow" in sys.modules:
        return sys.modules["tensorflow"]
    spec = find_spec("tensorflow")
    if spec is None or spec.loader is None:
        return importlib.import_module("tensorflow")
    os.environ["TF2_BEHAVIOR"] = "1"  # as TensorFlow's __init__ does, for modules that ask for it
    tensorflow = sys.modules["tensorflow"] = module_from_spec(spec)
    try:
        with _without_collections():
            _fill(tensorflow)
    except Exception:  # another version: its __init__ knows better
        _complete(tensorflow)
    return tensorflow


@contextmanager
def _without_collections() -> Iterator[None]:
    """Modules are here to stay: looking for garbage among them is a tenth of the time."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


class _Part(SimpleNamespace):
    """A public submodule of which few names are there."""

    def __getattr__(self, name: str) -> Any:
        path = object.__getattribute__(self, "_path")
        there = _complete(sys.modules["tensorflow"])
        for part in (*path, name):
            there = getattr(there, part)
        return there


def _fill(tensorflow: ModuleType) -> None:
    for line in _SWITCHES.split("\n")[1:-1]:
        module, name = line.split()
        getattr(importlib.import_module(f"tensorflow.python.{module}"), name)()
    for line in _NAMES.split("\n")[1:-1]:
        public, module, name = line.split()
        *path, last = public.split(".")
        holder: Any = tensorflow
        for depth, part in enumerate(path, 1):
            holder = vars(holder).setdefault(part, _Part(_path=path[:depth]))
        found = importlib.import_module(f"tensorflow.python.{module}")
        setattr(holder, last, getattr(found, last if name == "*" else name))
    tensorflow.__getattr__ = lambda name: getattr(_complete(tensorflow), name)


def _complete(tensorflow: ModuleType) -> ModuleType:
    """Run TensorFlow's ``__init__`` in the module; what was imported from it stays as it is."""
    vars(tensorflow).pop("__getattr__", None)
    try:
        tensorflow.__spec__.loader.exec_module(tensorflow)
    except BaseException:
        sys.modules.pop("tensorflow", None)
        raise
    return tensorflow
