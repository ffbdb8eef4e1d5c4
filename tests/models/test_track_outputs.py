"""Means of tracks: over whole windows, short tracks repeated, batches that cross tracks."""

import numpy as np
import pytest

from playlist_pretrain.models.track_outputs import mean_of_mel, track_means, track_outputs
from playlist_pretrain.models.vggish import vggish
from playlist_pretrain.records.track_windows import TrackWindows, windows_of_collection

LENGTHS = [16, 5, 50, 31, 90]


@pytest.fixture
def collection(make_collection, tmp_path):
    return make_collection(tmp_path / "c", LENGTHS, front_end="vggish")


def test_mean_over_whole_windows(collection):
    backbone = vggish(frames=16, bands=64, width=0.05)
    expected = []
    for row in range(len(LENGTHS)):
        mel = collection.mel(row).astype(np.float32)
        mel = np.tile(mel, (-(-16 // len(mel)), 1)) if len(mel) < 16 else mel
        windows = [mel[i * 16 : (i + 1) * 16] for i in range(len(mel) // 16)]
        expected.append(backbone(np.stack(windows)).numpy().mean(axis=0))
    found = track_means(backbone, collection)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_some_tracks_and_their_centre(collection):
    backbone = vggish(frames=16, bands=64, width=0.05)
    rows, seconds = [4, 2, 4], 0.415  # 40 frames, two windows
    collection.source_seconds = (collection.frames * 160 + 240) / np.float32(16000)
    expected = []
    for row in rows:
        first = (LENGTHS[row] - 40) // 2
        windows = collection.mel(row)[first : first + 32].reshape(2, 16, 64)
        expected.append(backbone(windows.astype(np.float32)).numpy().mean(axis=0))
    found = track_means(backbone, collection, rows=rows, seconds=seconds)
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_tracks_without_a_window_have_no_mean(collection):
    backbone = vggish(frames=16, bands=64, width=0.05)
    found = track_means(backbone, collection, short="skip")
    assert np.isnan(found).all(axis=1).tolist() == [length < 16 for length in LENGTHS]


def test_windows_of_a_collection_say_where_they_start_and_why_there_are_none(collection):
    collection.start_seconds[2] = 1.5
    found = list(windows_of_collection(collection, 16, "skip"))
    assert [len(track.windows) for track in found] == [1, 0, 3, 1, 5]
    assert (found[1].status, found[1].reason) == ("skipped", "5 frames, a window needs 16")
    assert [track.start for track in found] == [0, 0, 1.5, 0, 0]
    np.testing.assert_array_equal(found[2].windows[2], collection.mel(2)[32:48])


@pytest.mark.parametrize("flush_every", [None, 1, 3])
@pytest.mark.parametrize("batch", [1, 4, 7, 64])
def test_each_track_gets_the_outputs_of_its_windows(rng, batch, flush_every):
    counts = [3, 0, 0, 1, 30, 0, 2, 5, 0, 4, 4, 0]
    tracks = [TrackWindows(rng.normal(size=(n, 2, 3)).astype(np.float32)) for n in counts]
    sizes = []

    def function(windows):
        sizes.append(len(windows))
        return windows.sum(axis=1)

    found = list(track_outputs(function, iter(tracks), batch=batch, flush_every=flush_every))
    assert [track for track, _ in found] == tracks
    for track, outputs in found:
        assert len(outputs) == len(track.windows)
        if len(outputs):
            np.testing.assert_array_equal(outputs, track.windows.sum(axis=1))
    assert set(sizes) == {batch}
    if flush_every is None:
        assert len(sizes) == -(-sum(counts) // batch)


def test_mean_of_mel_is_standardised(collection):
    found = mean_of_mel(collection)
    assert found.shape == (5, 64)
    weighted = (found * np.array(LENGTHS)[:, None]).sum(axis=0) / sum(LENGTHS)
    np.testing.assert_allclose(weighted, 0, atol=1e-4)
