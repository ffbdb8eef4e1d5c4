"""Files in object stores and Hadoop, by the methods of ``pathlib`` that the program uses.

What goes wrong becomes one error that names the URL, see :mod:`playlist_pretrain.servers`.
"""

from __future__ import annotations

import fnmatch
import io
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from playlist_pretrain.errors import CollectionError, PlaylistPretrainError
from playlist_pretrain.servers import MissingError, Server

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
