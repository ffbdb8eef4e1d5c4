"""Archives: names that lead outside, bombs, passwords, damage."""

import gzip
import io
import os
import zipfile

import pytest

from playlist_pretrain.errors import TableError
from playlist_pretrain.playlists.readers import source as module
from playlist_pretrain.playlists.readers.source import sources_in


def everything(path):
    return True


def write_zip(path, *members):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members:
            archive.writestr(name, content)
    return path


@pytest.mark.parametrize(
    "name", ["../x.json", "a/../../x.json", "/etc/x.json", "C:\\x.json", "..\\x.json", "."]
)
def test_names_outside_of_a_zip_file_are_refused(tmp_path, name):
    path = write_zip(tmp_path / "z.zip", ("fine.json", "{}"), (name, "{}"))
    with pytest.raises(TableError, match=r"z\.zip: member .* has a name outside"):
        sources_in(path, everything)


def test_a_member_that_is_there_twice_is_refused(tmp_path):
    with pytest.warns(UserWarning, match="Duplicate"):
        path = write_zip(tmp_path / "z.zip", ("a.json", "1"), ("a.json", "2"))
    with pytest.raises(TableError, match=r"'a\.json' is there twice"):
        sources_in(path, everything)


def test_a_password_is_said_to_be_wanted(tmp_path):
    path = write_zip(tmp_path / "z.zip", ("a.json", "1"))
    data = bytearray(path.read_bytes())
    data[6] |= 1
    data[data.index(b"PK\x01\x02") + 8] |= 1
    path.write_bytes(data)
    with pytest.raises(TableError, match="wants a password"):
        sources_in(path, everything)


def test_a_damaged_zip_file_is_read_or_gives_one_message(tmp_path):
    path = write_zip(tmp_path / "z.zip", ("a/b.json", "x" * 300), ("c.json", "y"))
    whole = path.read_bytes()
    cut = [whole[:size] for size in range(4, len(whole), 5)]
    turned = [whole[:k] + bytes([whole[k] ^ 1 << 5]) + whole[k + 1 :] for k in range(len(whole))]
    for content in cut + turned:
        path.write_bytes(content)
        try:
            for source in sources_in(path, everything):
                source.read()
            assert content in turned
        except TableError as error:
            assert str(path) in str(error) and str(error).isprintable()


def bomb(size):
    packed = io.BytesIO()
    with gzip.GzipFile(fileobj=packed, mode="wb") as stream:
        for _ in range(size >> 20):
            stream.write(b"\n" * (1 << 20))
    return packed.getvalue()


@pytest.mark.parametrize("kind", ["gzip", "zip", "gzip in zip"])
def test_bombs_are_left_after_a_bounded_amount(tmp_path, monkeypatch, kind):
    monkeypatch.setattr(module, "FREELY", 1 << 20)
    path = tmp_path / ("x.gz" if kind == "gzip" else "x.zip")
    if kind == "gzip":
        path.write_bytes(bomb(64 << 20))
    else:
        inner = ("a.gz", bomb(64 << 20)) if "gzip" in kind else ("a", b"\n" * (64 << 20))
        write_zip(path, inner)
    (source,) = sources_in(path, everything)
    read = 0
    with pytest.raises(TableError, match="expands to more than 200 times"), source.open() as stream:
        while chunk := stream.read(1 << 16):
            read += len(chunk)
    assert read < 201 * source.size + (4 << 20)


def test_folders_are_searched_in_order_without_hidden_files(tmp_path):
    for name in ("b/2.x", "a/1.x.gz", "a/.hidden.x", ".git/c.x", "c.y", "__MACOSX/d.x"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(gzip.compress(b"1") if name.endswith("gz") else b"1")
    found = sources_in(tmp_path, lambda path: path.suffix == ".x")
    assert [str(source.path) for source in found] == ["a/1.x", "b/2.x"]
    assert [source.read() for source in found] == [b"1", b"1"]
    assert found[0].file is None and found[1].file == tmp_path / "b/2.x"


def test_links_are_followed_and_those_that_lead_nowhere_are_named(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "1.x").write_bytes(b"1")
    (tmp_path / "a" / "b").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "a" / "round").symlink_to(tmp_path / "a")
    found = sources_in(tmp_path / "a", everything)
    assert [str(source.path) for source in found] == ["b/1.x"]
    (tmp_path / "a" / "2.x").symlink_to(tmp_path / "gone")
    (tmp_path / "a" / "3.x").symlink_to(tmp_path / "a" / "3.x")
    os.mkfifo(tmp_path / "a" / "4.x")
    sources = sources_in(tmp_path / "a", everything)
    messages = ("2.x: cannot be read: No such file", "3.x: cannot be read: Too many", "4.x: not a")
    for source, message in zip(sources, messages, strict=False):
        with pytest.raises(TableError, match=message):
            source.read()
    with pytest.raises(TableError, match="neither a file nor a folder"):
        sources_in(tmp_path / "a" / "4.x", everything)
