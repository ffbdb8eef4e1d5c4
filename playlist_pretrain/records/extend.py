"""A finished collection and a call that may add to it: what is new, what was unreadable."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from playlist_pretrain.errors import CollectionError
from playlist_pretrain.records.build_folder import BuildFolder
from playlist_pretrain.records.collection import Collection
from playlist_pretrain.records.listing import Changes, Listing
from playlist_pretrain.records.report import (
    DIFFERS,
    REPORT_FILE,
    BuildReport,
    Note,
    read_report,
    write_report,
)

if TYPE_CHECKING:
    from playlist_pretrain.records.plan import Plan


def extend_finished(
    folder: BuildFolder,
    plan: Plan,
    unnamed: list[Note],
    run: Callable[[Plan, list[Note]], int],
    *,
    add: bool,
    began: float,
) -> BuildReport:
    """Append to the finished collection of ``folder`` what a call may append.

    With ``add`` that is every track of ``plan`` that the collection does not have; without, only
    those that an earlier call could not read. An addition that was interrupted is finished first.

    Parameters
    ----------
    folder : BuildFolder
    plan : Plan
        Of all tracks of the call.
    unnamed : list of Note
        Files that cannot be tracks.
    run : callable
        ``run(plan, notes)`` makes an addition and writes ``notes`` into the report, with its own
        on the tracks it tried; returns how many shards it made that the collection now has.
    add : bool
    began : float
        Monotonic time at which the call began.

    Raises
    ------
    CollectionError
        Front end or loader are others than the collection's; without ``add``, files changed or
        went; with it, the collection does not know its sources.
    """
    collection = Collection.open(folder.out)
    folder.clean_up(plan, collection.content_key)
    collection = Collection.open(folder.out)
    _refuse_other_settings(folder, plan, collection, add)
    listing = Listing.load(collection)
    if listing is None:
        return _without_listing(folder, plan, collection, add, began)
    before, unread, made = len(collection), None, 0
    while True:
        held = set(collection.track_ids)
        changes = listing.compare(plan.tracks, plan.lines, held.__contains__)
        if not add and changes.refusal:
            raise _made_otherwise(folder, [changes.refusal])
        if unread is None:
            unread = [track.track_id for track in changes.unread]
        chosen = {track.track_id for track in changes.unread + (changes.new if add else [])}
        wanted, interrupted = _wanted(folder, plan, collection, listing, chosen, add)
        notes = _notes(folder, plan, changes, unnamed, add)
        if wanted is None:
            if notes != read_report(folder.out / REPORT_FILE):
                write_report(folder.out / REPORT_FILE, notes)
            break
        made += run(wanted, notes)
        collection = Collection.open(folder.out)
        listing = Listing.load(collection) or listing
        if len(wanted.tracks) == len(chosen):
            break
    now = set(collection.track_ids)
    return BuildReport(
        collection,
        read_report(folder.out / REPORT_FILE),
        made,
        len(collection.shard_paths) - made,
        time.monotonic() - began,
        added=len(collection) - before,
        read_late=sum(track_id in now for track_id in unread),
        waiting=0 if add else len(changes.new),
        interrupted=interrupted,
    )


def _wanted(
    folder: BuildFolder,
    plan: Plan,
    collection: Collection,
    listing: Listing,
    chosen: set[str],
    add: bool,
) -> tuple[Plan | None, bool]:
    """What to append next, and whether an interrupted addition is in the way."""
    there = folder.unfinished_addition()
    if there is not None:
        lines = set(there)
        begun = [
            track
            for track, line in zip(plan.tracks, plan.lines, strict=True)
            if line in lines and track.track_id in chosen
        ]
        if there and len(begun) == len(there):  # whole, so it can be finished as it was begun
            return plan.addition(collection, listing, begun), False
        if not add:
            return None, True
    if not chosen:
        return None, False
    tracks = [track for track in plan.tracks if track.track_id in chosen]
    return plan.addition(collection, listing, tracks), False


def _notes(
    folder: BuildFolder, plan: Plan, changes: Changes, unnamed: list[Note], add: bool
) -> list[Note]:
    """What the report says already, and what this call found out without reading a file."""
    notes = read_report(folder.out / REPORT_FILE)
    fresh = unnamed
    if add:
        listed = {track.track_id for track in plan.tracks}
        notes = [note for note in notes if note.status != DIFFERS or note.track_id not in listed]
        fresh = changes.differing + unnamed
    there = set(notes)
    return notes + [note for note in fresh if note not in there]


def _refuse_other_settings(
    folder: BuildFolder, plan: Plan, collection: Collection, add: bool
) -> None:
    differences = plan.differences_from_collection(collection)
    if differences and add:
        raise CollectionError(
            f"{folder.out} was made otherwise, so nothing can be added: {'; '.join(differences)}. "
            "Give the settings that it was made with, or choose another --out"
        )
    if differences:
        raise _made_otherwise(folder, differences)


def _made_otherwise(folder: BuildFolder, differences: list[str]) -> CollectionError:
    return CollectionError(
        f"{folder.out} is finished, and was made otherwise: {'; '.join(differences)}. "
        "Choose another --out, add what is new with --add, or build it afresh with --overwrite"
    )


def _without_listing(
    folder: BuildFolder, plan: Plan, collection: Collection, add: bool, began: float
) -> BuildReport:
    """The collection does not know what it was made from, only the digest of that."""
    if add:
        raise CollectionError(
            f"{folder.out} does not hold the list of its sources (sources-….jsonl is missing, or "
            "damaged), so nothing can be added; build it afresh with --overwrite"
        )
    if not plan.same_listing(collection):
        raise _made_otherwise(folder, ["the list of audio files (ids, paths, sizes, dates)"])
    notes = read_report(folder.out / REPORT_FILE)
    shards = len(collection.shard_paths)
    return BuildReport(collection, notes, 0, shards, time.monotonic() - began)
