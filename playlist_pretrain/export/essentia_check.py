"""A package in the installed Essentia, in a process of its own.

``python -m playlist_pretrain.export.essentia_check FOLDER`` runs what ``FOLDER/request.json`` asks
for and writes ``FOLDER/answers.npz``. What Essentia says when it cannot is on the last line of
standard error, and the exit code is 1.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

REQUEST, WINDOWS, ANSWERS = "request.json", "windows.npy", "answers.npz"


@dataclass(frozen=True)
class Request:
    """What the process is asked for.

    Attributes
    ----------
    graphs : dict of str to str
        ``graphFilename`` and ``savedModel`` (parameters of Essentia's algorithms) to their paths.
    input : str
    outputs : list of str
        Nodes.
    batches : list of int
        Sizes of the batches of ``FOLDER/windows.npy`` [windows, frames, bands] that are tried.
    code : str
        Python that defines ``predict(graph, audio, output, last)``.
    files : list of (str, str)
        Audio, and what becomes of its last frames.
    """

    graphs: dict[str, str]
    input: str
    outputs: list[str]
    batches: list[int]
    code: str
    files: list[tuple[str, str]]

    def write(self, folder: Path, windows: np.ndarray) -> None:
        """Put it and its windows where the process looks for them."""
        (folder / REQUEST).write_text(json.dumps(asdict(self)))
        np.save(folder / WINDOWS, windows)

    @classmethod
    def read(cls, folder: Path) -> Request:
        """Inverse of :meth:`write`, but for the windows."""
        return cls(**json.loads((folder / REQUEST).read_text()))


def window_key(graph: str, batch: int, output: str) -> str:
    """Name of an answer: windows of a batch."""
    return f"{graph} {batch} {output}"


def file_key(number: int, output: str) -> str:
    """Name of an answer: a file."""
    return f"file {number} {output}"


def answers(request: Request, windows: np.ndarray) -> Iterator[tuple[str, np.ndarray]]:
    """Name and answer [windows, size], float32, one after the other.

    Raises
    ------
    RuntimeError
        In Essentia's words.
    """
    from essentia import Pool
    from essentia.standard import TensorflowPredict

    for graph, path in request.graphs.items():
        model = TensorflowPredict(**{graph: path}, inputs=[request.input], outputs=request.outputs)
        for batch in request.batches:
            pool = Pool()
            pool.set(request.input, windows[:batch, np.newaxis])
            found = model(pool)
            for output in request.outputs:
                yield window_key(graph, batch, output), found[output].reshape(batch, -1)
    names: dict[str, Any] = {}
    exec(compile(request.code, "printed code", "exec"), names)
    for number, (audio, last) in enumerate(request.files):
        for output in request.outputs:
            found = names["predict"](request.graphs["graphFilename"], audio, output, last)
            yield file_key(number, output), np.asarray(found, np.float32)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the request of the folder named in ``argv``; returns the exit code."""
    (folder,) = map(Path, sys.argv[1:] if argv is None else argv)
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
    import essentia

    essentia.log.infoActive = essentia.log.warningActive = False
    try:
        found = dict(answers(Request.read(folder), np.load(folder / WINDOWS)))
    except Exception as error:  # a RuntimeError, or whatever an answer of another shape leads to
        print(" ".join(str(error).split()) or type(error).__name__, file=sys.stderr)
        return 1
    np.savez(folder / ANSWERS, **found)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
