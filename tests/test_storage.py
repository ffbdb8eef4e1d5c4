"""Remote paths: against a server on loopback, and file systems that are not asynchronous."""

import importlib
import os
import re
import subprocess
import sys
import uuid
from pathlib import Path

import numpy as np
import pytest
from remote_server import upload

from playlist_pretrain import storage as servers
from playlist_pretrain.errors import CollectionError, RunError
from playlist_pretrain.files import atomic_write, write_json
from playlist_pretrain.runs import Run
from playlist_pretrain.storage import MissingError, RemotePath, is_remote, location, read_pieces


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch):
    monkeypatch.setattr(servers, "FIRST_WAIT", 0.01)


@pytest.fixture(params=["s3", "memory"])
def folder(request, s3, tmp_path):
    """A remote folder with two files, in an object store and in a file system with folders."""
    name = uuid.uuid4().hex
    url = f"{request.param}://bucket-{name[:8]}/some/{name}"
    if request.param == "s3":
        (tmp_path / "up").mkdir()
        (tmp_path / "up" / "a.bin").write_bytes(bytes(range(256)))
        (tmp_path / "up" / "empty").write_bytes(b"")
        upload(tmp_path / "up", url)
    else:
        import fsspec

        fs = fsspec.filesystem("memory")
        fs.pipe_file(f"/bucket-{name[:8]}/some/{name}/a.bin", bytes(range(256)))
        fs.pipe_file(f"/bucket-{name[:8]}/some/{name}/empty", b"")
    s3.clear()
    return RemotePath(url)


def test_what_is_remote():
    for url in ("s3://bucket/x", "gs://b/x", "hdfs://host:8020/x", "S3://bucket/x"):
        assert is_remote(url) and isinstance(location(url), RemotePath)
    for path in ("tfrecords/mine", "/a/s3://b", "C:/x", Path("s3"), "s3:x"):
        assert not is_remote(path) and location(path) == Path(path)


def test_paths_are_made_as_with_pathlib():
    path = location("S3://bucket/music/mine/")
    assert str(path) == "s3://bucket/music/mine" and path.name == "mine"
    assert path == RemotePath("s3://bucket/music") / "mine" == path.resolve()
    assert str(path.parent) == "s3://bucket/music"
    groups = path / "groups-a.b.npz"
    assert str(groups.with_suffix(".report.json")) == f"{path}/groups-a.b.report.json"
    assert groups.stem == "groups-a.b" and len({groups, path / groups.name}) == 1
    for url in ("s3://", "s3:///"):
        with pytest.raises(CollectionError, match="names no bucket"):
            RemotePath(url)


def test_reading_a_folder(folder):
    assert folder.sizes() == {"a.bin": 256, "empty": 0}
    assert folder.exists() and folder.is_dir() and not folder.is_file()
    assert (folder / "a.bin").is_file() and not (folder / "b").exists()
    assert [path.name for path in folder.glob("a.*")] == ["a.bin"]
    assert (folder / "a.bin").read_bytes() == bytes(range(256))
    assert (folder / "a.bin").open().read(3) == b"\0\1\2"
    assert (folder / "empty").read_text() == ""
    with pytest.raises(ValueError, match="mode 'w'"):
        (folder / "a.bin").open("w")


def test_many_pieces_at_once(folder, s3):
    s3.delay = 0.05
    starts = np.arange(0, 200, 2)
    paths = [folder / "a.bin"] * len(starts)
    pieces = read_pieces(paths, starts, [5] * len(starts))
    assert pieces == [bytes(range(start, start + 5)) for start in starts]
    if folder._server.scheme == "s3":
        assert len(s3.requests) == len(starts) and 20 < s3.at_once <= servers.CONNECTIONS


def test_what_is_not_there_is_an_error_of_its_piece(folder):
    paths = [folder / name for name in ("a.bin", "gone", "a.bin", "a.bin", "a.bin")]
    good, gone, short, outside, empty = read_pieces(paths, [0, 0, 250, 300, 9], [4, 4, 10, 4, 0])
    assert good == bytes(range(4)) and empty == b""
    assert isinstance(gone, MissingError) and f"{folder}/gone: no such file" in str(gone)
    for error in (short, outside):
        assert isinstance(error, CollectionError) and f"{folder}/a.bin: ends too early" in str(
            error
        )
    with pytest.raises(MissingError, match="gone: no such file"):
        (folder / "gone").read_bytes()
    with pytest.raises(MissingError, match="nowhere: no such file, folder or bucket"):
        (folder / "nowhere").sizes()
    assert (folder / "a.bin").sizes() == {}


