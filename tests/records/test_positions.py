"""Windows by position, against a loop that looks at one frame after the other."""

import dataclasses
import tracemalloc
from types import SimpleNamespace

import numpy as np
import pytest
from build_loaders import PAPER
from hypothesis import given, settings
from hypothesis import strategies as st

from playlist_pretrain.audio.decode import AudioLoader
from playlist_pretrain.audio.front_end import IMPORTED, front_end
from playlist_pretrain.errors import CollectionError, RecipeError
from playlist_pretrain.records import windows as positions_module
from playlist_pretrain.records.build import build_collection
from playlist_pretrain.records.sources import find_audio
from playlist_pretrain.records.windows import (
    WindowPositions,
    WindowReader,
    random_starts,
    window_dataset,
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


@settings(deadline=None, derandomize=True, max_examples=300)
@given(
    st.data(),
    st.sampled_from(FRONT_ENDS),
    st.integers(1, 30),
    st.sampled_from(["skip", "repeat", "pad"]),
    st.one_of(st.none(), st.floats(0.01, 12)),
    st.integers(1, 9),
    st.integers(1, 5),
)
def test_the_windows_of_an_excerpt(data, made_by, frames, short, seconds, size, at_once):
    tracks = data.draw(tracks_of(made_by))
    rows = data.draw(st.lists(st.integers(0, len(tracks) - 1), max_size=6))
    expected = [oracle(made_by, tracks[row], frames, short, seconds) for row in rows]
    reader = Described(made_by, tracks, frames, short).reader
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(positions_module, "TRACKS_AT_ONCE", at_once)
        positions = WindowPositions(reader, rows, seconds)
        blocks = list(positions.blocks(size))
    found = [
        window
        for block in blocks
        for window in zip(block.tracks, block.rows, block.starts, strict=True)
    ]
    assert found == [
        (track, rows[track], start)
        for track, (starts, _) in enumerate(expected)
        for start in starts
    ]
    assert [len(block) for block in blocks[:-1]] == [size] * (len(blocks) - 1)
    assert positions.windows == len(found)
    assert positions.left_out == sum(not starts for starts, _ in expected)
    assert positions.incomplete == sum(incomplete for _, incomplete in expected)
    one = positions.one_block()
    assert list(zip(one.tracks, one.rows, one.starts, strict=True)) == found


@settings(deadline=None, derandomize=True, max_examples=100)
@given(st.data(), st.integers(1, 30), st.one_of(st.none(), st.floats(0.01, 12)), st.integers(0, 99))
def test_random_starts_lie_in_the_excerpt(data, frames, seconds, epoch):
    tracks = data.draw(tracks_of(CENTRED))
    positions = WindowPositions(Described(CENTRED, tracks, frames, "repeat").reader, None, seconds)
    starts = positions.random_starts(np.arange(len(tracks))[:, None].repeat(2, 1), 3, epoch, 7)
    assert starts.shape == (len(tracks), 2) and starts.dtype == np.int32
    one = positions.one_block()
    for track, length in enumerate(track[0] for track in tracks):
        windows = one.starts[one.tracks == track]
        assert (starts[track] >= windows[0]).all()
        # Fewer frames than a window are left after the last window that fits.
        assert (starts[track] < windows[-1] + frames).all()
        assert (starts[track] + frames <= max(length, frames)).all()


@pytest.mark.parametrize("seconds", [0, -1.0, float("nan"), float("inf")])
def test_excerpts_that_cannot_be(seconds):
    with pytest.raises(RecipeError, match=f"an excerpt of {seconds} seconds"):
        WindowPositions(Described(CENTRED, [(9, 0, 20)], 4, "skip").reader, None, seconds)


@pytest.mark.parametrize("row", [-1, 1])
def test_rows_that_are_not_there(row):
    with pytest.raises(CollectionError, match=f"described: row {row} of 1 tracks"):
        WindowPositions(Described(CENTRED, [(9, 0, 20)], 4, "skip").reader, [0, row])


def test_memory_does_not_grow_with_tracks_or_their_length():
    rng = np.random.default_rng(0)
    peaks = []
    for tracks, longest in ((20_000, 500), (200_000, 500), (20_000, 50_000)):
        lengths = np.stack(
            [rng.integers(2, longest, tracks), np.zeros(tracks), np.zeros(tracks)], 1
        )
        positions = WindowPositions(Described(PAPER, lengths, 256, "repeat").reader, seconds=None)
        tracemalloc.start()
        windows = sum(len(block) for block in positions.blocks(4096))
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        assert windows == positions.windows
    assert max(peaks) < 3 * peaks[0]  # of ten times the tracks, a hundred times the length


def test_requests_of_a_dataset(make_collection, tmp_path):
    collection = make_collection(tmp_path / "c", [70, 16, 5, 200], front_end="vggish")
    reader = WindowReader(collection, 16, short="pad")
    positions = WindowPositions(reader, [3, 0, 2])
    expected = reader.read(positions.one_block().rows, positions.one_block().starts)
    assert len(expected) == 12 + 4 + 1
    dataset = window_dataset(reader, lambda: positions.requests(5), batch=5)
    found = [
        windows.numpy()[: len(block)]
        for windows, block in zip(dataset, positions.blocks(5), strict=True)
    ]
    np.testing.assert_array_equal(np.concatenate(found), expected)


CLICKS = (3.0, 14.4, 21.7, 25.2, 34.11, 48.5)


@pytest.fixture(scope="module")
def clicks(tmp_path_factory):
    """Folder of sound files of several rates and lengths with a click at each of ``CLICKS``."""
    import soundfile

    folder = tmp_path_factory.mktemp("clicks")
    for name, rate, seconds in (("a", 44100, 55.003), ("b", 16000, 61.2), ("c", 22050, 29.0)):
        waveform = np.random.default_rng(0).normal(scale=1e-3, size=int(seconds * rate))
        for click in CLICKS:
            at = int(click * rate)
            waveform[at : at + rate // 4000] = 0.9
        soundfile.write(folder / f"{name}.wav", waveform, rate)
    return folder


def build(folder, out, made_by, excerpt):
    load = AudioLoader(made_by.sample_rate, excerpt)
    return build_collection(out, find_audio(folder).tracks, made_by, load, root=folder).collection


@pytest.mark.parametrize("name", ["paper", "vggish"])
def test_records_know_where_they_start(in_process, clicks, tmp_path, name):
    """Clicks are found where they are in the source, in excerpts and in whole files."""
    made_by = front_end(name)
    hop = made_by.hop_length / made_by.sample_rate
    # A frame is loudest when the click is in its middle, where centred frames are counted from.
    half = made_by.frame_length / made_by.sample_rate / 2
    middle = 0 if made_by.framing == "centred" else half
    for excerpt in (30.0, None, 10.0):
        collection = build(clicks, tmp_path / f"{excerpt}", made_by, excerpt)
        np.testing.assert_allclose(collection.source_seconds, [55.003, 61.2, 29.0], atol=1e-3)
        for row in range(3):
            mel = collection.mel(row).astype(np.float32).mean(axis=1)
            start = collection.start_seconds[row]
            end = start + len(mel) * hop
            assert abs((start + end) / 2 - collection.source_seconds[row] / 2) < 1.5 * hop
            heard = [click for click in CLICKS if start + half < click < end - half - hop]
            assert heard
            for click in heard:
                near = int((click - start) / hop)
                loudest = max(0, near - 20) + mel[max(0, near - 20) : near + 20].argmax()
                assert abs(start + loudest * hop + middle - click) < hop


@pytest.mark.parametrize("name", ["paper", "vggish"])
def test_whole_files_and_excerpts_give_the_same_windows(in_process, clicks, tmp_path, name):
    made_by = front_end(name)
    frames, hop = made_by.window_frames, made_by.hop_length / made_by.sample_rate
    whole, cut, narrow = (
        build(clicks, tmp_path / f"{excerpt}", made_by, excerpt) for excerpt in (None, 30.0, 10.0)
    )
    readers = [WindowReader(c, frames, short="repeat") for c in (whole, cut, narrow)]
    of_whole, of_cut, of_narrow = (WindowPositions(reader, seconds=30) for reader in readers)
    a, b = of_whole.one_block(), of_cut.one_block()
    np.testing.assert_array_equal(a.tracks, b.tracks)
    np.testing.assert_array_equal(b.starts, WindowPositions(readers[1]).one_block().starts)
    times = [c.start_seconds[x.rows] + x.starts * hop for c, x in ((whole, a), (cut, b))]
    assert np.abs(times[0] - times[1]).max() <= hop / 2 + 1e-4
    # Frames are not cut at the same samples, but they hear the same clicks.
    windows = [reader.read(x.rows, x.starts) for reader, x in zip(readers[:2], (a, b), strict=True)]
    loud = [x.astype(np.float32).mean(2).max(1) for x in windows]
    heard = [x > (x.min() + x.max()) / 2 for x in loud]
    np.testing.assert_array_equal(*heard)
    assert 3 < heard[0].sum() < len(heard[0])

    tracks = np.array([[0, 1, 2]] * 50)
    drawn = [positions.random_starts(tracks, 5, 1, 0) for positions in (of_whole, of_cut)]
    np.testing.assert_array_equal(drawn[1], random_starts(readers[1].last_start(tracks), 5, 1, 0))
    begins = [x.starts[np.searchsorted(x.tracks, [0, 1, 2])] for x in (a, b)]
    np.testing.assert_array_equal(drawn[0] - begins[0], drawn[1] - begins[1])

    assert (of_whole.incomplete, of_cut.incomplete, of_narrow.incomplete) == (0, 0, 3)
    assert [WindowPositions(reader).incomplete for reader in readers] == [0, 2, 3]
    np.testing.assert_array_equal(
        of_narrow.one_block().starts, WindowPositions(readers[2], seconds=10).one_block().starts
    )
