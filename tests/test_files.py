"""Files are whole or not there; locks hold; keys tell contents apart."""

import json
import os
import shutil

import pytest

from playlist_pretrain import files
from playlist_pretrain.errors import CollectionError, PlaylistPretrainError
from playlist_pretrain.files import atomic_write, folder_lock, write_json


def test_atomic_write_replaces_whole_files(tmp_path):
    path = tmp_path / "new" / "a.txt"
    with atomic_write(path, "w") as stream:
        stream.write("größe\n")
    assert path.read_bytes() == "größe\n".encode()
    assert os.listdir(path.parent) == ["a.txt"]


def test_a_failure_keeps_what_was_there(tmp_path):
    path = tmp_path / "a.bin"
    path.write_bytes(b"before")
    with pytest.raises(RuntimeError), atomic_write(path) as stream:
        stream.write(b"half")
        raise RuntimeError
    assert path.read_bytes() == b"before"
    assert os.listdir(tmp_path) == ["a.bin"]


def test_data_are_synced_before_the_rename_unless_told_otherwise(tmp_path, monkeypatch):
    calls = []
    for name in ("fsync", "replace"):
        original = getattr(os, name)

        def call(*arguments, name=name, original=original):
            calls.append(name)
            return original(*arguments)

        monkeypatch.setattr(files.os, name, call)
    write_json(tmp_path / "a.json", [1])
    assert calls == ["fsync", "replace"]
    write_json(tmp_path / "a.json", [2], sync=False)
    assert calls == ["fsync", "replace", "replace"]
    assert json.loads((tmp_path / "a.json").read_text()) == [2]


def test_write_json_keeps_digits_and_refuses_nan(tmp_path):
    write_json(tmp_path / "a.json", {"x": 0.1 + 0.2, "y": "é"})
    assert json.loads((tmp_path / "a.json").read_text("utf-8")) == {"x": 0.1 + 0.2, "y": "é"}
    with pytest.raises(ValueError):
        write_json(tmp_path / "a.json", {"x": float("nan")})
    assert json.loads((tmp_path / "a.json").read_text("utf-8"))["y"] == "é"


def test_folder_lock_is_exclusive(tmp_path):
    with (
        folder_lock(tmp_path / "new" / "run", "it is used"),
        pytest.raises(PlaylistPretrainError, match="it is used already, by another process"),
        folder_lock(tmp_path / "new" / "run", "it is used"),
    ):
        pass
    with (
        folder_lock(tmp_path, "it is used"),
        folder_lock(tmp_path, "it is built", "lock", CollectionError),
        pytest.raises(CollectionError, match="it is built already"),
        folder_lock(tmp_path, "it is built", "lock", CollectionError),
    ):
        pass


def test_folder_lock_is_free_after_an_error_and_after_its_file_is_removed(tmp_path):
    with pytest.raises(RuntimeError), folder_lock(tmp_path / "run", "it is used"):
        raise RuntimeError
    with folder_lock(tmp_path / "run", "it is used"):
        shutil.rmtree(tmp_path / "run")
    with folder_lock(tmp_path / "run", "it is used"):
        assert (tmp_path / "run" / ".lock").exists()


@pytest.mark.parametrize("again", [False, True], ids=["removed", "removed and made anew"])
def test_a_lock_on_a_removed_file_does_not_count(tmp_path, monkeypatch, again):
    real = files.fcntl.flock

    def slow(stream, flags):
        shutil.rmtree(tmp_path / "run")
        if again:
            (tmp_path / "run").mkdir()
            (tmp_path / "run" / ".lock").touch()
        real(stream, flags)

    monkeypatch.setattr(files.fcntl, "flock", slow)
    refused = pytest.raises(PlaylistPretrainError, match="another process")
    with refused, folder_lock(tmp_path / "run", "it is used"):
        pytest.fail("got a lock that keeps nobody out")
