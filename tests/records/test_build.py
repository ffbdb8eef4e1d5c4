"""A build: shards, index and report of its tracks."""

import numpy as np
import pytest
from build_loaders import PAPER, Tones, content, sources

from playlist_pretrain.audio.front_end import front_end
from playlist_pretrain.audio.numpy_log_mel import NumpyLogMel
from playlist_pretrain.errors import (
    AudioError,
    CollectionError,
    FrontEndError,
    RecipeError,
    TrackError,
)
from playlist_pretrain.records.build_folder import tracks_per_shard
from playlist_pretrain.records.overview import overview
from playlist_pretrain.records.sources import TrackSource
from playlist_pretrain.records.verify import verify_collection


@pytest.mark.parametrize(
    ("tracks", "per_shard"),
    [(1, 16), (16, 16), (1024, 16), (1025, 17), (131_072, 2048), (1_779_072, 2048)],
)
def test_shards_depend_on_the_number_of_tracks_alone(tracks, per_shard):
    assert tracks_per_shard(tracks) == per_shard


def test_a_collection_holds_the_tracks_in_order(make):
    tracks = sources()[::-1]
    report = make(tracks)
    collection = report.collection
    assert list(collection.track_ids) == [track.track_id for track in tracks]
    assert np.bincount(collection.shard).tolist() == [16, 16, 8]
    assert (report.tracks, report.made, report.kept, report.notes) == (40, 3, 0, [])
    for row in (0, 17, 39):
        mel = NumpyLogMel(PAPER)(Tones()(tracks[row].source).waveform)
        np.testing.assert_array_equal(collection.mel(row), mel.astype(np.float16))
    assert set(collection.start_seconds) == {1.5}
    assert set(collection.source_seconds) == {7.0}


def test_special_tracks_are_reported(make):
    report = make(sources("unreadable:", "bug:", "silent:", "short:", "nothing:", "nan:", count=9))
    reasons = {source: reason for _, source, reason in report.failed}
    assert reasons.keys() == {"unreadable:", "bug:", "nothing:", "nan:"}
    assert reasons["unreadable:"] == "not audio"
    assert reasons["bug:"] == "KeyError: 'no such thing'"
    assert reasons["nothing:"] == "0 samples are too few for one frame"
    assert "nan at frame 0" in reasons["nan:"]
    assert report.of("silent") == [("album 0/002", "silent:", "no sound in the 4 s taken")]
    ((track_id, _, reason),) = report.of("short")
    assert track_id == "album 0/003" and "87 frames, a window of front end 'paper'" in reason
    kept = ["album 0/002", "album 0/003", "album 1/006", "album 1/007", "album 1/008"]
    assert list(report.collection.track_ids) == kept
    lines = (report.collection.path / "build_report.tsv").read_text().splitlines()
    assert lines[0] == "track_id\tsource\tstatus\treason"
    assert lines[1] == "album 0/000\tunreadable:\tunreadable\tnot audio"
    assert len(lines) == 7


def test_quiet_tracks_are_told_and_known(make):
    report = make(sources("noise:", "silent:", "quiet:", count=4))
    whole = "nearly silent: 0.0% of the 4 s taken is at -60 dB of full scale or more"
    assert report.of("quiet") == [("album 0/002", "quiet:", whole)]
    assert report.collection.sound.tolist() == [1, 0, 0, 1]
    assert report.collection.quiet.tolist() == [False, True, True, False]
    found = verify_collection(report.collection.path)
    assert found.problems == []
    lines = list(overview(report.collection, found))
    assert "nearly silent: 2 tracks ('album 0/001', 'album 0/002')" in lines


def test_a_shard_without_a_readable_track_does_not_exist(make):
    unreadable = [f"unreadable:{n}" for n in range(16)]
    collection = make(sources(*unreadable)).collection
    names = [path.name for path in collection.shard_paths]
    assert names == ["mel-00001.tfrecord", "mel-00002.tfrecord"] and len(collection) == 24
    assert not (collection.path / "mel-00000.tfrecord").exists()


def test_nothing_readable_leaves_nothing(make, tmp_path):
    with pytest.raises(AudioError, match="none of 5 tracks could be read") as caught:
        make(sources(*(f"unreadable:{n}" for n in range(5)), count=5))
    assert "unreadable:2: not audio\n  … and 2 more" in str(caught.value)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("changes", "kind", "message"),
    [
        ({"load": Tones(sample_rate=8000)}, FrontEndError, "16000 Hz, the loader gives 8000"),
        ({"tracks": [TrackSource("", "a")]}, AudioError, "non-empty"),
        (
            {"tracks": [TrackSource("a", "x.mp3"), TrackSource("a", "x.ogg")]},
            TrackError,
            "'a' stands for two tracks: 'x.mp3' and 'x.ogg'",
        ),
    ],
)
def test_arguments_that_cannot_work(make, tmp_path, changes, kind, message):
    with pytest.raises(kind, match=message):
        make(**changes)
    assert not (tmp_path / "out").exists()


def test_a_finished_collection_is_left_as_it_is(make, tmp_path):
    first = make(sources("unreadable:", "short:"))
    times = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").iterdir()}
    again = make(sources("unreadable:", "short:"))
    assert (again.made, again.kept) == (0, 3)
    assert again.notes == first.notes
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "out").iterdir()} == times


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"front_end": front_end("musicnn")}, r"'paper' there, 'musicnn' asked for\. Choose"),
        ({"load": Tones(seconds=5.0)}, "source.loader.seconds: 4.0 there, 5.0 asked for"),
        (
            {"tracks": sources(count=39)},
            r"the list of audio files \(ids, paths, sizes, dates\): 0 changed, 1 gone, 0 new; "
            "first of them: track 'album 7/039' is gone",
        ),
        ({"tracks": [TrackSource("other", "noise:1")]}, "none of its tracks is among them"),
    ],
)
def test_other_settings_are_refused_by_name_and_replaced_on_demand(
    make, tmp_path, changes, message
):
    make()
    before = content(tmp_path / "out")
    with pytest.raises(CollectionError, match=f"is finished, and was made otherwise.*{message}"):
        make(**changes)
    assert content(tmp_path / "out") == before
    assert make(**changes, overwrite=True).made == -(-len(changes.get("tracks", sources())) // 16)
    assert content(tmp_path / "out").keys() <= before.keys()
    assert content(tmp_path / "out") != before


def test_the_first_unreadable_track_may_end_the_build(make, tmp_path):
    tracks = sources("noise:0", "unreadable:", count=20)
    with pytest.raises(AudioError, match="unreadable:: not audio"):
        make(tracks, on_error="raise")
    assert make(tracks).tracks == 19
    with pytest.raises(RecipeError, match="on_error = 'stop'"):
        make(tracks, on_error="stop")
