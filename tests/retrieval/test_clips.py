"""Clips of triplets: cut out of audio, cut before, out of a collection, and what is lacking."""

import numpy as np
import pytest
import soundfile

from playlist_pretrain.audio.decode import AudioLoader
from playlist_pretrain.audio.front_end import PRESETS
from playlist_pretrain.audio.numpy_log_mel import log_mel
from playlist_pretrain.errors import AudioError, TrackError
from playlist_pretrain.models.load import LoadedModel
from playlist_pretrain.models.vggish import vggish
from playlist_pretrain.retrieval import clips as audio_clips
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


def test_excerpts_that_were_cut_before_are_the_same_bit_for_bit(
    previews, waves, tmp_path, in_process
):
    names = ["a_0", "a_0.7", "b_1.23456", "c/d"]  # one start: ID is enough
    for name, clip in zip(names, CLIPS, strict=True):
        first = round(clip.start * RATE)
        write(tmp_path / "cut" / f"{name}.wav", waves[clip.track_id][first : first + RATE])
    triplets, ends = triplets_of(CLIPS), (PAPER, VGGISH)
    whole, _ = mels_of(triplets, previews, tmp_path / "1", ends)
    cut, _ = mels_of(triplets, tmp_path / "cut", tmp_path / "2", ends, seconds=99, cut=True)
    for one, other in zip(whole, cut, strict=True):
        for position in range(4):
            np.testing.assert_array_equal(one.mel(position), other.mel(position))
        np.testing.assert_array_equal(one.std, other.std)
        net = vggish(frames=64, bands=one.front_end.bands, width=0.05)
        embedder = LoadedModel("x", net, one.front_end, "")
        vectors = [mels.embed(embedder, np.arange(4)) for mels in (one, other)]
        np.testing.assert_array_equal(*vectors)
        assert len(np.unique(vectors[0], axis=0)) == 4


def test_a_file_is_decoded_once_whatever_is_asked_of_it(
    previews, tmp_path, monkeypatch, in_process
):
    loads = []
    real = AudioLoader.__call__
    monkeypatch.setattr(
        AudioLoader, "__call__", lambda self, path: loads.append(path) or real(self, path)
    )
    mels, _ = mels_of(triplets_of(CLIPS), previews, tmp_path / "out", tuple(PRESETS.values()))
    assert sorted(loads) == [str(previews / f"{name}.wav") for name in ("a", "b", "c/d")]
    assert [one.front_end for one in mels] == list(PRESETS.values())


def test_whole_files_where_there_are_no_starts(previews, waves, tmp_path, in_process):
    clips = [Clip(name) for name in waves]
    (mels,), _ = mels_of(triplets_of(clips, [(0, 1, 2)]), previews, tmp_path / "out")
    for position, clip in enumerate(clips):
        expected = log_mel(waves[clip.track_id], PAPER).astype(np.float16)
        np.testing.assert_array_equal(mels.mel(position), expected)


@pytest.mark.parametrize("short", ["repeat", "pad"])
def test_short_clips_are_repeated_or_padded(previews, tmp_path, in_process, short):
    (mels,), _ = mels_of(triplets_of(CLIPS), previews, tmp_path / "out", seconds=0.3)
    frames = 1 + -(-round(0.3 * RATE) // 188)
    net = vggish(frames=64, bands=96, width=0.05, seed=2)
    found = mels.embed(LoadedModel("x", net, PAPER, ""), np.array([1, 3]), short=short)
    for place, position in enumerate((1, 3)):
        clip = mels.mel(position).astype(np.float32)
        assert len(clip) == frames < 64
        filled = np.full((64, 96), PAPER.silence, np.float32)
        filled[:frames] = clip
        if short == "repeat":
            filled = np.tile(clip, (3, 1))[:64]
        np.testing.assert_allclose(found[place], net(filled[None]).numpy()[0], atol=1e-5)
    assert mels.frames.tolist() == [frames] * 4


def test_a_clip_of_one_sample_is_followed_by_silence(tmp_path, waves, in_process):
    for name in "abc":
        write(tmp_path / "cut" / f"{name}.wav", waves["a"][:1])
    clips = [Clip(name, 5.0) for name in "abc"]
    found, lacking = mels_of(
        triplets_of(clips, [(0, 1, 2)]), tmp_path / "cut", tmp_path / "out", (PAPER, VGGISH),
        cut=True,
    )  # fmt: skip
    assert not lacking
    assert [len(mels.mel(0)) for mels in found] == [2, 1]


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


def test_a_folder_without_audio_or_with_an_id_twice(tmp_path):
    triplets = triplets_of(CLIPS)
    with pytest.raises(AudioError, match="does not exist"):
        audio_of_clips(triplets, tmp_path / "none", cut=False)
    with pytest.raises(AudioError, match="no audio in"):
        audio_of_clips(triplets, tmp_path, cut=False)
    for name in ("a.wav", "a.mp3"):
        (tmp_path / name).touch()
    with pytest.raises(TrackError, match="have the id 'a'"):
        audio_of_clips(triplets, tmp_path, cut=False)


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


def test_whole_tracks_of_a_collection_stay_where_they_are(collection, tmp_path):
    clips = [Clip("b"), Clip("z"), Clip("a"), Clip("c/d")]
    triplets = triplets_of(clips, [(0, 1, 2), (3, 0, 2)])
    mels, lacking = clips_of_collection(triplets, collection, 3.0)
    for position, row in ((0, 1), (2, 0), (3, 2)):
        np.testing.assert_array_equal(mels.mel(position), collection.mel(row))
    assert mels.frames.tolist() == [200, 0, 300, 90] and lacking == {1: "not in c"}
    np.testing.assert_array_equal(mels.std, collection.band_std)
    nothing = triplets_of([Clip(name) for name in "xyz"], [(0, 1, 2)])
    assert sorted(clips_of_collection(nothing, collection, 3.0)[1]) == [0, 1, 2]


def test_ids_that_lost_their_zeros(make_collection, tmp_path):
    collection = make_collection(tmp_path / "c", [300] * 3, ids=["063", "064", "65"])
    triplets = triplets_of([Clip("63"), Clip("064"), Clip("65")], [(0, 1, 2)])
    _, lacking = clips_of_collection(triplets, collection, 3.0)
    assert lacking == {0: "not in c (did you mean '063'?)"}
    for name in ("063", "064", "65"):
        (tmp_path / "audio" / f"{name}.wav").parent.mkdir(exist_ok=True)
        (tmp_path / "audio" / f"{name}.wav").touch()
    _, lacking = audio_of_clips(triplets, tmp_path / "audio", cut=False)
    assert lacking == {0: "no audio file named '63' (did you mean '063'?)"}


def test_codecs_may_add_or_drop_a_tenth_of_a_second():
    assert audio_clips.MISSING_SECONDS == 0.1
    clip, wave = Clip("a", 2.0), np.ones(3 * RATE, np.float32)
    kept = audio_clips._excerpt(wave[:-1600], RATE, clip, 1.0, cut=False)
    assert len(kept) == RATE - 1600
    reason = audio_clips._excerpt(wave[:-1601], RATE, clip, 1.0, cut=False)
    assert reason.startswith("lasts 2.9 s")
