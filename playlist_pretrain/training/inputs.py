"""What a run reads: its collection, groups and pairs, with every setting settled."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from playlist_pretrain.errors import GroupsError, TableError
from playlist_pretrain.files import content_key
from playlist_pretrain.recipes import PretrainRecipe

if TYPE_CHECKING:
    from playlist_pretrain.pairs.dataset import PairStream
    from playlist_pretrain.playlists.groups import TrackGroups
    from playlist_pretrain.records.collection import Collection
    from playlist_pretrain.records.windows import WindowReader
    from playlist_pretrain.training.probe import ProbePairs

FEW_GROUPS = 5
DEMO_COLLECTION = Path("tfrecords") / "demo"


@dataclass(frozen=True)
class Data:
    """What a recipe reads: settled rows, never ids."""

    collection: Collection
    reader: WindowReader
    stream: PairStream
    probe_pairs: ProbePairs | None
    facts: dict[str, Any]


def settle(
    recipe: PretrainRecipe, say: Callable[[str], None], *, quiet: bool
) -> tuple[PretrainRecipe, Data]:
    """Open what the recipe names and settle every setting that depends on it."""
    from playlist_pretrain.pairs import PAIRINGS
    from playlist_pretrain.pairs.dataset import PairStream
    from playlist_pretrain.playlists.groups import load_groups
    from playlist_pretrain.records.collection import Collection
    from playlist_pretrain.records.windows import WindowReader
    from playlist_pretrain.training.probe import ProbePairs

    make_pairing = PAIRINGS.get(recipe.pairs)
    path = Path(recipe.collection) if recipe.collection else DEMO_COLLECTION
    demo = path.resolve() == DEMO_COLLECTION.resolve()
    if recipe.collection is None:
        from playlist_pretrain.demo.build import build_demo

        if not path.exists():
            say(f"{path} is missing: making the demo collection")
        build_demo(path.parent, quiet=quiet)  # also mends one that was interrupted
    collection = Collection.open(path)
    resolved = dataclasses.replace(recipe, collection=str(path)).resolve(
        demo=demo, window_frames=collection.front_end.window_frames
    )
    recipe = resolved.recipe
    say(f"preset {recipe.preset}: {collection.name}, {len(collection)} tracks")

    reader = WindowReader(collection, recipe.frames, short="skip")
    groups = load_groups(collection, recipe.groups)
    excluded, exclude_key = read_excluded(recipe.exclude, collection, say)
    groups_key = groups.content_key
    groups = usable_groups(groups, reader, excluded, say)
    kept, held_out = groups.hold_out(recipe.probe_share, recipe.seed)
    if not len(kept):
        raise GroupsError(
            f"{path}: no group of {recipe.groups!r} has two tracks that can be trained on"
        )
    pairing = make_pairing(kept, recipe.seed)
    epochs = recipe.epochs or 1
    stream = PairStream.plan(pairing, recipe.batch, epochs, quiet=quiet)
    recipe, told = resolved.with_steps(stream.steps_per_epoch)
    if recipe.epochs != epochs:  # the demo's epochs follow from the pairs of its first
        stream = PairStream.plan(pairing, recipe.batch, recipe.epochs, quiet=quiet)
    if told:
        say(told)
    probe_pairs = None
    if len(held_out):
        held_out_pairing = PAIRINGS.get("playlist_co")(held_out, recipe.seed)
        others = np.flatnonzero(kept.covered & ~held_out.covered)
        probe_pairs = ProbePairs.draw(held_out_pairing, others, reader, recipe.batch, recipe.seed)
    if probe_pairs is None and recipe.probe_share:
        say("too few groups for a retrieval probe: nothing is held out to watch")
    elif len(held_out) < FEW_GROUPS and probe_pairs is not None:
        say(
            f"the retrieval probe rests on {probe_pairs.pairs} pairs of "
            f"{len(held_out)} held-out groups: too few to tell much"
        )
    say(
        f"{len(kept)} groups to train on, {len(held_out)} held out; about "
        f"{pairing.expected_pairs:,.0f} pairs and {stream.steps_per_epoch} steps of {recipe.batch} "
        f"an epoch, {recipe.epochs} epochs"
    )
    facts = {
        "collection": collection.content_key,
        "groups": groups_key,
        "exclude": exclude_key,
        "steps_per_epoch": stream.steps_per_epoch,
    }
    return recipe, Data(collection, reader, stream, probe_pairs, facts)


def default_name(recipe: PretrainRecipe) -> str:
    """Name of a run folder when the user gives none."""
    collection = Path(recipe.collection or DEMO_COLLECTION).resolve().name
    groups = "" if recipe.groups == PretrainRecipe.groups else f"-{recipe.groups}"
    return f"{collection}-{recipe.pairs}{groups}-{recipe.backbone}"


def read_excluded(
    file: str | None, collection: Collection, say: Callable[[str], None]
) -> tuple[np.ndarray, str | None]:
    """Rows that ``--exclude`` names, and the key of that file's content.

    Raises
    ------
    TableError
        If the file cannot be read, or none of its ids is in the collection.
    """
    from playlist_pretrain.playlists.track_ids import read_track_ids

    if file is None:
        return np.empty(0, np.int32), None
    ids = read_track_ids(file)
    rows = collection.rows(ids)
    unknown = [track_id for track_id, row in zip(ids, rows, strict=True) if row < 0]
    if len(unknown) == len(ids):
        raise TableError(
            f"{file}: none of its {len(ids)} track ids is in {collection.name} (the first is "
            f"{ids[0]!r}, the collection's is {collection.track_ids[0]!r})"
        )
    if unknown:
        say(
            f"{file}: {len(unknown)} of {len(ids)} ids are not in {collection.name}, the first "
            f"is {unknown[0]!r}"
        )
    return rows[rows >= 0], content_key(*sorted(i.encode() for i in ids))


def usable_groups(
    groups: TrackGroups,
    reader: WindowReader,
    excluded: np.ndarray,
    say: Callable[[str], None],
) -> TrackGroups:
    """Groups without excluded tracks and without tracks that are shorter than a window."""
    left_out = ~reader.usable
    short = int(left_out.sum())
    left_out[excluded] = True
    if short:
        say(f"{short} tracks are shorter than a window of {reader.frames} frames: left out")
    if len(excluded):
        say(f"{len(np.unique(excluded))} tracks are excluded")
    return groups.without_tracks(left_out) if left_out.any() else groups
