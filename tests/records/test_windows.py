"""Windows: the right bytes, on memory that nobody else is looking at."""

import gc
import os
import resource
import subprocess
import sys
import textwrap
import threading
import time
import weakref

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from playlist_pretrain.errors import CollectionError, RecipeError, TrackError
from playlist_pretrain.records import windows as windows_module
from playlist_pretrain.records.windows import WindowReader, random_starts, window_dataset

FRAMES = [300, 40, 256, 700, 1, 255, 257, 1000, 64]


@pytest.fixture(scope="module")
def collection(make_collection, tmp_path_factory):
    return make_collection(tmp_path_factory.mktemp("windows") / "c", FRAMES)


def expected(collection, frames, short, row, start):
    """The window, cut out of the whole mel one frame at a time."""
    mel = collection.mel(row)
    lines = []
    for frame in range(start, start + frames):
        if frame < len(mel):
            lines.append(mel[frame])
        elif short == "repeat":
            lines.append(mel[frame % len(mel)])
        else:
            lines.append(np.full(mel.shape[1], collection.front_end.silence, np.float16))
    return np.stack(lines)


@pytest.fixture(scope="module", autouse=True)
def quick_collections():
    """What TensorFlow made before these tests is not looked through at each ``gc.collect()``."""
    import tensorflow  # noqa: F401

    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


@settings(deadline=None, derandomize=True, max_examples=60)
@given(st.data(), st.integers(1, 400), st.sampled_from(["repeat", "pad"]))
def test_windows_are_pieces_of_the_mels(collection, data, frames, short):
    reader = WindowReader(collection, frames, short)
    rows = data.draw(st.lists(st.integers(0, len(FRAMES) - 1), min_size=1, max_size=6))
    starts = [data.draw(st.integers(0, int(reader.last_start(row)))) for row in rows]
    windows = reader.read(rows, starts)
    assert windows.dtype == np.float16 and windows.shape == (len(rows), frames, 96)
    for window, row, start in zip(windows, rows, starts, strict=True):
        np.testing.assert_array_equal(window, expected(collection, frames, short, row, start))


def test_usable_last_start_and_settings_that_make_no_sense(collection):
    skip = WindowReader(collection, 256, "skip")
    assert skip.usable.tolist() == [f >= 256 for f in FRAMES]
    assert skip.last_start(np.arange(len(FRAMES))).tolist() == [max(f - 256, 0) for f in FRAMES]
    assert WindowReader(collection, 256, "pad").usable.all()
    assert skip.read([], []).shape == (0, 256, 96)
    with pytest.raises(RecipeError, match="'drop' is none of repeat, pad, skip"):
        WindowReader(collection, 256, "drop")
    with pytest.raises(RecipeError, match="a window of 0 frames"):
        WindowReader(collection, 0)


@pytest.mark.parametrize(
    ("rows", "starts", "error", "word"),
    [
        ([0, -1], [0, 0], CollectionError, "row -1 of 9 tracks"),
        ([0, 3], [0, -1], CollectionError, "frame -1 of track 'track/0003'.*starts at 444"),
        ([0, 3], [0, 445], CollectionError, "frame 445 of track 'track/0003'.*starts at 444"),
        ([0, 1], [0, 0], TrackError, "track/0001: 40 frames, a window needs 256"),
        ([0], [0, 1], ValueError, r"rows \(1,\) and starts \(2,\)"),
    ],
)
def test_what_is_not_there_cannot_be_asked_for(collection, rows, starts, error, word):
    with pytest.raises(error, match=word):
        WindowReader(collection, 256).read(rows, starts)


def test_partial_and_interrupted_reads_are_continued(monkeypatch):
    import ctypes
    import errno

    source = np.arange(500, dtype=np.uint16)
    answers = iter([7, -1, 30, -1, 1, 100, -1, 22])
    asked = []

    def fake_pread(descriptor, address, size, offset):
        count = min(next(answers), size)
        asked.append((descriptor, size, offset))
        if count > 0:
            ctypes.memmove(int(address), int(source.ctypes.data + offset), count)
        return count

    monkeypatch.setattr(windows_module, "_pread", fake_pread)
    monkeypatch.setattr(windows_module, "_errno_location", lambda: [errno.EINTR])
    out = np.zeros((1, 80), np.uint16)
    arguments = (np.array([9]), np.array([100]), np.array([160]), 0)
    assert windows_module._fill(out, *arguments) == (-1, 0)
    np.testing.assert_array_equal(out[0], source[50:130])
    assert asked[-1] == (9, 22, 238) and len(asked) == 8
    monkeypatch.setattr(windows_module, "_errno_location", lambda: [errno.EIO])
    monkeypatch.setattr(windows_module, "_pread", lambda *_: -1)
    assert windows_module._fill(out, *arguments) == (0, errno.EIO)
    monkeypatch.setattr(windows_module, "_pread", lambda *_: 0)
    assert windows_module._fill(out, *arguments) == (0, 0)


def run(program, collection):
    subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program), str(collection.path)], check=True
    )


