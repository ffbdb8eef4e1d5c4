"""Builds that are interrupted, repeated or aimed at a folder that holds something."""

import errno
import os
import shutil
from unittest import mock

import pytest
from build_loaders import content, full_disk_at_shard, interrupt_at_shard, sources
from damage import flip, rewrite

from playlist_pretrain.errors import AudioError, CollectionError
from playlist_pretrain.records import build, build_folder
from playlist_pretrain.records.collection import Collection
from playlist_pretrain.records.sources import TrackSource


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
        # what a file that was not synced may be after a crash of the machine
        lambda folder: os.truncate(folder / "mel-00000.json", 700),
        lambda folder: (folder / "mel-00000.json").write_bytes(bytes(700)),
    ],
)
def test_a_damaged_shard_is_made_anew(interrupted, make, tmp_path, damage):
    damage(tmp_path / "out" / ".build")
    assert make().made == 2
    assert content(tmp_path / "out") == interrupted


def test_an_unfinished_build_with_other_settings_is_refused(interrupted, make, tmp_path):
    before = content(tmp_path / "out")
    for changes, message in (
        ({"tracks": [TrackSource("new", "noise:1"), *sources()]}, "track 'new' is new"),
        ({"tracks": sources("noise:99")}, "path, size or date of track 'album 0/000' changed"),
    ):
        with pytest.raises(CollectionError, match=f"unfinished build that differs: .*{message}"):
            make(**changes)
        assert content(tmp_path / "out") == before
    assert make(**changes, overwrite=True).kept == 0


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
    assert content(tmp_path / "out").keys() == before.keys() - {"mel-00002.tfrecord"}


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


def _foreign_build(folder):
    (folder / ".build").mkdir()
    (folder / ".build" / "output").touch()
    (folder / "Package.swift").touch()


@pytest.mark.parametrize(
    "fill",
    [
        lambda folder: (folder / "thesis.doc").touch(),
        lambda folder: (folder / "collection.json").write_text('{"info": {"name": "requests"}}'),
        lambda folder: (folder / "collection.json").write_text("not JSON"),
        _foreign_build,
    ],
)
def test_a_folder_that_is_no_collection_is_never_touched(make, tmp_path, fill):
    (tmp_path / "out").mkdir()
    fill(tmp_path / "out")
    before = content(tmp_path / "out")
    for overwrite in (False, True):
        with pytest.raises(CollectionError, match="is not a collection and not empty"):
            make(overwrite=overwrite)
    assert content(tmp_path / "out") == before
    (tmp_path / "out").rename(tmp_path / "moved")
    (tmp_path / "out").write_text("precious")
    with pytest.raises(CollectionError, match="out is a file"):
        make(overwrite=True)
    assert (tmp_path / "out").read_text() == "precious"


@pytest.mark.parametrize(
    "damage",
    [
        lambda folder: os.truncate(folder / "collection.json", 500),
        lambda folder: rewrite(folder, lambda document: document.update(format=2)),
        lambda folder: (folder / "collection.json").unlink(),
    ],
)
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


def test_a_full_disk_is_told_and_what_is_finished_stays(make, tmp_path):
    with pytest.MonkeyPatch.context() as patch, pytest.raises(CollectionError) as caught:
        full_disk_at_shard(patch, 1)
        make()
    message = str(caught.value)
    assert "mel-00001.tfrecord: No space left on device." in message
    assert "1 of 3 shards are finished and kept" in message
    with pytest.MonkeyPatch.context() as patch:
        full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "index-0.npz")
        patch.setattr(build, "write_collection", mock.Mock(side_effect=full))
        with pytest.raises(CollectionError, match=r"No space left on device\. All shards are"):
            make()
    report = make()
    assert (report.made, report.kept) == (0, 3)
