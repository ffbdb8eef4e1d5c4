"""A collection in an object store reads as the local one, and fails in one sentence."""

import shutil

import numpy as np
import pytest
from damage import flip
from remote_server import upload, variables

from playlist_pretrain.errors import CollectionError
from playlist_pretrain.playlists.groups import load_groups
from playlist_pretrain.playlists.match import match_playlists
from playlist_pretrain.records.collection import Collection
from playlist_pretrain.records.windows import SHORT, WindowReader, window_dataset

pytestmark = pytest.mark.slow
FRAMES = 20
URL = "s3://records-remote/tfrecords/mine"


@pytest.fixture(scope="module")
def local(make_collection, tmp_path_factory):
    lengths = [30, 500, 7, 20, 64, 41, 1000, 13, 90, 25, 700]
    return make_collection(tmp_path_factory.mktemp("local") / "mine", lengths, per_shard=2)


@pytest.fixture(scope="module")
def uploaded(local, s3_port):
    with pytest.MonkeyPatch.context() as patch:
        for name, value in variables(s3_port).items():
            patch.setenv(name, value)
        upload(local.path, URL)
    return URL


@pytest.fixture
def remote(uploaded, s3):
    collection = Collection.open(uploaded)
    s3.clear()
    return collection


@pytest.fixture
def own(local, s3, tmp_path):
    """Callable: a copy of the collection that ``change(folder)`` has spoilt, behind a URL."""

    def own(change=lambda folder: None):
        folder = tmp_path / "own"
        shutil.copytree(local.path, folder)
        change(folder)
        fs = upload(folder, f"s3://records-remote/{tmp_path.name}")
        s3.clear()
        return f"s3://records-remote/{tmp_path.name}", fs

    return own


def windows_of(collection, rng, n, short="repeat"):
    reader = WindowReader(collection, FRAMES, short=short)
    rows = rng.choice(np.flatnonzero(reader.usable), n)
    starts = (rng.random(n) * (reader.last_start(rows) + 1)).astype(np.int32)
    return reader, rows, starts


def test_opening_takes_a_few_requests_whatever_the_shards(uploaded, local, s3):
    collection = Collection.open(uploaded + "/")
    assert len(collection.shard_paths) == 6 and len(s3.requests) <= 5
    assert "list-type=2" in s3.requests[0]
    assert (collection.name, str(collection.path)) == ("mine", URL)
    assert collection.content_key == local.content_key
    assert list(collection.track_ids) == list(local.track_ids)
    assert str(collection.shard_paths[1]) == f"{URL}/mel-00001.tfrecord"
    for row in (0, 6):
        assert np.array_equal(collection.mel(row), local.mel(row))
    assert len(s3.requests) <= 7


@pytest.mark.parametrize("short", SHORT)
def test_windows_equal_the_local_ones(remote, local, rng, short):
    ours, rows, starts = windows_of(remote, rng, 60, short)
    theirs = WindowReader(local, FRAMES, short=short)
    assert np.array_equal(ours.usable, theirs.usable)
    assert np.array_equal(ours.read(rows, starts), theirs.read(rows, starts))
    assert ours.read([], []).shape == (0, FRAMES, 96)


def test_neighbours_are_fetched_together(remote, local, s3):
    row = int(np.argmax(local.frames))
    starts = np.arange(0, local.frames[row] - FRAMES + 1, FRAMES)
    windows = WindowReader(remote, FRAMES).read(np.full(len(starts), row), starts)
    assert np.array_equal(windows.reshape(-1, 96), local.mel(row)[: len(starts) * FRAMES])
    assert len(s3.requests) == 1


def test_a_stumbling_server_changes_nothing(remote, local, rng, s3):
    reader, rows, starts = windows_of(remote, rng, 40)
    s3.fail["/mel-00003"] = 2
    s3.cut["/mel-00000"] = 2
    wanted = WindowReader(local, FRAMES, "repeat").read(rows, starts)
    assert np.array_equal(reader.read(rows, starts), wanted)
    assert +s3.fail == +s3.cut == {}


@pytest.mark.long
def test_a_server_that_goes_away_ends_the_dataset(remote, rng, s3):
    reader, rows, starts = windows_of(remote, rng, 4)

    def requests():
        for i in range(100):
            if i == 20:
                s3.close()
            yield rows[None], starts[None]

    with pytest.raises(Exception) as caught:
        for _ in window_dataset(reader, requests, batch=4):
            pass
    assert not isinstance(caught.value, CollectionError)  # TensorFlow's, that wraps ours
    assert isinstance(reader.error, CollectionError)
    for words in (f"{URL}/mel-0000", "cannot read the window at frame", "of track 'track/00"):
        assert words in str(reader.error)


def test_a_shard_that_is_cut_or_removed_later(own, local):
    url, fs = own()
    collection = Collection.open(url)
    data = (local.path / "mel-00000.tfrecord").read_bytes()
    fs.pipe_file(f"{url}/mel-00000.tfrecord", data[: local.offset[1] + 100])
    fs.rm_file(f"{url}/mel-00005.tfrecord")
    reader = WindowReader(collection, FRAMES)
    cut, gone = f"{url}/mel-00000.tfrecord", f"{url}/mel-00005.tfrecord"
    assert np.array_equal(collection.mel(0), local.mel(0))
    for row, shard, words in ((1, cut, "ends too early"), (10, gone, "no such file")):
        track = f"track 'track/{row:04d}'"
        with pytest.raises(
            CollectionError, match=rf"^{shard}: .*frame 0 of {track} \(row {row}\): {words}"
        ):
            reader.read([0, row], [0, 0])
        with pytest.raises(CollectionError, match=rf"^{shard}: cannot read {track}: {words}"):
            collection.mel(row)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda folder: flip(folder / "index-0.npz", 100), "/index-0.npz: not the index that"),
        (lambda folder: (folder / "collection.json").unlink(), ": no collection, collection.json"),
    ],
)
def test_what_is_damaged_is_named(own, change, message):
    url, _ = own(change)
    with pytest.raises(CollectionError) as caught:
        Collection.open(url)
    assert str(caught.value).startswith(url + message) and "\n" not in str(caught.value)
    assert "make_tfrecords.py --audio DIR --out" not in str(caught.value)


def test_groups_of_the_tags_of_a_collection_behind_a_url(own, local):
    first, second, third, *_ = local.track_ids
    table = f"track_id,artist\n{first},A\n{second},unknown\n{third},A\n"
    url, _ = own(lambda folder: (folder / "tracks.csv").write_text(table))
    found = match_playlists("tags", url)
    assert found.groups.name == "artists" and list(found.groups.group_ids) == ["A"]
    assert found.groups.rows.tolist() == [0, 2]
    assert load_groups(Collection.open(url), "artists").rows.tolist() == [0, 2]
