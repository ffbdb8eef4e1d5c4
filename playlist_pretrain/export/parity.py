"""What the check of a package measures, and how it is told."""

from __future__ import annotations

import math
import signal
import subprocess
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from playlist_pretrain.export.description import ACTIVATIONS

WINDOWS_LIMIT, FILES_LIMIT = 1e-4, 1e-3
"""Largest differences of embeddings that pass, in their standard deviations."""
ACTIVATIONS_LIMIT = 1e-3
"""Of activations, 0 to 1, on windows and on files: where a head adds up large values, a small
difference of the sum is a larger one of the probability."""
SMALLEST_STD = 1e-6
"""Of embeddings; where all are equal, any difference would be infinitely large."""


@dataclass(frozen=True)
class Compared:
    """One output in Essentia beside the same of the model.

    Attributes
    ----------
    what : str
        What was given.
    output : str
        Node.
    windows, expected : int
        Windows of the answer in Essentia, and of the model's.
    difference : float
        The largest over the windows that both have, in standard deviations of the embeddings; of
        activations, which are 0 to 1, as it is.
    limit : float
    """

    what: str
    output: str
    windows: int
    expected: int
    difference: float
    limit: float

    @property
    def passes(self) -> bool:
        """Whether it is as near as it has to be; NaN is not."""
        return self.windows == self.expected and self.difference <= self.limit

    def __str__(self) -> str:
        unit = "" if self.output == ACTIVATIONS else " of their standard deviation"
        count = f"{self.windows} window" + "s" * (self.windows != 1)
        if self.windows != self.expected:
            count += f" in Essentia and {self.expected} here"
        return (
            f"{self.what}: {self.output} of {count}, largest difference "
            f"{self.difference:.1e}{unit} (at most {self.limit:.0e})"
        )


@dataclass(frozen=True)
class Parity:
    """What :func:`check_in_essentia` found.

    Attributes
    ----------
    essentia : str
        Version.
    algorithm : str
        That ran the model on files.
    compared : tuple of Compared
    front_end_distance : float or None
        How far the front end that the model was trained with is from the one that Essentia has:
        the largest difference of embeddings of the whole file, in their standard deviations.
    """

    essentia: str
    algorithm: str
    compared: tuple[Compared, ...]
    front_end_distance: float | None = None

    def to_dict(self) -> dict[str, Any]:
        """Ready for JSON."""
        return asdict(self)

    @property
    def lines(self) -> list[str]:
        """For people."""
        lines = [f"run in Essentia {self.essentia}, files by {self.algorithm}:"]
        lines += [f"  {one}" for one in self.compared]
        if self.front_end_distance is not None:
            lines.append(
                "  the front end it was trained with moves embeddings of the same windows by up to "
                f"{self.front_end_distance:.2g} of their standard deviation"
            )
        return lines


def compare(
    what: str,
    output: str,
    there: np.ndarray,
    here: np.ndarray,
    limit: float,
    spread: np.ndarray | None = None,
) -> Compared:
    """Compare answers [windows, size]; the standard deviation is that of ``spread``, or of ours."""
    common = min(len(there), len(here))
    difference = float(np.abs(there[:common] - here[:common]).max()) if common else math.inf
    if output == ACTIVATIONS:
        limit = ACTIVATIONS_LIMIT
    else:
        difference /= max(float((here if spread is None else spread).std()), SMALLEST_STD)
    return Compared(what, output, len(there), len(here), difference, limit)


def why_it_ended(done: subprocess.CompletedProcess[str]) -> str:
    """The last line that a process which failed has said, and the signal that ended it."""
    said = done.stderr.strip().splitlines()
    reason = said[-1] if said else "it says nothing"
    if done.returncode < 0:
        reason = f"it ended with {signal.Signals(-done.returncode).name}; {reason}"
    return reason
