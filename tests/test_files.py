"""Files are whole or not there; locks hold; keys tell contents apart."""

import json
import os

import pytest

from playlist_pretrain.errors import PlaylistPretrainError
from playlist_pretrain.files import atomic_write, content_key, folder_lock, write_json


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


def test_write_json_keeps_digits_and_refuses_nan(tmp_path):
    write_json(tmp_path / "a.json", {"x": 0.1 + 0.2, "y": "é"})
    assert json.loads((tmp_path / "a.json").read_text("utf-8")) == {"x": 0.1 + 0.2, "y": "é"}
    with pytest.raises(ValueError):
        write_json(tmp_path / "a.json", {"x": float("nan")})
    assert json.loads((tmp_path / "a.json").read_text("utf-8"))["y"] == "é"


def test_content_key_separates_parts():
    assert content_key(b"ab", b"c") != content_key(b"a", b"bc")
    assert content_key(b"ab") == content_key(b"ab")
    assert len(content_key()) == 32


def test_folder_lock_is_exclusive(tmp_path):
    with (
        folder_lock(tmp_path / "run", "it is used"),
        pytest.raises(PlaylistPretrainError, match="it is used already"),
        folder_lock(tmp_path / "run", "it is used"),
    ):
        pass
    with folder_lock(tmp_path / "run", "it is used"):
        pass
