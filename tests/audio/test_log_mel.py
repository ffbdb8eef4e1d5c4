"""The log-mel against golden values, the installed Essentia, a slow oracle and its properties."""

import dataclasses

import essentia_reference
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from playlist_pretrain.audio import log_mel as graph
from playlist_pretrain.audio.front_end import PRESETS, FrontEnd

ESSENTIA_PRESETS = ("paper", "musicnn", "vggish-essentia")
LENGTHS = (1, 159, 160, 161, 188, 189, 256, 257, 400, 511, 512, 513, 4096, 15999)
PLAIN = {
    hop: dataclasses.replace(PRESETS["musicnn"], hop_length=hop, framing="whole")
    for hop in (188, 256)
}

EACH = pytest.mark.parametrize(
    "name", ["paper", *(pytest.param(n, marks=pytest.mark.slow) for n in PRESETS if n != "paper")]
)


def chirp(samples: int = 48000) -> np.ndarray:
    seconds = np.arange(samples) / 16000
    return np.sin(2 * np.pi * (50 * seconds + 1200 * seconds**2)).astype(np.float32)


def mel_of(preset: FrontEnd, waveform) -> np.ndarray:
    return preset.log_mel(waveform).numpy()


def oracle(preset: FrontEnd, waveform: np.ndarray) -> np.ndarray:
    """Frame by frame, bin by bin, in float64, from the formulas; textbook mel edges."""
    length, hop = preset.frame_length, preset.hop_length
    samples = np.asarray(waveform, np.float64)
    if preset.framing == "centred":
        samples = np.concatenate([np.zeros(length // 2), samples, np.zeros(length + hop)])
    last = length if preset.taper == "hann-periodic" else length - 1
    window = [0.5 - 0.5 * np.cos(2 * np.pi * n / last) for n in range(length)]

    def to_mel(hz):
        if preset.mel_scale == "htk":
            return 1127.0 * np.log(1 + hz / 700)
        return 3 * hz / 200 if hz < 1000 else 15 + 27 * np.log(hz / 1000) / np.log(6.4)

    def to_hz(mel):
        if preset.mel_scale == "htk":
            return 700 * (np.exp(mel / 1127.0) - 1)
        return 200 * mel / 3 if mel < 15 else 1000 * np.exp((mel - 15) * np.log(6.4) / 27)

    mels = np.linspace(to_mel(preset.f_min), to_mel(preset.f_max), preset.bands + 2)
    place = to_mel if preset.mel_slopes == "mel" else float
    hz_of_bin = np.arange(preset.fft_length // 2 + 1) * preset.sample_rate / preset.fft_length
    rows = []
    for frame in range(preset.frames(len(waveform))):
        windowed = samples[frame * hop : frame * hop + length] * window
        spectrum = np.abs(np.fft.rfft(windowed, preset.fft_length))
        if preset.spectrum == "power":
            spectrum = spectrum**2
        row = []
        for band in range(preset.bands):
            edges = [to_hz(mel) for mel in mels[band : band + 3]]
            left, centre, right = map(place, edges)
            total = 0.0
            for value, hz in zip(spectrum, hz_of_bin, strict=True):
                rise = (place(hz) - left) / (centre - left)
                fall = (right - place(hz)) / (right - centre)
                total += value * max(0.0, min(rise, fall))
            if preset.mel_norm == "area":
                total *= 2 / (edges[2] - edges[0])
            row.append(np.log(preset.log_offset + preset.log_scale * total))
        rows.append(row)
    return np.array(rows) / (np.log(10) if preset.log_base == "10" else 1.0)


@pytest.mark.parametrize("hop", [188, 256])
@pytest.mark.parametrize(("wave", "mel"), [("wave", "mel_hop"), ("wave_music", "music_mel_hop")])
def test_musicnn_mel_equals_golden_values(golden, hop, wave, mel):
    with np.load(golden / "musicnn_mel.npz", allow_pickle=False) as values:
        expected = values[f"{mel}{hop}"]
        np.testing.assert_allclose(mel_of(PLAIN[hop], values[wave]), expected, atol=5e-5, rtol=0)


@pytest.mark.parametrize("signal", ["chirp", "sine"])
def test_vggish_mel_equals_golden_values(golden, signal):
    with np.load(golden / "vggish_mel.npz", allow_pickle=False) as values:
        expected = values[f"{signal}_log_mel"]
        patches, frames, _ = expected.shape
        mel = mel_of(PRESETS["vggish"], values[f"{signal}_wave"])[: patches * frames]
        np.testing.assert_allclose(mel.reshape(expected.shape), expected, atol=1e-3, rtol=0)


@pytest.mark.parametrize(
    ("name", "wave", "tolerance"),
    [
        *((name, wave, 5e-5) for name in ("paper", "musicnn") for wave in ("wave", "wave_music")),
        ("vggish-essentia", "wave", 5e-5),
        # Close to silence, ln(0.01 + magnitude) shows the rounding of two float32 transforms.
        ("vggish-essentia", "wave_music", 5e-4),
    ],
)
def test_log_mel_equals_the_installed_essentia(name, wave, tolerance, golden):
    with np.load(golden / "musicnn_mel.npz", allow_pickle=False) as values:
        waveform = values[wave]
    expected = essentia_reference.log_mel(PRESETS[name], waveform)
    mel = mel_of(PRESETS[name], waveform)
    np.testing.assert_allclose(mel, expected, atol=tolerance, rtol=0)


@pytest.mark.parametrize("samples", LENGTHS)
@pytest.mark.parametrize("name", ESSENTIA_PRESETS)
def test_framing_equals_essentias_network(name, samples, rng):
    waveform = rng.normal(0, 0.1, samples).astype(np.float32)
    expected = essentia_reference.log_mel(PRESETS[name], waveform)
    assert len(expected) == PRESETS[name].frames(samples)
    np.testing.assert_allclose(mel_of(PRESETS[name], waveform), expected, atol=5e-5, rtol=0)


@EACH
def test_log_mel_equals_a_slow_oracle(name, rng):
    preset = dataclasses.replace(PRESETS[name], mel_precision="float64")
    waveform = (0.3 * chirp(4000) + rng.normal(0, 0.05, 4000)).astype(np.float32)
    np.testing.assert_allclose(
        mel_of(preset, waveform), oracle(preset, waveform), atol=2e-4, rtol=0
    )


@pytest.mark.slow
@pytest.mark.parametrize("name", PRESETS)
def test_every_way_to_run_it_gives_the_same_bits(name, tmp_path):
    import tensorflow as tf

    preset = PRESETS[name]
    waveforms = [chirp(n) for n in (0, 300, 5000, 120_001)]
    eager = [mel_of(preset, waveform) for waveform in waveforms]

    dataset = tf.data.Dataset.from_generator(
        lambda: waveforms, output_signature=tf.TensorSpec([None], tf.float32)
    ).map(preset.log_mel)
    assert dataset.element_spec.shape.as_list() == [None, preset.bands]

    module = tf.Module()
    module.log_mel = tf.function(
        preset.log_mel, input_signature=[tf.TensorSpec([None, None], tf.float32)]
    )
    tf.saved_model.save(module, str(tmp_path))
    reloaded = tf.saved_model.load(str(tmp_path))

    fixed = tf.function(preset.log_mel)
    for waveform, expected, in_dataset in zip(waveforms, eager, dataset, strict=True):
        assert expected.shape == (preset.frames(waveform.size), preset.bands)
        np.testing.assert_array_equal(in_dataset, expected)
        np.testing.assert_array_equal(reloaded.log_mel(waveform[None])[0], expected)
        np.testing.assert_array_equal(fixed(tf.constant(waveform)), expected)


@EACH
def test_batches_and_chunks_change_nothing(name, rng, monkeypatch):
    import tensorflow as tf

    preset = PRESETS[name]
    batch = rng.normal(0, 0.1, (2, 3, 30_000)).astype(np.float32)
    mel = mel_of(preset, batch)
    assert mel.shape == (2, 3, preset.frames(30_000), preset.bands)
    for index in np.ndindex(2, 3):
        one = mel_of(preset, batch[index])
        np.testing.assert_allclose(mel[index], one, atol=1e-6, rtol=0)
    monkeypatch.setattr(graph, "CHUNK_FRAMES", 7)
    in_small_chunks = graph.graph_log_mel(preset, tf.constant(batch))
    np.testing.assert_allclose(in_small_chunks, mel, atol=1e-6, rtol=0)
    assert mel_of(preset, batch[:0]).shape == (0, *mel.shape[1:])


@EACH
def test_silence_and_gradients(name):
    import tensorflow as tf

    preset = PRESETS[name]
    np.testing.assert_allclose(mel_of(preset, np.zeros(5000)), preset.silence, atol=1e-6)
    waveform = tf.Variable(np.concatenate([np.zeros(3000), chirp(3000)]).astype(np.float32))
    with tf.GradientTape() as tape:
        total = tf.reduce_sum(preset.log_mel(waveform))
    gradient = tape.gradient(total, waveform).numpy()
    assert np.isfinite(gradient).all()
    assert np.abs(gradient[3100:5900]).max() > 0


@settings(max_examples=25, deadline=None)
@given(
    name=st.sampled_from(list(PRESETS)),
    seed=st.integers(0, 2**32 - 1),
    hops=st.integers(1, 6),
    gain=st.floats(1.01, 8.0),
)
def test_shift_by_hops_moves_frames_and_gain_lifts_them(name, seed, hops, gain):
    preset = PRESETS[name]
    waveform = np.random.default_rng(seed).normal(0, 0.1, 8000).astype(np.float32)
    mel = mel_of(preset, waveform)
    assert (mel >= np.float32(preset.silence)).all()
    assert (mel_of(preset, waveform * np.float32(gain)) >= mel).all()
    shifted = mel_of(preset, np.concatenate([np.zeros(hops * preset.hop_length), waveform]))
    np.testing.assert_array_equal(shifted[hops:], mel)
