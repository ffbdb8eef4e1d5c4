"""Waveform to log-mel: one frozen set of constants and one function, used everywhere.

Training, embedding and the exported models all call :meth:`FrontEnd.log_mel`; collections are
built by :mod:`.numpy_log_mel`, which differs by rounding. A collection and a saved model carry the
constants and refuse each other when these differ.

>>> mel = front_end("paper").log_mel(waveform)  # float32 [samples] → float32 [frames, 96]
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from playlist_pretrain.audio.constants import FORMAT, Constants
from playlist_pretrain.errors import FrontEndError

if TYPE_CHECKING:
    import tensorflow as tf

    from playlist_pretrain.audio.imported import ImportedFrontEnd

_CHOICES: dict[str, tuple[str, ...]] = {
    "taper": ("hann-symmetric", "hann-periodic"),
    "spectrum": ("power", "magnitude"),
    "mel_scale": ("slaney", "htk"),
    "mel_slopes": ("hz", "mel"),
    "mel_norm": ("area", "peak"),
    "mel_precision": ("float32", "float64"),
    "log_base": ("10", "e"),
    "framing": ("centred", "whole"),
}


@dataclass(frozen=True)
class FrontEnd(Constants):
    """Every constant between a waveform and its log-mel.

    The log-mel of one frame is ``log_base(log_offset + log_scale · filters · |rfft(w · x)|ᵖ)``
    with p = 2 for ``spectrum="power"`` and 1 for ``"magnitude"``.

    Attributes
    ----------
    name : str
        Preset it came from; two front ends that differ in nothing else are the same.
    sample_rate : int
        Hz of the waveform that goes in.
    frame_length, hop_length, fft_length : int
        Samples; a frame shorter than ``fft_length`` is zero-padded.
    bands : int
        Mel bands.
    f_min, f_max : float
        Hz, outer edges of the first and the last triangle.
    taper : {"hann-symmetric", "hann-periodic"}
        Window function of a frame, not normalised.
    spectrum : {"power", "magnitude"}
        What the filters add up.
    mel_scale, mel_slopes, mel_norm, mel_precision : str
        See :func:`playlist_pretrain.audio.filters.mel_filters`.
    log_base : {"10", "e"}
    log_scale, log_offset : float
    framing : {"centred", "whole"}
        ``"centred"``: the first frame starts ``frame_length // 2`` samples before the audio,
        the tail is padded with zeros, and there are 1 + ⌈samples / hop_length⌉ frames, as in
        Essentia's ``TensorflowPredict…`` algorithms. ``"whole"``: no padding, incomplete
        frames are dropped.
    window_frames : int
        Frames of the window that models of this preset are made for.
    resample_quality : int
        Essentia's ``resampleQuality`` for decoding: 0 (best) … 4 (linear interpolation).

    Raises
    ------
    FrontEndError
        A constant that is not possible.
    """

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
    log_scale: float
    log_offset: float
    framing: str
    window_frames: int
    resample_quality: int = 4

    _choices: ClassVar[dict[str, tuple[str, ...]]] = _CHOICES
    _not_compared = ("name", "window_frames")

    def __post_init__(self):
        self._check_fields()
        for field, kind in self.field_types().items():
            if kind is int and field != "resample_quality" and getattr(self, field) < 1:
                self._refuse(field, "must be at least 1")
        if not 0 <= self.resample_quality <= 4:
            self._refuse("resample_quality", "must be 0 (best) to 4 (linear)")
        if self.frame_length > self.fft_length:
            self._refuse("frame_length", f"must not exceed fft_length ({self.fft_length})")
        if not 0 <= self.f_min < self.f_max <= self.sample_rate / 2:
            self._refuse("f_max", f"and f_min ({self.f_min}) must lie in 0 … sample_rate / 2")
        if not (0 < self.log_scale < math.inf and 0 < self.log_offset < math.inf):
            self._refuse("log_offset", f"and log_scale ({self.log_scale}) must be above 0")

    @property
    def takes_waveforms(self) -> bool:
        """True: :meth:`log_mel` exists, which it does not for imported mels."""
        return True

    def to_dict(self) -> dict[str, Any]:
        """Every constant and the number of this format, ready for JSON."""
        return {"format": FORMAT, **dataclasses.asdict(self)}

    @classmethod
    def from_dict(cls, constants: dict[str, Any]) -> FrontEnd | ImportedFrontEnd:
        """Inverse of :meth:`to_dict`, of imported front ends too.

        Raises
        ------
        FrontEndError
            Another format, or fields that are unknown, missing or not possible.
        """
        from playlist_pretrain.audio.imported import KIND, ImportedFrontEnd

        if not isinstance(constants, dict):
            raise FrontEndError(f"a front end is a table of constants, not {constants!r}")
        values = dict(constants)
        if (number := values.pop("format", None)) != FORMAT:
            raise FrontEndError(f"front end of format {number!r}; this version reads {FORMAT}")
        if values.get("kind") == KIND:
            del values["kind"]
            return ImportedFrontEnd._from_fields(values)
        return cls._from_fields(values)

    @property
    def silence(self) -> float:
        """Log-mel value of digital silence, the smallest there is."""
        offset = math.log(np.float32(self.log_offset))
        return offset / math.log(10.0) if self.log_base == "10" else offset

    def log_mel(self, waveform: tf.Tensor) -> tf.Tensor:
        """Log-mel of one waveform or a batch; the same numbers eagerly and in every graph.

        Differentiable everywhere, digital silence included. Long audio is worked through in
        chunks, so memory beyond input and output does not grow with its length.

        Parameters
        ----------
        waveform : tf.Tensor [shape=(..., samples), float32, full scale ±1, ``sample_rate`` Hz]
            The number of samples may be unknown while a graph is built, and may be 0.

        Returns
        -------
        tf.Tensor [shape=(..., frames, bands), float32, >= silence]
            ``frames`` is :meth:`frames` of the number of samples.
        """
        import tensorflow as tf

        from playlist_pretrain.audio.log_mel import compiled, log_mel

        waveform = tf.convert_to_tensor(waveform, tf.float32)
        return compiled(self)(waveform) if tf.executing_eagerly() else log_mel(self, waveform)


_MUSICNN = FrontEnd(
    name="musicnn",
    sample_rate=16000,
    frame_length=512,
    hop_length=256,
    fft_length=512,
    bands=96,
    f_min=0.0,
    f_max=8000.0,
    taper="hann-symmetric",
    spectrum="power",
    mel_scale="slaney",
    mel_slopes="hz",
    mel_norm="area",
    mel_precision="float32",
    log_base="10",
    log_scale=10000.0,
    log_offset=1.0,
    framing="centred",
    window_frames=256,
)
_VGGISH = FrontEnd(
    name="vggish",
    sample_rate=16000,
    frame_length=400,
    hop_length=160,
    fft_length=512,
    bands=64,
    f_min=125.0,
    f_max=7500.0,
    taper="hann-periodic",
    spectrum="magnitude",
    mel_scale="htk",
    mel_slopes="mel",
    mel_norm="peak",
    mel_precision="float64",
    log_base="e",
    log_scale=1.0,
    log_offset=0.01,
    framing="whole",
    window_frames=96,
)

PRESETS: dict[str, FrontEnd] = {
    preset.name: preset
    for preset in (
        # The paper's window of 256 frames lasts 3 s: the MusiCNN mel with a shorter hop.
        dataclasses.replace(_MUSICNN, name="paper", hop_length=188),
        # Essentia's TensorflowInputMusiCNN, framed as its TensorflowPredictMusiCNN frames it.
        _MUSICNN,
        # The features that the original AudioSet weights were trained on.
        _VGGISH,
        # Essentia's TensorflowInputVGGish, framed as its TensorflowPredictVGGish frames it.
        dataclasses.replace(
            _VGGISH,
            name="vggish-essentia",
            taper="hann-symmetric",
            mel_precision="float32",
            framing="centred",
        ),
    )
}


def front_end(name: str) -> FrontEnd:
    """The preset ``name``: ``paper``, ``musicnn``, ``vggish`` or ``vggish-essentia``.

    Raises
    ------
    FrontEndError
        There is no such preset (lists those there are), or it is that of imported mels.
    """
    from playlist_pretrain.audio.imported import IMPORTED

    if name in IMPORTED:
        IMPORTED[name].log_mel(None)
    if name not in PRESETS:
        raise FrontEndError(f"unknown front end {name!r}; there are: {', '.join(PRESETS)}")
    return PRESETS[name]
