"""Tagged datasets: what a reader returns, and the rows of its tracks in a collection."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np

from playlist_pretrain.errors import TaskError
from playlist_pretrain.records.overview import equal_mels
from playlist_pretrain.records.schema import did_you_mean
from playlist_pretrain.records.windows import excerpt_frames, incomplete_excerpts

if TYPE_CHECKING:
    from playlist_pretrain.records.collection import Collection

SPLITS = ("train", "validation", "test")
TENTHS = {"train": 8, "validation": 1, "test": 1}
"""Shares of a random split."""
MOST_NAMED, EXAMPLES = 5, 3


@dataclass(frozen=True)
class TaskSettings:
    """Settings of a task; a setting that the task does not read is refused."""

    task: str = "tags"
    """task: jamendo-genre, jamendo-instrument, jamendo-mood, jamendo-top50, mtat, or tags for a
    table of your own"""
    splits: str | None = None
    """jamendo and mtat: folder of the dataset's official files"""
    split: int = 0
    """jamendo: which of the five official splits, 0 to 4"""
    protocol: str | None = None
    """mtat: mtg (all clips) or jongpil (tagged clips only); their figures do not compare [mtg]"""
    tags: str | None = None
    """tags: table with the columns track_id, tags (with | between them) and split [the tags.tsv of
    the collection]"""
    split_column: str = "split"
    """tags: column that says train, validation or test; a table without a column split is split at
    random, by artist where it has a column artist"""
    split_seed: int = 0
    """tags: seed of a random split"""


@dataclass(frozen=True)
class Split:
    """One of train, validation and test; track ids are those of the dataset."""

    track_ids: tuple[str, ...]
    targets: np.ndarray
    """Classes of each track, bool [tracks, classes]; a track may have none."""

    def __len__(self) -> int:
        return len(self.track_ids)


@dataclass(frozen=True)
class TaggingTask:
    """A tagged dataset with its protocol; no track is in two splits, and each has tracks."""

    name: str
    """With what tells it from others of its kind: ``jamendo-genre split 0``, ``mtat mtg``."""
    classes: tuple[str, ...]
    """In the order of the columns of all targets."""
    train: Split
    validation: Split
    test: Split
    whole_tracks: bool
    """Whether the protocol tests whole tracks, not excerpts."""
    notes: tuple[str, ...]
    """One line each, for the report: counts, and what a reader of the figures should know."""
    citation: str
    """Citation for a paper that gives figures; empty for a user's own table."""
    endings: tuple[str, ...] = ()
    """Endings of the ids in a collection made of other copies of the same audio."""

    def splits(self) -> dict[str, Split]:
        """The three splits by name."""
        return {name: getattr(self, name) for name in SPLITS}


class TaskReader(Protocol):
    """Interface of the readers of tasks."""

    name: str
    """Value of ``--task``."""
    description: str
    """One line: the dataset, and which files are read."""
    options: frozenset[str]
    """Fields of the settings that it reads."""

    def read(self, settings: TaskSettings) -> TaggingTask:
        """Read and check the dataset's files.

        Raises
        ------
        TableError
            For a file that cannot be read, or a row that is not of its format.
        TaskError
            For settings that the task does not have, and files that are not the official ones.
        """


def make_splits(
    tracks: Mapping[str, Mapping[str, Sequence[str]]], classes: Sequence[str]
) -> dict[str, Split]:
    """Make splits from the tags of each track, ``{split: {track id: tags}}``."""
    column = {name: number for number, name in enumerate(classes)}
    made = {}
    for split, tags_of in tracks.items():
        targets = np.zeros((len(tags_of), len(classes)), bool)
        for row, tags in enumerate(tags_of.values()):
            targets[row, [column[tag] for tag in tags]] = True
        targets.flags.writeable = False
        made[split] = Split(tuple(tags_of), targets)
    return made


def missing_classes(
    classes: Sequence[str], train: np.ndarray, test: np.ndarray
) -> dict[str, list[str]]:
    """List the classes without a track in train and in test, by the split's name.

    Targets are bool [tracks, classes].
    """
    return {
        split: [
            name for name, found in zip(classes, np.any(targets, axis=0), strict=True) if not found
        ]
        for split, targets in (("train", train), ("test", test))
    }


