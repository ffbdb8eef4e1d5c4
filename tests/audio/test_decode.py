"""Decoding of every format against known tones, excerpts, and MonoLoader itself."""

import os

import numpy as np
import pytest
from essentia_reference import mono_loader

from playlist_pretrain.audio.decode import decode, load_audio
from playlist_pretrain.audio.front_end import PRESETS
from playlist_pretrain.audio.numpy_log_mel import NumpyLogMel, log_mel
from playlist_pretrain.errors import AudioError, FrontEndError

FORMATS = {
    "wav 16": ("wav", ["-c:a", "pcm_s16le"]),
    "wav 24": ("wav", ["-c:a", "pcm_s24le"]),
    "wav float": ("wav", ["-c:a", "pcm_f32le"]),
    "flac": ("flac", []),
    "mp3": ("mp3", []),
    "ogg": ("ogg", ["-c:a", "libvorbis"]),
    "opus": ("opus", []),
    "m4a": ("m4a", []),
    "aiff": ("aiff", []),
}


def tone(ffmpeg, path, *options, hz=1000, seconds=4.0, rate=44100, channels=1):
    """File with a full-scale tone in every channel."""
    wave = f"aevalsrc={'|'.join([f'0.5*sin(2*PI*{hz}*t)'] * channels)}:s={rate}:d={seconds}"
    ffmpeg("-f", "lavfi", "-i", wave, *options, path)
    return path


def strongest_hz(waveform: np.ndarray, rate: int = 16000) -> float:
    spectrum = np.abs(np.fft.rfft(waveform * np.hanning(waveform.size)))
    return spectrum.argmax() * rate / waveform.size


@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("kind", FORMATS)
def test_formats(kind, channels, tmp_path, ffmpeg):
    suffix, options = FORMATS[kind]
    path = tone(ffmpeg, tmp_path / f"tone.{suffix}", *options, channels=channels)
    decoded = decode(path, excerpt=None)
    assert decoded.waveform.dtype == np.float32 and decoded.waveform.ndim == 1
    assert decoded.start_seconds == 0
    assert decoded.source_seconds == decoded.waveform.size / 16000
    assert decoded.source_seconds == pytest.approx(4.0, abs=0.06)
    middle = decoded.waveform[16000:48000]
    assert strongest_hz(middle) == pytest.approx(1000, abs=2)
    assert np.sqrt(2 * np.mean(middle**2)) == pytest.approx(0.5, rel=0.08)


@pytest.mark.parametrize("rate", [8000, 22050, 48000])
def test_rates(rate, tmp_path, ffmpeg):
    path = tone(ffmpeg, tmp_path / "tone.wav", rate=rate)
    for wanted in (16000, 22050):
        decoded = decode(path, sample_rate=wanted, excerpt=None)
        assert decoded.waveform.size == pytest.approx(4 * wanted, abs=4)
        assert strongest_hz(decoded.waveform, wanted) == pytest.approx(1000, abs=1)


def test_channels_are_averaged(tmp_path, ffmpeg):
    path = tmp_path / "two.wav"
    wave = "aevalsrc=0.4*sin(2*PI*500*t)|0.2*sin(2*PI*2000*t):s=16000:d=2"
    ffmpeg("-f", "lavfi", "-i", wave, "-c:a", "pcm_f32le", path)
    seconds = np.arange(32000) / 16000
    expected = 0.2 * np.sin(2 * np.pi * 500 * seconds) + 0.1 * np.sin(2 * np.pi * 2000 * seconds)
    np.testing.assert_allclose(decode(path).waveform, expected, atol=1e-4)


@pytest.mark.parametrize("suffix", ["wav", "ogg"])
def test_six_channels_are_averaged(suffix, tmp_path, ffmpeg):
    path = tone(ffmpeg, tmp_path / f"six.{suffix}", channels=6, rate=48000)
    decoded = decode(path, excerpt=None)
    assert decoded.source_seconds == pytest.approx(4.0, abs=0.06)
    assert strongest_hz(decoded.waveform) == pytest.approx(1000, abs=1)
    level = np.sqrt(2 * np.mean(decoded.waveform[16000:48000] ** 2))
    assert level == pytest.approx(0.5, rel=0.2 if suffix == "ogg" else 0.02)


