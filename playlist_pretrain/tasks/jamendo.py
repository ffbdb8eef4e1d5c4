"""MTG-Jamendo: genre, instrument, mood/theme and top-50 tags of Creative Commons music.

Format: ``data/splits/split-{0..4}/autotagging_{subset}-{train,validation,test}.tsv``, text with
tabs and the header ``TRACK_ID ARTIST_ID ALBUM_ID PATH DURATION TAGS``. Tags are ``genre---rock``
and fill the sixth column and as many more as a track needs. A track id is ``PATH`` without
``.mp3``, as 41/241; in a collection of the low-bitrate audio it may end in ``.low``.
Provenance: https://github.com/MTG/mtg-jamendo-dataset. The metadata are licensed CC BY-NC-SA 4.0,
each track of the audio by a Creative Commons licence of its own.
Citation: Bogdanov, Won, Tovstogan, Porter, Serra, The MTG-Jamendo dataset for automatic music
tagging, Machine Learning for Music Discovery Workshop, ICML 2019.

Splits: five, made at random such that no artist is in two of train, validation and test of one;
most figures in print are of split 0.
Protocol: whole tracks are tested, all classes in one model, macro averages.

================  =======  ======  ==========  ======
split 0           classes  train   validation  test
================  =======  ======  ==========  ======
genre                  87  32,572      11,043  11,479
instrument             40  14,395       5,466   5,115
mood                   56   9,949       3,802   4,231
top50                  50  32,136      10,888  11,356
================  =======  ======  ==========  ======

Of splits 1 to 4 only the number of classes is checked.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from playlist_pretrain.delimited import text_lines
from playlist_pretrain.errors import TableError, TaskError
from playlist_pretrain.tasks.task import (
    SPLITS,
    TaggingTask,
    TaskSettings,
    check_positives,
    counts_note,
    make_splits,
)

HEADER = ("TRACK_ID", "ARTIST_ID", "ALBUM_ID", "PATH", "DURATION", "TAGS")
PATH = re.compile(r"(\d\d/\d+)(?:\.low)?\.mp3", re.ASCII)
LOW_BITRATE = ".low"
OFFICIAL_SPLITS = 5
SOURCE = "data/splits of https://github.com/MTG/mtg-jamendo-dataset"
CITATION = (
    "D. Bogdanov, M. Won, P. Tovstogan, A. Porter, X. Serra: The MTG-Jamendo dataset for automatic "
    "music tagging. Machine Learning for Music Discovery Workshop, ICML 2019"
)


@dataclass(frozen=True)
class Row:
    """A track as a file has it."""

    line: int
    track_id: str
    artist: str
    tags: tuple[str, ...]


class JamendoReader:
    """Reader of one subset; see the module.

    The task is ``jamendo-SUBSET``, its files are ``autotagging_FILES-*.tsv``; ``categories`` begin
    its tags, ``tracks`` are the numbers of train, validation and test in split 0.
    """

    options = frozenset({"splits", "split"})

    def __init__(
        self,
        subset: str,
        files: str,
        categories: tuple[str, ...],
        classes: int,
        tracks: tuple[int, int, int],
    ):
        self.name = f"jamendo-{subset}"
        self.description = (
            f"MTG-Jamendo {subset}, {classes} classes: the files autotagging_{files}-*.tsv of one "
            "of its five splits"
        )
        self.classes = classes
        self.tracks = dict(zip(SPLITS, tracks, strict=True))
        self._files, self._categories = files, categories

    def read(self, settings: TaskSettings) -> TaggingTask:
        """Read the three files of a split; see ``TaskReader``."""
        folder = _folder(self.name, settings.splits, settings.split)
        paths = {split: folder / f"autotagging_{self._files}-{split}.tsv" for split in SPLITS}
        files = {split: list(_rows(path, self._categories)) for split, path in paths.items()}
        _check_distinct(files, paths)
        for split, rows in files.items() if settings.split == 0 else ():
            if len(rows) != self.tracks[split]:
                raise TaskError(
                    f"{paths[split]}: {len(rows):,} tracks, the official file of split 0 has "
                    f"{self.tracks[split]:,}"
                )
        classes = sorted({tag for rows in files.values() for row in rows for tag in row.tags})
        pattern = folder / f"autotagging_{self._files}-*.tsv"
        if len(classes) != self.classes:
            raise TaskError(
                f"{pattern}: {len(classes)} classes, the official files have {self.classes}"
            )
        tags_of = {s: {row.track_id: row.tags for row in rows} for s, rows in files.items()}
        splits = make_splits(tags_of, classes)
        check_positives(str(pattern), classes, splits)
        checked = (
            "numbers of tracks and classes are the official ones"
            if settings.split == 0
            else f"number of classes is the official one, those of the tracks of split "
            f"{settings.split} are not known"
        )
        return TaggingTask(
            name=f"{self.name} split {settings.split}",
            classes=tuple(classes),
            **splits,
            whole_tracks=True,
            notes=(counts_note(classes, splits), checked, "no artist is in two splits"),
            citation=CITATION,
            endings=(LOW_BITRATE,),
        )


def _folder(task: str, splits: str | None, split: int) -> Path:
    if not 0 <= split < OFFICIAL_SPLITS:
        raise TaskError(f"--split {split}: MTG-Jamendo has splits 0 to {OFFICIAL_SPLITS - 1}")
    if splits is None:
        raise TaskError(f"--task {task}: say where its files are with --splits DIR ({SOURCE})")
    folder, name = Path(splits), f"split-{split}"
    if not folder.is_dir():
        raise TaskError(f"--splits {splits}: no such folder; it is {SOURCE}")
    if (folder / name).is_dir():
        return folder / name
    own = folder.resolve().name
    # Files in a folder of any other name tell by their counts whether they are of split 0.
    if own == name or (split == 0 and not re.fullmatch(r"split-\d+", own)):
        return folder
    raise TaskError(f"--split {split}: {splits} is not {name} and has no folder of that name")


def _rows(path: Path, categories: tuple[str, ...]) -> Iterator[Row]:
    line, number = "\n", 0
    for number, line in enumerate(text_lines(path), 1):
        cells = line.rstrip("\r\n").split("\t")
        where = f"{path}: line {number}"
        if number == 1:
            if tuple(cells) != HEADER:
                raise TableError(
                    f"{where}: {line[:80].rstrip()!r} is not the header of MTG-Jamendo's files, "
                    f"{' '.join(HEADER)} with tabs between"
                )
        elif cells != [""]:
            yield _row(cells, number, where, categories)
    if number == 0:
        raise TableError(f"{path}: the file is empty")
    if number == 1:
        raise TableError(f"{path}: a header and no tracks")
    if not line.endswith("\n"):
        raise TableError(f"{path}: line {number}: does not end; the file is cut off")


def _row(cells: list[str], number: int, where: str, categories: tuple[str, ...]) -> Row:
    if len(cells) < len(HEADER):
        raise TableError(f"{where}: {len(cells)} cells, a track has at least {len(HEADER)}")
    _, artist, _, path, _, *tags = cells
    if not artist:
        raise TableError(f"{where}: ARTIST_ID is empty")
    match = PATH.fullmatch(path)
    if not match:
        raise TableError(f"{where}: PATH {path[:60]!r} is not of the kind 41/241.mp3")
    for tag in tags:
        category, between, name = tag.partition("---")
        if category not in categories or not between or not name:
            kinds = " or ".join(f"{category}---…" for category in categories)
            raise TableError(f"{where}: tag {tag[:60]!r} is not of the kind {kinds}")
    if len(set(tags)) < len(tags):
        again = next(tag for tag in tags if tags.count(tag) > 1)
        raise TableError(f"{where}: tag {again[:60]!r} is there twice")
    return Row(number, match[1], artist, tuple(tags))


def _check_distinct(files: dict[str, list[Row]], paths: dict[str, Path]) -> None:
    track_in: dict[str, str] = {}
    artist_in: dict[str, str] = {}
    for split, rows in files.items():
        for row in rows:
            where = f"{paths[split]}: line {row.line}"
            if (other := track_in.setdefault(row.track_id, where)) != where:
                raise TaskError(f"{where}: track {row.track_id!r} is there before ({other})")
            if (other := artist_in.setdefault(row.artist, split)) != split:
                raise TaskError(
                    f"{where}: artist {row.artist[:60]!r} is in {paths[other].name} too, and "
                    "official splits share no artist"
                )


JAMENDO_READERS = (
    JamendoReader("genre", "genre", ("genre",), 87, (32_572, 11_043, 11_479)),
    JamendoReader("instrument", "instrument", ("instrument",), 40, (14_395, 5_466, 5_115)),
    JamendoReader("mood", "moodtheme", ("mood/theme",), 56, (9_949, 3_802, 4_231)),
    JamendoReader(
        "top50", "top50tags", ("genre", "instrument", "mood/theme"), 50, (32_136, 10_888, 11_356)
    ),
)
