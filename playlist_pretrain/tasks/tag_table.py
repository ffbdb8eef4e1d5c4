"""Tag tables: the user's own tags, or those of a collection (``tags.tsv``).

Format: a table as ``playlist_pretrain.delimited`` reads it, a row for each track: ``track_id``,
``tags`` with | between them (none for a track that has none of them), and a column that says
train, validation or test. Without one, tracks are split at random (8 : 1 : 1) by a seed; where
there is a column ``artist`` (or ``artist_id``), whole artists are, so that none is on two sides.
A track whose artist is not known (the cell is empty, or ``unknown`` and the like) is on its own.
Provenance: whatever exports tables; track ids are those of the collection. Licence and citation
are those of the user's data.

Classes: all tags of the table, in alphabetical order.
Protocol: whole tracks are tested. A class that no track of train, or none of test, has is named
in the notes; the figures leave it out.
"""

from __future__ import annotations

from pathlib import Path

from playlist_pretrain.audio.file_tags import names_something
from playlist_pretrain.delimited import listed, read_columns, read_header
from playlist_pretrain.errors import TableError, TaskError
from playlist_pretrain.storage import location
from playlist_pretrain.tasks.task import (
    SPLITS,
    TaggingTask,
    TaskSettings,
    counts_note,
    make_splits,
    missing_classes,
    named,
    random_splits,
)

TRACK, TAGS = "track_id", "tags"
ARTISTS = ("artist", "artist_id")
USUAL_SPLIT = "split"
BETWEEN = "|"
MOST_CLASSES = 10_000
"""More come of a column that holds no tags; targets take a byte for each track and class."""
MEND = f"a tag table has the columns {TRACK} and {TAGS}, the tags with {BETWEEN} between them"


class TagTableReader:
    """Reader of tag tables; see the module."""

    name = "tags"
    description = (
        f"a table (CSV or TSV) of your own with the columns {TRACK}, {TAGS} (with {BETWEEN} "
        "between them), and split or artist"
    )
    options = frozenset({"tags", "split_column", "split_seed"})

    def read(self, settings: TaskSettings) -> TaggingTask:
        """Read the table; see ``TaskReader``."""
        if settings.tags is None:
            raise TaskError(f"--task {self.name}: name the table with --tags FILE")
        path = location(settings.tags)
        tags_of, splits, artists = _read(path, settings.split_column)
        if splits is None:
            splits, notes = _at_random(path, list(tags_of), artists, settings.split_seed)
        elif settings.split_seed:
            raise TaskError(
                f"--split-seed {settings.split_seed}: {path} has a column "
                f"{settings.split_column!r}, so nothing is split at random"
            )
        else:
            notes = [] if artists is None else [_artists_in_several(artists, splits)]
        tracks: dict[str, dict] = {split: {} for split in SPLITS}
        for split, (track_id, tags) in zip(splits, tags_of.items(), strict=True):
            tracks[split][track_id] = tags
        if empty := [split for split in SPLITS if not tracks[split]]:
            raise TaskError(f"{path}: no track is in split {empty[0]!r}")
        classes = sorted(set().union(*tags_of.values()))
        if not classes:
            raise TaskError(f"{path}: no track has a tag")
        if len(classes) > MOST_CLASSES:
            raise TaskError(
                f"{path}: column {TAGS!r} has {len(classes):,} different tags, the first is "
                f"{classes[0][:60]!r}; {MOST_CLASSES:,} at most can be told apart"
            )
        made = make_splits(tracks, classes)
        missing = missing_classes(classes, made["train"].targets, made["test"].targets)
        if len(set().union(*missing.values())) == len(classes):
            raise TaskError(
                f"{path}: no class has tracks in both train and test ({len(classes)} classes, the "
                f"first is {classes[0]!r})"
            )
        untagged = sum(not tags for tags in tags_of.values())
        return TaggingTask(
            name=f"{self.name} {path.name}",
            classes=tuple(classes),
            **made,  # type: ignore[arg-type]
            whole_tracks=True,
            notes=(
                counts_note(classes, made),
                *notes,
                *([f"tracks without any tag: {untagged:,}"] if untagged else []),
                *(
                    f"no track of {split} has {named(names)}: left out of the figures"
                    for split, names in missing.items()
                    if names
                ),
            ),
            citation="",
        )


