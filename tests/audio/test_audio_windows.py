"""Audio files inside tf.data: every format, what is damaged, and the numbers of AudioLoader."""

import dataclasses
import re
import subprocess
from pathlib import Path

import imageio_ffmpeg
import numpy as np
import pytest
import soundfile
import tensorflow as tf

from playlist_pretrain.audio.audio_windows import audio_windows, file_waveform
from playlist_pretrain.audio.decode import AudioLoader
from playlist_pretrain.audio.front_end import IMPORTED, PRESETS
from playlist_pretrain.errors import AudioError, FrontEndError, RecipeError

pytestmark = pytest.mark.slow
FRONT_END, FRAMES = PRESETS["paper"], 32


def sound(seconds, rate, channels=1, seed=0):
    """Tones under noise [samples, channels], at most ±0.8."""
    time = np.arange(round(seconds * rate)) / rate
    tones = sum(np.sin(2 * np.pi * f * time + f) for f in (220.0, 555.0, 1234.0)) / 6
    noise = np.random.default_rng(seed).uniform(-0.1, 0.1, (len(time), channels))
    return tones[:, np.newaxis] * np.linspace(1, 0.5, channels) + noise


def write(path, samples, rate, **how):
    """By libsndfile, or by ffmpeg where that is an mp3."""
    if path.suffix != ".mp3":
        soundfile.write(path, samples, rate, **how)
        return path
    soundfile.write(path.with_suffix(".tmp.wav"), samples, rate, subtype="PCM_16")
    binary = imageio_ffmpeg.get_ffmpeg_exe()
    words = [binary, "-v", "error", "-i", path.with_suffix(".tmp.wav"), "-b:a", "192k", path]
    subprocess.run(words, check=True)
    return path


@pytest.fixture(scope="module")
def waveform():
    graph = tf.function(
        lambda path: file_waveform(path, 16000), input_signature=[tf.TensorSpec([], tf.string)]
    )
    return lambda path: graph(str(path)).numpy()


def windows_of(*args, **options):
    return list(audio_windows(*args, **options).as_numpy_iterator())


def whole_windows(path, frames=FRAMES, settings=FRONT_END):
    mel = settings.log_mel(AudioLoader(excerpt=None)(str(path)).waveform).numpy()
    return mel[: len(mel) // frames * frames].reshape(-1, frames, settings.bands)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(("ending", "subtype"), [
    ("wav", "PCM_16"), ("wav", "PCM_24"), ("wav", "FLOAT"),
    ("flac", "PCM_S8"), ("flac", "PCM_16"), ("flac", "PCM_24"),
])  # fmt: skip
def test_lossless_files_are_what_audio_loader_gives(tmp_path, waveform, ending, subtype, channels):
    for rate in (16000, 44100, 8000):
        samples = sound(1.3, rate, channels)
        path = write(tmp_path / f"{rate}.{ending}", samples, rate, subtype=subtype)
        expected = AudioLoader(excerpt=None)(str(path)).waveform
        found = waveform(path)
        assert len(found) == len(expected)
        # Resampling included: it is the same interpolation, positions in double precision.
        np.testing.assert_allclose(found, expected, rtol=0, atol=2e-5)


@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("rate", [16000, 44100])
@pytest.mark.parametrize("ending", ["ogg", "mp3"])
def test_lossy_files_differ_by_what_two_decoders_do(tmp_path, waveform, ending, rate, channels):
    path = write(tmp_path / f"a.{ending}", sound(1.3, rate, channels), rate)
    expected = AudioLoader(excerpt=None)(str(path)).waveform
    found = waveform(path)
    assert abs(len(found) - len(expected)) <= 1152
    length = min(len(found), len(expected))
    np.testing.assert_allclose(found[:length], expected[:length], rtol=0, atol=2e-4)


def test_a_file_is_told_by_its_content(tmp_path, waveform):
    for ending in ("flac", "ogg", "mp3", "wav"):
        path = write(tmp_path / f"a.{ending}", sound(0.5, 16000), 16000)
        expected = waveform(path)
        np.testing.assert_array_equal(waveform(path.rename(tmp_path / f"b{ending}")), expected)


