"""What came of a build: for the caller, and as ``build_report.tsv`` for people."""

from __future__ import annotations

import csv
import dataclasses
import json
import re
from collections import defaultdict
from collections.abc import Container, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from playlist_pretrain.errors import CollectionError, printable
from playlist_pretrain.files import atomic_write
from playlist_pretrain.records.schema import COLLECTION_FILE

if TYPE_CHECKING:
    from playlist_pretrain.records.collection import Collection

REPORT_FILE = "build_report.tsv"
DIFFERS = "differs"
#: Statuses of tracks that are in the collection.
KEPT = ("silent", "short")
MOST_NAMED = 3


@dataclass(frozen=True)
class Note:
    """One line of the build report.

    Attributes
    ----------
    track_id, source : str
    status : {"unreadable", "skipped", "silent", "short", "differs"}
        Unreadable tracks, and those skipped without a look, are not in the collection; silent
        ones, and those shorter than the front end's own window, are. A track that differs was to
        be added, and its id is in the collection already, read from another file or before the
        file changed.
    reason : str
        For people.
    """

    track_id: str
    source: str
    status: str
    reason: str


_COLUMNS = [field.name for field in dataclasses.fields(Note)]


@dataclass(frozen=True)
class BuildReport:
    """What came of a build.

    Attributes
    ----------
    collection : Collection
        The finished collection, open.
    notes : list of Note
        Tracks that are left out or special, as in ``build_report.tsv``.
    made, kept : int
        Shards made now, and shards that were there before.
    seconds : float
        Time this call took.
    added, read_late : int
        Tracks appended to a collection that was finished before, and those of them that an
        earlier call could not read.
    waiting : int
        Tracks listed and not appended, since the call was not one to add.
    interrupted : bool
        An addition was begun and is not finished.
    """

    collection: Collection
    notes: list[Note]
    made: int
    kept: int
    seconds: float
    added: int = 0
    read_late: int = 0
    waiting: int = 0
    interrupted: bool = False

    @property
    def tracks(self) -> int:
        """Tracks in the collection."""
        return len(self.collection)

    @property
    def failed(self) -> list[tuple[str, str, str]]:
        """(track id, source, reason) of tracks that could not be read and are left out."""
        return self._of("unreadable")

    @property
    def skipped(self) -> list[tuple[str, str, str]]:
        """(track id, source, reason) of tracks that are left out without being read."""
        return self._of("skipped")

    @property
    def silent(self) -> list[tuple[str, str, str]]:
        """(track id, source, reason) of tracks without any sound, which are kept."""
        return self._of("silent")

    @property
    def short(self) -> list[tuple[str, str, str]]:
        """(track id, source, reason) of tracks shorter than a window, which are kept."""
        return self._of("short")

    @property
    def differing(self) -> list[tuple[str, str, str]]:
        """(track id, source, reason) of tracks that were to be added under an id that is there."""
        return self._of(DIFFERS)

    def _of(self, status: str) -> list[tuple[str, str, str]]:
        return [(n.track_id, n.source, n.reason) for n in self.notes if n.status == status]


def merged(notes: Sequence[Note], tried: Container[str], fresh: Sequence[Note]) -> list[Note]:
    """``notes`` after the tracks ``tried`` were read again: ``fresh`` says what came of them."""
    fresh_of = defaultdict(list)
    for note in fresh:
        fresh_of[note.track_id].append(note)
    result = []
    for note in notes:
        result.extend(fresh_of.pop(note.track_id, []) if note.track_id in tried else [note])
    return result + [note for left in fresh_of.values() for note in left]


def write_report(path: Path, notes: Sequence[Note]) -> None:
    """Write ``notes`` as a tab-separated table with a header."""
    with atomic_write(path, "w") as stream:
        table = csv.writer(stream, delimiter="\t", lineterminator="\n")
        table.writerow(_COLUMNS)
        table.writerows(dataclasses.astuple(note) for note in notes)


def read_report(path: Path) -> list[Note]:
    """Read what :func:`write_report` wrote; CollectionError when it is something else."""
    try:
        with open(path, encoding="utf-8", newline="") as stream:
            header, *rows = list(csv.reader(stream, delimiter="\t")) or [[]]
        if header != _COLUMNS or any(len(row) != len(_COLUMNS) for row in rows):
            raise CollectionError(
                f"{path} is not a build report; it was damaged or edited: remove it"
            )
    except FileNotFoundError:
        return []  # a collection does not need it, and it is for people: they may remove it
    except (UnicodeDecodeError, csv.Error) as error:
        raise CollectionError(f"{path} is not a build report ({error}); remove it") from error
    return [Note(*row) for row in rows]


def notes_of(folder: Path) -> list[Note]:
    """Notes on the collection in ``folder``, or on what is finished of its first build.

    Raises
    ------
    CollectionError
        There is neither, or the report is damaged.
    """
    if (folder / COLLECTION_FILE).exists():
        return read_report(folder / REPORT_FILE)
    unfinished = sorted((folder / ".build").glob("mel-*.json"))
    if not unfinished and not (folder / ".build" / "plan.json").exists():
        raise CollectionError(f"{folder} is no collection, so there is no report on one")
    try:
        return [Note(**note) for path in unfinished for note in json.loads(path.read_text("utf-8"))]
    except (ValueError, TypeError) as error:
        raise CollectionError(f"{folder / '.build'}: damaged notes ({error})") from error


def report_text(notes: Sequence[Note], folder: Path) -> str:
    """What did not make it into a collection, file by file, and how many for each reason."""
    out = [note for note in notes if note.status not in KEPT]
    kept = [note for note in notes if note.status in KEPT]
    lines = [f"{printable(note.source)}: {printable(note.reason)}" for note in out]
    unfinished = "" if (folder / COLLECTION_FILE).exists() else " so far (it is not finished)"
    verb = "is" if len(out) == 1 else "are"
    lines.append(f"{folder}: {counted(len(out), 'file')} {verb} not in the collection{unfinished}")
    for part, what in ((out, ""), (kept, ", kept")):
        alike = defaultdict(list)
        for note in part:
            alike[note.status, _kind(note.reason)].append(note)
        for (status, _), found in sorted(alike.items(), key=lambda item: -len(item[1])):
            first = f"{printable(found[0].source)}: {printable(found[0].reason)}"
            such = ":" if len(found) == 1 else ", such as"
            lines.append(f"{len(found):6,}  {status}{what}{such} {first}")
    return "\n".join(lines)


def named_sources(notes: Sequence[tuple[str, str, str]]) -> str:
    """The first sources of (track id, source, reason), and how many more there are."""
    more = f" and {len(notes) - MOST_NAMED:,} more" if len(notes) > MOST_NAMED else ""
    return ", ".join(printable(source) for _, source, _ in notes[:MOST_NAMED]) + more


def counted(number: int, what: str) -> str:
    """``1 track``, ``2 tracks``."""
    return f"{number:,} {what}" + ("" if number == 1 else "s")


def _kind(reason: str) -> str:
    """A reason without what differs from file to file."""
    return re.sub(r"\d[\d,.]*\d|\d", "…", re.sub(r"'[^']*'", "…", reason))