def read_tags(path: Path) -> dict[str, list[str]]:
    """Read the tags of each track of a table, in its order."""
    return _read(path, USUAL_SPLIT)[0]


def _read(
    path: Path, split_column: str
) -> tuple[dict[str, list[str]], list[str] | None, list[str] | None]:
    """Read the tags of each track, its split and its artist, None without such a column."""
    header = read_header(path, (TRACK, TAGS), MEND)
    split_column = split_column.strip()
    has_split = split_column in header
    if not has_split and split_column != USUAL_SPLIT:
        raise TaskError(
            f"{path}: no column {split_column!r} (--split-column); its columns are: "
            f"{listed(header)}"
        )
    artist = next((name for name in ARTISTS if name in header), None)
    wanted = [TRACK, TAGS, *([split_column] if has_split else []), *([artist] if artist else [])]
    tags_of: dict[str, list[str]] = {}
    line_of: dict[str, int] = {}
    splits, artists = [], []
    for line, cells in read_columns(path, wanted, mend=MEND, blank={TAGS, artist}):
        track_id, tags, *others = cells
        where = f"{path}: line {line}"
        if track_id in line_of:
            raise TableError(
                f"{where}: track {track_id[:60]!r} is in line {line_of[track_id]} already; a track "
                f"has one row, its tags with {BETWEEN} between them"
            )
        line_of[track_id] = line
        tags_of[track_id] = _tags(tags, where)
        if has_split:
            if others[0] not in SPLITS:
                raise TableError(
                    f"{where}: column {split_column!r}: {others[0][:60]!r} is none of "
                    f"{', '.join(SPLITS)}"
                )
            splits.append(others[0])
        if artist:
            artists.append(others[-1])
    return tags_of, splits if has_split else None, artists if artist else None


def _tags(cell: str, where: str) -> list[str]:
    if not cell.strip():
        return []
    tags = [tag.strip() for tag in cell.split(BETWEEN)]
    if not all(tags):
        raise TableError(f"{where}: column {TAGS!r}: an empty tag in {cell[:60]!r}")
    if len(set(tags)) < len(tags):
        again = next(tag for tag in tags if tags.count(tag) > 1)
        raise TableError(f"{where}: column {TAGS!r}: {again[:60]!r} is there twice")
    return tags


def _at_random(
    path: Path, tracks: list[str], artists: list[str] | None, seed: int
) -> tuple[list[str], list[str]]:
    """Draw the split of each track; returns notes on them too."""
    groups, what, alone = tracks, "tracks", 0
    if artists:
        known = [names_something(artist) for artist in artists]
        # No cell holds a zero byte, so what stands for a track is no artist's name.
        groups = [
            artist if is_known else f"\0{track_id}"
            for artist, is_known, track_id in zip(artists, known, tracks, strict=True)
        ]
        what, alone = "artists", known.count(False)
    try:
        splits = random_splits(groups, seed)
    except ValueError:
        raise TaskError(
            f"{path}: no column {USUAL_SPLIT!r}, and {len(set(groups))} {what} are too few for "
            f"{len(SPLITS)} splits at random"
        ) from None
    how = (
        f"by artist ({len(set(groups)) - alone:,} artists), none on two sides"
        if artists
        else "track by track: an artist may be on two sides"
    )
    notes = [f"split at random with seed {seed}, {how}"]
    if alone:
        notes.append(
            f"tracks split one by one, their artist being empty, unknown, various or the like: "
            f"{alone:,} of {len(tracks):,}; an artist of theirs may be on two sides"
        )
    return splits, notes


def _artists_in_several(artists: list[str], splits: list[str]) -> str:
    """Note on artists who are on two sides."""
    sides: dict[str, set[str]] = {}
    for artist, split in zip(artists, splits, strict=True):
        if names_something(artist):
            sides.setdefault(artist, set()).add(split)
    several = [artist for artist, splits in sides.items() if len(splits) > 1]
    if not several:
        return "no artist is in two splits"
    return (
        f"{len(several):,} of {len(sides):,} artists are in two splits or more, which flatters the "
        f"figures: {named(several)}"
    )
