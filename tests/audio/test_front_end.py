"""The constants of the front ends: kept, checked and compared."""

import dataclasses
import json

import pytest

from playlist_pretrain.audio.front_end import PRESETS, FrontEnd, front_end
from playlist_pretrain.errors import FrontEndError


@pytest.mark.parametrize("name", PRESETS)
def test_constants_survive_json(name):
    preset = PRESETS[name]
    assert FrontEnd.from_dict(json.loads(json.dumps(preset.to_dict()))) == preset
    assert front_end(name) is preset


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format": 2}, "format 2"),
        ({"colour": 1, "taste": 2}, "unknown fields: colour, taste"),
        ({"bands": 0}, "bands = 0"),
        ({"bands": 96.0}, "bands = 96.0"),
        ({"taper": "hamming"}, "hann-symmetric, hann-periodic"),
        ({"frame_length": 513}, "must not exceed fft_length"),
        ({"f_max": 9000.0}, "f_max = 9000.0"),
        ({"log_offset": 0.0}, "log_offset"),
        ({"resample_quality": 5}, "resample_quality = 5"),
    ],
    ids=lambda value: str(value)[:30],
)
def test_impossible_constants_are_refused(change, message):
    with pytest.raises(FrontEndError, match=message.replace("(", r"\(")):
        FrontEnd.from_dict(PRESETS["paper"].to_dict() | change)


def test_missing_constants_are_named():
    constants = PRESETS["paper"].to_dict()
    del constants["bands"], constants["taper"]
    with pytest.raises(FrontEndError, match="missing fields: bands, taper"):
        FrontEnd.from_dict(constants)
    with pytest.raises(FrontEndError, match="table of constants"):
        FrontEnd.from_dict(["paper"])


def test_an_unknown_preset_lists_those_there_are():
    with pytest.raises(FrontEndError, match="paper, musicnn, vggish, vggish-essentia"):
        front_end("mfcc")


def test_different_front_ends_refuse_each_other():
    paper, musicnn = PRESETS["paper"], PRESETS["musicnn"]
    paper.check_same(mine := dataclasses.replace(paper, name="mine", window_frames=128), "a", "b")
    assert paper.same_as(mine) and not paper.same_as(musicnn)
    with pytest.raises(FrontEndError) as caught:
        paper.check_same(musicnn, "collection tfrecords/x", "model runs/y")
    for part in ("collection tfrecords/x", "model runs/y", "hop_length 188 against 256"):
        assert part in str(caught.value)
    assert "window_frames" not in str(caught.value)