def test_six_channels_of_m4a_are_refused_with_advice(tmp_path, ffmpeg):
    path = tone(ffmpeg, tmp_path / "six.m4a", channels=6, rate=48000)
    with pytest.raises(AudioError, match=r"six.m4a: .*more than two channels.*ffmpeg -i"):
        decode(path)


@pytest.mark.parametrize(("suffix", "quality"), [("wav", 4), ("mp3", 1), ("ogg", 1), ("m4a", 1)])
def test_numbers_are_those_of_mono_loader(suffix, quality, tmp_path, ffmpeg):
    path = tone(ffmpeg, tmp_path / f"tone.{suffix}", channels=2)
    decoded = decode(path, excerpt=None, resample_quality=quality)
    expected = mono_loader(path, sampleRate=16000, resampleQuality=quality)
    np.testing.assert_array_equal(decoded.waveform, expected)


@pytest.mark.parametrize(
    ("seconds", "excerpt", "start", "length"),
    [(4.0, 1.5, 1.25, 1.5), (4.0, 30.0, 0.0, 4.0), (4.0, None, 0.0, 4.0), (2.5, 0.5, 1.0, 0.5)],
)
def test_excerpt_is_the_centre(seconds, excerpt, start, length, tmp_path, ffmpeg):
    path = tmp_path / "ramp.wav"
    ffmpeg("-f", "lavfi", "-i", f"aevalsrc=t/10:s=16000:d={seconds}", "-c:a", "pcm_f32le", path)
    decoded = decode(path, excerpt=excerpt)
    assert decoded.source_seconds == seconds
    assert decoded.start_seconds == start
    assert decoded.waveform.size == length * 16000
    assert decoded.waveform[0] == pytest.approx(start / 10, abs=1e-6)
    if length < seconds:
        kept = decoded.waveform if decoded.waveform.base is None else decoded.waveform.base
        assert kept.nbytes == decoded.waveform.nbytes, "the whole file stays in memory"


def test_silence_and_shortness_are_no_errors(tmp_path, ffmpeg):
    path = tmp_path / "silence.wav"
    ffmpeg("-f", "lavfi", "-i", "anullsrc=r=16000:cl=mono:d=2", path)
    decoded = decode(path)
    assert decoded.waveform.size == 32000 and not decoded.waveform.any()
    short = decode(tone(ffmpeg, tmp_path / "short.wav", seconds=0.01, rate=16000))
    assert short.waveform.size == 160 and short.source_seconds == 0.01


@pytest.mark.parametrize(
    "name", ["ä ö 音楽.wav", "-dash.wav", "file:colon.wav", "a|b 'quoted' $x.wav", b"\xff\xfe.wav"]
)
def test_names(name, tmp_path, ffmpeg, monkeypatch):
    path = tone(ffmpeg, tmp_path / "plain.wav")
    path.rename(tmp_path / os.fsdecode(name))
    monkeypatch.chdir(tmp_path)
    assert decode(os.fsdecode(name)).source_seconds == pytest.approx(4.0, abs=0.01)


def test_names_that_are_this_process_own(tmp_path, ffmpeg):
    expected = decode(tone(ffmpeg, tmp_path / "tone.wav")).waveform
    memory = os.memfd_create("tone")
    os.write(memory, (tmp_path / "tone.wav").read_bytes())
    for folder in ("/dev/fd", "/proc/self/fd"):
        np.testing.assert_array_equal(decode(f"{folder}/{memory}").waveform, expected)
    os.close(memory)


def test_an_array_and_its_log_mel_in_two_lines(tmp_path, ffmpeg):
    path = tone(ffmpeg, tmp_path / "tone.wav", rate=48000)
    waveform = load_audio(path)
    np.testing.assert_array_equal(waveform, decode(path, excerpt=None).waveform)
    for name, preset in PRESETS.items():
        expected = NumpyLogMel(preset)(waveform)
        np.testing.assert_array_equal(log_mel(waveform, name), expected)
        np.testing.assert_array_equal(log_mel(waveform.tolist(), preset), expected)
    assert log_mel(waveform).shape == (PRESETS["paper"].frames(waveform.size), 96)
    with pytest.raises(FrontEndError, match="takes no waveforms"):
        log_mel(waveform, "melon")
    with pytest.raises(AudioError, match="missing"):
        load_audio(tmp_path / "missing.wav")
