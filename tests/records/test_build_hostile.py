"""Files and names that were made to break a build: each comes out as tfrecords/README.md says."""

import csv
import os
import struct
import subprocess
import sys

import numpy as np
import pytest
import soundfile
from build_loaders import PAPER

from playlist_pretrain.audio.decode import AudioLoader
from playlist_pretrain.audio.front_end import front_end
from playlist_pretrain.records.build import make_collection
from playlist_pretrain.records.sources import find_audio, read_tracks_table
from playlist_pretrain.records.track_tags import read_tracks


def tone(hz=440.0):
    return 0.4 * np.sin(2 * np.pi * hz * np.arange(4 * 16000) / 16000)


@pytest.fixture
def audio(tmp_path):
    """Folder with one good file, the only one unless a test adds more."""
    (tmp_path / "audio").mkdir()
    soundfile.write(tmp_path / "audio" / "good.wav", tone(), 16000)
    return tmp_path / "audio"


@pytest.fixture
def build(in_process, tmp_path, audio):
    """Build of everything in the folder, or of a table."""

    def build(table=None, preset=PAPER, excerpt=30.0, **options):
        tracks = find_audio(audio).tracks if table is None else read_tracks_table(table, audio)
        load = AudioLoader(preset.sample_rate, excerpt)
        return make_collection(tmp_path / "out", tracks, preset, load, root=audio, **options)

    return build


def test_ids_may_be_anything_and_stay_ids(build, audio, tmp_path):
    ids = ["../../escape", "/etc/passwd", "..", "a/../../b", "mel-00000.tfrecord", "C:\\x", "~",
           "é" * 150, "x" * 300, "line\nend", "tab\tin", 'a "quoted"', "名前"]  # fmt: skip
    with open(tmp_path / "t.csv", "w", newline="") as stream:
        csv.writer(stream).writerows([("track_id", "path"), *((i, "good.wav") for i in ids)])
    collection = build(tmp_path / "t.csv").collection
    assert sorted(collection.track_ids) == sorted(ids)
    assert sorted(os.listdir(tmp_path)) == ["audio", "out", "t.csv"]
    assert sorted(os.listdir(tmp_path / "out")) == [
        "build_report.tsv", "collection.json", "index-0.npz", "mel-00000.tfrecord",
        "sources-0.jsonl", "tracks.csv",
    ]  # fmt: skip
    assert sorted(read_tracks(tmp_path / "out").rows) == sorted(ids)


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


def test_a_few_samples(build, audio):
    for samples in (1, 100):
        soundfile.write(audio / f"tiny{samples}.wav", tone()[:samples], 16000)
    assert [reason[:8] for _, _, reason in build().of("short")] == ["2 frames"] * 2
    failed = build(preset=front_end("vggish"), overwrite=True).failed
    assert ("tiny1", "1 sample is too little for one frame") in [note[::2] for note in failed]


def test_a_wrong_extension_does_not_matter(build, audio, rng):
    # noise holds whatever looks like the frame of an mp3
    soundfile.write(audio / "good.wav", rng.uniform(-0.5, 0.5, 64000), 16000)
    for number, kind in enumerate(("mp3", "ogg", "flac", "aac", "m4a")):
        (audio / f"{number}.{kind}").write_bytes((audio / "good.wav").read_bytes())
    collection = build().collection
    assert len(collection) == 6
    for row in range(5):
        np.testing.assert_array_equal(collection.mel(row), collection.mel(5))


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


MEMORY = """
import resource, sys
from playlist_pretrain.audio.decode import decode
from playlist_pretrain.errors import AudioError
for path in sys.argv[1:]:
    one = decode(path)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    print(one.waveform.argmax(), one.start_seconds, one.source_seconds, peak)
try:
    decode(path, excerpt=None)
except AudioError as error:
    print(error)
"""


@pytest.mark.slow
def test_three_hours_need_no_more_memory_than_one(tmp_path):
    paths = [tmp_path / "1.wav", tmp_path / "3.wav"]
    for path in paths:
        write_sparse_wav(path, int(path.stem))
    command = [sys.executable, "-c", MEMORY, *map(str, paths)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    *lines, error = done.stdout.splitlines()
    (*one, peak_of_one), (*three, peak_of_three) = (map(float, line.split()) for line in lines)
    assert one == [15 * 16000, 1800 - 15, 3600]
    assert three == [15 * 16000, 3 * 1800 - 15, 3 * 3600] and peak_of_three < peak_of_one + 30
    assert "lasts 3.0 hours, and at most 1.5 are taken whole; take an excerpt" in error


def test_just_above_what_is_kept_in_one_pass(build, audio):
    write_sparse_wav(audio / "long.wav", 0.501)
    report = build()
    row = report.collection.row("long")
    assert report.collection.source_seconds[row] == pytest.approx(1803.6, abs=1e-3)
    assert report.collection.start_seconds[row] == pytest.approx(886.8, abs=1e-3)
    mel = report.collection.mel(row)
    assert len(mel) == 1 + -(-480_000 // 188)
    assert np.flatnonzero(mel.any(axis=1)).mean() == pytest.approx(240_000 / 188, abs=1)
