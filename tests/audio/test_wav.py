"""Wav files decoded by core operations, beside Essentia's MonoLoader."""

import io
import struct

import numpy as np
import pytest
import soundfile
import tensorflow as tf

from playlist_pretrain.audio import wav as wav_module
from playlist_pretrain.audio.decode import decode
from playlist_pretrain.audio.streams import LONGEST_WHOLE
from playlist_pretrain.audio.wav import HIGHEST_RATE, LOUDEST, LOWEST_RATE, wav_waveform

SUBTYPES = ("PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE")


@pytest.fixture(scope="module")
def decoded():
    """Callable: bytes → waveform, through one graph for all."""

    @tf.function(input_signature=[tf.TensorSpec([], tf.string)])
    def graph(contents):
        return wav_waveform(contents, 16000)

    return lambda contents: graph(contents).numpy()


def wav(rate=16000, channels=1, subtype="PCM_16", samples=None, seed=0, **options):
    samples = rate // 3 if samples is None else samples
    shape = (samples, channels)
    wave = np.random.default_rng(seed).uniform(-0.9, 0.9, shape).astype(np.float32)
    stream = io.BytesIO()
    soundfile.write(stream, wave, rate, subtype=subtype, format="WAV", **options)
    return stream.getvalue()


@pytest.mark.parametrize("rate", (8000, 16000, 44100, 96000))
@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("subtype", ["PCM_16", "PCM_24", "FLOAT"])
def test_equals_monoloader(rate, channels, subtype, decoded, tmp_path):
    contents = wav(rate, channels, subtype)
    (tmp_path / "a.wav").write_bytes(contents)
    expected = decode(tmp_path / "a.wav", 16000, None).waveform
    found = decoded(contents)
    assert found.dtype == np.float32 and found.shape == expected.shape
    np.testing.assert_allclose(found, expected, atol=1e-6)


@pytest.mark.parametrize("subtype", SUBTYPES)
def test_every_encoding(subtype, decoded):
    contents = wav(subtype=subtype, channels=3)
    expected, _ = soundfile.read(io.BytesIO(contents), dtype="float32", always_2d=True)
    np.testing.assert_allclose(decoded(contents), expected.mean(axis=1), atol=2e-7)


@pytest.mark.parametrize("samples", [2, 441, 44100 * 60])
def test_lengths_and_long_files_stay_in_step(samples, decoded, tmp_path):
    contents = wav(44100, samples=samples)
    (tmp_path / "a.wav").write_bytes(contents)
    expected = decode(tmp_path / "a.wav", 16000, None).waveform
    found = decoded(contents)
    assert found.shape == expected.shape
    np.testing.assert_allclose(found, expected, atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("rate", "at_once"), [(8000, 1000), (16000, 7), (44100, 1), (44100, 7), (44100, 1000)]
)
def test_parts_leave_no_seam(rate, at_once, decoded, monkeypatch):
    """Bit for bit what comes of a file that is worked on in one go."""
    contents = wav(rate, channels=2, samples=1501)
    monkeypatch.setattr(wav_module, "VALUES_AT_ONCE", at_once)
    graph = tf.function(lambda given: wav_waveform(given, 16000))
    np.testing.assert_array_equal(graph(tf.constant(contents)), decoded(contents))


