"""Quiet audio, and the excerpt that is taken where the middle of a file is quiet."""

import subprocess
import sys

import numpy as np
import pytest
import soundfile

from playlist_pretrain.audio.decode import decode
from playlist_pretrain.audio.silence import (
    excerpt_start,
    frames_with_sound,
    is_silent,
    powers,
    sound_share,
)

RATE = 16000


def noise(rng, seconds, level=0.1, rate=RATE):
    return (rng.normal(size=round(seconds * rate)) * level).astype(np.float32)


def silence(seconds, rate=RATE):
    return np.zeros(round(seconds * rate), np.float32)


def test_powers_and_shares(rng):
    wave = np.concatenate([noise(rng, 0.5), silence(0.3), np.full(800, 0.5, np.float32)])
    found = powers(wave, RATE)
    expected = [float(np.square(wave[at : at + 1600]).mean()) for at in range(0, len(wave), 1600)]
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    assert sound_share(wave, RATE) == 6 / 9 and sound_share(wave[:0], RATE) == 0
    # A sine of peak 0.001 · √2 has a mean power of −60 dB.
    sine = np.sin(np.arange(RATE) * 0.1).astype(np.float32)
    assert sound_share(sine * np.float32(1.45e-3), RATE) == 1
    assert sound_share(sine * np.float32(1.38e-3), RATE) == 0
    assert np.isfinite(powers(np.full(1700, 1e30, np.float32), RATE)).all()


def test_silent_is_below_half_a_step_of_16_bits():
    wave = silence(5)
    assert is_silent(wave)
    wave[-1] = -(2.0**-16)
    assert not is_silent(wave) and sound_share(wave, RATE) == 0


def test_frames_of_imported_mels():
    mel = np.full((3, 2), -100.1, np.float16)  # what float16 makes of the silence of its front end
    mel[1, 1] = -99
    assert frames_with_sound(mel, -100.1).tolist() == [False, True, False]


@pytest.mark.parametrize(
    ("sound", "start"),
    [
        ("1111111111111111", 6),  # the middle
        ("1111110000111111", 2),  # of two beside it the earlier
        ("1110110000111011", 2),
        ("1110001000011000", 6),  # a tenth of it has sound: not quiet
        ("1110000000011000", 10),  # half of this one, too little of the other
        ("0000000000000010", 12),  # the outermost, which ends where the file does
        ("1000000000000000", 0),
        ("0000000000000000", 6),
    ],
)
def test_where_an_excerpt_begins(sound, start):
    levels = np.array(list(sound), float)
    assert excerpt_start(levels, 1, 16, 4) == start
    assert excerpt_start(levels, 100, 1600, 400) == 100 * start


def test_of_equal_shares_the_loudest():
    levels = np.zeros(16)
    levels[[0, 13]] = 1e-3, 1e-2
    assert excerpt_start(levels, 1, 16, 4) == 10
    assert excerpt_start(levels[::-1], 1, 16, 4) == 2


def test_a_file_whose_middle_is_silent(rng, tmp_path):
    wave = np.concatenate([noise(rng, 7), silence(21), noise(rng, 12)])
    path = tmp_path / "gap.wav"
    soundfile.write(path, wave, RATE, subtype="FLOAT")
    found = decode(path, excerpt=4)
    # The middle is 18 to 22; 14–18, 22–26, 10–14 and then 26–30, of which half has sound.
    assert (found.start_seconds, found.source_seconds) == (26.0, 40.0)
    np.testing.assert_array_equal(found.waveform, wave[26 * RATE : 30 * RATE])
    whole = decode(path, excerpt=None)
    assert (whole.start_seconds, len(whole.waveform)) == (0.0, len(wave))


LONG = """
import sys
import numpy as np
from playlist_pretrain.audio import decode
for name in sys.argv[1:]:
    asked = decode.AudioLoader(16000, 4.0)
    decode._LONG_SECONDS = 1800
    short = decode._decode(name, asked)
    decode._LONG_SECONDS = 9
    long = decode._decode(name, asked)
    assert np.array_equal(long.waveform, short.waveform)
    assert (long.start_seconds, long.source_seconds) == (short.start_seconds, short.source_seconds)
    print(round(long.start_seconds, 1), round(long.source_seconds, 1))
"""


def test_a_long_file_gives_what_a_short_one_gives(rng, tmp_path):
    """Passes over a long file keep a part of it only; in a process without TensorFlow."""
    wave = np.concatenate([silence(3), noise(rng, 6), silence(31)])
    names = [str(tmp_path / f"long.{ending}") for ending in ("flac", "ogg", "wav")]
    for name in names:
        soundfile.write(name, np.stack([wave, wave], 1), RATE)
    done = subprocess.run(
        [sys.executable, "-c", LONG, *names],
        capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    # 6 to 10: three of its four seconds have sound.
    assert done.stdout.splitlines() == ["6.0 40.0"] * 3, done.stderr


def test_a_middle_that_has_sound_is_taken_as_ever(rng, tmp_path):
    wave = np.concatenate([noise(rng, 5, 0.5), noise(rng, 5, 2e-3), noise(rng, 5, 0.5)])
    soundfile.write(tmp_path / "a.wav", wave, RATE, subtype="FLOAT")
    found = decode(tmp_path / "a.wav", excerpt=4.0001)
    start = (len(wave) - 64002) // 2
    assert found.start_seconds == start / RATE
    np.testing.assert_array_equal(found.waveform, wave[start : start + 64002])
