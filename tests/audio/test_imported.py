"""Front ends of imported mels: kept, compared, refused where a waveform would be needed."""

import dataclasses
import json

import numpy as np
import pytest

from playlist_pretrain.audio.front_end import IMPORTED, FrontEnd, ImportedFrontEnd, front_end
from playlist_pretrain.audio.log_mel import from_power, to_power
from playlist_pretrain.cli.make_tfrecords import main as make_tfrecords
from playlist_pretrain.errors import FrontEndError

MELON, JAMENDO = IMPORTED["melon"], IMPORTED["jamendo-mels"]
LN = dataclasses.replace(
    MELON, name="ln", spectrum="magnitude", log_base="e", log_factor=1.0, log_scale=2.0,
    log_offset=0.01, silence=float(np.log(0.01)),
)  # fmt: skip
ALL = pytest.mark.parametrize("imported", [MELON, JAMENDO, LN], ids=lambda end: end.name)


@ALL
def test_constants_survive_json(imported):
    read = FrontEnd.from_dict(json.loads(json.dumps(imported.to_dict())))
    assert read == imported and isinstance(read, ImportedFrontEnd)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format": 2}, "format 2"),
        ({"kind": "guessed"}, "unknown fields: .*kind"),
        ({"colour": 1}, "unknown fields: colour"),
        ({"bands": 0}, "bands = 0"),
        ({"log_factor": 0.0}, "log_factor = 0.0"),
        ({"silence": 1e6}, "silence = 1000000.0"),
        ({"spectrum": "cepstrum"}, "power, magnitude"),
        ({"framing": ["whole"]}, "of type str"),
    ],
    ids=str,
)
def test_impossible_constants_are_refused(change, message):
    with pytest.raises(FrontEndError, match=message):
        FrontEnd.from_dict(MELON.to_dict() | change)


def test_kinds_and_names_refuse_each_other():
    MELON.check_same(dataclasses.replace(MELON, window_frames=9, made_by="?"), "a", "b")
    for one, other in ((MELON, front_end("paper")), (front_end("paper"), MELON)):
        with pytest.raises(FrontEndError) as caught:
            one.check_same(other, "the model", "collection x")
        for part in ("the model", "collection x", "'melon'", "'paper'", "were imported"):
            assert part in str(caught.value)
    with pytest.raises(FrontEndError, match="name 'melon' against 'mine'"):
        MELON.check_same(dataclasses.replace(MELON, name="mine"), "a", "b")


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


@ALL
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


@ALL
def test_nothing_is_silence_and_the_loudest_value_stays_finite(imported):
    silence = from_power(imported, np.zeros((2, 3), np.float32)).numpy()
    np.testing.assert_allclose(silence, imported.silence, rtol=1e-5)
    loudest = np.array([65504.0, -65504.0], np.float32)
    power = to_power(imported, loudest)
    assert np.isfinite(power).all() and np.isfinite(from_power(imported, power)).all()
