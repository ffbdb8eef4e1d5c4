"""MagnaTagATune: protocols, archives, and annotations that are not the official ones."""

import dataclasses
import gzip

import pytest

from playlist_pretrain.errors import PlaylistPretrainError, TableError, TaskError
from playlist_pretrain.tasks import SPLITS, read_task

CLIPS = 25_863


@pytest.fixture
def example(tmp_path, write_task):
    return write_task("mtat", tmp_path)


@pytest.fixture
def file(tmp_path):
    return tmp_path / "annotations_final.csv"


def change(file, line, old, new):
    """Replace in one line (1 is the header) and write the file again."""
    lines = file.read_bytes().splitlines(keepends=True)
    assert old in lines[line - 1]
    lines[line - 1] = lines[line - 1].replace(old, new, 1)
    file.write_bytes(b"".join(lines))


def refused(settings, kind, *words):
    with pytest.raises(kind) as caught:
        read_task(settings)
    text = str(caught.value)
    assert text.isprintable() and all(str(word) in text for word in words), text


def test_protocol_jongpil_leaves_out_clips_without_tags_and_short_ones(example):
    settings, expected, _ = example
    task = read_task(dataclasses.replace(settings, protocol="jongpil"))
    assert task.name == "mtat jongpil"
    for split in SPLITS:
        tagged = {track_id for track_id, tags in expected[split].items() if tags}
        short = {f"b/artist-album-{number}-0-29" for number in range(3)}
        assert set(task.splits()[split].track_ids) == tagged - short
    assert "clips without any of the 50 tags: 0" in task.notes


def test_an_unknown_protocol(example):
    settings, _, _ = example
    refused(
        dataclasses.replace(settings, protocol="mine"), TaskError, "--protocol mine", "mtg, jongpil"
    )


def test_a_gzipped_file_is_the_same(example, file):
    settings, _, _ = example
    before = read_task(settings)
    with gzip.open(f"{file}.gz", "wb", compresslevel=1) as packed:
        packed.write(file.read_bytes())
    file.unlink()
    after = read_task(settings)
    assert after.test.track_ids == before.test.track_ids
    assert (after.test.targets == before.test.targets).all()


def test_a_folder_without_the_file(example, tmp_path, file):
    settings, _, _ = example
    file.rename(tmp_path / "annotations.csv")
    refused(settings, TaskError, f"--splits {tmp_path}", "annotations_final.csv")


@pytest.mark.parametrize("value", [b'"2"', b'"01"', b'"yes"', b'"-1"', b'"1.0"'])
def test_a_flag_that_is_neither_0_nor_1(example, file, value):
    settings, _, _ = example
    change(file, 3, b'\t"0"', b"\t" + value)
    refused(settings, TableError, f"{file}: line 3", "column 'ambient'", value.decode().strip('"'))


@pytest.mark.parametrize("path", [b"g/a", b"a", b"", b"/a", b"0/../../etc/a", b"0\\a"])
def test_a_path_of_another_kind(example, file, path):
    settings, _, _ = example
    change(file, 2, b'"0/artist-album-0-0-29.mp3"', b'"' + path + b'.mp3"')
    refused(settings, TableError, f"{file}: line 2", "mp3_path")


def test_a_clip_that_is_there_twice(example, file):
    settings, _, _ = example
    change(file, 3, b'"2"', b'"1"')
    refused(settings, TableError, f"{file}: line 3", "clip_id '1' is in line 2")


def test_audio_that_is_there_twice(example, file):
    settings, _, _ = example
    change(file, 3, b"-1-0-29.mp3", b"-0-0-29.mp3")
    refused(settings, TableError, f"{file}: line 3", "mp3_path '0/artist-album-0-0-29.mp3'", "2 al")


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        (b'"clip_id"', b'"clip"', ["no column 'clip_id'"]),
        (b'"mp3_path"', b'"path"', ["no column 'mp3_path'"]),
        (b'"ambient"\t', b"", ["187 tags", "188"]),
        (b'"ambient"', b'"Ambient"', ["no column 'ambient'"]),
        (b'"ambient"', b'"beat"', ["more than one column 'beat'"]),
    ],
)
def test_another_header(example, file, old, new, words):
    settings, _, _ = example
    change(file, 1, old, new)
    refused(settings, PlaylistPretrainError, file, *words)


@pytest.mark.parametrize("lines", [2, 100, CLIPS])
def test_lines_that_are_missing(example, file, lines):
    settings, _, _ = example
    file.write_bytes(b"".join(file.read_bytes().splitlines(keepends=True)[:lines]))
    refused(settings, TaskError, f"{file}: {lines - 1:,} clips", "25,863")


@pytest.mark.parametrize("cut", [1, 2, 30, 300, 500])
def test_cut_off_inside_the_last_line(example, file, cut):
    settings, _, _ = example
    file.write_bytes(file.read_bytes()[: -1 - cut])
    refused(settings, TableError, f"{file}: line {CLIPS + 1}")


def test_a_clip_in_another_folder_changes_the_counts(example, file):
    settings, _, _ = example
    change(file, 2, b'"0/artist-album-0', b'"d/artist-album-0')
    refused(settings, TaskError, file, "18,705 clips for train", "mtg has 18,706")
    refused(
        dataclasses.replace(settings, protocol="jongpil"),
        TaskError, file, "15,243 clips for train", "jongpil has 15,244",
    )  # fmt: skip


def test_tags_that_are_not_the_most_frequent(example, file):
    settings, _, _ = example
    text = file.read_bytes()
    text = text.replace(b'"rare 007"', b'"x"').replace(b'"guitar"', b'"rare 007"')
    file.write_bytes(text.replace(b'"x"', b'"guitar"'))
    refused(settings, TaskError, file, "tag 'rare 007' has", "'guitar'", "official 50")
