"""Sources of mels: their names, ids and units, over the whole registry; descriptions."""

import json
from pathlib import PurePosixPath

import mel_files
import numpy as np
import pytest

from playlist_pretrain.audio.log_mel import to_power
from playlist_pretrain.errors import MelError
from playlist_pretrain.records.mel_files import FoundMels, MelFile
from playlist_pretrain.records.mel_sources import (
    MEL_SOURCES,
    UNITS,
    MelLoader,
    as_stored,
    find_source,
    read_description,
)

MINE = {
    "name": "mine", "sample_rate": 22050, "frame_length": 2048, "hop_length": 512, "bands": 128,
    "window_frames": 128, "unit": "db", "orientation": "bands x frames",
}  # fmt: skip


@pytest.fixture
def describe(tmp_path):
    """Callable: write a description with changes; its path."""

    def write(**changes):
        content = {key: value for key, value in {**MINE, **changes}.items() if value != "gone"}
        (tmp_path / "mels.json").write_text(json.dumps(content), "utf-8")
        return tmp_path / "mels.json"

    return write


@pytest.fixture
def source(describe):
    """Callable: the source of a name."""
    return lambda name: MEL_SOURCES.get(name) or read_description(describe())


NAMES = {
    "melon": {
        "0/0.npy": "0", "0/999.npy": "999", "707/707988.npy": "707988", "a/b/7/7000.npy": "7000",
        "0/1000.npy": None, "1.npy": None, "00/1.npy": None, "0/01.npy": None, "0/-1.npy": None,
        "0/x.npy": None, "0/¹.npy": None,
    },
    "jamendo": {
        "41/241.npy": "41/241", "41/241.low.npy": "41/241", "x/56/1376256.npy": "56/1376256",
        "00/100.npy": "00/100", "0/100.npy": None, "42/241.npy": None, "241.npy": None,
        "41/low.npy": None, "41/241.high.npy": None,
    },
    "npy": {"a/b.c.npy": "a/b.c", "x.npy": "x"},
}  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_ids(source, name):
    for path, track_id in NAMES[name].items():
        assert source(name).id_of(PurePosixPath(path)) == track_id


def test_damaged_songs_of_melon(source):
    damaged = [i for i in range(220_000, 280_000) if source("melon").left_out(str(i))]
    assert len(damaged) == 5000
    assert {i // 1000 for i in damaged} == {225, 227, 229, 230, 276}


def test_sources_are_recognised_by_names_and_then_by_bands(tmp_path, describe):
    def found(*names, source="auto", description=None):
        mels = FoundMels(tmp_path, [MelFile(name, name) for name in names])
        return find_source(source, description, mels).name

    assert found("0/1.npy", "10/10010.npy", "x.npy") == "melon"
    assert found("41/241.npy", "10/10010.npy", "x.npy") == "jamendo"
    both = "10/10010.npy"
    for bands, name in ((48, "melon"), (96, "jamendo")):
        (tmp_path / "10").mkdir(exist_ok=True)
        (tmp_path / both).write_bytes(mel_files.npy(mel_files.mel(0, bands, 3)))
        assert found(both) == name
    assert found("a.npy", description=describe()) == "npy"
    with pytest.raises(MelError, match=r"'a\.npy' are not recognised.*melon.*jamendo.*npy"):
        found("a.npy", "0/1.npy", "b.npy")
    with pytest.raises(MelError, match="there are: melon, jamendo, npy"):
        found("a.npy", source="mpd")
    with pytest.raises(MelError, match="--source npy needs --description"):
        found("a.npy", source="npy")
    with pytest.raises(MelError, match="--description is not for source melon"):
        found("a.npy", source="melon", description=describe())


def test_a_description_says_everything(describe):
    plain = read_description(describe()).front_end
    assert (plain.log_factor, plain.log_base, plain.silence, plain.bands) == (10, "10", -100, 128)
    full = read_description(
        describe(
            unit="ln", orientation="frames×bands", spectrum="magnitude", log_scale=2.0,
            log_offset=0.01, framing="whole", made_by="me", window_frames=64,
        )
    )  # fmt: skip
    assert full.orientation == "frames×bands"
    end = full.front_end
    assert (end.spectrum, end.log_base, end.log_factor, end.log_scale) == ("magnitude", "e", 1, 2)
    assert end.silence == pytest.approx(np.log(0.01))
    assert (end.framing, end.made_by, end.window_frames, end.name) == ("whole", "me", 64, "mine")
    assert read_description(describe(silence=-80.0)).front_end.silence == -80


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"colour": 1}, "unknown fields: colour"),
        ({"bands": "gone", "unit": "gone"}, "missing fields: bands, unit"),
        ({"unit": "dB"}, "unit = 'dB': one of db, log10, ln, power, amplitude"),
        ({"bands": 0}, "bands = 0"),
        ({"name": "paper"}, "name = 'paper'"),
        ({"log_offset": 1.0}, "log_offset is for the units log10 and ln, not for db"),
        *(
            ({"unit": "ln", name: 10**400}, f": {name} = 1000")
            for name in ("log_scale", "log_offset", "silence", "bands", "sample_rate", "hop_length")
        ),
        ({"unit": "power", "silence": 0.0}, "silence is not for unit power"),
        ({"silence": float("nan")}, "a number that is not finite: nan"),
    ],
    ids=lambda value: str(value)[:60],
)
def test_a_wrong_description_is_refused(describe, changes, message):
    path = describe(**changes)
    with pytest.raises(MelError) as caught:
        read_description(path)
    assert message in str(caught.value) and str(caught.value).startswith(f"{path}: ")


