"""Track embeddings: the mean over whole windows, short tracks repeated."""

import numpy as np
import pytest

from playlist_pretrain.audio.front_end import front_end
from playlist_pretrain.errors import FrontEndError
from playlist_pretrain.models.vggish import vggish
from playlist_pretrain.retrieval import window_batches as tracks
from playlist_pretrain.retrieval.window_batches import mean_of_mel, track_embeddings

LENGTHS = [16, 5, 50, 31, 90]


@pytest.fixture
def collection(make_collection, tmp_path):
    return make_collection(tmp_path / "c", LENGTHS, front_end="vggish")


@pytest.mark.parametrize("batch", [1, 4, 64])
def test_mean_over_whole_windows(collection, monkeypatch, batch):
    monkeypatch.setattr(tracks, "BATCH", batch)
    backbone = vggish(frames=16, bands=64, width=0.05)
    expected = []
    for row in range(len(LENGTHS)):
        mel = collection.mel(row).astype(np.float32)
        mel = np.tile(mel, (-(-16 // len(mel)), 1)) if len(mel) < 16 else mel
        windows = [mel[i * 16 : (i + 1) * 16] for i in range(len(mel) // 16)]
        expected.append(backbone(np.stack(windows)).numpy().mean(axis=0))
    found = track_embeddings(backbone, collection.front_end, collection)
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
    found = track_embeddings(backbone, collection.front_end, collection, rows=rows, seconds=seconds)
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_tracks_without_a_window_have_no_mean(collection):
    backbone = vggish(frames=16, bands=64, width=0.05)
    found = track_embeddings(backbone, collection.front_end, collection, short="skip")
    assert np.isnan(found).all(axis=1).tolist() == [length < 16 for length in LENGTHS]


def test_another_front_end_is_refused(collection):
    with pytest.raises(FrontEndError, match=r"the model .* collection c .* hop_length 188 against"):
        track_embeddings(vggish(frames=16, bands=64, width=0.05), front_end("paper"), collection)


def test_mean_of_mel_is_standardised(collection):
    found = mean_of_mel(collection)
    assert found.shape == (5, 64)
    weighted = (found * np.array(LENGTHS)[:, None]).sum(axis=0) / sum(LENGTHS)
    np.testing.assert_allclose(weighted, 0, atol=1e-4)
