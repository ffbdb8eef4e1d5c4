"""Batches of windows with their targets."""

import numpy as np
import pytest

from playlist_pretrain.pairs.dataset import Share
from playlist_pretrain.records.windows import WindowReader
from playlist_pretrain.tasks.batches import TaggingStream, tagging_dataset
from playlist_pretrain.tasks.task import SplitRows


@pytest.fixture
def collection(make_collection, tmp_path):
    return make_collection(tmp_path / "c", [30 + i for i in range(11)], front_end="vggish")


@pytest.fixture
def split(rng):
    rows = np.array([9, 2, 5, 10, 0, 7, 3], np.int64)
    return SplitRows(rows, rng.random((7, 3)) < 0.5, asked=7)


def test_an_epoch_has_every_track_and_fills_its_last_batch(split):
    stream = TaggingStream(split, batch=3, seed=4)
    assert stream.steps_per_epoch == 3
    for epoch in range(4):
        batches = list(stream.batches(3 * epoch, 3 * epoch + 3))
        assert [(e, position) for e, position, _ in batches] == [(epoch, p) for p in (0, 3, 6)]
        tracks = np.concatenate([tracks for _, _, tracks in batches])
        assert sorted(tracks[:7]) == list(range(7))
        np.testing.assert_array_equal(tracks[7:], tracks[:2])


def test_orders_differ_by_epoch_and_seed_and_by_nothing_else(split):
    def order(seed, epoch):
        stream = TaggingStream(split, batch=7, seed=seed)
        return tuple(next(stream.batches(epoch, epoch + 1))[2])

    found = {order(seed, epoch) for seed in range(3) for epoch in range(3)}
    assert len(found) == 9 and order(1, 2) == order(1, 2)


def test_windows_and_targets_are_of_the_same_track(collection, split):
    reader = WindowReader(collection, 16, short="repeat")
    stream = TaggingStream(split, batch=3, seed=1)
    batches = list(stream.batches(0, 6))
    dataset = tagging_dataset(reader, stream, first=0, last=6)
    for (_, _, tracks), (windows, targets) in zip(batches, dataset, strict=True):
        np.testing.assert_array_equal(targets, split.targets[tracks].astype(np.float32))
        for window, row in zip(windows.numpy(), split.rows[tracks], strict=True):
            mel = collection.mel(int(row))
            starts = [s for s in range(len(mel) - 15) if np.array_equal(mel[s : s + 16], window)]
            assert len(starts) == 1


def test_starts_anywhere_as_if_it_had_never_stopped(collection, split):
    reader = WindowReader(collection, 16, short="repeat")
    stream = TaggingStream(split, batch=3, seed=1)
    whole = [x.numpy() for x, _ in tagging_dataset(reader, stream, first=0, last=6)]
    rest = [x.numpy() for x, _ in tagging_dataset(reader, stream, first=4, last=6)]
    np.testing.assert_array_equal(whole[4:], rest)


def test_shares_are_the_batch_once(collection, split):
    reader = WindowReader(collection, 16, short="repeat")
    stream = TaggingStream(split, batch=4, seed=1)

    def read(share):
        data = tagging_dataset(reader, stream, first=0, last=2, share=share)
        return [(x.numpy(), y.numpy()) for x, y in data]

    whole, parts = read(Share()), [read(Share(2, k, k + 1)) for k in (0, 1)]
    for step, (windows, targets) in enumerate(whole):
        np.testing.assert_array_equal(np.concatenate([p[step][0] for p in parts]), windows)
        np.testing.assert_array_equal(np.concatenate([p[step][1] for p in parts]), targets)
