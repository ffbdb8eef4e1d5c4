"""The constants of both kinds of front end: kept, checked, compared; imported mels and power."""

import dataclasses
import json

import numpy as np
import pytest

from playlist_pretrain.audio.front_end import IMPORTED, PRESETS, FrontEnd, front_end
from playlist_pretrain.audio.log_mel import from_power, to_power
from playlist_pretrain.cli.make_tfrecords import main as make_tfrecords
from playlist_pretrain.errors import FrontEndError

PAPER, MELON, JAMENDO = PRESETS["paper"], IMPORTED["melon"], IMPORTED["jamendo-mels"]
LN = dataclasses.replace(
    MELON, name="ln", spectrum="magnitude", log_base="e", log_factor=1.0, log_scale=2.0,
    log_offset=0.01, silence=float(np.log(0.01)),
)  # fmt: skip
ALL_IMPORTED = pytest.mark.parametrize("imported", [MELON, JAMENDO, LN], ids=lambda end: end.name)


@pytest.mark.parametrize("end", [*PRESETS.values(), *IMPORTED.values(), LN], ids=lambda e: e.name)
def test_constants_survive_json(end):
    read = FrontEnd.from_dict(json.loads(json.dumps(end.to_dict())))
    assert read == end and type(read) is type(end)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(
    ("end", "change", "message"),
    [
        (PAPER, {"format": 2}, "format 2"),
        (PAPER, {"colour": 1, "taste": 2}, "unknown fields: colour, taste"),
        (PAPER, {"bands": 0}, "bands = 0"),
        (PAPER, {"bands": 96.0}, "bands = 96.0"),
        (PAPER, {"taper": "hamming"}, "hann-symmetric, hann-periodic"),
        (PAPER, {"frame_length": 513}, "must not exceed fft_length"),
        (PAPER, {"f_max": 9000.0}, "f_max = 9000.0"),
        (PAPER, {"log_offset": 0.0}, "log_offset"),
        (PAPER, {"resample_quality": 5}, "resample_quality = 5"),
        (MELON, {"kind": "guessed"}, "unknown fields: .*kind"),
        (MELON, {"colour": 1}, "unknown fields: colour"),
        (MELON, {"log_factor": 0.0}, "log_factor = 0.0"),
        (MELON, {"silence": 1e6}, "silence = 1000000.0"),
        (MELON, {"framing": ["whole"]}, "of type str"),
    ],
    ids=lambda value: str(value)[:30],
)
def test_impossible_constants_are_refused(end, change, message):
    with pytest.raises(FrontEndError, match=message):
        FrontEnd.from_dict(end.to_dict() | change)


def test_missing_constants_and_unknown_presets_are_named():
    constants = PAPER.to_dict()
    del constants["bands"], constants["taper"]
    with pytest.raises(FrontEndError, match="missing fields: bands, taper"):
        FrontEnd.from_dict(constants)
    with pytest.raises(FrontEndError, match="table of constants"):
        FrontEnd.from_dict(["paper"])
    with pytest.raises(FrontEndError, match="paper, musicnn, vggish, vggish-essentia"):
        front_end("mfcc")


def test_different_front_ends_refuse_each_other():
    musicnn, other = PRESETS["musicnn"], dataclasses.replace(MELON, name="mine")
    PAPER.check_same(mine := dataclasses.replace(PAPER, name="mine", window_frames=128), "a", "b")
    MELON.check_same(dataclasses.replace(MELON, window_frames=9, made_by="?"), "a", "b")
    assert PAPER.same_as(mine) and not PAPER.same_as(musicnn)
    for one, two, difference in (
        (PAPER, musicnn, "hop_length 188 against 256"),
        (MELON, PAPER, "were imported"),
        (PAPER, MELON, "were imported"),
        (MELON, other, "name 'melon' against 'mine'"),
    ):
        with pytest.raises(FrontEndError) as caught:
            one.check_same(two, "collection tfrecords/x", "model runs/y")
        for part in ("collection tfrecords/x", "model runs/y", one.name, two.name, difference):
            assert part in str(caught.value)
        assert "window_frames" not in str(caught.value)


def test_what_needs_a_waveform_is_refused(tmp_path, capsys):
    with pytest.raises(FrontEndError, match=r"'melon' takes no waveforms.*import_mels"):
        MELON.log_mel(np.zeros(16000, np.float32))
    with pytest.raises(FrontEndError, match="'jamendo-mels' takes no waveforms"):
        front_end("jamendo-mels")
    words = ["--audio", str(tmp_path), "--out", str(tmp_path / "out"), "--front-end", "melon"]
    assert make_tfrecords(words) == 1
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and "front end 'melon' takes no waveforms" in said


@pytest.mark.parametrize("seconds", [1, 3.3, 30])
def test_frames_and_seconds(seconds):
    for end in (MELON, JAMENDO, dataclasses.replace(MELON, framing="whole")):
        hop = end.hop_length / end.sample_rate
        assert end.seconds(end.frames_of(seconds)) == pytest.approx(seconds, abs=hop)
    assert MELON.frames_of(30) == 1876 and MELON.frames_of(0) == 1


@ALL_IMPORTED
def test_power_is_what_is_under_the_logarithm(imported, rng):
    mel = rng.uniform(imported.silence, 12, (5, 4, 3)).astype(np.float32)
    power = to_power(imported, mel).numpy()
    exact = mel.astype(np.float64)
    expected = {
        "melon": lambda: 10 ** (exact / 10),
        "jamendo-mels": lambda: 10 ** (exact / 20),
        "ln": lambda: ((np.exp(exact) - 0.01) / 2) ** 2,
    }[imported.name]()
    np.testing.assert_allclose(power, expected, rtol=1e-4, atol=1e-9)
    np.testing.assert_allclose(from_power(imported, power).numpy(), mel, atol=2e-3)


@ALL_IMPORTED
def test_nothing_is_silence_and_the_loudest_value_stays_finite(imported):
    silence = from_power(imported, np.zeros((2, 3), np.float32)).numpy()
    np.testing.assert_allclose(silence, imported.silence, rtol=1e-5)
    loudest = np.array([65504.0, -65504.0], np.float32)
    power = to_power(imported, loudest)
    assert np.isfinite(power).all() and np.isfinite(from_power(imported, power)).all()
