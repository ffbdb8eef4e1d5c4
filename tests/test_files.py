"""Files are whole or not there; locks hold; keys tell contents apart."""

import csv
import errno
import io
import json
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
from processes import Stop

from playlist_pretrain import files
from playlist_pretrain.delimited import read_columns
from playlist_pretrain.errors import CollectionError, PlaylistPretrainError, RunError
from playlist_pretrain.files import (
    TableWriter,
    atomic_write,
    folder_lock,
    half_there,
    load_arrays,
    load_json,
    parse_json,
    plain_cell,
    read_arrays,
    temporary_folder,
    together,
    whole,
    write_arrays,
    write_json,
)


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


def test_what_a_killed_process_left_is_written_anew(tmp_path):
    (tmp_path / ".a.bin.tmp").write_bytes(b"x" * 1000)
    with atomic_write(tmp_path / "a.bin") as stream:
        stream.write(b"new")
    assert os.listdir(tmp_path) == ["a.bin"]
    assert (tmp_path / "a.bin").read_bytes() == b"new"


@pytest.mark.parametrize("locks", [True, False])
def test_of_several_that_write_the_same_file_the_last_wins(tmp_path, monkeypatch, locks):
    def no_locks(descriptor, flags):
        raise OSError(errno.ENOLCK, "No locks available")

    if not locks:
        monkeypatch.setattr(files.fcntl, "flock", no_locks)
    path = tmp_path / "a.bin"
    with atomic_write(path) as first:
        first.write(b"one" * 9)
        with atomic_write(path) as second, atomic_write(tmp_path / "b.bin"):
            second.write(b"two")
        assert path.read_bytes() == b"two"
        first.write(b"!")
    assert path.read_bytes() == b"one" * 9 + b"!"
    assert sorted(os.listdir(tmp_path)) == ["a.bin", "b.bin"]


def test_a_link_is_not_written_through(tmp_path):
    (tmp_path / "other").write_bytes(b"kept")
    (tmp_path / ".a.bin.tmp").symlink_to("other")
    with pytest.raises(OSError, match="symbolic"), atomic_write(tmp_path / "a.bin"):
        pass
    assert (tmp_path / "other").read_bytes() == b"kept"


def test_temporary_files_lie_in_one_folder_and_those_of_the_killed_go(tmp_path, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", None)
    (tmp_path / "another").mkdir()
    with temporary_folder():
        (living,) = tmp_path.glob("playlist_pretrain-*")
        assert Path(tempfile.mkdtemp()).parent == living
        left = tmp_path / "playlist_pretrain-left"
        (left / "x").mkdir(parents=True)
        program = (
            "import tempfile\\n"
            "from playlist_pretrain.files import temporary_folder\\n"
            "with temporary_folder(): print(tempfile.gettempdir())"
        ).replace("\\n", "\n")
        done = subprocess.run(
            [sys.executable, "-c", program], capture_output=True, text=True, check=True
        )
        # That of a process started here is beside its parent's, which may end before.
        own = Path(done.stdout.strip())
        assert own.parent == tmp_path and own != living and not own.exists()
        assert living.exists() and not left.exists()
    assert os.listdir(tmp_path) == ["another"]
    assert os.environ["TMPDIR"] == tempfile.gettempdir() == str(tmp_path)


def test_what_belongs_together_can_be_asked_for_again_when_half_of_it_is_there(tmp_path):
    paths = [tmp_path / "new" / name for name in ("a", "b")]

    def write(count, about=1):
        with together(paths, about):
            for path in paths[:count]:
                path.write_text("x")
            if count < 2:
                raise Stop

    with pytest.raises(Stop):
        write(0)
    assert os.listdir(tmp_path) == []
    assert not half_there(paths)
    with pytest.raises(Stop):
        write(1)
    assert half_there(paths) and half_there(paths, 1)
    assert not half_there(paths, 2) and not half_there(paths[::-1]) and not half_there(paths[:1])
    write(2)
    assert sorted(os.listdir(tmp_path / "new")) == ["a", "b"] and not half_there(paths)


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


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "not JSON: Expecting value"),
        ("[" * 100_000, "not JSON"),
        ('{"a":' * 100_000, "not JSON"),
        ('{"a":' + "[" * 65 + "]" * 65 + "}", "nested too deeply"),
        ('{"a":' * 65 + "1" + "}" * 65, "nested too deeply"),
        ('{"a": NaN}', "not finite: nan"),
        ('{"a": [1, -Infinity]}', "not finite: -inf"),
        ('{"a": 1e999}', "not finite: inf"),
        ('{"a": ' + "1" * 5000 + "}", "not JSON: Exceeds the limit"),
        ("[]", "it holds a list, not an object"),
        ("3", "it holds a value, not an object"),
        (b"\xff{}", "not JSON: 'utf-8' codec"),
    ],
    ids=lambda value: str(value)[:20],
)
def test_json_that_is_refused(tmp_path, text, message):
    text = text.encode() if isinstance(text, str) else text
    with pytest.raises(ValueError, match=message):
        parse_json(text)
    path = tmp_path / "a.json"
    path.write_bytes(text)
    with pytest.raises(RunError) as caught, whole(path, "summary", RunError, "; mend it"):
        load_json(path)
    assert str(caught.value).startswith(f"{path}: not a whole summary (")
    assert str(caught.value).endswith("; mend it")


