"""Report of a build: for the caller, in the log, and as ``build_report.tsv``."""

from __future__ import annotations

import csv
import dataclasses
import logging
import re
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from playlist_pretrain.errors import CollectionError, printable
from playlist_pretrain.files import TableWriter, atomic_write, load_json, plain_cell, whole
from playlist_pretrain.messages import command
from playlist_pretrain.records.collection import Collection
from playlist_pretrain.records.schema import COLLECTION_FILE
from playlist_pretrain.records.track_tags import FOLDER, TRACKS_FILE, read_tracks

logger = logging.getLogger(__name__)

REPORT_FILE = "build_report.tsv"
DIFFERS = "differs"
#: Statuses of tracks that are in the collection.
KEPT = ("silent", "quiet", "short")
MOST_NAMED = 3


@dataclass(frozen=True)
class Note:
    """One line of the build report.

    Tracks whose ``status`` is "unreadable", or "skipped" (without a look), are not in the
    collection; those that are "silent" or "quiet" (nearly silent: neither is trained on, or a
    neighbour), or "short" of the front end's own window, are. A track that
    "differs" was to be added, and its id is in the collection already, read from another file or
    before the file changed.
    """

    track_id: str
    source: str
    status: str
    reason: str

    def __post_init__(self):
        if not all(isinstance(value, str) for value in vars(self).values()):
            raise TypeError("a note that is not text")


_COLUMNS = [field.name for field in dataclasses.fields(Note)]


@dataclass
class BuildReport:
    """Result of a build: the open ``collection``, and ``notes`` as in ``build_report.tsv``.

    Shards were ``made`` now, ``kept`` from before, or ``remade`` since they were missing or
    damaged, in ``seconds``. To a finished collection tracks were ``added``, of which ``read_late``
    could not be read before or were lost since; tracks ``waiting`` are listed and were not
    appended, since the call was not one to add. ``interrupted``: an addition is not finished.
    """

    collection: Collection
    notes: list[Note]
    made: int
    kept: int
    seconds: float = 0.0
    added: int = 0
    read_late: int = 0
    waiting: int = 0
    interrupted: bool = False
    remade: int = 0

    @property
    def tracks(self) -> int:
        """Tracks in the collection."""
        return len(self.collection)

    @property
    def failed(self) -> list[tuple[str, str, str]]:
        """(track id, source, reason) of tracks that could not be read and are left out."""
        return self.of("unreadable")

    def of(self, status: str) -> list[tuple[str, str, str]]:
        """(track id, source, reason) of the notes of one status."""
        return [(n.track_id, n.source, n.reason) for n in self.notes if n.status == status]


def write_report(path: Path, notes: Sequence[Note]) -> None:
    """Write ``notes`` as a tab-separated table with a header."""
    with atomic_write(path, "w") as stream:
        table = TableWriter(stream, "\t")
        table.writerow(_COLUMNS)
        table.writerows(dataclasses.astuple(note) for note in notes)


def read_report(path: Path) -> list[Note]:
    """Read a table of :func:`write_report`; CollectionError when it is something else."""
    if not path.exists():
        return []  # a collection does not need it, and it is for people: they may remove it
    with whole(path, "build report", CollectionError, "; it was damaged or edited: remove it"):
        with open(path, encoding="utf-8", newline="") as stream:
            header, *rows = list(csv.reader(stream, delimiter="\t")) or [[]]
        if header != _COLUMNS:
            raise ValueError(f"not a table of {', '.join(_COLUMNS)}")
        return [Note(*map(plain_cell, row)) for row in rows]


def notes_of(folder: Path) -> list[Note]:
    """Notes on the collection in ``folder``, or on the finished shards of its first build.

    CollectionError when there is neither, or the report is damaged.
    """
    if (folder / COLLECTION_FILE).exists():
        return read_report(folder / REPORT_FILE)
    finished = sorted((folder / ".build").glob("mel-*[0-9].json"))
    if not finished and not (folder / ".build" / "plan.json").exists():
        raise CollectionError(f"{folder} is no collection, so there is no report on one")
    notes = []
    for path in finished:
        with whole(path, "description", CollectionError):
            notes += [Note(**note) for note in load_json(path)["notes"]]
    return notes


def report_text(notes: Sequence[Note], folder: Path) -> str:
    """List what did not make it into a collection, file by file, and count the reasons."""
    out = [note for note in notes if note.status not in KEPT]
    kept = [note for note in notes if note.status in KEPT]
    lines = [f"{printable(note.source)}: {printable(note.reason)}" for note in out]
    unfinished = "" if (folder / COLLECTION_FILE).exists() else " so far (it is not finished)"
    lines.append(
        f"{folder}: {counted(len(out), 'file')} {_are(out)} not in the collection{unfinished}"
    )
    for part, what in ((out, ""), (kept, ", kept")):
        alike = defaultdict(list)
        for note in part:
            alike[note.status, _kind(note.reason)].append(note)
        for (status, _), found in sorted(alike.items(), key=lambda item: -len(item[1])):
            first = f"{printable(found[0].source)}: {printable(found[0].reason)}"
            such = ":" if len(found) == 1 else ", such as"
            lines.append(f"{len(found):6,}  {status}{what}{such} {first}")
    return "\n".join(lines)


