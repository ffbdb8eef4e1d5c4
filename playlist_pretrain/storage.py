"""Files in object stores and Hadoop, by the methods of ``pathlib`` that the program uses.

What goes wrong becomes one error that names the URL, see :mod:`playlist_pretrain.storage`.

What is asked of a server that keeps files: again where that helps, and in plain words.

fsspec does the work (s3fs for ``s3://``, gcsfs for ``gs://``, pyarrow for ``hdfs://``).

Remote shards for ``tf.data`` readers of one's own, by tensorflow-io.

The program itself reads through :mod:`playlist_pretrain.storage`: ``tf.io.gfile`` has no call
for many pieces at once, and answers ``exists`` with False when the server cannot be reached.
"""

from __future__ import annotations

import ctypes
import fnmatch
import functools
import io
import os
import re
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import ModuleType
from typing import Any

from playlist_pretrain.errors import CollectionError, PlaylistPretrainError, first_line

_SCHEME = re.compile(r"([a-z][a-z0-9+.-]+)://", re.IGNORECASE)


def is_remote(path: str | Path | RemotePath) -> bool:
    """Whether ``path`` is a URL such as ``s3://bucket/folder``."""
    return isinstance(path, RemotePath) or _SCHEME.match(str(path)) is not None


def location(path: str | Path | RemotePath) -> Path | RemotePath:
    """``path`` as a :class:`RemotePath` when it is a URL, else as a ``Path``."""
    if isinstance(path, RemotePath):
        return path
    return RemotePath(str(path)) if is_remote(path) else Path(path)


def refuse_remote(
    path: str | Path, instead: str, error: type[PlaylistPretrainError] = CollectionError
) -> None:
    """Raise ``error`` when ``path`` is a URL, also one that ``Path`` took a slash from."""
    if re.match(_SCHEME.pattern.replace("//", "/"), str(path), re.IGNORECASE):
        raise error(f"--out {path}: is written to a local folder; {instead}")


class RemotePath:
    """A file or folder behind a URL; ``str()`` gives the URL.

    Paths made from it share its connections. Every method that asks the server raises
    CollectionError when it cannot be reached or refuses.

    Parameters
    ----------
    url : str
        ``s3://bucket/folder/name`` or of any other scheme that fsspec knows.
    """

    def __init__(self, url: str, server: Server | None = None):
        scheme, _, place = url.partition("://")
        if not place.strip("/"):
            raise CollectionError(f"{url}: names no bucket or folder")
        self._url = f"{scheme.lower()}://{place.rstrip('/')}"
        self._server = server or Server(self._url)

    def __str__(self) -> str:
        return self._url

    def __repr__(self) -> str:
        return f"RemotePath({self._url!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, RemotePath) and self._url == other._url

    def __hash__(self) -> int:
        return hash(self._url)

    def __truediv__(self, name: str | Path) -> RemotePath:
        return RemotePath(f"{self._url}/{name}", self._server)

    @property
    def name(self) -> str:
        """What follows the last slash."""
        return self._url.rpartition("/")[2]

    @property
    def parent(self) -> RemotePath:
        """The folder it is in."""
        return RemotePath(self._url.rpartition("/")[0], self._server)

    @property
    def stem(self) -> str:
        """The name without its last suffix."""
        return Path(self.name).stem

    def with_suffix(self, suffix: str) -> RemotePath:
        """The same with another suffix."""
        return self.parent / Path(self.name).with_suffix(suffix).name

    def resolve(self) -> RemotePath:
        """Itself: a URL is absolute."""
        return self

    def sizes(self) -> dict[str, int]:
        """Bytes of every file of this folder, by name, from one listing.

        Raises
        ------
        MissingError
            When there is no such folder.
        """
        own = self._server.key(self._url)
        found = self._server.ask("ls", self._url, detail=True)
        return {
            entry["name"].rpartition("/")[2]: int(entry["size"])
            for entry in found
            # An object of the folder's own name, with or without a slash, is not in the folder.
            if entry["type"] == "file" and entry["name"].rstrip("/") != own
        }

    def exists(self) -> bool:
        """Whether there is such a file or folder."""
        return self._kind() is not None

    def is_file(self) -> bool:
        """Whether there is such a file."""
        return self._kind() == "file"

    def is_dir(self) -> bool:
        """Whether there is such a folder."""
        return self._kind() == "directory"

    def _kind(self) -> str | None:
        try:
            return self._server.ask("info", self._url)["type"]
        except MissingError:
            return None

    def glob(self, pattern: str) -> Iterator[RemotePath]:
        """Files of this folder whose name fits ``pattern``."""
        return (self / name for name in sorted(self.sizes()) if fnmatch.fnmatchcase(name, pattern))

    def read_bytes(self, size: int | None = None) -> bytes:
        """All of the file, of ``size`` bytes when that is known already.

        Raises
        ------
        MissingError
            When there is no such file.
        """
        size = int(self._server.ask("info", self._url)["size"]) if size is None else size
        (data,) = read_pieces([self], [0], [size])
        if isinstance(data, CollectionError):
            raise data
        return data

    def read_text(self, encoding: str = "utf-8") -> str:
        """All of the file as text."""
        return self.read_bytes().decode(encoding)

    def open(self, mode: str = "rb") -> io.BytesIO:
        """The whole file in memory, for reading."""
        if mode != "rb":
            raise ValueError(f"mode {mode!r}: a remote file is opened for reading bytes")
        return io.BytesIO(self.read_bytes())

    def put(self, file: str | Path) -> None:
        """Upload a local file; it appears here whole or not at all."""
        self._server.put(self._url, file)


