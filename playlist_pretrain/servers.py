"""What is asked of a server that keeps files: again where that helps, and in plain words.

fsspec does the work (s3fs for ``s3://``, gcsfs for ``gs://``, pyarrow for ``hdfs://``).
"""

from __future__ import annotations

import functools
import os
import re
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from playlist_pretrain.errors import CollectionError, first_line

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
