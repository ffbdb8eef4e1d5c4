"""The official files: counts in print, and facts about the datasets that were found without us."""

import csv
import gzip
from collections import Counter

import pytest

from playlist_pretrain.tasks import SPLITS, TaskSettings, read_task
from playlist_pretrain.tasks.magnatagatune import TOP_50

pytestmark = pytest.mark.slow
JAMENDO = {
    "jamendo-genre": ("genre", 87, (32_572, 11_043, 11_479)),
    "jamendo-instrument": ("instrument", 40, (14_395, 5_466, 5_115)),
    "jamendo-mood": ("moodtheme", 56, (9_949, 3_802, 4_231)),
    "jamendo-top50": ("top50tags", 50, (32_136, 10_888, 11_356)),
}
MTAT = {"mtg": (18_706, 1_825, 5_329), "jongpil": (15_244, 1_529, 4_332)}


def lengths(task):
    return tuple(len(task.splits()[name]) for name in SPLITS)


@pytest.mark.parametrize("name", JAMENDO)
def test_jamendo_split_0(shared_data, name):
    folder = shared_data("jamendo")
    files, classes, tracks = JAMENDO[name]
    task = read_task(TaskSettings(task=name, splits=str(folder)))
    assert task.name == f"{name} split 0"
    assert lengths(task) == tracks and len(task.classes) == classes
    positives = Counter()
    for split in SPLITS:
        text = (folder / f"autotagging_{files}-{split}.tsv").read_bytes().decode()
        rows = [line.split("\t") for line in text.split("\r\n")[1:-1]]
        assert task.splits()[split].track_ids == tuple(row[3][:-4] for row in rows)
        positives.update((split, tag) for row in rows for tag in row[5:])
    for split in SPLITS:
        found = task.splits()[split].targets.sum(axis=0)
        assert found.tolist() == [positives[split, tag] for tag in task.classes]


@pytest.mark.parametrize("protocol", MTAT)
def test_mtat(shared_data, protocol):
    settings = TaskSettings("mtat", splits=str(shared_data("mtat")), protocol=protocol)
    task = read_task(settings)
    assert task.name == f"mtat {protocol}" and lengths(task) == MTAT[protocol]
    listed = (shared_data("mtat") / "top50_tags.txt").read_text().split("\n")
    assert task.classes == TOP_50 == tuple(filter(None, listed))
    with gzip.open(shared_data("mtat") / "annotations_final.csv.gz", "rt", newline="") as stream:
        rows = list(csv.DictReader(stream, delimiter="\t"))
    tags_of = {row["mp3_path"][:-4]: [row[tag] == "1" for tag in TOP_50] for row in rows}
    assert len(tags_of) == 25_863
    for split, signs in zip(SPLITS, ("0123456789ab", "c", "def"), strict=True):
        found = task.splits()[split]
        assert {track_id[0] for track_id in found.track_ids} == set(signs)
        assert [tags_of[track_id] for track_id in found.track_ids] == found.targets.tolist()
        if protocol == "jongpil":
            name = split.replace("validation", "valid")
            listed = (shared_data("mtat") / f"jongpil-{name}.txt").read_text().split()
            assert {f"{track_id}.mp3" for track_id in found.track_ids} == set(listed)