def open_files() -> int:
    return len(os.listdir("/proc/self/fd"))


def test_more_shards_than_the_process_may_open(make_collection, tmp_path):
    collection = make_collection(tmp_path / "c", [5] * 300, "vggish", per_shard=1)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (open_files() + 40, hard))
        reader = WindowReader(collection, 5)
        assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] >= 300 + 256
        windows = reader.read(np.arange(300), np.zeros(300, int))
        np.testing.assert_array_equal(windows[299], collection.mel(299))
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.slow
def test_a_hard_limit_on_files_says_what_to_raise(make_collection, tmp_path):
    collection = make_collection(tmp_path / "c", [5] * 100, "vggish", per_shard=1)
    program = """
        import resource, sys
        from playlist_pretrain.errors import CollectionError
        from playlist_pretrain.records.collection import Collection
        from playlist_pretrain.records.windows import fill_kernel
        from playlist_pretrain.records.windows import WindowReader
        collection = Collection.open(sys.argv[1])
        fill_kernel()
        resource.setrlimit(resource.RLIMIT_NOFILE, (40, 60))
        try:
            WindowReader(collection, 5)
        except CollectionError as error:
            assert "allows 60 open files" in str(error) and "100 shards" in str(error), error
            assert "ulimit -n" in str(error)
        else:
            raise AssertionError
        open("/dev/null").close()
    """
    run(program, collection)


def test_a_shard_that_shrank_or_is_missing_is_named(make_collection, tmp_path):
    collection = make_collection(tmp_path / "c", [300] * 8)
    reader = WindowReader(collection, 256)
    os.truncate(collection.shard_paths[1], collection.offset[5] + 200 * 192)
    rows = np.array([0, 4, 5, 1])
    with pytest.raises(CollectionError, match=r"mel-00001.* frame 7 of track 'track/0005' \(row 5"):
        reader.read(rows, np.full(4, 7))
    reader.read(rows[:2], [0, 44])
    collection.shard_paths[1].unlink()
    before = open_files()
    with pytest.raises(CollectionError, match=r"mel-00001\.tfrecord: No such file"):
        WindowReader(collection, 256)
    assert open_files() == before


def requests_of(reader, batches, parts, batch, seed=0):
    rng = np.random.default_rng(seed)
    rows = rng.choice(np.flatnonzero(reader.usable), (batches, parts, batch))
    return list(zip(rows, rng.integers(0, reader.last_start(rows) + 1), strict=True))


@pytest.mark.parametrize("parts", [1, 2])
def test_a_dataset_delivers_the_requests_in_their_order(collection, parts):
    reader = WindowReader(collection, 256)
    requests = requests_of(reader, 30, parts, 4)
    dataset = window_dataset(reader, lambda: requests, batch=4, parts=parts)
    spec = dataset.element_spec if parts > 1 else (dataset.element_spec,)
    assert [(s.shape.as_list(), s.dtype.name) for s in spec] == [([4, 256, 96], "float16")] * parts
    for _ in range(2):
        for element, (rows, starts) in zip(dataset, requests, strict=True):
            for part, windows in enumerate(element if parts > 1 else [element]):
                wanted = reader.read(rows[part], starts[part])
                np.testing.assert_array_equal(windows, wanted)


@pytest.mark.slow
def test_a_consumer_that_keeps_batches_never_sees_one_change(collection):
    reader = WindowReader(collection, 256)
    dataset = window_dataset(reader, lambda: requests_of(reader, 120, 2, 8), batch=8, parts=2)
    requests = requests_of(reader, 120, 2, 8)
    kept = []

    def check():
        for i, x, view in kept:
            for part, row_of, seen in ((0, slice(None), x), (1, 5, view)):
                rows, starts = (np.atleast_1d(one[part, row_of]) for one in requests[i])
                for window, row, start in zip(seen, rows, starts, strict=True):
                    np.testing.assert_array_equal(window, collection.mel(row)[start : start + 256])

    for i, (x, y) in enumerate(dataset):
        kept = [*kept[-15:], (i, x, y._numpy()[5:6])]
        if i % 10 == 9:
            check()
    del dataset, x, y
    gc.collect()
    for _ in range(40):
        reader.read(*(part.ravel() for part in requests_of(reader, 1, 1, 8, seed=9)[0]))
    check()
    assert len(kept) == 16 and reader.pool.allocations < 2 * (16 + 4 + 8) + 8


def test_nothing_of_a_dropped_dataset_stays(collection):
    before = open_files()
    reader = WindowReader(collection, 256)
    gone = weakref.ref(reader)
    requests = requests_of(reader, 9, 1, 4)
    dataset = window_dataset(reader, lambda: requests, batch=4)
    derived = dataset.map(lambda x: x + 1).take(3)
    del dataset, reader
    gc.collect()
    assert sum(1 for _ in derived) == 3
    del derived
    for _ in range(300):  # threads of TensorFlow let go a little later
        gc.collect()
        if gone() is None:
            break
        time.sleep(0.05)
    assert gone() is None
    assert open_files() == before


