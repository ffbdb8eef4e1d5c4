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
from playlist_pretrain.records import pread
from playlist_pretrain.records.windows import (
    BufferPool,
    WindowReader,
    random_starts,
    window_dataset,
)

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


def test_usable_and_last_start(collection):
    skip = WindowReader(collection, 256, "skip")
    assert skip.usable.tolist() == [f >= 256 for f in FRAMES]
    assert skip.last_start(np.arange(len(FRAMES))).tolist() == [max(f - 256, 0) for f in FRAMES]
    for short in ("repeat", "pad"):
        assert WindowReader(collection, 256, short).usable.all()
    assert skip.read([], []).shape == (0, 256, 96)


@pytest.mark.parametrize(
    ("rows", "starts", "error", "word"),
    [
        ([0, -1], [0, 0], CollectionError, "row -1 of 9 tracks"),
        ([0, 9], [0, 0], CollectionError, "row 9 of 9 tracks"),
        ([0, 3], [0, -1], CollectionError, "frame -1 of track 'track/0003'.*starts at 444"),
        ([0, 3], [0, 445], CollectionError, "frame 445 of track 'track/0003'.*starts at 444"),
        ([0, 1], [0, 0], TrackError, "track/0001: 40 frames, a window needs 256"),
        ([0], [0, 1], ValueError, r"rows \(1,\) and starts \(2,\)"),
        ([0.0], [0], ValueError, "rows float64"),
    ],
)
def test_what_is_not_there_cannot_be_asked_for(collection, rows, starts, error, word):
    with pytest.raises(error, match=word):
        WindowReader(collection, 256).read(rows, starts)


def test_settings_that_make_no_sense(collection):
    with pytest.raises(RecipeError, match="'drop' is none of skip, repeat, pad"):
        WindowReader(collection, 256, "drop")
    with pytest.raises(RecipeError, match="a window of 0 frames"):
        WindowReader(collection, 0)


def test_a_file_that_shrank_is_an_error(make_collection, tmp_path):
    collection = make_collection(tmp_path / "c", [300] * 8)
    reader = WindowReader(collection, 256)
    os.truncate(collection.shard_paths[1], collection.offset[5] + 200 * 192)
    rows = np.array([0, 4, 5, 1])
    with pytest.raises(CollectionError, match=r"mel-00001.* frame 7 of track 'track/0005' \(row 5"):
        reader.read(rows, np.full(4, 7))
    reader.read(rows[:2], [0, 44])


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

    monkeypatch.setattr(pread, "_pread", fake_pread)
    monkeypatch.setattr(pread, "_errno_location", lambda: [errno.EINTR])
    out = np.zeros((1, 80), np.uint16)
    arguments = (np.array([9]), np.array([100]), np.array([160]), 0)
    assert pread._fill(out, *arguments) == (-1, 0)
    np.testing.assert_array_equal(out[0], source[50:130])
    assert asked[-1] == (9, 22, 238) and len(asked) == 8
    monkeypatch.setattr(pread, "_errno_location", lambda: [errno.EIO])
    monkeypatch.setattr(pread, "_pread", lambda *_: -1)
    assert pread._fill(out, *arguments) == (0, errno.EIO)
    monkeypatch.setattr(pread, "_pread", lambda *_: 0)
    assert pread._fill(out, *arguments) == (0, 0)


@pytest.mark.slow
def test_code_compiles_where_no_folder_can_keep_it(collection):
    program = """
        import sys
        from numba.core import caching
        caching.CacheImpl._locator_classes = []
        from playlist_pretrain.records.collection import Collection
        from playlist_pretrain.records.windows import WindowReader
        collection = Collection.open(sys.argv[1])
        windows = WindowReader(collection, 256).read([3], [100])
        assert (windows[0] == collection.mel(3)[100:356]).all()
    """
    run(program, collection)


def run(program, collection):
    subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program), str(collection.path)], check=True
    )


def open_files() -> int:
    return len(os.listdir("/proc/self/fd"))


