"""tensorflow-io, imported here alone: what takes its place one day changes one file."""

from __future__ import annotations

import functools
from types import ModuleType

from playlist_pretrain.errors import PlaylistPretrainError, first_line


@functools.cache
def tensorflow_io(extra: str, error: type[PlaylistPretrainError]) -> ModuleType:
    """The module ``tensorflow_io``.

    Parameters
    ----------
    extra : str
        Of this package, that installs it.
    error : type
        What is raised when it is missing, or does not fit TensorFlow.
    """
    try:
        import tensorflow_io as module
    except Exception as problem:  # a library that does not fit raises what it likes
        raise error(
            f"tensorflow-io cannot be used ({first_line(problem)}); "
            f"pip install -c constraints.txt -e '.[{extra}]'"
        ) from problem
    return module