def test_json_that_is_read(tmp_path):
    inner = []
    for _ in range(62):
        inner = [inner]
    content = {"a": inner, "b": [0.1, -3, None, "\udcff"], "c": {}}
    write_json(tmp_path / "a.json", content)
    assert load_json(tmp_path / "a.json") == content
    assert parse_json("[1]", list) == [1]


def test_a_pipe_and_a_file_that_is_too_large_are_not_read(tmp_path, monkeypatch):
    os.mkfifo(tmp_path / "pipe.json")  # whose reading would wait for ever
    with (
        pytest.raises(RunError, match=r"pipe\.json: cannot be read: not a file"),
        whole(tmp_path / "pipe.json", "summary", RunError),
    ):
        load_json(tmp_path / "pipe.json")
    monkeypatch.setattr(files.read_whole, "__defaults__", (10,))
    (tmp_path / "large.json").write_text('{"a": 12345}')
    with pytest.raises(ValueError, match="larger than 10 bytes"):
        load_json(tmp_path / "large.json")


def npz(change=lambda info: None, **arrays):
    """An archive whose members ``change`` may change before they are written."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for name, array in arrays.items():
            member = io.BytesIO()
            np.save(member, array)
            info = zipfile.ZipInfo(f"{name}.npy")
            change(info)
            archive.writestr(info, member.getvalue())
    return bytearray(stream.getvalue())


def deflated(info):
    info.compress_type = zipfile.ZIP_DEFLATED


def of_unknown_kind(content):
    """The same archive with a member that is compressed as nobody does."""
    for signature, at in ((b"PK\x03\x04", 8), (b"PK\x01\x02", 10)):
        place = content.index(signature) + at
        content[place : place + 2] = b"\x63\x00"
    return content


def overlapping(content, times=50):
    """An archive with many names for the same bytes."""
    start = content.index(b"PK\x01\x02")
    entry, end = content[start : content.index(b"PK\x05\x06")], bytearray(content[-22:])
    end[8:12] = times.to_bytes(2, "little") * 2
    end[12:16] = (len(entry) * times).to_bytes(4, "little")
    entries = b"".join(entry.replace(b"a.npy", b"%c.npy" % (97 + i)) for i in range(times))
    return content[:start] + entries + end


def claiming():
    """An archive with an array of terabytes in some bytes."""
    member, stream = io.BytesIO(), io.BytesIO()
    header = {"descr": "<f8", "fortran_order": False, "shape": (1 << 40,)}
    np.lib.format.write_array_header_1_0(member, header)
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("a.npy", member.getvalue() + bytes(80))
    return stream.getvalue()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (npz(deflated, a=np.zeros(4)), "compressed entries"),
        (of_unknown_kind(npz(a=np.zeros(4))), "compressed entries"),
        (overlapping(npz(a=np.zeros(400))), "larger than the file|not a whole"),
        (claiming(), "not a whole"),
        (npz(a=np.zeros(4))[:-30], "not a whole"),
        (npz(a=np.array([{}])), "Object arrays cannot be loaded"),
        (b"", "not a whole"),
        (npz(header=np.frombuffer(b"[" * 99_999, np.uint8)), "nested too deeply"),
        (npz(header=np.frombuffer(b"[]", np.uint8)), "it holds a list, not an object"),
        (npz(header=np.frombuffer(b"{}", np.uint8)), "not format 1"),
        (npz(a=np.zeros(4)), "no 'header'"),
    ],
    ids=lambda value: None if isinstance(value, str) else "",
)
def test_archives_that_are_refused(tmp_path, content, message):
    path = tmp_path / "a.npz"
    path.write_bytes(content)
    with pytest.raises(RunError, match=message) as caught, whole(path, "table", RunError):
        read_arrays(path, 1)
    assert str(caught.value).startswith(f"{path}: not a whole table (")


def test_archives_that_are_read(tmp_path):
    path = tmp_path / "a.npz"
    write_arrays(path, {"format": 1, "x": "é"}, a=np.arange(3), b=np.zeros((2, 0)))
    header, arrays = read_arrays(path, 1)
    assert header == {"format": 1, "x": "é"} and list(arrays) == ["a", "b"]
    assert arrays["a"].tolist() == [0, 1, 2] and arrays["b"].shape == (2, 0)
    assert list(load_arrays(path.read_bytes(), ["b", "c"])) == ["b"]
    content = path.read_bytes()
    write_arrays(path, {"format": 1, "x": "é"}, a=np.arange(3), b=np.zeros((2, 0)))
    assert path.read_bytes() == content


FULL = """
import resource
import numpy as np
from playlist_pretrain.files import atomic_write, write_arrays
def text():
    with atomic_write("a", "w") as stream:
        stream.write("x" * 90_000)
