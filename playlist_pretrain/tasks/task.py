"""What a tagged dataset is to those who train and test on it.

Matching: from the tracks of a task to the rows of a collection.

Splits made at random, whole artists at a time.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from playlist_pretrain.errors import TaskError
from playlist_pretrain.records.schema import did_you_mean
from playlist_pretrain.records.windows import excerpt_frames, incomplete_excerpts

if TYPE_CHECKING:
    from playlist_pretrain.records.collection import Collection

SPLITS = ("train", "validation", "test")
MOST_NAMED = 5


@dataclass(frozen=True)
class Split:
    """One of train, validation and test.

    Attributes
    ----------
    track_ids : tuple of str
        As the dataset has them.
    targets : ndarray [shape=(tracks, classes), bool]
        Which classes each track has; a track may have none.
    """

    track_ids: tuple[str, ...]
    targets: np.ndarray

    def __len__(self) -> int:
        return len(self.track_ids)


@dataclass(frozen=True)
class TaggingTask:
    """A tagged dataset with its splits and its protocol.

    Attributes
    ----------
    name : str
        With what tells it from its like: ``jamendo-genre split 0``, ``mtat mtg``.
    classes : tuple of str
        In the order of the columns of all targets.
    train, validation, test : Split
        No track is in two of them, and each has tracks.
    whole_tracks : bool
        The protocol tests whole tracks, not excerpts.
    notes : tuple of str
        One line each, for the report: counts, and what a reader of the figures should know.
    citation : str
        What a paper that gives figures cites; empty for a user's own table.
    endings : tuple of str
        What may follow a track's id in a collection made of other copies of the same audio.
    """

    name: str
    classes: tuple[str, ...]
    train: Split
    validation: Split
    test: Split
    whole_tracks: bool
    notes: tuple[str, ...]
    citation: str
    endings: tuple[str, ...] = ()

    def splits(self) -> dict[str, Split]:
        """The three splits by name."""
        return {name: getattr(self, name) for name in SPLITS}


def make_splits(
    tracks: Mapping[str, Mapping[str, Sequence[str]]], classes: Sequence[str]
) -> dict[str, Split]:
    """Splits from the tags of each track.

    Parameters
    ----------
    tracks : mapping
        From the name of a split to its tracks, from a track's id to its tags.
    classes : sequence of str
        All tags there are.
    """
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
    """Classes that no track of train, and those that none of test has, by the split's name.

    Parameters
    ----------
    classes : sequence of str
    train, test : ndarray [shape=(tracks, classes), bool]
    """
    return {
        split: [name for name, found in zip(classes, targets.any(axis=0), strict=True) if not found]
        for split, targets in (("train", train), ("test", test))
    }


def check_positives(where: str, classes: Sequence[str], splits: Mapping[str, Split]) -> None:
    """Refuse official files in which a class is not in train or not in test.

    Raises
    ------
    TaskError
        Begins with ``where``.
    """
    missing = missing_classes(classes, splits["train"].targets, splits["test"].targets)
    for split, names in missing.items():
        if names:
            raise TaskError(f"{where}: no track of {split} has {named(names)}")


def counts_note(classes: Sequence[str], splits: Mapping[str, Split]) -> str:
    """How many classes and tracks there are, for the report."""
    tracks = ", ".join(f"{name} {len(split):,}" for name, split in splits.items())
    return f"{len(classes)} classes; tracks: {tracks}"


def named(names: Sequence[str]) -> str:
    """The first few of ``names``, quoted, for a message."""
    shown = ", ".join(map(repr, names[:MOST_NAMED]))
    return shown + (", …" if len(names) > MOST_NAMED else "")


EXAMPLES = 3


@dataclass(frozen=True)
class SplitRows:
    """The tracks of a split that a collection has.

    Attributes
    ----------
    rows : ndarray [shape=(tracks,), int64]
        In the order of the split.
    targets : ndarray [shape=(tracks, classes), bool]
    asked : int
        Tracks that the split names.
    """

    rows: np.ndarray
    targets: np.ndarray
    asked: int

    def __len__(self) -> int:
        return len(self.rows)


@dataclass(frozen=True)
class TaskRows:
    """A task in the rows of a collection.

    Attributes
    ----------
    classes : tuple of str
    train, validation, test : SplitRows
        Each has tracks.
    notes : tuple of str
        One line each, for the report: those of the task, and what the collection lacks.
    """

    classes: tuple[str, ...]
    train: SplitRows
    validation: SplitRows
    test: SplitRows
    notes: tuple[str, ...]


def match_task(task: TaggingTask, collection: Collection, *, partial: bool) -> TaskRows:
    """Find the tracks of a task in a collection.

    Parameters
    ----------
    task : TaggingTask
    collection : Collection
        Needed are its ``rows``, ``track_ids``, ``name``, times and front end.
    partial : bool
        Go on without tracks that the collection lacks, and with excerpts of tracks that the
        protocol tests whole; the notes say so.

    Raises
    ------
    TaskError
        When tracks are missing, or test tracks are there in part, and ``partial`` is False; when
        a split has no track at all, or no class has tracks in both train and test; when a track
        is there twice, by its id and with an ending.
    """
    found = {
        name: _rows_of(split, task.endings, collection) for name, split in task.splits().items()
    }
    kept = {
        name: SplitRows(rows[rows >= 0], task.splits()[name].targets[rows >= 0], len(rows))
        for name, rows in found.items()
    }
    for name, rows in kept.items():
        if not len(rows):
            first = task.splits()[name].track_ids[0]
            raise TaskError(
                f"{task.name}: none of the {rows.asked:,} tracks of {name} (the first is "
                f"{first!r}{did_you_mean(first, collection.rows)}) is in collection "
                f"{collection.name!r}, whose ids are like {_ids(collection)}"
            )
    cut = _cut(kept["test"].rows, collection) if task.whole_tracks else np.empty(0, np.int64)
    lacks = _lacks(task, collection, found, cut)
    if lacks and not partial:
        raise TaskError(
            f"{task.name}: collection {collection.name!r} {'; it '.join(lacks)}; --partial goes on "
            "all the same, and figures then do not compare with those of the protocol"
        )
    notes = []
    if any(len(rows) < rows.asked for rows in kept.values()):
        notes += [
            f"{name}: {len(rows):,} of {rows.asked:,} tracks "
            f"({100 * len(rows) / rows.asked:.1f} %) are in the collection"
            for name, rows in kept.items()
        ]
    if len(cut):
        notes.append(
            f"of {len(cut):,} of the {len(kept['test']):,} test tracks there are excerpts only; "
            "the protocol tests whole tracks"
        )
    notes += _lost_classes(task, kept)
    return TaskRows(task.classes, **kept, notes=(*task.notes, *notes))


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


def _cut(rows: np.ndarray, collection: Collection) -> np.ndarray:
    """Those of ``rows`` whose mel is not of the whole source."""
    begin, end = excerpt_frames(collection, rows)
    return rows[incomplete_excerpts(begin, end, collection.frames[rows])]


def _lacks(
    task: TaggingTask, collection: Collection, found: dict[str, np.ndarray], cut: np.ndarray
) -> list[str]:
    """What the collection lacks, as ends of a sentence that begins with its name."""
    lacks = []
    missing = [
        track_id
        for name, split in task.splits().items()
        for track_id, row in zip(split.track_ids, found[name], strict=True)
        if row < 0
    ]
    if missing:
        counts = ", ".join(
            f"{int((found[name] < 0).sum()):,} of {len(found[name]):,} for {name}"
            for name in SPLITS
        )
        lacks.append(
            f"lacks tracks ({counts}), such as {named(missing)}"
            f"{did_you_mean(missing[0], collection.rows)}; its ids are like "
            f"{_ids(collection)}"
        )
    if len(cut):
        row = int(cut[0])
        rate = collection.front_end.hop_length / collection.front_end.sample_rate
        lacks.append(
            f"holds but a part of {len(cut):,} of {int((found['test'] >= 0).sum()):,} test tracks "
            f"({collection.track_ids[row]!r}: {collection.frames[row] * rate:.1f} of "
            f"{collection.source_seconds[row]:.1f} s), and the protocol tests whole tracks "
            "(a collection made with --excerpt full has them)"
        )
    return lacks


def _ids(collection: Collection) -> str:
    return named([collection.track_ids[row] for row in range(min(EXAMPLES, len(collection)))])


def _lost_classes(task: TaggingTask, kept: dict[str, SplitRows]) -> list[str]:
    """Notes on classes that the task has in train and test, and the collection has not."""
    before = missing_classes(task.classes, task.train.targets, task.test.targets)
    now = missing_classes(task.classes, kept["train"].targets, kept["test"].targets)
    if len(set().union(*now.values())) == len(task.classes):
        raise TaskError(
            f"{task.name}: of the tracks that are in the collection, train and test share no class"
        )
    notes = []
    for split, names in now.items():
        if lost := [name for name in names if name not in before[split]]:
            notes.append(
                f"of the tracks in the collection, none of {split} has {named(lost)} "
                f"({len(lost):,} of {len(task.classes):,} classes): left out of the figures"
            )
    return notes


TENTHS = {"train": 8, "validation": 1, "test": 1}


def random_splits(artists: Sequence[str], seed: int) -> list[str]:
    """A split for each track such that no artist is in two.

    Artists come in an order that a digest of the seed and their name decides, and each goes as a
    whole to the split that lacks the most tracks. Neither the order of the tracks nor the version
    of any library matters. Shares are 8 : 1 : 1, to within the tracks of two artists.

    Parameters
    ----------
    artists : sequence of str
        Of each track; the track's own id where nothing is known of artists.
    seed : int

    Returns
    -------
    list of str
        In the order of ``artists``.

    Raises
    ------
    ValueError
        For fewer artists than splits.
    """
    sizes = Counter(artists)
    if len(sizes) < len(SPLITS):
        raise ValueError(f"{len(sizes)} for {len(SPLITS)} splits")
    # In tenths of a track, so that equal lacks are equal.
    lack = {split: TENTHS[split] * len(artists) for split in SPLITS}
    split_of: dict[str, str] = {}
    empty = set(SPLITS)
    for artist in sorted(sizes, key=lambda artist: _digest(seed, artist)):
        # The last artists are kept for splits that have none yet.
        few_left = len(sizes) - len(split_of) <= len(empty)
        open_to = [split for split in SPLITS if not few_left or split in empty]
        split = max(open_to, key=lack.__getitem__)
        split_of[artist] = split
        lack[split] -= 10 * sizes[artist]
        empty.discard(split)
    return [split_of[artist] for artist in artists]


def _digest(seed: int, artist: str) -> bytes:
    return hashlib.sha256(f"{seed}\n{artist}".encode("utf-8", "surrogatepass")).digest()