@pytest.fixture(scope="module")
def mixed(tmp_path_factory):
    """A file of each format, of several lengths."""
    folder = tmp_path_factory.mktemp("mixed")
    endings = ["wav", "flac", "mp3", "ogg", "wav"]
    return [
        write(folder / f"{k}.{ending}", sound(0.9 + k / 2, 22050, seed=k), 22050)
        for k, ending in enumerate(endings)
    ]


def test_labels_stay_with_their_files(mixed):
    labels = np.eye(len(mixed), dtype=np.float32)
    pairs = list(audio_windows(mixed, FRONT_END, FRAMES, labels=labels))
    found = [int(np.argmax(label)) for _, label in pairs]
    plain = windows_of(mixed, FRONT_END, FRAMES)
    counts = [len(whole_windows(path)) for path in mixed]
    assert found == np.repeat(np.arange(len(mixed)), counts).tolist()
    np.testing.assert_array_equal([window for window, _ in pairs], plain)
    np.testing.assert_allclose(plain[: counts[0]], whole_windows(mixed[0]), atol=2e-3)


def test_random_windows_depend_on_seed_and_epoch_alone(mixed):
    def epochs(seed, calls):
        dataset = audio_windows(mixed, FRONT_END, FRAMES, seed=seed, parallel_calls=calls)
        return [np.stack(list(dataset.as_numpy_iterator())) for _ in range(2)]

    one, again, other = epochs(3, 1), epochs(3, 4), epochs(4, 2)
    assert one[0].shape == (len(mixed), FRAMES, 96)
    np.testing.assert_array_equal(one, again)
    assert not np.allclose(one[0], one[1]) and not np.allclose(one[0], other[0])


@pytest.mark.parametrize("seed", [None, pytest.param(5, marks=pytest.mark.long)])
def test_short_files(tmp_path, seed):
    path = write(tmp_path / "a.wav", sound(0.2, 16000), 16000)
    mel = FRONT_END.log_mel(AudioLoader(excerpt=None)(str(path)).waveform).numpy()
    frames = 2 * len(mel) - 3
    (padded,) = windows_of([path], FRONT_END, frames, short="pad", seed=seed)
    np.testing.assert_allclose(padded[: len(mel)], mel, atol=1e-5)
    np.testing.assert_allclose(padded[len(mel) :], FRONT_END.silence, atol=1e-6)
    (repeated,) = windows_of([path], FRONT_END, frames, short="repeat")
    np.testing.assert_allclose(repeated, np.tile(mel, (2, 1))[:frames], atol=1e-5)
    skipped = []
    assert windows_of([path], FRONT_END, frames, short="skip", seed=seed, skipped=skipped) == []
    ((name, reason),) = skipped
    assert name == str(path) and f"a window needs {frames} frames" in reason


DAMAGED = "^a file that is damaged, or no audio that libsndfile reads$"
WHY = {
    "empty.wav": DAMAGED, "head.wav": "^a wav file without a whole format chunk",
    "cut.wav": r"^a wav file that is cut off: bytes stated, there \d+ \d+$",
    "cut.flac": r"^a file that is cut off: samples stated, there: \d+, \d+$",
    "huge.flac": r"^a file of more than 5400 seconds, .* it states \d+$",
    "rate.flac": f"{DAMAGED}|^a file of an impossible rate: 0$",
    "missing.mp3": "missing.mp3; No such file or directory$", "folder": "; Is a directory$",
}  # fmt: skip


