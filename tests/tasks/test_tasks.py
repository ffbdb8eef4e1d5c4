"""Contract of every task."""

import dataclasses

import numpy as np
import pytest
from refusal import refused

from playlist_pretrain.errors import PlaylistPretrainError, TaskError
from playlist_pretrain.tasks import TASKS, TaskSettings, read_task

LARGE = pytest.param("mtat", marks=pytest.mark.slow)  # its 26,000 rows are read at every look


@pytest.fixture(params=[LARGE if name == "mtat" else name for name in TASKS])
def named(request):
    return request.param


@pytest.fixture
def example(named, tmp_path, write_task):
    """Settings that lead to an example, the tags in it, and its classes."""
    return write_task(named, tmp_path)


def test_every_setting_is_looked_at_by_some_task():
    looked_at = set().union(*(TASKS.get(name).options for name in TASKS))
    assert looked_at == {field.name for field in dataclasses.fields(TaskSettings)} - {"task"}


def test_reads_what_was_written(named, example):
    settings, expected, classes = example
    task = read_task(settings)
    assert list(task.classes) == classes
    for name, split in task.splits().items():
        found = {
            track_id: {classes[i] for i in np.flatnonzero(row)}
            for track_id, row in zip(split.track_ids, split.targets, strict=True)
        }
        assert found == expected[name]
    assert task.whole_tracks is True and bool(task.citation) == (named != "tags")
    assert f"{len(classes)} classes" in task.notes[0]


def test_settings_of_other_tasks_are_refused(named, example):
    settings, _, _ = example
    given = {"splits": "x", "split": 3, "protocol": "mtg", "tags": "x", "split_column": "fold",
             "split_seed": 7}  # fmt: skip
    for option in set(given) - TASKS.get(named).options:
        other = dataclasses.replace(settings, **{option: given[option]})
        refused(
            other, PlaylistPretrainError, f"--{option.replace('_', '-')} {given[option]}", named
        )


def test_an_unknown_task():
    with pytest.raises(TaskError, match=r"unknown task 'moods'; there are: jamendo-genre, .*tags"):
        read_task(TaskSettings(task="moods"))


def test_files_that_are_gone_no_files_or_empty_but_for_a_header(example, task_files):
    settings, _, _ = example
    for file in task_files(settings):
        content = file.read_bytes()
        file.unlink()
        refused(settings, PlaylistPretrainError, file.name)
        file.mkdir()
        refused(settings, PlaylistPretrainError, file, "not a file")
        file.rmdir()
        file.write_bytes(content.split(b"\n")[0] + b"\n")
        refused(settings, PlaylistPretrainError, file, "a header and no")
        file.write_bytes(content)


@pytest.mark.parametrize(
    "content",
    [
        b"", b"\n", b"\0" * 99, b"\xff\xfe\x00", b"a,b\n1,2\n", b'"', b"x" * (1 << 20),
        b"\x1f\x8b\x08\x00",
        "track_id\ttags\nü\té\n".encode("latin-1"), b"\t" * 500 + b"\n",
    ],
    ids=lambda content: repr(content[:9]),
)  # fmt: skip
def test_garbage_gives_one_message_with_the_file(example, task_files, content):
    settings, _, _ = example
    file = task_files(settings)[0]
    file.write_bytes(content)
    refused(settings, PlaylistPretrainError, file)


def test_lines_that_are_not_text_or_there_twice(example, task_files):
    settings, _, _ = example
    file = task_files(settings)[-1]
    head, first, rest = file.read_bytes().split(b"\n", 2)
    for broken in (b"\xff", b"\0"):
        file.write_bytes(b"\n".join([head, first, broken + rest]))
        refused(settings, PlaylistPretrainError, file, "line 3", "UTF-8")
    file.write_bytes(b"\n".join([head, first, first, rest]))
    refused(settings, PlaylistPretrainError, file, "line 3", "line 2")


def test_a_byte_order_mark_does_not_matter(example, task_files):
    settings, expected, _ = example
    for file in task_files(settings):
        file.write_bytes(b"\xef\xbb\xbf" + file.read_bytes())
    assert {n: len(s) for n, s in read_task(settings).splits().items()} == {
        name: len(tracks) for name, tracks in expected.items()
    }
