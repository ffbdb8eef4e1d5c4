"""Files behind URLs such as ``s3://bucket/folder``: paths, reading and writing, plain errors.

universal_pathlib and fsspec do the work (s3fs for ``s3://``, gcsfs for ``gs://``, pyarrow for
``hdfs://``), with their own connections and retries.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import io
import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO

from playlist_pretrain.errors import CollectionError, PlaylistPretrainError, first_line, needs
from playlist_pretrain.stack import load_tensorflow_io

_SCHEME = re.compile(r"([a-z][a-z0-9+.-]+)://", re.IGNORECASE)
CONNECTIONS = 64
"""Requests under way at once: about what hides the latency of an object store."""
_S3: dict[str, Any] = {"config_kwargs": {"max_pool_connections": CONNECTIONS}}
_OPTIONS = {"s3": _S3, "s3a": _S3}
_PACKAGES = {"s3": "s3fs", "s3a": "s3fs", "gs": "gcsfs", "gcs": "gcsfs"}
_ACCESS = {
    "s3": "AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY or AWS_PROFILE, and AWS_ENDPOINT_URL",
    "gs": "GOOGLE_APPLICATION_CREDENTIALS",
    "hdfs": "HADOOP_HOME, CLASSPATH and the address",
}


class MissingError(CollectionError, FileNotFoundError):
    """There is no such object, folder or bucket."""


def is_remote(path: object) -> bool:
    """Whether ``path`` is a URL such as ``s3://bucket/folder``."""
    return _SCHEME.match(str(path)) is not None


def location(path: str | Path) -> Path:
    """Path object of ``path``: a ``upath.UPath`` for a URL, else a ``pathlib.Path``.

    CollectionError for a URL without a bucket or of an unknown kind, or without the package that
    reads it.
    """
    if not isinstance(path, str):
        return path
    if not is_remote(path):
        return Path(path)
    scheme, _, place = path.partition("://")
    scheme = scheme.lower()
    if not place.strip("/"):
        raise CollectionError(f"{path}: names no bucket or folder")
    with plain_errors(path):
        from upath import UPath

        options = {"use_listings_cache": False, **_OPTIONS.get(scheme, {})}
        return UPath(f"{scheme}://{place.rstrip('/')}", **options)


def refuse_remote(
    path: str | Path, instead: str, error: type[PlaylistPretrainError] = CollectionError
) -> None:
    """Raise ``error`` when ``path`` is a URL, also one that ``Path`` took a slash from."""
    if re.match(_SCHEME.pattern.replace("//", "/"), str(path), re.IGNORECASE):
        raise error(f"--out {path}: is written to a local folder; {instead}")


@contextlib.contextmanager
def plain_errors(path: str | Path) -> Iterator[None]:
    """Turn what goes wrong with the file or folder ``path`` into a CollectionError naming it."""
    try:
        yield
    except CollectionError:
        raise
    except Exception as error:
        raise remote_error(path, error) from error


def remote_error(path: str | Path, error: Exception) -> CollectionError:
    """The message to a user for an ``error`` of fsspec or of a library below it."""
    said = getattr(error, "strerror", None) or first_line(error) or type(error).__name__
    kind, scheme = type(error).__name__, str(path).partition("://")[0].lower()
    access = _ACCESS.get({"s3a": "s3", "gcs": "gs"}.get(scheme, scheme))
    hint = f"; check {access}" if access else ""
    if isinstance(error, ImportError) and scheme in _PACKAGES:
        named = (error.name or "").partition(".")[0]  # fsspec names none
        module = named if named in ("upath", "fsspec") else _PACKAGES[scheme]
        return CollectionError(needs(f"{path}: reading it", module))
    if isinstance(error, FileNotFoundError | NotADirectoryError):
        what = f" ({said})" if " " in said else ""
        return MissingError(f"{path}: no such file, folder or bucket{what}")
    if re.search("Credential|ProfileNotFound|Token", kind):
        return CollectionError(f"{path}: no credentials ({said}){hint}")
    if isinstance(error, PermissionError):
        return CollectionError(f"{path}: access is refused ({said}){hint}")
    if re.search("range.*not satisfiable|InvalidRange", str(error), re.IGNORECASE):
        return CollectionError(f"{path}: ends too early: it was cut or replaced")
    return CollectionError(f"{path}: {said}{hint}")


def read_bytes(path: Path) -> bytes:
    """Content of a local or remote file.

    OSError for a local file that cannot be read, or a remote one that is missing; CollectionError
    for a server that cannot be reached, or refuses.
    """
    if not is_remote(path):
        return path.read_bytes()
    with plain_errors(path):
        return path.fs.cat_file(path.path)  # type: ignore[attr-defined]


def open_bytes(path: Path) -> BinaryIO:
    """Open a local or remote file for reading; a remote one is fetched whole. Raises as above."""
    return io.BytesIO(read_bytes(path)) if is_remote(path) else open(path, "rb")


def read_ranges(
    paths: Sequence[Path], starts: Sequence[int], sizes: Sequence[int]
) -> list[bytes | CollectionError]:
    """Read ``sizes[i]`` bytes at ``starts[i]`` of the remote files ``paths[i]``, many at once.

    An error stands in place of a piece that could not be read; fewer bytes where a file ends.
    """
    ends = [start + size for start, size in zip(starts, sizes, strict=True)]
    with plain_errors(paths[0]):
        fs, keys = paths[0].fs, [path.path for path in paths]  # type: ignore[attr-defined]
        answers = fs.cat_ranges(keys, list(starts), ends, on_error="return")
    return [
        remote_error(path, answer) if isinstance(answer, Exception) else answer
        for path, answer in zip(paths, answers, strict=True)
    ]


def upload(file: str | Path, path: Path) -> None:
    """Copy a local file to the remote ``path``, where it appears whole or not at all."""
    with plain_errors(path):
        fs, key = path.fs, path.path  # type: ignore[attr-defined]
        if fs.async_impl:  # an object store: an object appears when all of it has arrived
            fs.put_file(str(file), key)
        else:
            fs.put_file(str(file), f"{key}.tmp")
            if fs.exists(key):
                fs.rm_file(key)
            fs.mv(f"{key}.tmp", key)


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
    CollectionError where tensorflow-io is missing or does not fit TensorFlow, as from 2.16 on.

    Examples
    --------
    >>> register_file_systems()
    >>> tf.data.TFRecordDataset([str(path) for path in collection.shard_paths])
    """
    for name, others in _SAME.items():
        value = next((os.environ[other] for other in others if os.environ.get(other)), None)
        if value is not None:
            os.environ.setdefault(name, value)
    load_tensorflow_io()
    # Once s3:// was used, tensorflow-io 0.36 aborts a process that ends (exit code 134, "pure
    # virtual method called"): a client of the AWS library is destroyed after its logger. Of the
    # system's handlers at exit the last registered runs first, when Python has ended already;
    # it leaves with the exit code that it is handed, before the library's own handler.
    libc = ctypes.CDLL(None)
    libc.on_exit(libc._exit, None)
