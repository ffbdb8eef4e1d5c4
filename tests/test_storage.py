"""Files behind URLs: against a server on loopback, and a file system that is not asynchronous."""

import importlib
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from remote_server import upload

from playlist_pretrain import storage
from playlist_pretrain.errors import CollectionError, RunError
from playlist_pretrain.files import atomic_write, write_json
from playlist_pretrain.records.collection import Collection
from playlist_pretrain.runs import Run
from playlist_pretrain.storage import (
    MissingError,
    is_remote,
    location,
    open_bytes,
    read_bytes,
    read_ranges,
)

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(params=[pytest.param("s3", marks=pytest.mark.slow), "memory"])
def folder(request, tmp_path):
    """A remote folder with two files, in an object store and in a file system with folders."""
    if request.param == "s3":
        request.getfixturevalue("s3")
    (tmp_path / "a.bin").write_bytes(bytes(range(256)))
    (tmp_path / "empty").touch()
    url = f"{request.param}://bucket/some/{tmp_path.name}"
    upload(tmp_path, url)
    return location(url)


def test_what_is_remote():
    for url in ("s3://bucket/x", "gs://b/x", "hdfs://host:8020/x", "S3://bucket/x"):
        assert is_remote(url)
    for path in ("tfrecords/mine", "/a/s3://b", "C:/x", Path("s3"), "s3:x"):
        assert not is_remote(path) and location(path) == Path(path)


def test_paths_are_made_as_with_pathlib():
    path = location("S3://bucket/music/mine/")
    assert str(path) == "s3://bucket/music/mine" and path.name == "mine" and is_remote(path)
    assert path == location("s3://bucket/music") / "mine" == path.resolve() == location(path)
    assert str(path.parent) == "s3://bucket/music"
    groups = path / "groups-a.b.npz"
    assert str(groups.with_suffix(".report.json")) == f"{path}/groups-a.b.report.json"
    assert groups.stem == "groups-a.b" and len({groups, path / groups.name}) == 1
    for url in ("s3://", "s3:///"):
        with pytest.raises(CollectionError, match="names no bucket"):
            location(url)


def test_reading_a_folder(folder):
    assert folder.exists() and folder.is_dir() and not folder.is_file()
    assert (folder / "a.bin").is_file() and not (folder / "b").exists()
    assert [path.name for path in folder.glob("a.*")] == ["a.bin"]
    assert read_bytes(folder / "a.bin") == bytes(range(256))
    assert open_bytes(folder / "a.bin").read(3) == b"\0\1\2"
    assert (folder / "empty").read_text() == ""
    with pytest.raises(MissingError, match=f"{folder}/gone: no such file"):
        read_bytes(folder / "gone")


def test_many_ranges_at_once(folder, request):
    s3 = request.getfixturevalue("s3") if str(folder).startswith("s3") else None
    if s3:
        s3.clear()
        s3.delay = 0.05
    starts = np.arange(0, 200, 2).tolist()
    pieces = read_ranges([folder / "a.bin"] * len(starts), starts, [5] * len(starts))
    assert pieces == [bytes(range(start, start + 5)) for start in starts]
    if s3:
        assert len(s3.requests) == len(starts) and 20 < s3.at_once <= storage.CONNECTIONS


def test_what_is_not_there_is_an_error_of_its_range(folder):
    paths = [folder / name for name in ("a.bin", "gone", "a.bin")]
    good, gone, short = read_ranges(paths, [0, 0, 250], [4, 4, 10])
    assert good == bytes(range(4)) and short == bytes(range(250, 256))
    assert isinstance(gone, MissingError) and f"{folder}/gone: no such file" in str(gone)


def test_a_file_is_written_whole_or_not_at_all(folder):
    write_json(folder / "new.json", {"a": 1})
    assert (folder / "new.json").read_text() == '{\n  "a": 1\n}\n'
    with pytest.raises(RuntimeError), atomic_write(folder / "new.json") as stream:
        stream.write(b"half")
        raise RuntimeError
    with atomic_write(folder / "array.npz") as stream:
        np.savez(stream, x=np.arange(3))
    assert np.load(open_bytes(folder / "array.npz"))["x"].tolist() == [0, 1, 2]
    write_json(folder / "new.json", [])
    assert read_bytes(folder / "new.json") == b"[]\n"
    names = {path.name for path in folder.glob("*")}
    assert names == {"a.bin", "empty", "new.json", "array.npz"}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("settings", "url", "message"),
    [
        ({}, "s3://no-such-bucket/x", "bucket does not exist"),
        ({"AWS_ACCESS_KEY_ID": None, "AWS_SECRET_ACCESS_KEY": None}, "s3://b/x", "no credentials"),
        ({"AWS_SECRET_ACCESS_KEY": None}, "s3://b/x", "missing: AWS_SECRET_ACCESS_KEY"),
        ({"AWS_PROFILE": "nobody"}, "s3://b/x", r"profile \(nobody\) could not be found"),
        ({"AWS_ENDPOINT_URL": "127.0.0.1:80"}, "s3://b/x", "Invalid endpoint: 127.0.0.1:80"),
        ({}, "nonsense://b/x", "nonsense"),
    ],
)  # fmt: skip
def test_a_users_mistake_is_one_message(s3, monkeypatch, settings, url, message):
    for name, value in settings.items():
        monkeypatch.delenv(name) if value is None else monkeypatch.setenv(name, value)
    with pytest.raises(CollectionError, match=f"^{url}: .*{message}"):
        Collection.open(url)
    assert len(s3.requests) <= 2