def test_files_are_closed_with_the_reader(collection):
    gc.collect()  # what earlier tests left open would be closed below
    before = open_files()
    reader = WindowReader(collection, 256)
    assert open_files() == before + len(collection.shard_paths)
    del reader
    gc.collect()
    assert open_files() == before


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
        from playlist_pretrain.records.pread import fill_kernel
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


def test_a_missing_shard_is_named_and_nothing_stays_open(make_collection, tmp_path):
    collection = make_collection(tmp_path / "c", [300] * 8)
    collection.shard_paths[1].unlink()
    before = open_files()
    with pytest.raises(CollectionError, match=r"mel-00001\.tfrecord: No such file"):
        WindowReader(collection, 256)
    assert open_files() == before


def block(array) -> int:
    return array.__array_interface__["data"][0]


def test_a_block_is_used_again_and_only_then():
    pool = BufferPool(reserve=2)
    first = pool.take((4, 100), np.dtype("<f2"))
    address = block(first)
    assert address % 64 == 0 and first.flags.c_contiguous and first.flags.writeable
    second = pool.take((4, 100), np.dtype("<f2"))
    assert block(second) != address
    del first
    assert block(pool.take((4, 100), np.dtype("<f2"))) == address
    assert pool.allocations == 2


@pytest.mark.parametrize(
    "view",
    [
        lambda a: a[1:][:1, 3:],
        lambda a: a.reshape(-1),
        lambda a: memoryview(a)[2:],
        lambda a: np.frombuffer(a.base, np.uint8),
        lambda a: np.lib.stride_tricks.sliding_window_view(a, 3, axis=0)[0],
    ],
)
def test_any_view_keeps_the_block(view):
    pool = BufferPool(reserve=2)
    array = pool.take((4, 100), np.dtype("<f2"))
    address, kept = block(array), view(array)
    del array
    gc.collect()
    others = [pool.take((4, 100), np.dtype("<f2")) for _ in range(4)]
    assert address not in map(block, others)
    del kept, others
    gc.collect()
    assert pool.allocations == 5 and len(pool._free) == 2


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
        count = 0
        for element, (rows, starts) in zip(dataset, requests, strict=True):
            for part, windows in enumerate(element if parts > 1 else [element]):
                wanted = reader.read(rows[part], starts[part])
                np.testing.assert_array_equal(windows, wanted)
            count += 1
        assert count == 30


def test_tensorflow_takes_the_blocks_without_a_copy(collection, monkeypatch):
    reader = WindowReader(collection, 256)
    handed_out = set()
    take = reader.pool.take

    def noted(shape, dtype):
        array = take(shape, dtype)
        handed_out.add(block(array))
        return array

    monkeypatch.setattr(reader.pool, "take", noted)
    dataset = window_dataset(reader, lambda: requests_of(reader, 20, 1, 4), batch=4)
    arrived = {block(windows) for windows in dataset.as_numpy_iterator()}
    assert arrived and arrived <= handed_out
    assert all(address % 64 == 0 for address in arrived)


def test_a_consumer_that_keeps_batches_never_sees_one_change(collection):
    reader = WindowReader(collection, 256)
    dataset = window_dataset(reader, lambda: requests_of(reader, 120, 2, 8), batch=8, parts=2)
    requests = requests_of(reader, 120, 2, 8)
    kept, views = [], []

    def check():
        for i, x, y in kept:
            for part, tensor in ((0, x), (1, y)):
                for k in (0, 7):
                    row, start = requests[i][0][part, k], requests[i][1][part, k]
                    wanted = collection.mel(row)[start : start + 256]
                    np.testing.assert_array_equal(tensor[k], wanted)
        for i, view in views:
            row, start = requests[i][0][1, 5], requests[i][1][1, 5]
            np.testing.assert_array_equal(view, collection.mel(row)[start + 3 : start + 9].T)

    for i, (x, y) in enumerate(dataset):
        kept = [*kept[-15:], (i, x, y)]
        views = [*views[-15:], (i, y._numpy()[5][3:9].T)]
        if i % 10 == 9:
            check()
    del dataset, x, y
    gc.collect()
    for _ in range(40):
        reader.read(*(part.ravel() for part in requests_of(reader, 1, 1, 8, seed=9)[0]))
    check()
    kept.clear()
    check()
    assert len(views) == 16