def log_report(
    report: BuildReport, what: str, listed: int, other_files: Counter[str], origin: Path | str
) -> None:
    """Log what a build from the folder or table ``origin`` left out of the ``listed``, and made.

    They are ``what``: "track" or "mel".
    """
    collection = report.collection
    see = f"see {collection.path / REPORT_FILE}"
    prints = "; --report prints it" if what == "track" else ""
    for status, verb in (("unreadable", "could not be read"), ("skipped", "were skipped")):
        if found := report.of(status):
            logger.warning(
                f"{len(found):,} of {counted(listed, what)} {verb} and {_are(found)} left out "
                f"({_named(found)}): {see}{prints}"
            )
    if differing := report.of(DIFFERS):
        logger.warning(
            f"{counted(len(differing), what)} left as they were: the collection has "
            f"these ids from other files, or from before the files changed: {see}"
        )
    hop = collection.front_end.hop_length / collection.front_end.sample_rate
    audio = float(collection.frames.sum(dtype="int64")) * hop
    size = sum(path.stat().st_size for path in collection.shard_paths)
    for status, how in (
        ("silent", "silent: kept, but in no pair of a training and no neighbour"),
        ("quiet", "nearly silent: kept, but in no pair of a training and no neighbour"),
        ("short", "shorter than a window and kept"),
    ):
        if found := report.of(status):
            logger.info(
                f"{counted(len(found), 'track')} {_are(found)} {how} ({_named(found)}): {see}"
            )
    if other_files:
        were = "was" if other_files.total() == 1 else "were"
        named = "; audio among them is read if a table names it (--tracks)"
        logger.info(
            f"{other_kinds(other_files)} {were} left alone{named if what == 'track' else ''}"
        )
    logger.info(
        f"{collection.path}: {counted(report.tracks, 'track')}, {audio / 3600:.2f} hours of audio, "
        f"{size / 1e6:,.1f} MB in {counted(len(collection.shard_paths), 'shard')}, "
        f"front end {collection.front_end.name!r}"
    )
    if what == "track" and (table := read_tracks(collection.path)).rows:
        artists, albums, folders = map(table.known, ("artist", "album", FOLDER))
        column = [] if artists else ["--columns", f"group={'album' if albums else FOLDER}"]
        words = ["--playlists", "tags", *column, "--collection", str(collection.path)]
        what_of = "them" if artists or albums else "their folders"
        groups = f"; groups of {what_of}: {command('match_playlists', *words)}"
        logger.info(
            f"{collection.path / TRACKS_FILE}: tags of the files: {artists:,} of "
            f"{counted(len(table.rows), 'track')} have an artist, {albums:,} an album"
            f"{groups if artists or albums or folders else ''}"
        )
    if report.remade:
        logger.info(f"{counted(report.remade, 'shard')} missing or damaged, and made anew")
    if report.added:
        late = f", {report.read_late:,} of which could not be read before or were lost"
        logger.info(
            f"{counted(report.added, 'track')} appended{late if report.read_late else ''}; "
            "groups have to be matched again"
        )
    if report.waiting:
        logger.info(
            f"{counted(report.waiting, 'track')} of {origin} not in the collection "
            "yet: the same command with --add appends them"
        )
    if report.interrupted:
        logger.info(
            "an addition was interrupted: the command that began it, with --add, finishes it"
        )
    if report.made:
        were = "was" if report.kept == 1 else "were"
        resumed = f"; {counted(report.kept, 'shard')} {were} there already" if report.kept else ""
        logger.info(f"built {counted(report.made, 'shard')} in {report.seconds:.1f} s{resumed}")
    elif not (report.waiting or report.interrupted or report.remade):
        logger.info("it is complete: nothing was left to build")


def _named(notes: Sequence[tuple[str, str, str]]) -> str:
    """Name the first sources of (track id, source, reason), and count the rest."""
    more = f" and {len(notes) - MOST_NAMED:,} more" if len(notes) > MOST_NAMED else ""
    return ", ".join(printable(source) for _, source, _ in notes[:MOST_NAMED]) + more


def other_kinds(extensions: Counter[str]) -> str:
    """``4 files of other kinds (3 .jpg, 1 .ape)``, the most frequent five."""
    total = extensions.total()
    often = sorted(extensions.items(), key=lambda item: (-item[1], item[0]))
    named = [
        f"{number:,} {printable(kind[:12]) or 'without an extension'}" for kind, number in often[:5]
    ]
    more = ", …" if len(often) > len(named) else ""
    kinds = "1 file of another kind" if total == 1 else f"{total:,} files of other kinds"
    return f"{kinds} ({', '.join(named)}{more})"


def counted(number: int, what: str) -> str:
    """``1 track``, ``2 tracks``."""
    return f"{number:,} {what}" + ("" if number == 1 else "s")


def _are(found: Sequence) -> str:
    return "is" if len(found) == 1 else "are"


def _kind(reason: str) -> str:
    """A reason without what differs from file to file."""
    return re.sub(r"\d[\d,.]*\d|\d", "…", re.sub(r"'[^']*'", "…", reason))
