"""Front ends of mels that somebody else made: what is known of them, and no way to make more.

Public collections without audio come as mels. Their values are stored as they are distributed, so
that a model takes the very files that others have; what a value means is written down, because
mixing two windows (pairing ``simclr``) needs linear power.
"""

from __future__ import annotations

import dataclasses
import math
import typing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from playlist_pretrain.audio.constants import FORMAT, Constants
from playlist_pretrain.commands import command
from playlist_pretrain.errors import FrontEndError

if TYPE_CHECKING:
    import tensorflow as tf

KIND = "imported"
# Beyond it float32 overflows when the logarithm is undone; no sound is as loud.
_LARGEST_EXPONENT = 40.0
_SMALLEST = 1e-30


@dataclass(frozen=True)
class ImportedFrontEnd(Constants):
    """What is known of the mels of an imported collection.

    A value is ``log_factor · log_base(log_offset + log_scale · x)``, and ``silence`` where that is
    less; x is what the mel filters add up to. Decibels of power have factor 10 and base 10. Mels
    in linear units become decibels when they are imported (see
    ``records.mel_sources.description``); all others are stored as they are.

    Attributes
    ----------
    name : str
        Of the source. Two imported front ends of different names are different, even where all
        that is known of them is the same.
    sample_rate : int
        Hz of the audio they were made from.
    frame_length, hop_length : int
        Samples.
    bands : int
    window_frames : int
        Frames of the window that models are made for unless told otherwise.
    spectrum : {"power", "magnitude"}
        What the filters added up.
    log_base : {"10", "e"}
    log_factor, log_scale, log_offset : float
        The offset may be 0.
    silence : float
        The smallest value: what stands for nothing to hear.
    framing : {"centred", "whole"}
        As in ``FrontEnd``; decides what a number of frames is in seconds.
    made_by : str
        What else is known, for people.

    Raises
    ------
    FrontEndError
        A constant that is not possible.
    """

    name: str
    sample_rate: int
    frame_length: int
    hop_length: int
    bands: int
    window_frames: int
    spectrum: str
    log_base: str
    log_factor: float
    log_scale: float
    log_offset: float
    silence: float
    framing: str
    made_by: str

    _choices: typing.ClassVar = {
        "spectrum": ("power", "magnitude"),
        "log_base": ("10", "e"),
        "framing": ("centred", "whole"),
    }
    _not_compared = ("window_frames", "made_by")

    def __post_init__(self):
        self._check_fields()
        for field, kind in self.field_types().items():
            if kind is int and getattr(self, field) < 1:
                self._refuse(field, "must be at least 1")
        largest = np.finfo(np.float32).max
        for field in ("log_factor", "log_scale"):
            if not 0 < getattr(self, field) <= largest:
                self._refuse(field, "must be above 0 and fit float32")
        if not 0 <= self.log_offset <= largest:
            self._refuse("log_offset", "must not be below 0 and fit float32")
        if not abs(self.silence) <= np.finfo(np.float16).max:
            self._refuse("silence", "must fit float16")

    def to_dict(self) -> dict[str, Any]:
        """Every constant, the kind and the number of this format, ready for JSON."""
        return {"format": FORMAT, "kind": KIND, **dataclasses.asdict(self)}

    @property
    def takes_waveforms(self) -> bool:
        """False: nobody here can make such a mel."""
        return False

    def log_mel(self, waveform: Any) -> typing.NoReturn:
        """Refuse: the function that made these mels is not known to the last constant.

        Raises
        ------
        FrontEndError
            Always.
        """
        raise FrontEndError(
            f"front end {self.name!r} takes no waveforms: its mels are made elsewhere and imported "
            f"by {command('import_mels')}"
        )

    def seconds(self, frames: int) -> float:
        """Length of the audio under so many frames, to a hop."""
        samples = (frames - 1) * self.hop_length
        if self.framing == "whole":
            samples += self.frame_length
        return samples / self.sample_rate

    def frames_of(self, seconds: float) -> int:
        """Frames of so much audio, at least 1."""
        return max(1, self.frames(round(seconds * self.sample_rate)))

    def to_power(self, mel: tf.Tensor) -> tf.Tensor:
        """Linear power under the values; see ``audio.log_mel.to_power``."""
        import tensorflow as tf

        exponent = tf.minimum(mel * np.float32(1.0 / self._unit), _LARGEST_EXPONENT)
        linear = tf.maximum(tf.exp(exponent) - np.float32(self.log_offset), 0.0)
        linear = linear / np.float32(self.log_scale)
        return tf.square(linear) if self.spectrum == "magnitude" else linear

    def from_power(self, power: tf.Tensor) -> tf.Tensor:
        """Values of linear power, the inverse of :meth:`to_power` from silence on."""
        import tensorflow as tf

        linear = tf.sqrt(power) if self.spectrum == "magnitude" else power
        inside = np.float32(self.log_offset) + np.float32(self.log_scale) * linear
        values = tf.math.log(tf.maximum(inside, _SMALLEST)) * np.float32(self._unit)
        return tf.maximum(values, np.float32(self.silence))

    @property
    def _unit(self) -> float:
        """What a factor of e inside the logarithm amounts to."""
        return self.log_factor / (1.0 if self.log_base == "e" else math.log(10.0))


_MELON = ImportedFrontEnd(
    name="melon",
    sample_rate=16000,
    frame_length=512,
    hop_length=256,
    bands=48,
    window_frames=256,
    spectrum="power",
    log_base="10",
    log_factor=10.0,
    log_scale=1.0,
    log_offset=0.0,
    silence=-100.0,
    framing="centred",
    made_by="Melon Playlist Dataset (arXiv 2102.00201): Essentia, 48 mel bands in dB; "
    "filters, window and reference of the dB are not documented, 10 log10 of power is assumed",
)

IMPORTED: dict[str, ImportedFrontEnd] = {
    imported.name: imported
    for imported in (
        _MELON,
        # scripts/melspectrograms.py takes Essentia's lin2db (10 log10, not below 1e-10) times two.
        dataclasses.replace(
            _MELON,
            name="jamendo-mels",
            sample_rate=12000,
            bands=96,
            log_factor=20.0,
            silence=-200.0,
            made_by="scripts/melspectrograms.py of MTG/mtg-jamendo-dataset: Essentia, Hann, power "
            "spectrum, 96 Slaney mel bands 0-6000 Hz, unit_tri, 20 log10 of power",
        ),
    )
}