def check_positives(where: str, classes: Sequence[str], splits: Mapping[str, Split]) -> None:
    """Raise TaskError, beginning with ``where``, if a class is not in train or not in test."""
    missing = missing_classes(classes, splits["train"].targets, splits["test"].targets)
    for split, names in missing.items():
        if names:
            raise TaskError(f"{where}: no track of {split} has {named(names)}")


def counts_note(classes: Sequence[str], splits: Mapping[str, Split]) -> str:
    """Numbers of classes and tracks, for the report."""
    tracks = ", ".join(f"{name} {len(split):,}" for name, split in splits.items())
    return f"{len(classes)} classes; tracks: {tracks}"


def named(names: Sequence[str]) -> str:
    """The first few of ``names``, quoted, for a message."""
    shown = ", ".join(map(repr, names[:MOST_NAMED]))
    return shown + (", …" if len(names) > MOST_NAMED else "")


@dataclass(frozen=True)
class SplitRows:
    """The tracks of a split that a collection has, in the order of the split.

    ``rows`` are int64 [tracks], ``targets`` bool [tracks, classes]; the split names ``asked``.
    """

    rows: np.ndarray
    targets: np.ndarray
    asked: int

    def __len__(self) -> int:
        return len(self.rows)


@dataclass(frozen=True)
class TaskRows:
    """A task in the rows of a collection; ``notes`` tell what the collection lacks, too."""

    classes: tuple[str, ...]
    train: SplitRows
    validation: SplitRows
    test: SplitRows
    notes: tuple[str, ...]


def match_task(task: TaggingTask, collection: Collection, *, partial: bool) -> TaskRows:
    """Find the tracks of a task in a collection.

    If ``partial``, tracks may be missing, and be excerpts where the protocol tests whole ones; the
    notes say so. Otherwise TaskError is raised, and always when a split has no track, no class is
    in both train and test, or a track is there twice, by its id and with an ending.
    """
    splits = task.splits()
    found = {name: _rows_of(split, task.endings, collection) for name, split in splits.items()}
    kept = {
        name: SplitRows(rows[rows >= 0], splits[name].targets[rows >= 0], len(rows))
        for name, rows in found.items()
    }
    like = named([collection.track_ids[row] for row in range(min(EXAMPLES, len(collection)))])
    for name, rows in kept.items():
        if not len(rows):
            first = splits[name].track_ids[0]
            raise TaskError(
                f"{task.name}: none of the {rows.asked:,} tracks of {name} (the first is "
                f"{first!r}{did_you_mean(first, collection.rows)}) is in collection "
                f"{collection.name!r}, whose ids are like {like}"
            )
    notes, lacks = list(task.notes), []
    missing = [
        track_id
        for name, split in splits.items()
        for track_id, row in zip(split.track_ids, found[name], strict=True)
        if row < 0
    ]
    if missing:
        counts = (f"{r.asked - len(r):,} of {r.asked:,} for {name}" for name, r in kept.items())
        lacks.append(
            f"lacks tracks ({', '.join(counts)}), such as {named(missing)}"
            f"{did_you_mean(missing[0], collection.rows)}; its ids are like {like}"
        )
        notes += [
            f"{name}: {len(rows):,} of {rows.asked:,} tracks "
            f"({100 * len(rows) / rows.asked:.1f} %) are in the collection"
            for name, rows in kept.items()
        ]
    test = kept["test"].rows
    cut = test[incomplete_excerpts(*excerpt_frames(collection, test), collection.frames[test])]
    if task.whole_tracks and len(cut):
        row = int(cut[0])
        rate = collection.front_end.hop_length / collection.front_end.sample_rate
        lacks.append(
            f"holds but a part of {len(cut):,} of {len(test):,} test tracks "
            f"({collection.track_ids[row]!r}: {collection.frames[row] * rate:.1f} of "
            f"{collection.source_seconds[row]:.1f} s), and the protocol tests whole tracks "
            "(a collection made with --excerpt full has them)"
        )
        notes.append(
            f"of {len(cut):,} of the {len(test):,} test tracks there are excerpts only; the "
            "protocol tests whole tracks"
        )
    if lacks and not partial:
        raise TaskError(
            f"{task.name}: collection {collection.name!r} {'; it '.join(lacks)}; --partial goes on "
            "all the same, and figures then do not compare with those of the protocol"
        )
    notes += _lost_classes(task, kept)
    return TaskRows(task.classes, **kept, notes=(*notes, *_same_audio(collection, kept)))


