"""Mels in files and tar files: what a folder holds, in which order, and what may be wrong."""

import io
import os
import pickle
import tarfile

import mel_files
import numpy as np
import pytest

from playlist_pretrain.errors import MelError
from playlist_pretrain.records import mel_files as files
from playlist_pretrain.records.mel_files import file_of, find_mels, place_in_archive, read_array


@pytest.mark.parametrize(("dtype", "order"), [(">f4", "C"), ("<f2", "F"), ("<f8", "C")])
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
    "no frames": (mel_files.npy(np.ones((48, 0))), "(48, 0), which holds nothing"),
    "nothing": (b"", "no .npy file"),
    "cut off": (WHOLE[:-5], "states 48 bytes of shape (3, 4), 43 are there"),
    "cut header": (WHOLE[:40], "no .npy file"),
    "a million million": (mel_files.header((10**6, 10**6)), "states 4,000,000,000,000 bytes"),
    "beyond 64 bits": (mel_files.header((10**30, 10**30)), "0 are there"),
    "code": (WHOLE.replace(b"(3, 4)", b"f(3,4)"), "no .npy file"),
    "deep": (WHOLE[:8] + b"\xe8\x23" + b"(" * 9192, "no .npy file"),
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
    monkeypatch.setattr(files, "LARGEST", 100)
    with pytest.raises(MelError, match="more than 100 is not read"):
        read_array(str(tmp_path / "a.tar"))


ONE = mel_files.npy(mel_files.mel(1, frames=3))


def paths(found):
    return [file.name for file in found.files]


def test_files_by_number_then_tar_files_by_number_as_they_lie(tmp_path):
    for name in ("10/10000.npy", "9/9001.npy", "9/cover.jpg", ".hidden/1.npy", "9/._9001.npy"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(ONE)
    mel_files.write_tar(tmp_path / "b_10.tar", [("4/4000.npy", ONE), ("./3/3000.npy", ONE)])
    mel_files.write_tar(
        tmp_path / "b_2.tar", [("5/5000.npy", ONE), ("readme", b""), (".x.npy", b"")]
    )
    found = find_mels(tmp_path)
    assert paths(found) == [
        "9/9001.npy", "10/10000.npy", "5/5000.npy", "4/4000.npy", "3/3000.npy",
    ]  # fmt: skip
    assert (found.other_files.total(), found.notes) == (2, [])
    for file in found.files:
        assert read_array(str(tmp_path / file.source)).shape == (48, 3)
    only = find_mels(tmp_path / "b_2.tar")
    assert (only.folder, paths(only)) == (tmp_path, ["5/5000.npy"])


def special(name, kind, target=""):
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return name, info


def test_members_that_are_no_files_or_lead_out_are_noted(tmp_path):
    members = [
        ("0/1.npy", ONE),
        ("../0/2.npy", ONE),
        ("/0/3.npy", ONE),
        ("0/../../4.npy", ONE),
        special("0/5.npy", tarfile.SYMTYPE, "/etc/passwd"),
        special("0/6.npy", tarfile.LNKTYPE, "0/1.npy"),
        special("0/7.npy", tarfile.CHRTYPE),
        special("0/8.npy", tarfile.FIFOTYPE),
        special("0", tarfile.DIRTYPE),
        ("l/" * 200 + "9.npy", ONE),
    ]
    mel_files.write_tar(tmp_path / "a.tar", members)
    found = find_mels(tmp_path)
    assert paths(found) == ["0/1.npy", "l/" * 200 + "9.npy"]
    noted = [note.track_id for note in found.notes if note.status == "unreadable"]
    assert noted == [
        "../0/2.npy", "/0/3.npy", "0/../../4.npy", "0/5.npy", "0/6.npy", "0/7.npy", "0/8.npy",
    ]  # fmt: skip
    assert "leads out" in found.notes[1].reason and "a link" in found.notes[3].reason
    assert sorted(os.listdir(tmp_path)) == ["a.tar"]


def negative_size(content):
    block = bytearray(content[:512])
    block[124:136] = b"\xff" * 12
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    return content[:1024] + bytes(block) + content[512:]


MEMBER = 512 + -(-len(ONE) // 512) * 512
CUTS = {
    "in a member": lambda content: content[: MEMBER + 700],
    "in a header": lambda content: content[: MEMBER + 100],
    "between members": lambda content: content[: 2 * MEMBER],
    "garbage": lambda content: content[:MEMBER] + b"garbage!" * 500,
    "negative size": lambda content: content[:MEMBER] + negative_size(content),
}


@pytest.mark.parametrize("case", list(CUTS))
def test_a_damaged_tar_file_stops_the_import_or_keeps_what_comes_before(tmp_path, case):
    mel_files.write_tar(tmp_path / "a.tar", [(f"0/{i}.npy", ONE) for i in range(3)])
    content = (tmp_path / "a.tar").read_bytes()
    (tmp_path / "a.tar").write_bytes(CUTS[case](content))
    with pytest.raises(MelError, match=r"a\.tar: damaged or cut off after '0/") as caught:
        find_mels(tmp_path)
    assert "--keep-going" in str(caught.value)
    found = find_mels(tmp_path, keep_going=True)
    assert paths(found)[0] == "0/0.npy"
    (note,) = found.notes
    assert (note.source, note.status) == ("a.tar", "unreadable")
    assert note.reason.startswith("damaged or cut off after") and str(tmp_path) not in note.reason


def test_a_name_of_gigabytes_is_not_read(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "_LONGEST_NAME", 1024)
    mel_files.write_tar(tmp_path / "a.tar", [("0/0.npy", ONE), ("n" * 5000 + ".npy", ONE)])
    with pytest.raises(MelError, match=r"after '0/0\.npy': a header of 5,120 bytes"):
        find_mels(tmp_path)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.tar", b"", "cut off after its beginning"),
        ("a.tar", b"\x1f\x8b" + bytes(600), "cut off after its beginning"),
        ("a.tar.gz", b"", "a.tar.gz: compressed; unpack"),
        ("x.tar:1+2:y.npy", ONE, "looks like a place in a tar file"),
        (
            "a.mp3",
            b"",
            "no .npy file below it or in a tar file there (1 file of another kind (1 .mp3))",
        ),
    ],
)
def test_what_cannot_be_looked_through(tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(MelError) as caught:
        find_mels(tmp_path)
    assert message in str(caught.value)
