"""``mels.json``: what a user says about mels of their own.

One JSON object. Needed: ``name`` (of the front end), ``sample_rate`` (Hz), ``frame_length``,
``hop_length`` (samples), ``bands``, ``window_frames`` (of a model's window), ``unit`` and
``orientation`` (``"frames×bands"`` or ``"bands×frames"``; an x does for ×). Optional: ``spectrum``
(what the filters add up: ``"power"``, the default, or ``"magnitude"``), ``log_scale`` and
``log_offset`` (1 and 0), ``silence`` (the smallest value), ``framing`` (``"centred"``, the default,
or ``"whole"``) and ``made_by`` (for people).

========= ==================================== =====================================
unit      a value is                           it is stored as
========= ==================================== =====================================
db        10 log10(x), 20 for magnitudes       it is
log10, ln log(log_offset + log_scale · x)      it is
power     x, from 0                            10 log10(x), from -100 dB
amplitude x, the magnitude, from 0             20 log10(x), from -100 dB
========= ==================================== =====================================
"""

from __future__ import annotations

import json
import math
from dataclasses import MISSING, dataclass, fields
from pathlib import Path

import numpy as np

from playlist_pretrain.audio.front_end import PRESETS
from playlist_pretrain.audio.imported import IMPORTED, ImportedFrontEnd
from playlist_pretrain.errors import FrontEndError, MelError

UNITS = ("db", "log10", "ln", "power", "amplitude")
ORIENTATIONS = ("frames×bands", "bands×frames")
LINEAR = {"power": 10.0, "amplitude": 20.0}
FLOOR_DB = -100.0
_LARGEST_FILE = 1 << 20


@dataclass(frozen=True)
class Description:
    """The content of ``mels.json``; see the module."""

    name: str
    sample_rate: int
    frame_length: int
    hop_length: int
    bands: int
    window_frames: int
    unit: str
    orientation: str
    spectrum: str | None = None
    log_scale: float | None = None
    log_offset: float | None = None
    silence: float | None = None
    framing: str = "centred"
    made_by: str = ""

    @classmethod
    def read(cls, path: Path) -> Description:
        """Read and check a description.

        Raises
        ------
        MelError
            Names the file, and the field where there is one.
        """
        try:
            with open(path, "rb") as stream:
                text = stream.read(_LARGEST_FILE)
            content = json.loads(text.decode("utf-8"))
        except OSError as error:
            raise MelError(f"{path}: {error.strerror}") from error
        except (ValueError, RecursionError) as error:
            raise MelError(f"{path}: not JSON ({error})") from error
        if not isinstance(content, dict):
            raise MelError(f"{path}: not an object with the fields {', '.join(FIELDS)}")
        needed = {field.name for field in fields(cls) if field.default is MISSING}
        for what, names in (
            ("unknown", content.keys() - set(FIELDS)),
            ("missing", needed - content.keys()),
        ):
            if names:
                raise MelError(f"{path}: {what} fields: {', '.join(sorted(names))}")
        if isinstance(content["orientation"], str):
            content["orientation"] = content["orientation"].replace("x", "×").replace(" ", "")
        description = cls(**content)
        try:
            description._check()
            description.front_end  # noqa: B018 (its own checks)
        except (FrontEndError, MelError) as error:
            raise MelError(f"{path}: {error}") from error
        except OverflowError as error:
            raise MelError(f"{path}: a number beyond all measure ({error})") from error
        return description

    def _check(self) -> None:
        for name, choices in (("unit", UNITS), ("orientation", ORIENTATIONS)):
            if getattr(self, name) not in choices:
                raise MelError(f"{name} = {getattr(self, name)!r}: one of {', '.join(choices)}")
        if not isinstance(self.name, str) or not self.name or self.name in {*PRESETS, *IMPORTED}:
            raise MelError(
                f"name = {self.name!r}: not text, or of a front end that there is already"
            )
        logarithm = self.unit in ("log10", "ln")
        for name in ("log_scale", "log_offset"):
            if getattr(self, name) is not None and not logarithm:
                raise MelError(f"{name} is for the units log10 and ln, not for {self.unit}")
        for name in ("silence", "spectrum"):
            if getattr(self, name) is not None and self.unit in LINEAR:
                raise MelError(f"{name} is not for unit {self.unit}, which says it")

    @property
    def front_end(self) -> ImportedFrontEnd:
        """The front end of what is stored."""
        spectrum = {"power": "power", "amplitude": "magnitude"}.get(self.unit, self.spectrum)
        spectrum = "power" if spectrum is None else spectrum
        decibels = 20.0 if spectrum == "magnitude" else 10.0
        factor = 1.0 if self.unit in ("log10", "ln") else decibels
        offset = 0.0 if self.log_offset is None else self.log_offset
        base = "e" if self.unit == "ln" else "10"
        return ImportedFrontEnd(
            name=self.name,
            sample_rate=self.sample_rate,
            frame_length=self.frame_length,
            hop_length=self.hop_length,
            bands=self.bands,
            window_frames=self.window_frames,
            spectrum=spectrum,
            log_base=base,
            log_factor=factor,
            log_scale=1.0 if self.log_scale is None else self.log_scale,
            log_offset=offset,
            silence=self._silence(factor, decibels, base, offset),
            framing=self.framing,
            made_by=self.made_by,
        )

    def _silence(self, factor: float, decibels: float, base: str, offset: float) -> float:
        if self.silence is not None:
            return self.silence
        unit = factor if base == "10" else factor * math.log(10.0)
        if isinstance(offset, (int, float)) and offset > 0:
            return unit * math.log10(offset)
        return unit * FLOOR_DB / decibels


FIELDS = tuple(field.name for field in fields(Description))


def as_stored(values: np.ndarray, unit: str) -> np.ndarray:
    """Values of ``unit`` as a collection holds them.

    Parameters
    ----------
    values : ndarray [shape=(frames, bands), float]
    unit : str

    Returns
    -------
    ndarray of the same shape
        NaN and infinite values stay what they are.

    Raises
    ------
    MelError
        A power or amplitude below 0.
    """
    if unit not in LINEAR:
        return values
    factor = LINEAR[unit]
    if (values < 0).any():
        frame, band = np.argwhere(values < 0)[0]
        raise MelError(f"{unit} of {values[frame, band]} at frame {frame}, band {band}")
    return factor * np.log10(np.maximum(values, 10 ** (FLOOR_DB / factor)))