def test_a_file_is_written_whole_or_not_at_all(folder):
    write_json(folder / "new.json", {"a": 1})
    assert (folder / "new.json").read_text() == '{\n  "a": 1\n}\n'
    with pytest.raises(RuntimeError), atomic_write(folder / "new.json") as stream:
        stream.write(b"half")
        raise RuntimeError
    with atomic_write(folder / "array.npz") as stream:
        np.savez(stream, x=np.arange(3))
    assert np.load((folder / "array.npz").open())["x"].tolist() == [0, 1, 2]
    write_json(folder / "new.json", [])
    assert (folder / "new.json").read_bytes() == b"[]\n"
    assert set(folder.sizes()) == {"a.bin", "empty", "new.json", "array.npz"}


@pytest.fixture
def objects(s3, tmp_path):
    (tmp_path / "a.bin").write_bytes(bytes(1000))
    upload(tmp_path, "s3://storage-objects/x")
    s3.clear()
    return RemotePath("s3://storage-objects/x")


@pytest.mark.slow
def test_a_server_that_stumbles_is_asked_again(objects, s3):
    s3.fail["/a.bin"] = servers.ATTEMPTS - 1
    assert read_pieces([objects / "a.bin"], [0], [10]) == [bytes(10)]
    s3.cut["/a.bin"] = 1
    assert read_pieces([objects / "a.bin"], [0], [500]) == [bytes(500)]
    s3.clear()
    s3.fail["GET"] = 1
    assert objects.sizes() == {"a.bin": 1000} and len(s3.requests) == 2


def test_only_pieces_that_failed_are_asked_for_again(objects, s3):
    s3.fail["/a.bin"] = 3
    assert read_pieces([objects / "a.bin"] * 8, range(8), [10] * 8) == [bytes(10)] * 8
    assert len(s3.requests) == 8 + 3


@pytest.mark.slow
def test_a_server_that_stays_away_is_given_up(objects, s3):
    s3.fail["/"] = 10**6
    (error,) = read_pieces([objects / "a.bin"], [0], [10])
    assert re.match(rf"{objects}/a.bin: .*We encountered an internal error", str(error))
    assert str(error).endswith(f", {servers.ATTEMPTS} times tried")
    assert len(s3.requests) == servers.ATTEMPTS
    s3.close()
    with pytest.raises(
        CollectionError, match=f"^{objects}: .*{servers.ATTEMPTS} times tried.*ENDPOINT_URL"
    ):
        RemotePath(str(objects)).sizes()


@pytest.mark.parametrize(
    ("settings", "url", "message"),
    [
        ({}, "s3://no-such-bucket/x", "bucket does not exist"),
        ({"AWS_ACCESS_KEY_ID": None, "AWS_SECRET_ACCESS_KEY": None}, "s3://b/x", "no credentials"),
        ({"AWS_SECRET_ACCESS_KEY": None}, "s3://b/x", "missing: AWS_SECRET_ACCESS_KEY"),
        ({"AWS_PROFILE": "nobody"}, "s3://b/x", r"profile \(nobody\) could not be found"),
        ({"AWS_ENDPOINT_URL": "127.0.0.1:80"}, "s3://b/x", "Invalid endpoint: 127.0.0.1:80"),
        ({}, "nonsense://b/x", "Protocol not known: nonsense"),
    ],
)  # fmt: skip
def test_a_users_mistake_is_said_at_once(s3, monkeypatch, settings, url, message):
    for name, value in settings.items():
        monkeypatch.delenv(name) if value is None else monkeypatch.setenv(name, value)
    with pytest.raises(CollectionError, match=f"^{url}: .*{message}"):
        RemotePath(url).sizes()
    assert len(s3.requests) <= 2


@pytest.mark.parametrize(("url", "package"), [("s3://b/x", "s3fs"), ("s3://b/x", "fsspec"),
                                              ("gs://b/x", "gcsfs")])  # fmt: skip
def test_a_missing_package_is_named_with_the_command(monkeypatch, url, package):
    importlib.import_module("fsspec")
    registry = sys.modules["fsspec.registry"]
    monkeypatch.delitem(registry._registry, url.partition(":")[0], raising=False)
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(CollectionError, match=rf"^{url}: .*{package}.*pip install .*\[remote") as e:
        RemotePath(url).sizes()
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
sys.exit(int(sys.argv[2]))
"""


@pytest.mark.slow
@pytest.mark.parametrize("code", [0, 3])
def test_tensorflow_reads_them_too_and_leaves_in_peace(objects, code):
    done = subprocess.run(
        [sys.executable, "-c", GFILE, str(objects), str(code)],
        capture_output=True, text=True, check=False, env=os.environ,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (code, "['a.bin']\n500\n500\n"), done.stderr
    assert "pure virtual" not in done.stderr
