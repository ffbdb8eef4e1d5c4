"""Front ends: the frozen constants between a waveform and its log-mel.

Saved and exported models and ``tf.data`` pipelines call :meth:`FrontEnd.log_mel`; collections are
built and audio files embedded by :mod:`.numpy_log_mel`, which differs by rounding. A collection and
a saved model carry the constants and refuse each other when these differ.

>>> mel = front_end("paper").log_mel(waveform)  # float32 [samples] → float32 [frames, 96]

:class:`ImportedFrontEnd` describes mels that were computed elsewhere and are stored as they are
distributed; no more of them can be made here.
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np

from playlist_pretrain.audio.constants import FORMAT, KIND, Constants
from playlist_pretrain.errors import FrontEndError
from playlist_pretrain.messages import command

if TYPE_CHECKING:
    import tensorflow as tf


@dataclass(frozen=True)
class FrontEnd(Constants):
    """Every constant between a waveform and its log-mel.

    The log-mel of one frame is ``log_base(log_offset + log_scale · filters · |rfft(w · x)|ᵖ)``
    with p = 2 for ``spectrum="power"`` and 1 for ``"magnitude"``.

    ``framing="centred"`` starts the first frame ``frame_length // 2`` samples before the audio and
    pads the tail with zeros, which makes 1 + ⌈samples / hop_length⌉ frames, as in Essentia's
    ``TensorflowPredict…`` algorithms; ``"whole"`` does not pad and drops incomplete frames. The
    ``mel_…`` fields are those of :func:`playlist_pretrain.audio.filters.front_end_filters`.
    FrontEndError for a constant that is not possible.
    """

    name: str  # of the preset; two front ends that differ in nothing else are the same
    sample_rate: int  # Hz of the waveform that goes in
    frame_length: int  # samples, as the next two
    hop_length: int
    fft_length: int  # shorter frames are zero-padded
    bands: int
    f_min: float  # Hz, outer edges of the first and the last triangle
    f_max: float
    taper: str  # window function of a frame, not normalised: hann-symmetric or hann-periodic
    spectrum: str  # what the filters add up: power or magnitude
    mel_scale: str
    mel_slopes: str
    mel_norm: str
    mel_precision: str
    log_base: str  # 10 or e
    log_scale: float
    log_offset: float
    framing: str  # centred or whole
    window_frames: int  # of the window that models of this preset are made for
    resample_quality: int = 4  # Essentia's, for decoding: 0 (best) … 4 (linear interpolation)

    takes_waveforms = True
    log_factor = 1.0
    _not_compared = ("name", "window_frames")

    def __post_init__(self):
        super().__post_init__()
        if not 0 <= self.resample_quality <= 4:
            self._refuse("resample_quality", "must be 0 (best) to 4 (linear)")
        if self.frame_length > self.fft_length:
            self._refuse("frame_length", f"must not exceed fft_length ({self.fft_length})")
        if not 0 <= self.f_min < self.f_max <= self.sample_rate / 2:
            self._refuse("f_max", f"and f_min ({self.f_min}) must lie in 0 … sample_rate / 2")
        if not (0 < self.log_scale < math.inf and 0 < self.log_offset < math.inf):
            self._refuse("log_offset", f"and log_scale ({self.log_scale}) must be above 0")

    @classmethod
    def from_dict(cls, constants: dict[str, Any]) -> FrontEnd | ImportedFrontEnd:
        """Inverse of :meth:`to_dict`, of imported front ends too.

        FrontEndError for another format, or fields that are unknown, missing or not possible.
        """
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
    def silence(self) -> float:  # type: ignore[override]
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

        from playlist_pretrain.audio.log_mel import compiled, graph_log_mel

        waveform = tf.convert_to_tensor(waveform, tf.float32)
        return compiled(self)(waveform) if tf.executing_eagerly() else graph_log_mel(self, waveform)


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
    """Preset by its name: ``paper``, ``musicnn``, ``vggish`` or ``vggish-essentia``.

    FrontEndError when there is no such preset (lists those there are), or it is of imported mels.
    """
    if name in IMPORTED:
        IMPORTED[name].log_mel(None)
    if name not in PRESETS:
        raise FrontEndError(f"unknown front end {name!r}; there are: {', '.join(PRESETS)}")
    return PRESETS[name]


@dataclass(frozen=True)
class ImportedFrontEnd(Constants):
    """Constants of mels that were computed elsewhere.

    A value is ``log_factor · log_base(log_offset + log_scale · x)``, and ``silence`` where that is
    less; x is what the mel filters add up to. Decibels of power have factor 10 and base 10. Mels
    in linear units become decibels when they are imported (see
    ``records.mel_sources.read_description``); all others are stored as they are. What a value means
    matters because mixing two windows (pairing ``simclr``) needs linear power. FrontEndError for a
    constant that is not possible.
    """

    name: str  # of the source: two of different names are different, whatever is known of them
    sample_rate: int  # Hz of the audio they were made from
    frame_length: int  # samples
    hop_length: int
    bands: int
    window_frames: int  # of the window that models are made for unless told otherwise
    spectrum: str  # what the filters added up: power or magnitude
    log_base: str  # 10 or e
    log_factor: float
    log_scale: float
    log_offset: float  # may be 0
    silence: float  # smallest value, which stands for silence
    framing: str  # as in FrontEnd; decides what a number of frames is in seconds
    made_by: str  # what else is known, for people

    takes_waveforms = False
    _not_compared = ("window_frames", "made_by")

    def __post_init__(self):
        super().__post_init__()
        largest = float(np.finfo(np.float32).max)  # NumPy 2 casts to the type compared with
        for field in ("log_factor", "log_scale"):
            if not 0 < getattr(self, field) <= largest:
                self._refuse(field, "must be above 0 and fit float32")
        if not 0 <= self.log_offset <= largest:
            self._refuse("log_offset", "must not be below 0 and fit float32")
        if not abs(self.silence) <= float(np.finfo(np.float16).max):
            self._refuse("silence", "must fit float16")

    def log_mel(self, waveform: Any) -> NoReturn:
        """Raise FrontEndError: the function that made these mels is not known exactly."""
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