def test_memory_does_not_grow(collection):
    reader = WindowReader(collection, 256)
    dataset = window_dataset(reader, lambda: requests_of(reader, 200, 2, 4), batch=4, parts=2)
    for _ in range(4):
        assert sum(1 for _ in dataset) == 200
    # Two parts of 4 elements read ahead and a few on their way through TensorFlow.
    assert reader.pool.allocations <= 2 * (4 + 8)


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
    for _ in range(50):  # threads of TensorFlow let go a little later
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


@pytest.mark.parametrize(
    ("request_", "word"),
    [
        ((np.zeros(2, int), np.zeros(2, int)), r"a request of shapes \(2,\), \(2,\), not \(1, 2\)"),
        ((np.zeros((1, 2)), np.zeros((1, 2), int)), "rows float64"),
    ],
)
def test_a_request_of_another_shape_is_an_error(collection, request_, word):
    import tensorflow as tf

    reader = WindowReader(collection, 256)
    with pytest.raises(tf.errors.OpError):
        next(iter(window_dataset(reader, lambda: [request_], batch=2)))
    assert isinstance(reader.error, ValueError)
    with pytest.raises(ValueError, match=word):
        raise reader.error


@pytest.mark.slow
def test_calls_stay_parallel_where_determinism_is_enforced(collection):
    program = """
        import sys, threading, time
        import numpy as np
        import tensorflow as tf
        from playlist_pretrain.records.collection import Collection
        from playlist_pretrain.records.windows import WindowReader, window_dataset
        tf.keras.utils.set_random_seed(0)
        tf.config.experimental.enable_op_determinism()
        lock, active, peak = threading.Lock(), 0, 0

        class Slow(WindowReader):
            def read(self, rows, starts):
                global active, peak
                with lock:
                    active += 1
                    peak = max(peak, active)
                time.sleep(0.03)
                with lock:
                    active -= 1
                return super().read(rows, starts)

        collection = Collection.open(sys.argv[1])
        reader = Slow(collection, 256)
        rows = np.random.default_rng(0).choice(np.flatnonzero(reader.usable), (20, 1, 4))
        dataset = window_dataset(
            reader, lambda: ((r, 0 * r) for r in rows), batch=4
        )
        for windows, r in zip(dataset, rows, strict=True):
            for window, row in zip(windows, r[0]):
                assert (window.numpy() == collection.mel(row)[:256]).all()
        assert peak == 2, peak
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


@pytest.mark.parametrize("last", [0, 1, 6, 2298])
def test_random_starts_are_uniform_and_reach_both_ends(last):
    starts = random_starts(np.full((100_000, 2), last), seed=1, epoch=0, first_position=0)
    counts = np.bincount(starts.ravel(), minlength=last + 1)
    assert len(counts) == last + 1 and counts.min() > 0
    expected_count = starts.size / (last + 1)
    chi_square = ((counts - expected_count) ** 2 / expected_count).sum()
    assert abs(chi_square - last) <= 5 * np.sqrt(2 * last)  # mean and deviation of chi-square
    if last == 2298:
        x, y = starts.T.astype(float)
        assert abs(np.corrcoef(x, y)[0, 1]) < 0.02
        assert abs(np.corrcoef(x[1:], x[:-1])[0, 1]) < 0.02


@pytest.mark.parametrize(("seed", "epoch", "position"), [(-1, 0, 0), (0, 2**64, 0), (0, 0, -1)])
def test_random_starts_refuse_numbers_they_cannot_use(seed, epoch, position):
    with pytest.raises(RecipeError, match="must lie in"):
        random_starts(np.zeros((1, 1), int), seed, epoch, position)
