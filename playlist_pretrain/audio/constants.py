"""Constants of a front end: their checks, their comparison, and lengths that follow from them."""

from __future__ import annotations

import dataclasses
import math
from typing import Any, ClassVar, NoReturn, Self

from playlist_pretrain.errors import FrontEndError

FORMAT = 1
KIND = "imported"
_TYPES: dict[str, Any] = {"int": int, "float": (int, float), "str": str}
_CHOICES = {
    "taper": ("hann-symmetric", "hann-periodic"),
    "spectrum": ("power", "magnitude"),
    "mel_scale": ("slaney", "htk"),
    "mel_slopes": ("hz", "mel"),
    "mel_norm": ("area", "peak"),
    "mel_precision": ("float32", "float64"),
    "log_base": ("10", "e"),
    "framing": ("centred", "whole"),
}


class Constants:
    """Base of both kinds of front end: checks, comparison, and lengths."""

    name: str
    sample_rate: int
    frame_length: int
    hop_length: int
    fft_length: int
    bands: int
    f_min: float
    f_max: float
    taper: str
    spectrum: str
    mel_scale: str
    mel_slopes: str
    mel_norm: str
    mel_precision: str
    log_base: str
    log_factor: float
    log_scale: float
    log_offset: float
    framing: str
    silence: float  # computed by one kind, stated by the other
    takes_waveforms: ClassVar[bool]
    """True if log-mels can be computed here; those of imported mels cannot."""
    _not_compared: ClassVar[tuple[str, ...]]  # fields that do not change the values of a mel

    def __post_init__(self):
        for field in dataclasses.fields(self):
            value, choices = getattr(self, field.name), _CHOICES.get(field.name)
            if isinstance(value, bool) or not isinstance(value, _TYPES[field.type]):
                self._refuse(field.name, f"must be of type {field.type}")
            if isinstance(value, int) and abs(value) >= 2**63:
                self._refuse(field.name, "must fit 64 bits")
            if choices and value not in choices:
                self._refuse(field.name, f"must be one of {', '.join(choices)}")
            if field.type == "int" and field.name != "resample_quality" and value < 1:
                self._refuse(field.name, "must be at least 1")

    def _refuse(self, field: str, why: str) -> NoReturn:
        value = getattr(self, field)
        raise FrontEndError(f"front end {self.name!r}: {field} = {value!r}: it {why}")

    def to_dict(self) -> dict[str, Any]:
        """All constants, the kind of imported ones, and the number of this format, for JSON."""
        kind = {} if self.takes_waveforms else {"kind": KIND}
        return {"format": FORMAT, **kind, **dataclasses.asdict(self)}  # type: ignore[call-overload]

    @classmethod
    def _from_fields(cls, values: dict[str, Any]) -> Self:
        known = {field.name for field in dataclasses.fields(cls)}  # type: ignore[arg-type]
        for what, names in (("unknown", values.keys() - known), ("missing", known - values.keys())):
            if names:
                listed = ", ".join(map(str, sorted(names, key=str)))
                raise FrontEndError(f"front end {values.get('name')!r}: {what} fields: {listed}")
        return cls(**values)

    def frames(self, samples: int) -> int:
        """Number of frames of ``samples`` samples of audio; 0 for 0."""
        if samples <= 0:
            return 0
        if self.framing == "centred":
            return 1 + -(-samples // self.hop_length)
        return max(0, 1 + (samples - self.frame_length) // self.hop_length)

    @property
    def log_unit(self) -> float:
        """Log-mel units of one unit of natural logarithm."""
        return self.log_factor / (1.0 if self.log_base == "e" else math.log(10.0))

    def same_as(self, other: Constants) -> bool:
        """Whether the mels of both are the same, whatever the two are called."""
        return not self._differing(other)

    def _differing(self, other: Constants) -> list[str]:
        if type(self) is not type(other):
            return ["the mels of one were imported, those of the other are computed here"]
        return [
            f"{field.name} {mine!r} against {yours!r}"
            for field in dataclasses.fields(self)  # type: ignore[arg-type]
            if field.name not in self._not_compared
            and (mine := getattr(self, field.name)) != (yours := getattr(other, field.name))
        ]

    def check_same(self, other: Constants, what_self: str, what_other: str) -> None:
        """Raise FrontEndError unless both front ends make the same mels.

        It names every constant that differs, and ``what_self`` and ``what_other``, which the two
        belong to.
        """
        if differing := self._differing(other):
            raise FrontEndError(
                f"{what_self} (front end {self.name!r}) and {what_other} (front end "
                f"{other.name!r}) do not fit: {'; '.join(differing)}"
            )
