"""Clips of triplets: cut out of audio, cut before, out of a collection, and what is lacking."""

import numpy as np
import pytest
import soundfile

from playlist_pretrain.audio.front_end import PRESETS
from playlist_pretrain.audio.numpy_log_mel import log_mel
from playlist_pretrain.errors import AudioError
from playlist_pretrain.retrieval.clips import (
    audio_of_clips,
    clips_of_audio,
    clips_of_collection,
)
from playlist_pretrain.tasks.triplets import Clip, Triplets

RATE = 16000
PAPER, VGGISH = PRESETS["paper"], PRESETS["vggish"]
CLIPS = (Clip("a", 0.0), Clip("a", 0.7), Clip("b", 1.23456), Clip("c/d", 2.0))


def triplets_of(clips, rows=((0, 1, 2), (1, 2, 3)), path="t.csv"):
    rows = np.array(rows, np.int32)
    return Triplets(path, tuple(clips), rows, np.arange(2, 2 + len(rows)), None, True)


def write(path, samples, rate=RATE):
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, samples, rate, subtype="FLOAT")


@pytest.fixture
def waves(rng):
    return {name: rng.uniform(-0.4, 0.4, 3 * RATE).astype(np.float32) for name in "ab"} | {
        "c/d": rng.uniform(-0.4, 0.4, 3 * RATE - 1000).astype(np.float32)
    }


@pytest.fixture
def previews(tmp_path, waves):
    for name, samples in waves.items():
        write(tmp_path / "previews" / f"{name}.wav", samples)
    return tmp_path / "previews"


def mels_of(triplets, audio, folder, front_ends=(PAPER,), seconds=1.0, cut=False):
    files, lacking = audio_of_clips(triplets, audio, cut=cut)
    assert not lacking
    return clips_of_audio(triplets, audio, files, front_ends, folder, seconds=seconds, cut=cut)


def test_excerpts_are_cut_out_of_the_waveform(previews, waves, tmp_path, in_process):
    (mels,), lacking = mels_of(triplets_of(CLIPS), previews, tmp_path / "out")
    assert not lacking
    for position, clip in enumerate(CLIPS):
        first = round(clip.start * RATE)
        expected = log_mel(waves[clip.track_id][first : first + RATE], PAPER)
        np.testing.assert_array_equal(mels.mel(position), expected.astype(np.float16))
    assert len(mels.mel(3)) < len(mels.mel(2)) == 1 + -(-RATE // 188)  # it ends 1000 samples early


def test_what_cannot_be_read_is_said(previews, tmp_path, in_process):
    (previews / "b.wav").write_bytes(b"RIFF junk")
    clips = [*CLIPS, Clip("a", 2.5), Clip("a", 2.05), Clip("a", 7.0)]
    triplets = triplets_of(clips, [(0, 1, 2), (3, 4, 5), (6, 0, 1)])
    (mels,), lacking = mels_of(triplets, previews, tmp_path / "out")
    assert sorted(lacking) == [2, 4, 6]
    assert lacking[2].startswith("b.wav: cannot be decoded")
    assert lacking[4] == "a.wav: lasts 3.0 s, the excerpt is 2.5 to 3.5 s"
    assert lacking[6] == "a.wav: lasts 3.0 s, the excerpt is 7 to 8 s"
    assert np.flatnonzero(mels.frames).tolist() == [0, 1, 3, 5]
    for path in previews.glob("**/*.wav"):
        path.write_bytes(b"")
    (mels,), lacking = mels_of(triplets, previews, tmp_path / "2")
    assert len(lacking) == len(clips) and not mels.frames.any()


def test_names_of_cut_files(tmp_path):
    clips = [Clip("a", 30.0), Clip("a", 27.5), Clip("b", 3.0), Clip("c", 2.0), Clip("d", 1.0)]
    triplets = triplets_of(clips, [(0, 1, 2), (2, 3, 4)])
    names = ["a_30.0.wav", "a_27.5.mp3", "b_3.ogg", "b.wav", "c.flac", "a.wav", "d_2.wav"]
    for name in names:
        (tmp_path / name).touch()
    found, lacking = audio_of_clips(triplets, tmp_path, cut=True)
    assert {k: track.source for k, track in found.items()} == dict(enumerate(
        ["a_30.0.wav", "a_27.5.mp3", "b_3.ogg", "c.flac"]
    ))  # fmt: skip
    assert lacking == {4: "no audio file named 'd_1' or 'd_1.0' or 'd'"}
    (tmp_path / "a_30.0.wav").unlink()
    _, lacking = audio_of_clips(triplets, tmp_path, cut=True)
    assert lacking[0] == "no audio file named 'a_30' or 'a_30.0'"  # not 'a', which has two starts
    found, lacking = audio_of_clips(triplets, tmp_path, cut=False)
    assert [found[k].source for k in (0, 1, 2)] == ["a.wav", "a.wav", "b.wav"]
    assert lacking == {4: "no audio file named 'd'"}


def test_a_cut_file_that_two_clips_could_have_is_refused(tmp_path):
    clips = [Clip("a", 3.0), Clip("a", 5.0), Clip("a_3", 1.0)]
    for name in ("a_3.wav", "a_5.wav"):
        (tmp_path / name).touch()
    with pytest.raises(AudioError, match=r"'a_3\.wav' could be that of 'a' at 3 s and of 'a_3' at"):
        audio_of_clips(triplets_of(clips, [(0, 1, 2)]), tmp_path, cut=True)
    (tmp_path / "a_3_1.wav").touch()
    assert not audio_of_clips(triplets_of(clips, [(0, 1, 2)]), tmp_path, cut=True)[1]


@pytest.fixture
def collection(make_collection, tmp_path):
    return make_collection(tmp_path / "c", [300, 200, 90], ids=["a", "b", "c/d"])


def test_excerpts_of_a_collection_are_the_frames_at_their_start(collection, tmp_path):
    collection.start_seconds[1] = 1.0
    clips = [Clip("a", 0.0), Clip("a", 1.0), Clip("b", 1.5), Clip("c/d", 0.05), Clip("c/d", 0.1),
             Clip("b", 0.5), Clip("z", 0.0)]  # fmt: skip
    triplets = triplets_of(clips, [(0, 1, 2), (3, 4, 5), (6, 0, 1)])
    mels, lacking = clips_of_collection(triplets, collection, 1.0)
    length = 1 + -(-RATE // 188)
    for position, (row, first) in enumerate([(0, 0), (0, 85), (1, 43), (2, 4)]):
        expected = collection.mel(row)[first : first + length]
        np.testing.assert_array_equal(mels.mel(position), expected)
    assert len(mels.mel(3)) == 86  # a frame less, as the mel has it, is rounding
    assert lacking == {
        4: "c has 0.0 to 1.1 s of the track, the excerpt is 0.1 to 1.1 s",
        5: "c has 1.0 to 3.4 s of the track, the excerpt is 0.5 to 1.5 s",
        6: "not in c",
    }
