"""Builds that are interrupted, repeated or aimed at a folder that holds something."""

import errno
import json
import os
import shutil

import pytest
from build_loaders import Tones, content, sources
from damage import flip

from playlist_pretrain import files
from playlist_pretrain.errors import AudioError, CollectionError
from playlist_pretrain.records import build, build_folder
from playlist_pretrain.records.collection import Collection
from playlist_pretrain.records.shards import ShardWork
from playlist_pretrain.records.sources import TrackSource
from playlist_pretrain.records.writer import ShardWriter


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
        lambda folder: flip(folder / "mel-00000.tfrecord", 5000),
        lambda folder: (folder / "mel-00000.json").write_text("[{"),
        # what a file that was not synced may be after a crash of the machine
        lambda folder: os.truncate(folder / "mel-00000.json", 0),
        lambda folder: os.truncate(folder / "mel-00000.json", 700),
        lambda folder: _zero(folder / "mel-00000.json"),
    ],
)
def test_a_damaged_shard_is_made_anew(interrupted, make, tmp_path, damage):
    damage(tmp_path / "out" / ".build")
    assert make().made == 2
    assert content(tmp_path / "out") == interrupted


def _zero(path):
    path.write_bytes(bytes(path.stat().st_size))


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
    monkeypatch.setattr("playlist_pretrain.records.build_folder.__version__", "99")
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
        "sources-0.jsonl",
    ]


@pytest.mark.parametrize("step", range(10))
def test_killed_while_the_new_collection_is_moved_into_place(
    make, tmp_path, killed_while_moving, step
):
    make(sources(count=20))
    expected = content(tmp_path / "out")
    make(sources(count=40), overwrite=True)

    with killed_while_moving(step):
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


def _no_description(folder):
    (folder / "collection.json").unlink()


@pytest.mark.parametrize("damage", [_cut_description, _another_format, _no_description])
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
    with folder.locked(), pytest.raises(CollectionError, match="out is being built already"):
        make()
    assert make().made == 3


def test_a_lock_on_a_removed_file_does_not_count(tmp_path, monkeypatch):
    folder = build_folder.BuildFolder(tmp_path / "out")
    real = files.fcntl.flock

    def slow(stream, flags):
        (tmp_path / "out" / ".build" / "lock").unlink()
        real(stream, flags)

    monkeypatch.setattr(files.fcntl, "flock", slow)
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


def test_a_shard_that_does_not_get_to_the_disk_is_made_anew(make, tmp_path, monkeypatch):
    def failing(descriptor):
        if os.readlink(f"/proc/self/fd/{descriptor}").partition("/.mel-00001.tfrecord")[1]:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        original(descriptor)

    make()
    expected = content(tmp_path / "out")
    shutil.rmtree(tmp_path / "out")
    original = os.fsync
    with monkeypatch.context() as patch, pytest.raises(CollectionError) as caught:
        patch.setattr(os, "fsync", failing)
        make()
    assert f"written: {os.strerror(errno.EIO)}. 1 of 3 shards are" in str(caught.value)
    report = make()
    assert (report.made, report.kept) == (2, 1)
    assert content(tmp_path / "out") == expected


def test_a_full_disk_at_the_very_end(make, tmp_path):
    def full(*args, **options):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "index-0.npz")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(build, "write_collection", full)
        with pytest.raises(CollectionError, match=r"No space left on device\. All shards are"):
            make()
    report = make()
    assert (report.made, report.kept) == (0, 3)