def test_what_is_no_description(tmp_path):
    path = tmp_path / "mels.json"
    with pytest.raises(MelError, match="No such file"):
        read_description(path)
    for content, message in ((b"[]", "not an object"), (b"{", "not JSON"), (b"\xff", "not JSON")):
        path.write_bytes(content)
        with pytest.raises(MelError, match=message):
            read_description(path)


POWER = np.array([[1e-8, 1.0, 250.0, 0.03]])
VALUES = {
    "db": 10 * np.log10(POWER),
    "log10": np.log10(1 + 1e4 * POWER),
    "ln": np.log(POWER),
    "power": POWER,
    "amplitude": np.sqrt(POWER),
}


@pytest.mark.parametrize("unit", UNITS)
def test_linear_power_comes_back_from_every_unit(describe, unit):
    more = {"log_scale": 1e4, "log_offset": 1.0} if unit == "log10" else {}
    end = read_description(describe(unit=unit, **more)).front_end
    stored = as_stored(VALUES[unit], unit).astype(np.float32)
    np.testing.assert_allclose(to_power(end, stored).numpy(), POWER, rtol=1e-4, atol=1e-7)
    np.testing.assert_allclose(stored, stored.astype(np.float16), rtol=1e-3)


def test_linear_units_have_a_floor_and_no_negative_values():
    np.testing.assert_allclose(as_stored(np.zeros((1, 2)), "power"), -100)
    np.testing.assert_allclose(as_stored(np.zeros((1, 2)), "amplitude"), -100)
    assert np.isnan(as_stored(np.full((1, 1), np.nan), "power")).all()
    with pytest.raises(MelError, match=r"power of -3\.0 at frame 1, band 0"):
        as_stored(np.array([[1.0], [-3.0]]), "power")


def test_an_excerpt_of_mels_has_sound(tmp_path):
    front_end = MEL_SOURCES.get("melon").front_end
    mel = np.full((100, 48), -100, np.float32)
    mel[5:25, 3] = -40
    np.save(tmp_path / "0.npy", mel)
    load = MelLoader(front_end, "frames×bands", "db", excerpt=front_end.seconds(20))
    found = load(str(tmp_path / "0.npy"))
    # The middle is 40 to 60; 20 to 40 has a quarter, 0 to 20 most of its frames.
    assert found.start_seconds == 0 and found.source_seconds == front_end.seconds(100)
    np.testing.assert_array_equal(found.mel, mel[:20])
    mel[45:47, 0] = -99
    np.save(tmp_path / "0.npy", mel)
    found = load(str(tmp_path / "0.npy"))
    np.testing.assert_array_equal(found.mel, mel[40:60])
