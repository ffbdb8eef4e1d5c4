"""MTG-Jamendo: which folder is which split, and rows that are not of its format."""

import dataclasses

import pytest
from refusal import refused

from playlist_pretrain.errors import PlaylistPretrainError, TableError, TaskError
from playlist_pretrain.tasks import SPLITS, read_task

NAME = "jamendo-mood"
HEADER = b"TRACK_ID\tARTIST_ID\tALBUM_ID\tPATH\tDURATION\tTAGS\r\n"


@pytest.fixture
def settings(tmp_path, write_task):
    return write_task(NAME, tmp_path)[0]


def file_of(tmp_path, split):
    return tmp_path / "split-1" / f"autotagging_moodtheme-{split}.tsv"


@pytest.mark.parametrize("split", [-1, 5])
def test_there_are_five_splits(settings, split):
    refused(dataclasses.replace(settings, split=split), TaskError, f"--split {split}", "0 to 4")


def test_folders_of_splits(settings, tmp_path):
    """The folder of the split itself, of another one, and one that says of none."""
    inner = dataclasses.replace(settings, splits=str(tmp_path / "split-1"))
    assert read_task(inner).test.track_ids == read_task(settings).test.track_ids
    other = dataclasses.replace(inner, split=2)
    refused(other, TaskError, "--split 2", inner.splits, "split-2")
    (tmp_path / "split-1").rename(tmp_path / "flat")
    flat = dataclasses.replace(settings, splits=str(tmp_path / "flat"))
    refused(flat, TaskError, "--split 1")
    # Such files can only be of split 0, which these are not, as their counts tell.
    first = dataclasses.replace(flat, split=0)
    refused(first, TaskError, "moodtheme-train.tsv: 55 tracks", "9,949")


def test_low_bitrate_paths_are_of_the_same_tracks(settings, tmp_path):
    before = read_task(settings)
    assert before.endings == (".low",)
    for split in SPLITS:
        file = file_of(tmp_path, split)
        file.write_bytes(file.read_bytes().replace(b".mp3", b".low.mp3"))
    assert read_task(settings).train.track_ids == before.train.track_ids


LINE = ["track_0000041", "artist_9", "album_1", "41/41.mp3", "99.5", "mood/theme---class01"]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda cells: cells[:5], ["5 cells", "at least 6"]),
        (lambda cells: [*cells[:1], "", *cells[2:]], ["ARTIST_ID is empty"]),
        (lambda cells: [*cells[:3], "../../etc/passwd", *cells[4:]], ["PATH '../../etc/passwd'"]),
        (lambda cells: [*cells[:3], "٤١/41.mp3", *cells[4:]], ["PATH '٤١/41.mp3'"]),
        (lambda cells: [*cells[:5], "genre---rock"], ["tag 'genre---rock'", "mood/theme---…"]),
        (lambda cells: [*cells, ""], ["tag ''"]),
        (lambda cells: [*cells, cells[5]], ["'mood/theme---class01' is there twice"]),
        (lambda cells: [*cells[:5], "\x1b[2J" * 99], [r"tag '\x1b[2J"]),
    ],
)
def test_a_row_that_is_not_of_the_format(settings, tmp_path, change, words):
    file = file_of(tmp_path, "test")
    lines = file.read_bytes().split(b"\r\n")
    lines[6:6] = ["\t".join(change(LINE)).encode()]
    file.write_bytes(b"\r\n".join(lines))
    refused(settings, TableError, file, "line 7", *words)


@pytest.mark.parametrize(
    "header",
    [HEADER.replace(b"PATH", b"path"), HEADER.replace(b"\t", b",")],
)
def test_another_header(settings, tmp_path, header):
    file = file_of(tmp_path, "train")
    file.write_bytes(file.read_bytes().replace(HEADER, header))
    refused(settings, TableError, file, "line 1", "not the header")


def test_a_track_or_an_artist_in_two_splits(settings, tmp_path):
    first = file_of(tmp_path, "train").read_bytes().split(b"\r\n")[1]
    file = file_of(tmp_path, "test")
    content = file.read_bytes()
    file.write_bytes(content + first + b"\r\n")
    refused(settings, TaskError, f"{file}: line 57", "track '00/1000'", "train.tsv: line 2")
    file.write_bytes(content.replace(b"artist_000002", b"artist_000000", 1))
    refused(settings, TaskError, f"{file}: line 2", "artist 'artist_000000'", "train.tsv")


def test_a_class_too_many_or_too_few(settings, tmp_path):
    for split in SPLITS:
        file = file_of(tmp_path, split)
        file.write_bytes(file.read_bytes().replace(b"class05", b"class06"))
    refused(settings, TaskError, "moodtheme-*.tsv: 55 classes", "56")
    for split in SPLITS:
        file = file_of(tmp_path, split)
        text = file.read_bytes().replace(b"class06", b"class05", 1)
        file.write_bytes(text.replace(b"class08", b"another"))
    file.write_bytes(file.read_bytes().replace(b"another", b"class08"))
    refused(settings, TaskError, "moodtheme-*.tsv: 57 classes", "56")


@pytest.mark.parametrize("split", ["train", "test"])
def test_a_class_that_train_or_test_lacks(settings, tmp_path, split):
    file = file_of(tmp_path, split)
    lines = file.read_bytes().split(b"\r\n")
    file.write_bytes(b"\r\n".join(line for line in lines if b"class05" not in line))
    refused(settings, TaskError, "moodtheme-*.tsv", f"no track of {split}", "---class05'")


def test_cut_off_inside_a_line_it_is_never_taken(settings, tmp_path):
    file = file_of(tmp_path, "validation")
    whole = file.read_bytes()
    for size in range(len(HEADER) + 1, len(whole), 17):
        if whole[size - 1 : size] != b"\n":
            file.write_bytes(whole[:size])
            refused(settings, PlaylistPretrainError, file)