def read_pieces(
    paths: Sequence[RemotePath], starts: Sequence[int], sizes: Sequence[int]
) -> list[bytes | CollectionError]:
    """Read ``sizes[i]`` bytes at ``starts[i]`` of ``paths[i]``, many at once.

    Pieces that fail for a passing reason are asked for again, the others are not. All of
    ``paths`` come from one :class:`RemotePath`.

    Returns
    -------
    list of bytes or CollectionError
        An error in place of a piece that could not be had, or is not whole.
    """
    return paths[0]._server.pieces([str(path) for path in paths], starts, sizes)


CONNECTIONS = 64
"""Requests under way at once: about what hides the latency of an object store."""
ATTEMPTS = 5
FIRST_WAIT = 0.2
"""Seconds before the second attempt; each further wait is twice as long."""
CONNECT_SECONDS, READ_SECONDS = 5, 20
"""How long a connection, and a silence within an answer, may take."""

_PERMANENT = (FileNotFoundError, FileExistsError, NotADirectoryError, IsADirectoryError,
              PermissionError, ImportError, ValueError, TypeError, NotImplementedError)  # fmt: skip
_NO_CREDENTIALS = re.compile("Credential|ProfileNotFound|Token")
_RANGE_OUTSIDE = re.compile("range.*not satisfiable|InvalidRange", re.IGNORECASE)
_S3 = {
    "config_kwargs": {
        "connect_timeout": CONNECT_SECONDS,
        "read_timeout": READ_SECONDS,
        "max_pool_connections": CONNECTIONS,
        # One place tries again, and it is this module.
        "retries": {"mode": "standard", "total_max_attempts": 1},
    }
}
_OPTIONS = {
    "s3": _S3,
    "s3a": _S3,
    "gs": {"timeout": READ_SECONDS},
    "gcs": {"timeout": READ_SECONDS},
}
_ACCESS = {
    "s3": "AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY or AWS_PROFILE, and AWS_ENDPOINT_URL",
    "gs": "GOOGLE_APPLICATION_CREDENTIALS",
    "hdfs": "HADOOP_HOME, CLASSPATH and the address",
}


class MissingError(CollectionError, FileNotFoundError):
    """There is no such object, folder or bucket."""


class CutError(CollectionError):
    """A file ends before the bytes that were asked for."""