def _rows_of(split: Split, endings: Sequence[str], collection: Collection) -> np.ndarray:
    """Row of every track of a split, -1 where the collection does not have it."""
    rows = collection.rows(split.track_ids).astype(np.int64)
    for ending in endings:
        others = collection.rows([track_id + ending for track_id in split.track_ids])
        if len(twice := np.flatnonzero((rows >= 0) & (others >= 0))):
            one, other = rows[twice[0]], others[twice[0]]
            raise TaskError(
                f"collection {collection.name!r}: {collection.track_ids[one]!r} and "
                f"{collection.track_ids[other]!r} are the same track ({len(twice):,} such); build "
                "a collection with only one of them"
            )
        rows = np.where(rows < 0, others, rows)
    return rows


def _lost_classes(task: TaggingTask, kept: dict[str, SplitRows]) -> list[str]:
    """Notes on classes that the task has in train and test, and the collection has not."""
    before = missing_classes(task.classes, task.train.targets, task.test.targets)
    now = missing_classes(task.classes, kept["train"].targets, kept["test"].targets)
    if len(set().union(*now.values())) == len(task.classes):
        raise TaskError(
            f"{task.name}: of the tracks that are in the collection, train and test share no class"
        )
    lost = {split: [n for n in names if n not in before[split]] for split, names in now.items()}
    return [
        f"of the tracks in the collection, none of {split} has {named(names)} "
        f"({len(names):,} of {len(task.classes):,} classes): left out of the figures"
        for split, names in lost.items()
        if names
    ]


def _same_audio(collection: Collection, kept: dict[str, SplitRows]) -> Iterator[str]:
    """Note on tracks of several splits with the same mel, if there are any."""
    split_of = {int(row): name for name, rows in kept.items() for row in rows.rows}
    rows = np.fromiter(split_of, np.int64, len(split_of))
    several = [
        same for same in equal_mels(collection, rows) if len({split_of[row] for row in same}) > 1
    ]
    if several:
        tracks = sum(split_of[row] != "train" for same in several for row in same)
        one, *others = several[0]
        other = next(row for row in others if split_of[row] != split_of[one])
        example = " = ".join(
            f"{collection.track_ids[row]!r} ({split_of[row]})" for row in (one, other)
        )
        yield (
            f"tracks of validation and test with the mel of a track of another split: {tracks:,} "
            f"({example}), which flatters the figures; remove them from the table, or give equal "
            "tracks one artist"
        )


def random_splits(artists: Sequence[str], seed: int) -> list[str]:
    """Draw a split for each track such that no artist is in two.

    Artists come in an order that a digest of the seed and their name decides, and each goes as a
    whole to the split that lacks the most tracks: neither the order of the tracks nor the version
    of a library matters. Shares are 8 : 1 : 1, to within the tracks of two artists. ``artists``
    are those of each track, or its own id; ValueError for fewer than splits.
    """
    sizes = Counter(artists)
    if len(sizes) < len(SPLITS):
        raise ValueError(f"{len(sizes)} for {len(SPLITS)} splits")

    def digest(artist: str) -> bytes:
        return hashlib.sha256(f"{seed}\n{artist}".encode("utf-8", "surrogatepass")).digest()

    # In tenths of a track, so that equal lacks are equal.
    lack = {split: TENTHS[split] * len(artists) for split in SPLITS}
    split_of: dict[str, str] = {}
    empty = set(SPLITS)
    for artist in sorted(sizes, key=digest):
        # The last artists are kept for splits that have none yet.
        few_left = len(sizes) - len(split_of) <= len(empty)
        open_to = [split for split in SPLITS if not few_left or split in empty]
        split = max(open_to, key=lack.__getitem__)
        split_of[artist] = split
        lack[split] -= 10 * sizes[artist]
        empty.discard(split)
    return [split_of[artist] for artist in artists]