@pytest.mark.slow
def test_a_server_that_is_away_is_named(s3):
    s3.close()
    with pytest.raises(CollectionError, match=r"^s3://b/x: Could not connect.*AWS_ENDPOINT_URL"):
        Collection.open("s3://b/x")


@pytest.mark.parametrize(("url", "package"), [("s3://b/x", "s3fs"), ("s3://b/x", "upath"),
                                              ("gs://b/x", "gcsfs")])  # fmt: skip
def test_a_missing_package_is_named_with_the_command(monkeypatch, url, package):
    registry = importlib.import_module("fsspec.registry")
    monkeypatch.delitem(registry._registry, url.partition(":")[0], raising=False)
    monkeypatch.setitem(sys.modules, package, None)
    name = {"upath": "universal_pathlib"}.get(package, package)
    with pytest.raises(CollectionError, match=rf"^{url}: .*{name}.*pip install .*\[remote") as e:
        Collection.open(url)
    assert "\n" not in str(e.value)


def test_runs_and_builds_stay_local(tmp_path):
    from playlist_pretrain.records.build_folder import BuildFolder

    with pytest.raises(RunError, match=r"--out s3://bucket/run: .*local folder; train there"):
        Run("s3://bucket/run")
    with pytest.raises(CollectionError, match=r"--out s3:/bucket/c: .*aws s3 cp --recursive"):
        BuildFolder(Path("s3://bucket/c"))
    BuildFolder(tmp_path / "new")


GFILE = """
import sys
import tensorflow as tf
from playlist_pretrain.storage import register_file_systems
register_file_systems()
url = sys.argv[1]
assert not tf.io.gfile.exists(url + "/b.bin")
print(tf.io.gfile.listdir(url))
for data in tf.data.FixedLengthRecordDataset([url + "/a.bin"], 500).prefetch(1):
    print(len(data.numpy()))
sys.exit(3)
"""


@pytest.mark.slow
def test_tensorflow_reads_them_too_and_leaves_in_peace(s3, tmp_path):
    """With tensorflow-io; in a process without it one sentence says what to do."""
    (tmp_path / "a.bin").write_bytes(bytes(1000))
    objects = "s3://storage-objects/x"
    upload(tmp_path, objects)
    done = subprocess.run(
        [sys.executable, "-c", GFILE, objects],
        capture_output=True, text=True, check=False, env=os.environ,
    )  # fmt: skip
    if tf.__version__.startswith("2.15."):
        assert (done.returncode, done.stdout) == (3, "['a.bin']\n500\n500\n"), done.stderr
        assert "pure virtual" not in done.stderr
    else:
        said = f"CollectionError: tensorflow-io cannot be used with TensorFlow {tf.__version__} ("
        assert said in done.stderr.splitlines()[-1] and done.returncode == 1


@pytest.mark.slow
def test_the_lines_of_the_guide_read_the_records_that_are_there(
    s3, tmp_path, make_collection, capsys
):
    collection = make_collection(tmp_path / "mine", [40, 9, 30, 20, 10], per_shard=2)
    url = "s3://storage-records/mine"
    upload(collection.path, url)
    page = (ROOT / "docs" / "guides" / "make_tfrecords.md").read_text("utf-8")
    code = page.partition("## In an object store")[2].partition("```python\n")[2]
    code = code.partition("```")[0].replace("s3://my-bucket/tfrecords/mine", url)
    names = {}
    exec(code, names)
    assert capsys.readouterr().out == "5 of 5\n"
    expected = tf.data.TFRecordDataset([str(path) for path in collection.shard_paths])
    assert [*names["records"].as_numpy_iterator()] == [*expected.as_numpy_iterator()]
