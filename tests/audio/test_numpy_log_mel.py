"""The log-mel without TensorFlow against the graph, which is tested against golden values."""

import tracemalloc

import numpy as np
import pytest
from threadpoolctl import threadpool_limits

from playlist_pretrain.audio.front_end import PRESETS
from playlist_pretrain.audio.numpy_log_mel import NumpyLogMel

# Around a hop, a frame and a chunk of 256 frames, for every preset.
LENGTHS = (0, 1, 159, 188, 189, 256, 400, 401, 513, 4096, 40_960, 48_128, 48_129, 100_001)


def waveforms(rng):
    for samples in LENGTHS:
        time = np.arange(samples) / 16000
        chirp = 0.5 * np.sin(2 * np.pi * (50 * time + 900 * time**2))
        yield (chirp + rng.normal(0, 0.01, samples)).astype(np.float32)
    yield np.zeros(70_000, np.float32)


@pytest.mark.parametrize("name", PRESETS)
def test_it_is_the_log_mel_of_the_graph(name, rng):
    log_mel = NumpyLogMel(PRESETS[name])
    for waveform in waveforms(rng):
        expected = PRESETS[name].log_mel(waveform).numpy()
        mel = log_mel(waveform)
        assert (mel.dtype, mel.shape) == (np.float32, expected.shape)
        np.testing.assert_allclose(mel, expected, atol=2e-5, rtol=0)


@pytest.mark.parametrize("name", PRESETS)
def test_halves_are_the_floats_rounded(name, rng):
    exact, rounded = NumpyLogMel(PRESETS[name]), NumpyLogMel(PRESETS[name], np.float16)
    for waveform in waveforms(rng):
        mel = rounded(waveform)
        assert mel.dtype == np.float16
        np.testing.assert_array_equal(mel, exact(waveform).astype(np.float16))


def test_bits_do_not_depend_on_the_number_of_threads(rng):
    log_mel = NumpyLogMel(PRESETS["paper"])
    waveform = rng.normal(0, 0.1, 300_000).astype(np.float32)
    with threadpool_limits(1):
        one = log_mel(waveform)
    with threadpool_limits(2):
        np.testing.assert_array_equal(log_mel(waveform), one)
    np.testing.assert_array_equal(log_mel(waveform), one)


def test_it_takes_little_memory_beside_its_result():
    log_mel = NumpyLogMel(PRESETS["paper"])
    waveform = np.zeros(16_000_000, np.float32)  # 17 minutes, 64 MB
    tracemalloc.start()
    mel = log_mel(waveform)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < mel.nbytes + 8e6