def window_threads():
    return [t for t in threading.enumerate() if t.name.startswith("windows")]


def test_an_abandoned_iteration_ends_its_threads(collection):
    reader = WindowReader(collection, 256)

    def endless():
        while True:
            yield from requests_of(reader, 5, 1, 4)

    iterator = iter(window_dataset(reader, endless, batch=4))
    next(iterator)
    assert window_threads()
    del iterator
    deadline = time.monotonic() + 10
    while window_threads() and time.monotonic() < deadline:
        gc.collect()
        time.sleep(0.02)
    assert window_threads() == []


def test_the_first_error_is_kept_and_cleared_by_the_next_iteration(make_collection, tmp_path):
    import tensorflow as tf

    collection = make_collection(tmp_path / "c", [300] * 8)
    reader = WindowReader(collection, 256)
    bad = [False]

    def requests():
        for i in range(10):
            yield np.full((1, 2), 9 if bad[0] and i == 6 else 1), np.zeros((1, 2), int)

    dataset = window_dataset(reader, requests, batch=2)
    bad[0] = True
    seen = 0
    with pytest.raises(tf.errors.OpError, match="row 9 of 8 tracks"):
        for _ in dataset:
            seen += 1
    assert seen == 6
    assert isinstance(reader.error, CollectionError) and "row 9 of 8" in str(reader.error)
    bad[0] = False
    assert sum(1 for _ in dataset) == 10
    assert reader.error is None


def test_a_request_of_another_shape_is_an_error(collection):
    import tensorflow as tf

    reader = WindowReader(collection, 256)
    with pytest.raises(tf.errors.OpError):
        next(iter(window_dataset(reader, lambda: [np.zeros((2, 2), int)], batch=2)))
    assert "a request of shapes (2,), (2,), not (1, 2)" in str(reader.error)


@pytest.mark.long
def test_calls_stay_parallel_where_determinism_is_enforced(collection):
    program = """
        import sys, threading
        import numpy as np
        import tensorflow as tf
        from playlist_pretrain.records.collection import Collection
        from playlist_pretrain.records.windows import WindowReader, window_dataset
        tf.keras.utils.set_random_seed(0)
        tf.config.experimental.enable_op_determinism()
        two = threading.Barrier(2, timeout=60)

        class Meeting(WindowReader):
            def read(self, rows, starts):
                two.wait()  # which ends when two calls are under way
                return super().read(rows, starts)

        collection = Collection.open(sys.argv[1])
        reader = Meeting(collection, 256)
        rows = np.random.default_rng(0).choice(np.flatnonzero(reader.usable), (20, 1, 4))
        dataset = window_dataset(reader, lambda: ((r, 0 * r) for r in rows), batch=4)
        for windows, r in zip(dataset, rows, strict=True):
            for window, row in zip(windows, r[0]):
                assert (window.numpy() == collection.mel(row)[:256]).all()
    """
    run(program, collection)


def one_by_one(last_starts, seed, epoch, first_position):
    """One counter of its own for each position: slow, and says what the numbers are."""
    lines = []
    for i, line in enumerate(np.asarray(last_starts).tolist()):
        blocks = -(-len(line) // 4)
        key = np.array([seed, epoch], np.uint64)
        words = np.random.Philox(key=key, counter=(first_position + i) * blocks).random_raw(
            4 * blocks
        )
        lines.append(
            [(int(word) >> 32) * (last + 1) >> 32 for word, last in zip(words, line, strict=False)]
        )
    return np.array(lines).reshape(np.shape(last_starts))


@settings(deadline=None, derandomize=True)
@given(st.data(), st.integers(1, 6), st.integers(0, 2**64 - 1), st.integers(0, 2**64 - 1))
def test_random_starts_are_those_of_the_oracle(data, k, seed, epoch):
    line = st.lists(st.integers(0, 2**31 - 2), min_size=k, max_size=k)
    last = np.array(data.draw(st.lists(line, min_size=1, max_size=9)))
    first = data.draw(st.integers(0, 2**40))
    starts = random_starts(last, seed, epoch, first)
    assert starts.dtype == np.int32 and ((starts >= 0) & (starts <= last)).all()
    np.testing.assert_array_equal(starts, one_by_one(last, seed, epoch, first))
    cut = data.draw(st.integers(0, len(last)))
    parts = [random_starts(last[:cut], seed, epoch, first)]
    parts.append(random_starts(last[cut:], seed, epoch, first + cut))
    np.testing.assert_array_equal(np.concatenate(parts), starts)


def test_random_starts_never_change_between_versions():
    starts = random_starts(np.full((3, 2), 999), seed=7, epoch=3, first_position=1000)
    assert starts.tolist() == [[997, 196], [732, 9], [245, 694]]


def test_random_starts_refuse_numbers_they_cannot_use():
    for numbers in ((-1, 0, 0), (0, 2**64, 0), (0, 0, -1)):
        with pytest.raises(RecipeError, match="must lie in"):
            random_starts(np.zeros((1, 1), int), *numbers)
