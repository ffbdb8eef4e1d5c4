"""Windows by position, against a loop that looks at one frame after the other."""

import dataclasses
from types import SimpleNamespace

import numpy as np
import pytest
from build_loaders import PAPER
from hypothesis import given, settings
from hypothesis import strategies as st

from playlist_pretrain.audio.front_end import IMPORTED
from playlist_pretrain.errors import CollectionError, RecipeError
from playlist_pretrain.records.windows import (
    excerpt_frames,
    incomplete_excerpts,
    window_positions,
)

# Few samples a hop, so that everything happens within few frames.
CENTRED = dataclasses.replace(PAPER, sample_rate=16, frame_length=8, hop_length=3, fft_length=8,
                              f_min=0.0, f_max=8.0, bands=4)  # fmt: skip
WHOLE = dataclasses.replace(CENTRED, framing="whole")
SMALL = {"sample_rate": 16, "frame_length": 8, "hop_length": 3, "bands": 4}
FRONT_ENDS = (CENTRED, WHOLE, dataclasses.replace(IMPORTED["melon"], **SMALL))


class Described:
    """What positions need to know of a collection and its reader, without any mel."""

    def __init__(self, settings, tracks, frames, short):
        lengths, starts, sources = np.array(tracks, np.float64).T
        rate = settings.sample_rate
        self.path, self.front_end = "described", settings
        self.frames = lengths.astype(np.int32)
        self.start_seconds = (starts / rate).astype(np.float32)
        self.source_seconds = (sources / rate).astype(np.float32)
        last = np.maximum(self.frames - frames, 0)
        usable = (self.frames >= frames) | (short != "skip")
        self.reader = SimpleNamespace(
            collection=self, frames=frames, short=short, usable=usable, last_start=last.__getitem__
        )

    def __len__(self):
        return len(self.frames)


def oracle(settings, track, frames, short, seconds):
    """Starts of one track's windows, and whether its excerpt is incomplete."""
    length, start, source = track
    hop = settings.hop_length
    there = next(n for n in range(10**6) if settings.frames(n) == length)
    source = max(source, start + there)
    asked = source if seconds is None else min(max(1, round(seconds * 16)), source)
    begin = (source - asked) // 2
    around = range(-start // hop - 2, source // hop + 2)
    first = min(around, key=lambda i: (abs(start + i * hop - begin), i % 2))
    wanted = range(first, first + settings.frames(asked))
    held = [i for i in wanted if 0 <= i < length]
    incomplete = min(0, first) < -1 or max(length, wanted.stop) > length + 1
    if length < frames:
        return ([] if short == "skip" else [0]), incomplete
    if seconds is None:
        held = list(range(length))
    if len(held) < frames:
        middle = sum((held[0], held[-1] + 1)) if held else 2 * min(max(first, 0), length)
        starts = range(length - frames + 1)
        return [min(starts, key=lambda i: (abs(2 * i + frames - middle), -i))], incomplete
    starts = []
    while held[frames - 1 :]:
        starts.append(held[0])
        held = held[frames:]
    return starts, incomplete


def tracks_of(settings):
    """(frames, first sample, samples of the source) as excerpts and damaged records have them."""
    shortest = settings.frames(settings.frame_length)
    sizes = (st.integers(shortest, 60), st.integers(0, 120), st.integers(0, 300))
    return st.lists(st.tuples(*sizes), min_size=1, max_size=8)


@settings(deadline=None, derandomize=True, max_examples=100)
@given(
    st.data(),
    st.sampled_from(FRONT_ENDS),
    st.integers(1, 30),
    st.sampled_from(["skip", "repeat", "pad"]),
    st.one_of(st.none(), st.floats(0.01, 12)),
)
def test_the_windows_of_an_excerpt(data, made_by, frames, short, seconds):
    tracks = data.draw(tracks_of(made_by))
    rows = data.draw(st.lists(st.integers(0, len(tracks) - 1), max_size=6))
    expected = [oracle(made_by, tracks[row], frames, short, seconds) for row in rows]
    collection = Described(made_by, tracks, frames, short)
    found = window_positions(collection.reader, rows, seconds)
    assert list(zip(found.tracks, found.rows, found.starts, strict=True)) == [
        (track, rows[track], start)
        for track, (starts, _) in enumerate(expected)
        for start in starts
    ]
    rows = np.array(rows, np.int64)
    lacking = incomplete_excerpts(
        *excerpt_frames(collection, rows, seconds), collection.frames[rows]
    )
    assert lacking.tolist() == [incomplete for _, incomplete in expected]


def test_excerpts_that_cannot_be_and_rows_that_are_not_there():
    reader = Described(CENTRED, [(9, 0, 20)], 4, "skip").reader
    for seconds in (0, -1.0, float("nan"), float("inf")):
        with pytest.raises(RecipeError, match=f"an excerpt of {seconds} seconds"):
            window_positions(reader, None, seconds)
    for row in (-1, 1):
        with pytest.raises(CollectionError, match=f"described: row {row} of 1 tracks"):
            window_positions(reader, [0, row])