def damaged(folder, good):
    """Files that cannot be read, by name."""
    contents = {path.suffix[1:]: path.read_bytes() for path in good}
    files = {
        "empty.wav": b"", "short.mp3": b"ab", "text.ogg": b"no music here\n" * 100,
        "zeros.flac": b"fLaC" + bytes(1000), "zeros.ogg": b"OggS" + bytes(1000),
        "frames.mp3": b"\xff\xfb\x90\x00" + bytes(2000), "tag.mp3": b"ID3" + b"\x7f" * 50,
    }  # fmt: skip
    for ending, content in contents.items():
        if ending in ("wav", "flac"):  # the others state no length that can be trusted
            files[f"cut.{ending}"] = content[: len(content) // 2]
        files[f"head.{ending}"] = content[:30]
    # What its header states would not fit into memory.
    files["huge.flac"] = contents["flac"][:21] + b"\xff" * 5 + contents["flac"][26:]
    flac = bytearray(contents["flac"])
    flac[18:21] = b"\0\0" + bytes([flac[20] & 15])  # a rate of 0 Hz
    files["rate.flac"] = bytes(flac)
    (folder / "folder").mkdir()
    for name, content in files.items():
        (folder / name).write_bytes(content)
    return [folder / name for name in files] + [folder / "missing.mp3", folder / "folder"]


@pytest.mark.parametrize("ending", ["ogg", "mp3"])
def test_of_what_states_no_length_what_is_there_is_read(ending, tmp_path, mixed, waveform):
    (whole,) = [path for path in mixed if path.suffix == f".{ending}"]
    content = whole.read_bytes()
    path = tmp_path / f"cut.{ending}"
    path.write_bytes(content[: len(content) // 2])
    found, expected = waveform(path), waveform(whole)
    assert 0.3 * len(expected) < len(found) < 0.8 * len(expected)
    if ending == "ogg":
        np.testing.assert_array_equal(found, expected[: len(found)])
    assert abs(len(found) - len(AudioLoader(excerpt=None)(str(path)).waveform)) <= 1152


@pytest.mark.parametrize("ending", ["flac", "ogg"])
def test_of_many_files_at_once_each_has_its_own_sound(tmp_path, ending):
    paths = [tmp_path / f"{number}.{ending}" for number in range(60)]
    for number, path in enumerate(paths):
        soundfile.write(path, np.full(8000, (number + 1) / 100, np.float32), 16000)
    files = tf.data.Dataset.from_tensor_slices([*map(str, paths)] * 4)
    waveforms = files.map(lambda path: file_waveform(path, 16000), num_parallel_calls=8)
    found = [float(np.median(waveform)) for waveform in waveforms]
    expected = np.tile(np.arange(1, 61) / 100, 4)
    np.testing.assert_allclose(found, expected, atol=4.9e-3)  # half the distance of two


def test_damaged_files_are_named_and_the_others_read(tmp_path, mixed):
    bad = damaged(tmp_path, mixed)
    paths = [bad[0], mixed[0], *bad[1:9], *mixed[1:], *bad[9:]]
    skipped = []
    dataset = audio_windows(paths, FRONT_END, FRAMES, labels=range(len(paths)), skipped=skipped)
    for _ in range(2):
        found = [int(label) for _, label in dataset]
        assert sorted({*found}) == [paths.index(path) for path in mixed]
        assert [name for name, _ in skipped] == [str(path) for path in bad]
        reasons = {Path(name).name: reason for name, reason in skipped}
        assert all(re.search(WHY.get(name, DAMAGED), why) for name, why in reasons.items()), reasons
    expected = windows_of(mixed, FRONT_END, FRAMES)
    np.testing.assert_array_equal([window for window, _ in dataset], expected)


def test_without_a_list_the_first_damaged_file_is_an_error(tmp_path, mixed):
    (tmp_path / "empty.wav").touch()
    dataset = audio_windows([mixed[0], tmp_path / "empty.wav"], FRONT_END, FRAMES)
    with pytest.raises(
        tf.errors.OpError, match=r"AudioError: .*empty\.wav: a file that is damaged"
    ):
        list(dataset)


@pytest.mark.parametrize(("change", "error", "message"), [
    ({"paths": []}, AudioError, "the list of paths is empty"),
    ({"front_end": IMPORTED["melon"]}, FrontEndError, "takes no waveforms"),
    ({"front_end": dataclasses.replace(FRONT_END, resample_quality=1)}, FrontEndError,
     "resamples with quality 1"),
    ({"frames": 0}, RecipeError, "a window of 0 frames"),
    ({"seed": -1}, RecipeError, "seed -1"),
    ({"short": "drop"}, RecipeError, "'drop' is none of"),
    ({"short": "skip"}, RecipeError, "takes a list as skipped"),
    ({"labels": [1, 2]}, RecipeError, "2 labels for 1 files"),
])  # fmt: skip
def test_mistakes_are_named(change, error, message):
    settings = {"paths": ["a.wav"], "front_end": FRONT_END, "frames": 8, **change}
    with pytest.raises(error, match=message):
        audio_windows(settings.pop("paths"), settings.pop("front_end"), settings.pop("frames"),
                      **settings)  # fmt: skip