def arrays():
    write_arrays("a", {"format": 1}, a=np.zeros(9_000), b=np.zeros(9_000))
resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
for write in text, arrays:
    try:
        write()
    except OSError as error:
        print(error.strerror, error.filename)
"""


def test_a_full_disk_is_told_with_the_file_and_leaves_nothing_open(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", FULL], capture_output=True, text=True, check=True,
        cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(Path(files.__file__).parents[1])},
    )  # fmt: skip
    assert done.stdout.splitlines() == ["File too large a"] * 2
    assert done.stderr == "" and not list(tmp_path.iterdir())


def test_errors_of_writing_name_the_file_and_no_hidden_one(tmp_path, monkeypatch):
    path = tmp_path / "a.txt"
    with pytest.raises(OSError, match="full") as caught, atomic_write(path):
        raise OSError(28, "full")
    assert caught.value.filename == str(path)
    with pytest.raises(OSError, match="written") as caught, atomic_write(path):
        raise OSError("5 requested and 3 written")
    assert caught.value.strerror == "5 requested and 3 written; is the disk full?"
    with pytest.raises(OSError, match="gone") as caught, atomic_write(path):
        raise OSError(2, "gone", "another")
    assert caught.value.filename == "another"
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="file") as caught:
        write_json(tmp_path / "file" / "a.json", {})
    assert "tmp" not in Path(caught.value.filename).name


CELLS = [
    "=1+1", "+a", "-a", "@a", "\t=1", "\r=1", "\n=1", "'=1", "''=1", "-", "+", "=", "'", "'a", "a",
    "-5", "+5", "-5e-3", "-inf", "-1+1", "- 1", "", " =1", "-\u0665", "1-1",
]  # fmt: skip


def test_no_cell_is_run_by_a_spreadsheet_and_all_are_read_as_they_were(tmp_path):
    for delimiter, quoted in ((",", False), (",", True), ("\t", False)):
        path = tmp_path / "a.csv"
        with atomic_write(path, "w") as stream:
            table = TableWriter(stream, delimiter, quote_text=quoted)
            table.writerow(["=name", "n"])
            table.writerows([cell, -0.5] for cell in CELLS)
        with open(path, encoding="utf-8", newline="") as stream:
            header, *rows = csv.reader(stream, delimiter=delimiter)
        assert header == ["'=name", "n"]
        for cell, (written, number) in zip(CELLS, rows, strict=True):
            number_like = cell in ("-5", "+5", "-5e-3")
            assert number_like or not written.startswith(tuple("=+-@\t\r\n")), cell
            assert plain_cell(written) == cell and number == "-0.5"
        found = list(read_columns(path, ["=name", "n"], blank={"=name"}))
        assert [cells for _, cells in found] == [(cell, "-0.5") for cell in CELLS]
