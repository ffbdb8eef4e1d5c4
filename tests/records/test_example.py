"""Tracks as records of a shard."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from playlist_pretrain.errors import TrackError
from playlist_pretrain.records import example

STEADY = settings(deadline=None, derandomize=True)
IDS = st.text(st.characters(blacklist_categories=["Cs"]), min_size=1, max_size=300)


@STEADY
@given(IDS, st.integers(1, 40), st.integers(1, 20), st.sampled_from([0.0, 1.0, 6e4, -1e-7]))
def test_a_record_is_parsed_to_what_was_encoded(track_id, frames, bands, value):
    mel = example.stored_mel(track_id, np.full((frames, bands), value), bands)
    data, position = example.encode_track(track_id, mel, 1.5, 30.0)
    place = position, position + mel.nbytes
    assert example.parse_track(data) == example.StoredTrack(track_id, place, frames, 1.5, 30.0)
    assert data[slice(*place)] == mel.tobytes()


def test_a_feature_named_like_the_bytes_of_another_does_not_mislead():
    mel = example.stored_mel("x", np.zeros((3, 2)), 2)
    data, position = example.encode_track("\x0a\x03mel\x12", mel, 0.0, 0.0)
    assert data[position : position + 12] == bytes(12)
    assert data[position - 1] == 12


@STEADY
@given(st.binary(max_size=60))
def test_foreign_bytes_are_a_value_error(data):
    with pytest.raises(ValueError):
        example.parse_track(data)


def test_a_truncated_record_is_a_value_error():
    data, _ = example.encode_track("x", example.stored_mel("x", np.ones((3, 2)), 2), 0.0, 0.0)
    for end in range(len(data)):
        with pytest.raises(ValueError):
            example.parse_track(data[:end])


@pytest.mark.parametrize(
    ("mel", "word"),
    [
        (np.full((4, 3), np.nan), "nan at frame 0, band 0"),
        (np.array([[1, 2, 3], [1, np.inf, 3]]), "inf at frame 1, band 1"),
        (np.array([[1, 2, 7e4]]), "70000.0 at frame 0, band 2 does not fit float16"),
        (np.array([[0, -np.inf, 0]], np.float16), "-inf at frame 0, band 1"),
        (np.array([[0, 0, 0], [0, 0, -np.nan]], np.float16), "nan at frame 1, band 2"),
        (np.ones((4, 2)), r"shape \(4, 2\)"),
        (np.ones(3), r"shape \(3,\)"),
        (np.ones((0, 3)), "at least one frame"),
        (np.array([["a", "b", "c"]]), "real numbers"),
        (np.ones((1, 3), complex), "real numbers"),
    ],
)
def test_what_float16_cannot_hold_is_refused_by_name(mel, word):
    with pytest.raises(TrackError, match=f"'the id'.*{word}"):
        example.stored_mel("the id", mel, 3)


@STEADY
@given(
    IDS,
    st.sampled_from([1, 2, 127, 128, 300, 20_000]),
    st.floats(0, 1e6, width=32),
    st.floats(0, 1e6),
)
def test_the_bytes_are_those_of_protocol_buffers(track_id, frames, start, length):
    import tensorflow as tf

    mel = example.stored_mel(track_id, np.full((frames, 3), 1.5, np.float32), 3)
    data, _ = example.encode_track(track_id, mel, start, length)

    def floats(value):
        return tf.train.Feature(float_list=tf.train.FloatList(value=[value]))

    def text(value):
        return tf.train.Feature(bytes_list=tf.train.BytesList(value=[value]))

    feature = {
        "track_id": text(track_id.encode()),
        "mel": text(mel.tobytes()),
        "frames": tf.train.Feature(int64_list=tf.train.Int64List(value=[frames])),
        "start_seconds": floats(start),
        "source_seconds": floats(length),
    }
    whole = tf.train.Example(features=tf.train.Features(feature=feature))
    assert data == whole.SerializeToString(deterministic=True)


@pytest.mark.parametrize("value", [65504.0, 65519.0, -65519.0])
def test_the_largest_values_are_kept(value):
    stored = example.stored_mel("x", np.full((2, 2), value, np.float32), 2)
    assert np.abs(stored).max() == 65504


def test_every_finite_float16_is_kept():
    every = np.arange(1 << 16, dtype=np.uint16).view(np.float16)
    every = every[np.isfinite(every)][:, None]
    assert example.stored_mel("x", every, 1).tobytes() == every.tobytes()
