"""One array out of a file or a tar file, and all that may be wrong with it."""

import io
import os
import pickle

import mel_files
import numpy as np
import pytest

from playlist_pretrain.errors import MelError
from playlist_pretrain.records import mel_files as array
from playlist_pretrain.records.mel_files import file_of, place_in_archive, read_array


@pytest.mark.parametrize("dtype", ["<f4", ">f4", "<f2", "<f8"])
@pytest.mark.parametrize("order", ["C", "F"])
def test_files_and_members_give_what_was_saved(tmp_path, rng, dtype, order):
    values = np.asarray(rng.normal(size=(5, 7)), dtype, order=order)
    content = mel_files.npy(values)
    (tmp_path / "a.npy").write_bytes(content)
    (tmp_path / "a.tar").write_bytes(b"x" * 99 + content + b"y" * 50)
    place = place_in_archive(str(tmp_path / "a.tar"), 99, len(content), "in/a.npy")
    for given in (str(tmp_path / "a.npy"), place):
        np.testing.assert_array_equal(read_array(given), values)
    assert file_of(place) == str(tmp_path / "a.tar")
    assert file_of("x/y.npy") == "x/y.npy"


class Bomb:
    def __reduce__(self):
        return os.mkdir, ("unpickled",)


def objects():
    stream = io.BytesIO(mel_files.header((2, 2), "|O"))
    stream.seek(0, io.SEEK_END)
    pickle.dump(Bomb(), stream)
    return stream.getvalue()


WHOLE = mel_files.npy(np.ones((3, 4), np.float32))
BAD = {
    "objects": (objects(), "object, not of floating"),
    "whole numbers": (mel_files.npy(np.ones((3, 4), np.int16)), "int16, not of floating"),
    "one axis": (mel_files.npy(np.ones(4)), "shape (4,), not of two"),
    "no frames": (mel_files.npy(np.ones((48, 0))), "(48, 0), which holds nothing"),
    "nothing": (b"", "no .npy file"),
    "not npy": (b"PK\x03\x04" + bytes(100), "no .npy file"),
    "cut off": (WHOLE[:-5], "states 48 bytes of shape (3, 4), 43 are there"),
    "cut header": (WHOLE[:40], "no .npy file"),
    "a million million": (mel_files.header((10**6, 10**6)), "states 4,000,000,000,000 bytes"),
    "beyond 64 bits": (mel_files.header((10**30, 10**30)), "0 are there"),
    "code": (WHOLE.replace(b"(3, 4)", b"f(3,4)"), "no .npy file"),
    "deep": (WHOLE[:8] + b"\xe8\x23" + b"(" * 9192, "no .npy file"),
    "version 3": (WHOLE[:6] + b"\x03" + WHOLE[7:], "no .npy file"),
    "long header": (b"\x93NUMPY\x02\x00" + (20_000).to_bytes(4, "little") + b" " * 20_000, "no .n"),
}


@pytest.mark.parametrize("case", list(BAD))
def test_what_is_no_mel_is_refused(tmp_path, monkeypatch, case):
    monkeypatch.chdir(tmp_path)
    content, message = BAD[case]
    (tmp_path / "a.npy").write_bytes(content)
    with pytest.raises(MelError) as caught:
        read_array("a.npy")
    assert message in str(caught.value) and "\n" not in str(caught.value)
    assert not (tmp_path / "unpickled").exists()


def test_what_is_no_file_is_refused(tmp_path, monkeypatch):
    os.mkfifo(tmp_path / "pipe.npy")
    for path in (tmp_path / "pipe.npy", tmp_path):
        with pytest.raises(MelError, match="not a file"):
            read_array(str(path))
    with pytest.raises(MelError, match="cannot be read: No such file"):
        read_array(str(tmp_path / "gone.npy"))
    (tmp_path / "a.tar").write_bytes(WHOLE)
    with pytest.raises(MelError, match=r"176 of 999 bytes"):
        read_array(place_in_archive(str(tmp_path / "a.tar"), 0, 999, "m"))
    monkeypatch.setattr(array, "LARGEST", 100)
    with pytest.raises(MelError, match="more than 100 is not read"):
        read_array(str(tmp_path / "a.tar"))
