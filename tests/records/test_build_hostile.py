"""Files and names that were made to break a build: each comes out as tfrecords/README.md says."""

import os
import struct
import subprocess
import sys
import textwrap

import numpy as np
import pytest
import soundfile
from build_loaders import PAPER

from playlist_pretrain.audio.decode import AudioLoader
from playlist_pretrain.audio.front_end import front_end
from playlist_pretrain.records.build import make_collection
from playlist_pretrain.records.sources import find_audio, read_tracks_table


def tone(seconds=4.0, rate=16000, channels=1, hz=440.0):
    wave = 0.4 * np.sin(2 * np.pi * hz * np.arange(round(seconds * rate)) / rate)
    return np.repeat(wave[:, None], channels, axis=1)


@pytest.fixture
def audio(tmp_path):
    """Folder with one good file, the only one unless a test adds more."""
    (tmp_path / "audio").mkdir()
    soundfile.write(tmp_path / "audio" / "good.wav", tone(), 16000)
    return tmp_path / "audio"


@pytest.fixture
def build(in_process, tmp_path, audio):
    """Build of everything in the folder, or of a table."""

    def build(table=None, preset=PAPER, excerpt=30.0):
        tracks = find_audio(audio).tracks if table is None else read_tracks_table(table, audio)
        load = AudioLoader(preset.sample_rate, excerpt)
        return make_collection(tmp_path / "out", tracks, preset, load, root=audio)

    return build


def files_outside(tmp_path):
    """Everything below the test's folder, but what is in the audio folder and the collection."""
    return {
        path.relative_to(tmp_path).parts[0]
        for path in tmp_path.rglob("*")
        if path.relative_to(tmp_path).parts[0] not in ("audio", "out")
    }


def test_ids_that_look_like_paths_stay_ids(build, audio, tmp_path):
    ids = ["../../escape", "/etc/passwd", "..", "a/../../b", "mel-00000.tfrecord", "C:\\x", "~"]
    rows = "".join(f"{track_id},good.wav\n" for track_id in ids)
    (tmp_path / "t.csv").write_text("track_id,path\n" + rows)
    collection = build(tmp_path / "t.csv").collection
    assert sorted(collection.track_ids) == sorted(ids)
    assert files_outside(tmp_path) == {"t.csv"}
    assert sorted(os.listdir(tmp_path / "out")) == [
        "build_report.tsv", "collection.json", "index-0.npz", "mel-00000.tfrecord",
        "sources-0.jsonl",
    ]  # fmt: skip


