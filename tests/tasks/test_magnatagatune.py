"""MagnaTagATune: protocols, archives, and annotations that are not the official ones."""

import dataclasses
import gzip

import pytest
from refusal import refused

from playlist_pretrain.errors import PlaylistPretrainError, TableError, TaskError
from playlist_pretrain.tasks import SPLITS, read_task

pytestmark = pytest.mark.slow
CLIPS = 25_863


@pytest.fixture
def example(tmp_path, write_task):
    return write_task("mtat", tmp_path)


@pytest.fixture
def file(tmp_path):
    return tmp_path / "annotations_final.csv"


def test_protocol_jongpil_leaves_out_clips_without_tags_and_short_ones(example):
    settings, expected, _ = example
    task = read_task(dataclasses.replace(settings, protocol="jongpil"))
    assert task.name == "mtat jongpil"
    for split in SPLITS:
        tagged = {track_id for track_id, tags in expected[split].items() if tags}
        short = {f"b/artist-album-{number}-0-29" for number in range(3)}
        assert set(task.splits()[split].track_ids) == tagged - short
    assert "clips without any of the 50 tags: 0" in task.notes
    other = dataclasses.replace(settings, protocol="mine")
    refused(other, TaskError, "--protocol mine", "mtg, jongpil")


def test_a_gzipped_file_is_the_same(example, file):
    settings, _, _ = example
    before = read_task(settings)
    with gzip.open(f"{file}.gz", "wb", compresslevel=1) as packed:
        packed.write(file.read_bytes())
    file.unlink()
    after = read_task(settings)
    assert after.test.track_ids == before.test.track_ids
    assert (after.test.targets == before.test.targets).all()
    file.with_name("annotations_final.csv.gz").unlink()
    refused(settings, TaskError, f"--splits {settings.splits}", "annotations_final.csv")


PATH = b'"0/artist-album-0-0-29.mp3"'


@pytest.mark.parametrize(
    ("line", "old", "new", "words"),
    [
        (1, b'"clip_id"', b'"clip"', ["no column 'clip_id'"]),
        (1, b'"ambient"\t', b"", ["187 tags", "188"]),
        (1, b'"ambient"', b'"beat"', ["more than one column 'beat'"]),
        (2, PATH, b'"0/../../etc/a.mp3"', ["line 2", "mp3_path"]),
        (2, PATH, b'".mp3"', ["line 2", "mp3_path"]),
        (2, PATH, b'"0\\a.mp3"', ["line 2", "mp3_path"]),
        (2, b'"0/artist-album-0', b'"d/artist-album-0', ["18,705 clips for train", "has 18,706"]),
        (3, b'\t"0"', b'\t"2"', ["line 3", "column 'ambient'", "2"]),
        (3, b'\t"0"', b'\t"01"', ["line 3", "column 'ambient'", "01"]),
        (3, b'"2"', b'"1"', ["line 3", "clip_id '1' is in line 2"]),
        (3, b"-1-0-29.mp3", b"-0-0-29.mp3", ["line 3", "'0/artist-album-0-0-29.mp3'", "2 al"]),
    ],
)
def test_annotations_that_are_not_the_official_ones(example, file, line, old, new, words):
    lines = file.read_bytes().splitlines(keepends=True)
    assert old in lines[line - 1]
    lines[line - 1] = lines[line - 1].replace(old, new, 1)
    file.write_bytes(b"".join(lines))
    refused(example[0], PlaylistPretrainError, file, *words)


@pytest.mark.parametrize("lines", [100, CLIPS])
def test_lines_that_are_missing(example, file, lines):
    file.write_bytes(b"".join(file.read_bytes().splitlines(keepends=True)[:lines]))
    refused(example[0], TaskError, f"{file}: {lines - 1:,} clips", "25,863")


@pytest.mark.parametrize("cut", [1, 300])
def test_cut_off_inside_the_last_line(example, file, cut):
    file.write_bytes(file.read_bytes()[: -1 - cut])
    refused(example[0], TableError, f"{file}: line {CLIPS + 1}")


def test_tags_that_are_not_the_most_frequent(example, file):
    text = file.read_bytes()
    text = text.replace(b'"rare 007"', b'"x"').replace(b'"guitar"', b'"rare 007"')
    file.write_bytes(text.replace(b'"x"', b'"guitar"'))
    refused(example[0], TaskError, file, "tag 'rare 007' has", "'guitar'", "official 50")
