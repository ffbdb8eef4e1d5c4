"""The finished parts of a table of embeddings that is being made: an interrupted run goes on there.

They lie in a hidden folder beside the table: ``plan.json``, what the table is made of, and
``part-00000.npz`` …, each with the embeddings of some successive tracks. The folder is removed when
the table is there.
"""

from __future__ import annotations

import contextlib
import json
import shutil
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from playlist_pretrain.errors import EmbeddingsError
from playlist_pretrain.files import atomic_write, folder_lock, write_json
from playlist_pretrain.records.report import Note

PLAN = "plan.json"


@dataclass(frozen=True, eq=False)
class Part:
    """Embeddings of some successive tracks.

    Attributes
    ----------
    stop : int
        Position of the track that comes next.
    tracks : ndarray [shape=(n,), int64]
        Position of the track of each vector.
    vectors : ndarray [shape=(n, dim)]
    starts : ndarray [shape=(n,), float64]
        Seconds at which each window begins; of a whole track 0.
    notes : list of Note
        Tracks that have no vector, and why.
    seconds : float
        Of audio.
    """

    stop: int
    tracks: np.ndarray
    vectors: np.ndarray
    starts: np.ndarray
    notes: list[Note]
    seconds: float


class EmbeddingParts:
    """The parts of the table ``out``.

    Parameters
    ----------
    out : Path
        The table; its folder is there.
    """

    def __init__(self, out: Path):
        self._out = out
        self._folder = out.with_name(f".{out.name}.parts")
        self._count = 0

    @contextlib.contextmanager
    def claimed(self, request: Mapping[str, Any], *, overwrite: bool) -> Iterator[None]:
        """Hold the folder for one request while the block runs; go on with what is finished of it.

        Parameters
        ----------
        request : mapping
            What the table is made of, ready for JSON.
        overwrite : bool
            Start over.

        Raises
        ------
        EmbeddingsError
            Another process has the folder, or it holds parts of another request (the message
            lists what differs), or it is damaged.
        """
        busy = f"{self._out} is being made"
        with folder_lock(self._folder, busy, error=EmbeddingsError):
            plan = self._folder / PLAN
            if overwrite:
                for path in [plan, *self._folder.glob("part-*"), *self._folder.glob(".*.tmp")]:
                    path.unlink(missing_ok=True)
            if plan.exists():
                check_request(_content(plan), request, f"{self._out}: was begun")
            else:
                write_json(plan, request)
            self._count = 0
            while self._path(self._count).exists():
                self._count += 1
            try:
                yield
            finally:
                if not self._count:  # nothing to go on with
                    self.remove()

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[Part]:
        return (self._load(number) for number in range(self._count))

    @property
    def last(self) -> Part | None:
        """The last finished part."""
        return self._load(self._count - 1) if self._count else None

    def add(self, part: Part) -> None:
        """Keep the next part."""
        about = {
            "stop": part.stop,
            "seconds": part.seconds,
            "notes": [asdict(note) for note in part.notes],
        }
        with atomic_write(self._path(self._count)) as stream:
            np.savez(
                stream,
                tracks=part.tracks,
                vectors=part.vectors,
                starts=part.starts,
                about=np.frombuffer(json.dumps(about).encode(), np.uint8),
            )
        self._count += 1

    def remove(self) -> None:
        """Remove the folder."""
        shutil.rmtree(self._folder, ignore_errors=True)

    def _path(self, number: int) -> Path:
        return self._folder / f"part-{number:05d}.npz"

    def _load(self, number: int) -> Part:
        path = self._path(number)
        try:
            with np.load(path, allow_pickle=False) as arrays:
                about = json.loads(arrays["about"].tobytes())
                notes = [Note(**note) for note in about["notes"]]
                tracks, vectors, starts = (arrays[n] for n in ("tracks", "vectors", "starts"))
                return Part(about["stop"], tracks, vectors, starts, notes, about["seconds"])
        except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile) as error:
            raise EmbeddingsError(
                f"{path}: damaged ({error}); --overwrite starts {self._out} over"
            ) from error


def check_request(found: Any, request: Mapping[str, Any], what: str) -> None:
    """Refuse to go on with something that was made of something else.

    Raises
    ------
    EmbeddingsError
        Begins with ``what``, and lists what differs.
    """
    found = found if isinstance(found, dict) else {}
    differing = [
        f"{name}: {_shown(name, found)} there, {_shown(name, request)} now"
        for name in sorted(found.keys() | request.keys())
        if found.get(name) != request.get(name)
    ]
    if differing:
        raise EmbeddingsError(
            f"{what} with other inputs or settings ({'; '.join(differing)}); choose another --out, "
            "or --overwrite to start over"
        )


def _shown(name: str, request: Mapping[str, Any]) -> Any:
    value = request.get(name)
    return value.get("name", "another") if isinstance(value, dict) else value


def _content(plan: Path) -> Any:
    try:
        return json.loads(plan.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise EmbeddingsError(f"{plan}: damaged ({error}); --overwrite starts over") from error