class Server:
    """The connections to one server; any thread may use them.

    Parameters
    ----------
    url : str
        Anything on that server.
    """

    def __init__(self, url: str):
        self._url = url
        self.scheme = url.partition("://")[0]

    @functools.cached_property
    def fs(self):
        """The file system, connected when it is asked something."""
        try:
            import fsspec

            fs, _ = fsspec.url_to_fs(
                self._url,
                # Kept instances would remember credentials and endpoint of another time.
                skip_instance_cache=True,
                use_listings_cache=False,
                **_OPTIONS.get(self.scheme, {}),
            )
        except ImportError as error:
            extras = "remote,gs" if self.scheme in ("gs", "gcs") else "remote"
            raise CollectionError(
                f"{self._url}: reading it needs packages that are missing ({first_line(error)}); "
                f"pip install -c constraints.txt -e '.[{extras}]'"
            ) from error
        except Exception as error:
            raise self.translated(self._url, error, connecting=True) from error
        if hasattr(fs, "retries"):
            fs.retries = 1
        return fs

    @functools.cached_property
    def _threads(self) -> ThreadPoolExecutor:
        return ThreadPoolExecutor(CONNECTIONS // 4, thread_name_prefix="remote")

    def key(self, path: str) -> str:
        """What the file system calls ``path``."""
        return self.fs._strip_protocol(path)

    def ask(self, method: str, path: str, **options: Any) -> Any:
        """Call a method of the file system on ``path``, again where that may help."""
        return self._again(path, lambda: getattr(self.fs, method)(self.key(path), **options))

    def _again(self, path: str, call: Callable[[], Any]) -> Any:
        for attempt in range(1, ATTEMPTS + 1):
            try:
                return call()
            except CollectionError:
                raise
            except Exception as error:
                if attempt == ATTEMPTS or _is_permanent(error):
                    raise self.translated(path, error, attempt) from error
                _wait(attempt)
        raise AssertionError("unreachable")

    def pieces(
        self, paths: Sequence[str], starts: Sequence[int], sizes: Sequence[int]
    ) -> list[bytes | CollectionError]:
        """See :func:`playlist_pretrain.storage.read_pieces`; ``paths`` are URLs."""
        found: list[Any] = [b"" if size == 0 else None for size in sizes]
        keys = {path: self.key(path) for path in set(paths)}
        left = [i for i, size in enumerate(sizes) if size]
        for attempt in range(1, ATTEMPTS + 1):
            answers = self._fetch(
                [keys[paths[i]] for i in left],
                [int(starts[i]) for i in left],
                [int(starts[i]) + int(sizes[i]) for i in left],
            )
            again = []
            for i, answer in zip(left, answers, strict=True):
                if not isinstance(answer, BaseException):
                    whole = len(answer) == sizes[i]
                    found[i] = answer if whole else _ends(paths[i], starts[i] + len(answer))
                elif not isinstance(answer, Exception):
                    raise answer
                elif attempt < ATTEMPTS and not _is_permanent(answer):
                    again.append(i)
                else:
                    found[i] = self.translated(paths[i], answer, attempt)
            left = again
            if not left:
                break
            _wait(attempt)
        return found

    def _fetch(self, keys: list[str], starts: list[int], ends: list[int]) -> list[Any]:
        if self.fs.async_impl:
            return self.fs.cat_ranges(keys, starts, ends, batch_size=CONNECTIONS, on_error="return")

        def read(key: str, start: int, end: int) -> bytes | Exception:
            try:
                return self.fs.cat_file(key, start=start, end=end)
            except Exception as error:
                return error

        return list(self._threads.map(read, keys, starts, ends))

    def put(self, path: str, file: str | Path) -> None:
        """Upload a local file; it appears at the URL ``path`` whole or not at all."""
        if self.fs.async_impl:  # an object appears when all of it has arrived
            self._again(path, lambda: self.fs.put_file(str(file), self.key(path)))
            return
        folder, _, name = path.rpartition("/")
        temporary = f"{folder}/.{name}.{os.getpid()}.tmp"

        def put() -> None:
            self.fs.put_file(str(file), self.key(temporary))
            if self.fs.exists(self.key(path)):
                self.fs.rm_file(self.key(path))
            self.fs.mv(self.key(temporary), self.key(path))

        self._again(path, put)

    def translated(
        self, path: str, error: Exception, attempts: int = 1, *, connecting: bool = False
    ) -> CollectionError:
        """What to tell a user instead of ``error``."""
        said = getattr(error, "strerror", None) or first_line(error) or type(error).__name__
        access = _ACCESS.get({"s3a": "s3", "gcs": "gs"}.get(self.scheme, self.scheme))
        hint = f"; check {access}" if access else ""
        if isinstance(error, FileNotFoundError):
            what = f" ({said})" if " " in said else ""
            return MissingError(f"{path}: no such file, folder or bucket{what}")
        if _NO_CREDENTIALS.search(type(error).__name__):
            return CollectionError(f"{path}: no credentials ({said}){hint}")
        if isinstance(error, PermissionError):
            return CollectionError(f"{path}: access is refused ({said}){hint}")
        if _is_outside(error):
            return _ends(path)
        tries = f", {attempts} times tried" if attempts > 1 else ""
        hint = hint if connecting or "Connect" in type(error).__name__ else ""
        return CollectionError(f"{path}: {said}{tries}{hint}")


def _ends(path: str, at: int | None = None) -> CutError:
    where = "" if at is None else f" at byte {at:,}"
    return CutError(f"{path}: ends too early{where}: it was cut or replaced")


def _is_permanent(error: Exception) -> bool:
    return (
        isinstance(error, _PERMANENT)
        or _NO_CREDENTIALS.search(type(error).__name__) is not None
        or _is_outside(error)
    )


def _is_outside(error: Exception) -> bool:
    return getattr(error, "code", None) == 416 or bool(_RANGE_OUTSIDE.search(str(error)))


def _wait(attempt: int) -> None:
    time.sleep(FIRST_WAIT * 2 ** (attempt - 1))


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
