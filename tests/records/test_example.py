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
@given(st.binary(max_size=60))
def test_foreign_bytes_are_a_value_error(data):
    with pytest.raises(ValueError):
        example.parse_track(data)


@pytest.mark.parametrize(
    ("mel", "word"),
    [
        (np.full((4, 3), np.nan), "nan at frame 0, band 0"),
        (np.array([[1, 2, 3], [1, np.inf, 3]]), "inf at frame 1, band 1"),
        (np.array([[1, 2, 7e4]]), "70000.0 at frame 0, band 2 does not fit float16"),
        (np.array([[0, 0, 0], [0, 0, -np.nan]], np.float16), "nan at frame 1, band 2"),
        (np.ones((4, 2)), r"shape \(4, 2\)"),
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


def test_every_finite_float16_is_kept_and_what_rounds_to_one():
    every = np.arange(1 << 16, dtype=np.uint16).view(np.float16)
    every = every[np.isfinite(every)][:, None]
    assert example.stored_mel("x", every, 1).tobytes() == every.tobytes()
    assert example.stored_mel("x", np.array([[65519.0, -65519.0]]), 2).tolist() == [[65504, -65504]]
