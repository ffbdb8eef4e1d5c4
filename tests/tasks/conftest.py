"""An example of every task's files, written by hand and not by the readers."""

import functools
from pathlib import Path

import pytest

from playlist_pretrain.tasks import SPLITS, TaskSettings

JAMENDO = {
    "jamendo-genre": ("genre", ["genre"], 87),
    "jamendo-instrument": ("instrument", ["instrument"], 40),
    "jamendo-mood": ("moodtheme", ["mood/theme"], 56),
    "jamendo-top50": ("top50tags", ["genre", "instrument", "mood/theme"], 50),
}
HEADER = "TRACK_ID\tARTIST_ID\tALBUM_ID\tPATH\tDURATION\tTAGS\r\n"


def jamendo_line(number, artist, tags):
    where = f"{number % 100:02d}/{number}.mp3"
    cells = [f"track_{number:07d}", f"artist_{artist:06d}", "album_000001", where, "99.5", *tags]
    return "\t".join(cells) + "\r\n"


def jamendo(name, folder):
    """Split 1, in which a class has one track in each file, and some tracks have two classes."""
    files, categories, classes = JAMENDO[name]
    tags = [f"{categories[i % len(categories)]}---class{i:02d}" for i in range(classes)]
    inner = folder / "split-1"
    inner.mkdir()
    expected = {}
    for place, split in enumerate(SPLITS):
        rows = [tags[:2], *([tag] for tag in tags[2:])]
        lines, expected[split] = [HEADER], {}
        for number, mine in enumerate(rows, 1000 * (place + 1)):
            lines.append(jamendo_line(number, place, mine))
            expected[split][f"{number % 100:02d}/{number}"] = set(mine)
        file = inner / f"autotagging_{files}-{split}.tsv"
        file.write_text("".join(lines), encoding="utf-8", newline="")
    return TaskSettings(task=name, splits=str(folder), split=1), expected, sorted(tags)


NEVER_USED, SHORT = (35644, 55753, 57881), (29, 11268, 11269)


@functools.cache
def mtat_clips(top):
    """As many clips as the dataset has, made up: header, lines, (split or None, id, tags)."""
    tags = sorted([*top, *(f"rare {i:03d}" for i in range(138))])
    column = {tag: number for number, tag in enumerate(tags)}
    header = "\t".join(f'"{name}"' for name in ["clip_id", *tags, "mp3_path"]) + "\n"
    fresh = iter(n for n in range(1, 99_999) if n not in NEVER_USED + SHORT)
    lines, clips = [], []
    for split, sign, tagged, silent, clip_ids in (
        ("train", "0", 15_244, 18_706 - 15_244 - len(SHORT), fresh),
        ("validation", "c", 1_529, 1_825 - 1_529, fresh),
        ("test", "f", 4_332, 5_329 - 4_332, fresh),
        ("train", "b", len(SHORT), 0, iter(SHORT)),
        (None, "6", len(NEVER_USED), 0, iter(NEVER_USED)),
    ):
        for number in range(tagged + silent):
            mine = [top[-1 - number % len(top)]] if number < tagged else []
            others = [f"rare {number % 138:03d}"] if number % 2 else []
            cells = ['"0"'] * len(tags)
            for tag in mine + others:
                cells[column[tag]] = '"1"'
            path = f"{sign}/artist-album-{number}-0-29"
            lines.append(f'"{next(clip_ids)}"\t' + "\t".join(cells) + f'\t"{path}.mp3"\n')
            clips.append((split, path, set(mine)))
    return header, lines, clips


def mtat(name, folder):
    from playlist_pretrain.tasks.magnatagatune import TOP_50

    header, lines, clips = mtat_clips(TOP_50)
    (folder / "annotations_final.csv").write_text(header + "".join(lines), encoding="utf-8")
    expected = {split: {} for split in SPLITS}
    for split, path, tags in clips:
        if split:
            expected[split][path] = tags
    return TaskSettings(task=name, splits=str(folder)), expected, list(TOP_50)


def tags(name, folder):
    rows = [
        ("train", "a/1", "loud|ü b"), ("test", "b", "ü b"), ("train", "c", ""),
        ("validation", "d", "loud|slow"), ("test", "e", "loud|ü b"), ("train", "f", "slow"),
    ]  # fmt: skip
    text = "track_id\tsplit\ttags\n" + "".join(f"{t}\t{s}\t{g}\n" for s, t, g in rows)
    (folder / "tags.tsv").write_text(text, encoding="utf-8")
    expected = {split: {} for split in SPLITS}
    for split, track, cell in rows:
        expected[split][track] = set(filter(None, cell.split("|")))
    settings = TaskSettings(task=name, tags=str(folder / "tags.tsv"))
    return settings, expected, ["loud", "slow", "ü b"]


WRITERS = {**dict.fromkeys(JAMENDO, jamendo), "mtat": mtat, "tags": tags}


@pytest.fixture(scope="session")
def write_task():
    """Callable: (task, folder) → settings, tags of each track by split, classes."""
    return lambda name, folder: WRITERS[name](name, folder)


@pytest.fixture(scope="session")
def task_files():
    """Callable: settings → the files that they lead to."""

    def files(settings):
        if settings.tags:
            return [Path(settings.tags)]
        return sorted(path for path in Path(settings.splits).rglob("*.*") if path.is_file())

    return files


@pytest.fixture
def collection_of(tmp_path, make_collection):
    """Callable: make a collection of tracks ``{id: (frames, start, seconds of the source)}``.

    A bare number stands for that many frames that are all there is.
    """

    def make(tracks, name="mine", preset="vggish"):
        frames = [track if isinstance(track, int) else track[0] for track in tracks.values()]
        made = make_collection(tmp_path / name, frames, front_end=preset, ids=list(tracks))
        made.source_seconds = made.frames * made.front_end.hop_length / 16000
        for row, track in enumerate(tracks.values()):
            if not isinstance(track, int):
                _, made.start_seconds[row], made.source_seconds[row] = track
        return made

    return make
