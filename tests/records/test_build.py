import dataclasses
import errno
import hashlib
import json
import os
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent))  # spawned processes look for the loader here
from build_loaders import Tones

from playlist_pretrain.audio.front_end import front_end
from playlist_pretrain.errors import (
    AudioError,
    CollectionError,
    FrontEndError,
    RecipeError,
    TrackError,
)
from playlist_pretrain.records import build, build_folder
from playlist_pretrain.records.build import build_collection
from playlist_pretrain.records.collection import Collection
from playlist_pretrain.records.plan import tracks_per_shard
from playlist_pretrain.records.shards import ShardWork
from playlist_pretrain.records.sources import TrackSource
from playlist_pretrain.records.writer import ShardWriter

PAPER = front_end("paper")


def sources(*tokens, count=40):
    tokens = [*tokens, *(f"noise:{n}" for n in range(count - len(tokens)))]
    return [TrackSource(f"album {n // 5}/{n:03d}", token) for n, token in enumerate(tokens)]


def content(folder):
    """Every file of a collection's folder and its digest."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@pytest.fixture
def in_process(monkeypatch):
    """Work in this process: TensorFlow is started once for all tests."""

    def work_through(work, tasks, workers, *, on_step, on_death):
        for task in tasks:
            yield task, work(task, lambda step, task=task: on_step(task, step))

    monkeypatch.setattr(build, "work_through", work_through)
    monkeypatch.setattr(ShardWork, "_log_mel", property(lambda self: self.front_end.log_mel))


@pytest.fixture
def make(in_process, tmp_path):
    """Build into ``tmp_path / "out"``; defaults may be replaced."""

    def make(tracks=None, front_end=PAPER, load=None, **options):
        tracks = sources() if tracks is None else tracks
        load = load or Tones()
        return build_collection(tmp_path / "out", tracks, front_end, load, **options)

    return make


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
        mel = PAPER.log_mel(Tones()(tracks[row].source).waveform).numpy()
        np.testing.assert_array_equal(collection.mel(row), mel.astype(np.float16))
    assert set(collection.start_seconds) == {1.5}
    assert set(collection.source_seconds) == {7.0}
    assert sorted(os.listdir(collection.path)) == [
        "build_report.tsv",
        "collection.json",
        "index-0.npz",
        "mel-00000.tfrecord",
        "mel-00001.tfrecord",
        "mel-00002.tfrecord",
    ]


def test_special_tracks_are_reported(make):
    report = make(sources("unreadable:", "bug:", "silent:", "short:", "nothing:", "nan:", count=9))
    reasons = {source: reason for _, source, reason in report.failed}
    assert reasons.keys() == {"unreadable:", "bug:", "nothing:", "nan:"}
    assert reasons["unreadable:"] == "not audio"
    assert reasons["bug:"] == "KeyError: 'no such thing'"
    assert reasons["nothing:"] == "0 samples are too few for one frame"
    assert "nan at frame 0" in reasons["nan:"]
    assert report.silent == [("album 0/002", "silent:", "no sound in it")]
    ((track_id, source, reason),) = report.short
    assert (track_id, source) == ("album 0/003", "short:")
    assert reason == "87 frames, a window of front end 'paper' has 256"
    kept = ["album 0/002", "album 0/003", "album 1/006", "album 1/007", "album 1/008"]
    assert list(report.collection.track_ids) == kept
    lines = (report.collection.path / "build_report.tsv").read_text().splitlines()
    assert lines[0] == "track_id\tsource\tstatus\treason"
    assert lines[1] == "album 0/000\tunreadable:\tunreadable\tnot audio"
    assert len(lines) == 7


def test_ids_may_be_anything(make):
    ids = ["a/b.c/d", "é" * 150, "x" * 300, "line\nend", "tab\tin", '"quoted"', "..", "名前"]
    report = make([TrackSource(track_id, "short:") for track_id in ids])
    assert list(report.collection.track_ids) == ids
    assert [track_id for track_id, _, _ in report.short] == ids


def test_a_name_that_is_not_unicode_is_a_line_in_the_report(make):
    name = os.fsdecode(b"caf\xe9")
    report = make([TrackSource(name, f"{name}.ogg"), TrackSource("b", "noise:1")])
    ((track_id, source, reason),) = report.failed
    assert (track_id, source) == ("caf\\udce9", "caf\\udce9.ogg")
    assert "not valid Unicode" in reason
    assert make([TrackSource(name, f"{name}.ogg"), TrackSource("b", "noise:1")]).made == 0


def test_a_shard_without_a_readable_track_does_not_exist(make):
    unreadable = [f"unreadable:{n}" for n in range(16)]
    collection = make(sources(*unreadable)).collection
    assert [path.name for path in collection.shard_paths] == [
        "mel-00001.tfrecord",
        "mel-00002.tfrecord",
    ]
    assert len(collection) == 24
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
        ({"workers": 0}, RecipeError, "--workers 0"),
        ({"tracks": []}, AudioError, "no track"),
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
    stats = {path: path.stat() for path in (tmp_path / "out").iterdir()}
    again = make(sources("unreadable:", "short:"))
    assert (again.made, again.kept) == (0, 3)
    assert again.notes == first.notes
    assert {path: path.stat() for path in (tmp_path / "out").iterdir()} == stats


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"front_end": front_end("musicnn")}, r"'paper' there, 'musicnn' asked for\. Choose"),
        (
            {"front_end": dataclasses.replace(PAPER, hop_length=200)},
            "front_end.hop_length: 188 there, 200 asked for",
        ),
        ({"load": Tones(seconds=5.0)}, "source.loader.seconds: 4.0 there, 5.0 asked for"),
        ({"tracks": sources(count=41)}, "source.listed_tracks: 40 there, 41 asked for"),
        ({"tracks": sources("noise:99")}, r"the list of audio files \(ids, paths, sizes, dates\)"),
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
    assert make(**changes, overwrite=True).made == 3
    assert content(tmp_path / "out").keys() == before.keys()
    assert content(tmp_path / "out") != before


def interrupt_at_shard(monkeypatch, number):
    """Ctrl-C when shard ``number`` is begun."""
    original = ShardWork.__call__

    def call(self, task, announce):
        if task.number == number:
            raise KeyboardInterrupt
        return original(self, task, announce)

    monkeypatch.setattr(ShardWork, "__call__", call)


@pytest.fixture
def interrupted(make, tmp_path):
    """A build of three shards that was interrupted in the third; the content it should have."""
    make()
    expected = content(tmp_path / "out")
    shutil.rmtree(tmp_path / "out")
    with pytest.MonkeyPatch.context() as patch, pytest.raises(KeyboardInterrupt):
        interrupt_at_shard(patch, 2)
        make()
    return expected


def test_an_interrupted_build_is_no_collection_and_goes_on(interrupted, make, tmp_path):
    assert os.listdir(tmp_path / "out") == [".build"]
    report = make()
    assert (report.made, report.kept) == (1, 2)
    assert content(tmp_path / "out") == interrupted


@pytest.mark.parametrize(
    "damage",
    [
        lambda folder: (folder / "mel-00000.tfrecord").unlink(),
        lambda folder: os.truncate(folder / "mel-00000.tfrecord", 1000),
        lambda folder: (folder / "mel-00000.tfrecord.npz").write_bytes(b"PK"),
        lambda folder: (folder / "mel-00000.tfrecord.json").write_text("[{"),
        lambda folder: _flip_byte(folder / "mel-00000.tfrecord"),
    ],
)
def test_a_damaged_shard_is_made_anew(interrupted, make, tmp_path, damage):
    damage(tmp_path / "out" / ".build")
    assert make().made == 2
    assert content(tmp_path / "out") == interrupted


def _flip_byte(path):
    data = bytearray(path.read_bytes())
    data[5000] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"load": Tones(seconds=5.0)}, "source.loader.seconds: 4.0 there, 5.0 asked for"),
        ({"tracks": sources(count=39)}, "first of them: track 'album 7/039' is gone"),
        ({"tracks": sources()[1:]}, "first of them: track 'album 0/000' is gone"),
        (
            {"tracks": [TrackSource("album 0", "noise:1"), *sources()]},
            "first of them: track 'album 0' is new",
        ),
        ({"tracks": sources("noise:99")}, "path, size or date of track 'album 0/000' changed"),
    ],
)
def test_an_unfinished_build_with_other_settings_is_refused(
    interrupted, make, tmp_path, changes, message
):
    before = content(tmp_path / "out")
    with pytest.raises(CollectionError, match=f"unfinished build that differs: .*{message}"):
        make(**changes)
    assert content(tmp_path / "out") == before
    assert make(**changes, overwrite=True).kept == 0


def test_another_version_does_not_finish_a_build(interrupted, make, monkeypatch):
    monkeypatch.setattr("playlist_pretrain.records.plan.__version__", "99")
    with pytest.raises(CollectionError, match=r"version: .* there, '99' asked for"):
        make()


def test_overwrite_goes_on_with_a_build_of_the_same_settings(interrupted, make, tmp_path):
    assert make(overwrite=True).made == 1
    assert content(tmp_path / "out") == interrupted


def test_the_old_collection_stays_until_the_new_one_is_ready(make, tmp_path, monkeypatch):
    make()
    (tmp_path / "out" / "groups-artists.npz").write_bytes(b"groups")
    before = content(tmp_path / "out")
    with pytest.MonkeyPatch.context() as patch, pytest.raises(KeyboardInterrupt):
        interrupt_at_shard(patch, 1)
        make(sources(count=20), overwrite=True)
    assert len(Collection.open(tmp_path / "out")) == 40
    now = content(tmp_path / "out")
    assert {name: now[name] for name in before} == before
    with pytest.raises(AudioError):
        make(sources("unreadable:", count=1), overwrite=True)
    assert content(tmp_path / "out") == before
    assert len(make(sources(count=20), overwrite=True).collection) == 20
    assert sorted(os.listdir(tmp_path / "out")) == [
        "build_report.tsv",
        "collection.json",
        "groups-artists.npz",
        "index-0.npz",
        "mel-00000.tfrecord",
        "mel-00001.tfrecord",
    ]


@pytest.mark.parametrize("step", range(9))
def test_killed_while_the_new_collection_is_moved_into_place(make, tmp_path, step):
    make(sources(count=20))
    expected = content(tmp_path / "out")
    make(sources(count=40), overwrite=True)

    class Killed(BaseException):
        pass

    left = [step]

    def dying(function):
        def call(*args, **options):
            if left[0] == 0:
                raise Killed
            left[0] -= 1
            return function(*args, **options)

        return call

    with pytest.MonkeyPatch.context() as patch:
        for name in ("replace", "unlink"):
            patch.setattr(build_folder.os, name, dying(getattr(os, name)))
        patch.setattr(build_folder.shutil, "rmtree", dying(shutil.rmtree))
        original = build_folder.BuildFolder.move_out

        def move_out(self):
            left[0] = step
            original(self)

        patch.setattr(build_folder.BuildFolder, "move_out", move_out)
        left[0] = -1
        with pytest.raises(Killed):
            make(sources(count=20), overwrite=True)
    # At step 0 the old collection is still there, so that the whole command is needed again.
    make(sources(count=20), overwrite=step == 0)
    assert content(tmp_path / "out") == expected


def _stray(folder):
    (folder / "thesis.doc").touch()


def _foreign_description(folder):
    (folder / "collection.json").write_text('{"info": {"name": "requests"}}')


def _foreign_text(folder):
    (folder / "collection.json").write_text("not JSON")


def _foreign_build(folder):
    (folder / ".build").mkdir()
    (folder / ".build" / "output").touch()
    (folder / "Package.swift").touch()


@pytest.mark.parametrize("fill", [_stray, _foreign_description, _foreign_text, _foreign_build])
@pytest.mark.parametrize("overwrite", [False, True])
def test_a_folder_that_is_no_collection_is_never_touched(make, tmp_path, fill, overwrite):
    (tmp_path / "out").mkdir()
    fill(tmp_path / "out")
    before = content(tmp_path / "out")
    with pytest.raises(CollectionError, match="is not a collection and not empty"):
        make(overwrite=overwrite)
    assert content(tmp_path / "out") == before


def test_a_file_is_no_folder(make, tmp_path):
    (tmp_path / "out").write_text("precious")
    with pytest.raises(CollectionError, match="out is a file"):
        make(overwrite=True)
    assert (tmp_path / "out").read_text() == "precious"


def test_an_empty_folder_will_do(make, tmp_path):
    (tmp_path / "out").mkdir()
    assert make(sources(count=3)).tracks == 3


def _cut_description(folder):
    os.truncate(folder / "collection.json", 500)


def _another_format(folder):
    document = json.loads((folder / "collection.json").read_text())
    (folder / "collection.json").write_text(json.dumps(document | {"format": 2}))


def _no_shard(folder):
    (folder / "mel-00000.tfrecord").unlink()


@pytest.mark.parametrize("damage", [_cut_description, _another_format, _no_shard])
def test_a_damaged_collection_is_refused_and_replaced_on_demand(make, tmp_path, damage):
    make()
    expected = content(tmp_path / "out")
    damage(tmp_path / "out")
    with pytest.raises(CollectionError, match="out"):
        make()
    make(overwrite=True)
    assert content(tmp_path / "out") == expected


def test_two_builds_at_once(make, tmp_path):
    folder = build_folder.BuildFolder(tmp_path / "out")
    with folder.locked(), pytest.raises(CollectionError, match="built by another process"):
        make()
    assert make().made == 3


def test_a_lock_on_a_removed_file_does_not_count(tmp_path, monkeypatch):
    folder = build_folder.BuildFolder(tmp_path / "out")
    real = build_folder.fcntl.flock

    def slow(stream, flags):
        (tmp_path / "out" / ".build" / "lock").unlink()
        real(stream, flags)

    monkeypatch.setattr(build_folder.fcntl, "flock", slow)
    with pytest.raises(CollectionError, match="another process"), folder.locked():
        pass


def test_a_full_disk_is_told_and_what_is_finished_stays(make, tmp_path):
    def full(self, *args):
        if self.path.name == "mel-00001.tfrecord":
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self.path))
        original(self, *args)

    original = ShardWriter.add
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ShardWriter, "add", full)
        with pytest.raises(CollectionError) as caught:
            make()
    message = str(caught.value)
    assert "mel-00001.tfrecord: No space left on device." in message
    assert "1 of 3 shards are finished and kept" in message
    assert make().kept == 1


def test_a_full_disk_at_the_very_end(make, tmp_path):
    def full(*args):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "index-0.npz")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(build, "write_collection", full)
        with pytest.raises(CollectionError, match=r"No space left on device\. All shards are"):
            make()
    report = make()
    assert (report.made, report.kept) == (0, 3)


def test_files_that_change_make_another_collection(in_process, tmp_path):
    @dataclasses.dataclass(frozen=True)
    class ReadName:
        def __call__(self, source):
            assert Path(source).is_file()
            return Tones()(Path(source).name)

    (tmp_path / "audio" / "x").mkdir(parents=True)
    for name in "ab":
        (tmp_path / "audio" / "x" / name).write_bytes(b"1234")
    tracks = [TrackSource(name, f"x/{name}") for name in "ab"]

    def make(root="audio", **options):
        out = tmp_path / "out"
        return build_collection(out, tracks, PAPER, ReadName(), root=tmp_path / root, **options)

    assert make().made == 1
    shutil.copytree(tmp_path / "audio", tmp_path / "moved")  # copytree keeps the dates
    assert make("moved").made == 0
    (tmp_path / "audio" / "x" / "b").write_bytes(b"12345")
    with pytest.raises(CollectionError, match="the list of audio files"):
        make()
    assert make(overwrite=True).made == 1