def test_links_out_of_the_folder_are_read_under_their_own_name(build, audio, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    soundfile.write(tmp_path / "elsewhere" / "far.wav", tone(hz=880), 16000)
    (audio / "link.wav").symlink_to(tmp_path / "elsewhere" / "far.wav")
    (audio / "folder").symlink_to(tmp_path / "elsewhere")
    (audio / "device.wav").symlink_to("/dev/zero")
    (audio / "broken.wav").symlink_to("nowhere.wav")
    report = build()
    assert list(report.collection.track_ids) == ["folder/far", "good", "link"]
    reasons = {source: reason for _, source, reason in report.failed}
    assert reasons["device.wav"] == "is not a regular file"
    assert "No such file" in reasons["broken.wav"]


@pytest.mark.parametrize("samples", [1, 2, 100])
def test_a_few_samples(build, audio, samples):
    soundfile.write(audio / "tiny.wav", tone()[:samples], 16000)
    report = build()
    ((track_id, _, reason),) = report.short
    assert track_id == "tiny" and "2 frames" in reason
    assert report.tracks == 2


def test_one_sample_without_padding_is_no_frame(build, audio):
    soundfile.write(audio / "tiny.wav", tone()[:1], 16000)
    report = build(preset=front_end("vggish"))
    assert [(track_id, reason) for track_id, _, reason in report.failed] == [
        ("tiny", "1 sample is too little for one frame")
    ]


def test_eight_channels_and_192_khz(build, audio):
    soundfile.write(audio / "eight.wav", tone(channels=8), 16000)
    soundfile.write(audio / "fast.wav", tone(rate=192_000), 192_000)
    collection = build().collection
    assert list(collection.track_ids) == ["eight", "fast", "good"]
    eight, fast, good = (collection.mel(row).astype(np.float32) for row in range(3))
    np.testing.assert_allclose(eight, good, atol=0.01)
    assert len(fast) in (len(good), len(good) + 1)
    assert np.abs(fast[: len(good)] - good)[5:-5].mean() < 0.05


@pytest.mark.parametrize("name", ["wav.mp3", "wav.ogg", "wav.flac", "wav.aac", "wav.m4a"])
def test_a_wrong_extension_does_not_matter(build, audio, name):
    rng = np.random.default_rng(0)  # noise holds whatever looks like the frame of an mp3
    soundfile.write(audio / "good.wav", rng.uniform(-0.5, 0.5, 64000), 16000)
    (audio / name).write_bytes((audio / "good.wav").read_bytes())
    collection = build().collection
    assert list(collection.track_ids) == ["good", "wav"]
    np.testing.assert_array_equal(collection.mel(0), collection.mel(1))


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_samples_that_are_no_numbers(build, audio, value):
    wave = tone().astype(np.float32)
    wave[1000] = value
    soundfile.write(audio / "bad.wav", wave, 16000, subtype="FLOAT")
    assert build().failed == [("bad", "bad.wav", "holds NaN or infinite samples")]


def write_sparse_wav(path, hours, rate=16000):
    """Silence that takes no room on disk, with one sample in its middle."""
    size = round(hours * 3600 * rate) * 2
    form = struct.pack("<IHHIIHH", 16, 1, 1, rate, rate * 2, 2, 16)
    with open(path, "wb") as stream:
        head = struct.pack("<I", 36 + size) + b"WAVEfmt " + form + b"data"
        stream.write(b"RIFF" + head + struct.pack("<I", size))
        stream.truncate(44 + size)
        stream.seek(44 + size // 4 * 2)
        stream.write(struct.pack("<h", 16384))


def decoded_in_a_process(path):
    program = """
        import sys
        from playlist_pretrain.audio.decode import decode
        from playlist_pretrain.errors import AudioError
        one = decode(sys.argv[1])
        print(one.waveform.argmax(), one.start_seconds, one.source_seconds)
        peak = open("/proc/self/status").read().partition("VmHWM:")[2].split()[0]
        try:
            decode(sys.argv[1], excerpt=None)
        except AudioError as error:
            print(peak, error)
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program), str(path)],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    found, told = done.stdout.splitlines()
    peak, _, error = told.partition(" ")
    return [float(value) for value in found.split()], int(peak) / 1000, error


@pytest.mark.slow
def test_ten_hours_need_no_more_memory_than_two(tmp_path):
    peaks = {}
    for hours in (2, 10):
        write_sparse_wav(tmp_path / "long.wav", hours)
        found, peaks[hours], error = decoded_in_a_process(tmp_path / "long.wav")
        assert found == [15 * 16000, hours * 1800 - 15, hours * 3600]
        assert f"lasts {hours}.0 hours, and at most 1.5 are taken whole; take an excerpt" in error
    assert peaks[10] < peaks[2] + 30


def test_just_above_what_is_kept_in_one_pass(build, audio):
    write_sparse_wav(audio / "long.wav", 0.501)
    report = build()
    row = report.collection.row("long")
    assert report.collection.source_seconds[row] == pytest.approx(1803.6, abs=1e-3)
    assert report.collection.start_seconds[row] == pytest.approx(886.8, abs=1e-3)
    mel = report.collection.mel(row)
    assert len(mel) == 1 + -(-480_000 // 188)
    assert np.flatnonzero(mel.any(axis=1)).mean() == pytest.approx(240_000 / 188, abs=1)