@pytest.mark.parametrize("rate", [LOWEST_RATE, HIGHEST_RATE])
def test_the_outermost_rates_are_read(rate, decoded):
    found = decoded(wav(rate, samples=rate // 10))
    assert abs(found.size - 1600) <= 1600 // (rate // 10) + 1


def test_many_channels_are_read(decoded):
    form = chunk(b"fmt ", struct.pack("<HHIIHH", 1, 65535, 16000, 0, 0, 8))
    data = bytes([128] * 65535 + [192] * 65535)
    found = decoded(riff(form, chunk(b"data", data)))
    np.testing.assert_allclose(found, [0, 0.5], atol=1e-6)


def test_a_single_sample_is_one(decoded):
    """Essentia gives a zero for it when it resamples."""
    (found,) = decoded(wav(44100, samples=1))
    assert found == decoded(wav(16000, samples=1))[0]


def chunk(name, body):
    return name + struct.pack("<I", len(body)) + body + b"\0" * (len(body) % 2)


FORMAT = chunk(b"fmt ", struct.pack("<HHIIHH", 1, 1, 16000, 32000, 2, 16))
DATA = chunk(b"data", struct.pack("<4h", 0, 16384, -32768, 8192))
WAVE = np.array([0, 0.5, -1, 0.25], np.float32)


def riff(*chunks):
    body = b"WAVE" + b"".join(chunks)
    return b"RIFF" + struct.pack("<I", len(body)) + body


@pytest.mark.parametrize(
    "chunks",
    [
        (FORMAT, DATA),
        (chunk(b"LIST", b"odd"), FORMAT, chunk(b"fact", b"1234"), DATA, chunk(b"id3 ", b"x")),
        (FORMAT, b"data\xff\xff\xff\xff" + DATA[8:]),  # written to a pipe
    ],
)
def test_other_chunks_are_passed_over(chunks, decoded):
    np.testing.assert_array_equal(decoded(riff(*chunks)), WAVE)


def form(encoding=1, channels=1, rate=16000, bits=16, block=2):
    """The chunk that says how the samples are stored."""
    return chunk(b"fmt ", struct.pack("<HHIIHH", encoding, channels, rate, 0, block, bits))


FLOATS = form(encoding=3, bits=32, block=4)
REFUSED = {
    "nothing": (b"", "not a wav file"),
    "an mp3": (b"ID3\x03" + b"\0" * 100, "not a wav file"),
    "a head alone": (riff(), "without a whole format"),
    "a cut format": (riff(FORMAT)[:30], "without a whole format"),
    "no samples": (riff(FORMAT), "without samples"),
    "samples before their format": (riff(DATA, FORMAT), "without samples"),
    "a thousand chunks": (riff(FORMAT, *[chunk(b"junk", b"")] * 1000, DATA), "without samples"),
    "no sample": (riff(FORMAT, chunk(b"data", b"")), "holds no samples"),
    "too many channels": (riff(form(channels=65535), DATA), "holds no samples"),
    "cut off": (riff(FORMAT, chunk(b"data", bytes(9000)))[:-4000], "cut off"),
    "sizes of a gigabyte": (
        riff(FORMAT, b"data" + struct.pack("<I", 2**30) + b"\0" * 8), "cut off",
    ),
    "no channels": (riff(form(channels=0), DATA), "without channels"),
    "no rate": (riff(form(rate=0), DATA), "impossible rate"),
    "a huge rate": (riff(form(rate=2**32 - 1), DATA), "impossible rate"),
    "a low rate": (riff(form(rate=LOWEST_RATE - 1), DATA), "impossible rate"),
    "too long": (
        riff(form(rate=LOWEST_RATE, bits=8, block=1),
             chunk(b"data", bytes(LOWEST_RATE * LONGEST_WHOLE + 1))), "more than 5400 s",
    ),
    "adpcm": (riff(form(encoding=2, bits=4, block=1), DATA), "an encoding other than"),
    "half floats": (riff(form(encoding=3), DATA), "an encoding other than"),
    "no bits": (riff(form(bits=0, block=0), DATA), "an encoding other than"),
    "loud": (riff(FLOATS, chunk(b"data", struct.pack("<2f", 0, 2 * LOUDEST))), "beyond"),
    "nan": (
        riff(FLOATS, chunk(b"data", struct.pack("<2f", 0, float("nan")))), "NaN or infinite",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", list(REFUSED))
def test_refuses_with_a_reason(case, decoded):
    contents, words = REFUSED[case]
    with pytest.raises(tf.errors.InvalidArgumentError, match=words):
        decoded(contents)
