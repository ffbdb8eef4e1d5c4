"""Windows of a log-mel and their means, against a loop that takes one frame after the other."""

import numpy as np
import pytest

from playlist_pretrain.audio.log_mel import fill_window
from playlist_pretrain.audio.windows import cut_windows, mean_over_windows


def by_hand(mel, frames, short, silence):
    rows = [list(frame) for frame in mel]
    if 0 < len(rows) < frames:
        if short == "skip":
            return []
        position = 0
        while len(rows) < frames:
            rows.append(rows[position] if short == "repeat" else [silence] * mel.shape[1])
            position += 1
    return [rows[at : at + frames] for at in range(0, len(rows) - frames + 1, frames)]


@pytest.mark.parametrize("short", ["repeat", "pad", "skip"])
@pytest.mark.parametrize("length", [0, 1, 3, 4, 7, 8, 9, 23, 24])
def test_windows_are_those_of_a_plain_loop(rng, length, short):
    mel = rng.normal(size=(length, 3)).astype(np.float32)
    windows = cut_windows(mel, 8, short, silence=-2.0)
    assert windows.shape[1:] == (8, 3) and windows.dtype == mel.dtype
    assert windows.tolist() == [
        [[float(value) for value in frame] for frame in window]
        for window in by_hand(mel, 8, short, -2.0)
    ]


@pytest.mark.parametrize("short", ["repeat", "pad"])
@pytest.mark.parametrize("length", [1, 3, 7, 8, 9, 23])
def test_graphs_fill_windows_as_numpy_does(rng, length, short):
    mels = rng.normal(size=(2, length, 3)).astype(np.float32)
    for mel, filled in zip(mels, fill_window(mels, 8, short, -2.0).numpy(), strict=True):
        windows = cut_windows(mel, 8, short, silence=-2.0)
        np.testing.assert_array_equal(
            filled[: windows.shape[0] * 8].reshape(windows.shape), windows
        )


def test_means_are_those_of_each_track_alone(rng):
    counts = np.array([3, 1, 0, 5])
    vectors = rng.normal(size=(9, 4)).astype(np.float32)
    means = mean_over_windows(vectors, counts)
    assert means.dtype == np.float32
    starts = np.cumsum(counts) - counts
    for track in (0, 1, 3):
        own = vectors[starts[track] : starts[track] + counts[track]].astype(np.float64)
        assert np.allclose(means[track], own.mean(axis=0), atol=1e-7)
    assert np.isnan(means[2]).all()
