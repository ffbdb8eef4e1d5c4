"""Inputs of pre-training: the collection, groups and pairs of a recipe, every setting settled."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from playlist_pretrain.errors import GroupsError, RecipeError
from playlist_pretrain.files import content_key
from playlist_pretrain.models import BACKBONES
from playlist_pretrain.pairs import PAIRINGS, Material, Pairing
from playlist_pretrain.pairs.dataset import PairStream, plan
from playlist_pretrain.pairs.false_negatives import FalseNegatives
from playlist_pretrain.playlists.groups import (
    FEWEST_PAIRS,
    LARGEST_USUAL_SHARE,
    Split,
    TrackGroups,
    groups_path,
    load_groups,
    split_groups,
    usable_tracks,
)
from playlist_pretrain.playlists.match import shown
from playlist_pretrain.records.collection import Collection
from playlist_pretrain.records.report import counted
from playlist_pretrain.records.windows import WindowReader
from playlist_pretrain.storage import location
from playlist_pretrain.training.probe import ProbePairs
from playlist_pretrain.training.recipes import (
    DEMO_STEPS,
    Machine,
    PretrainRecipe,
    fitted,
    made_by_demo,
)

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Data:
    """Inputs of a recipe, in rows of its collection."""

    collection: Collection
    reader: WindowReader
    stream: PairStream
    """Pairs of every step, of one pairing or of several."""
    probe_pairs: ProbePairs | None
    """Held-out pairs, where there are enough to tell anything."""
    facts: dict[str, Any]
    """Facts that decide the run beside its recipe."""
    chance: float
    """Loss of a model that knows nothing."""
    false_negatives: tuple[FalseNegatives, ...] | None
    """One for each pairing, if they are to be left out."""


@dataclass(frozen=True)
class Part:
    """One pairing of a run, its groups (None where ``simclr`` has none) and their keys."""

    groups_name: str
    kept: TrackGroups | None
    pairing: Pairing
    groups_key: str | None
    exclude_key: str | None


def settle(
    recipe: PretrainRecipe, *, steps: int | None = None, machine: Machine | None = None
) -> tuple[PretrainRecipe, Data]:
    """Open the inputs of a recipe and settle every setting that depends on them.

    Epochs that the recipe does not give add up to ``steps``, whatever its preset says. ``machine``
    is what ``--preset auto`` fits a recipe to [the cores of this one].
    """
    for name in recipe.pairings:  # unknown names are refused before anything is read
        PAIRINGS.get(name)
    BACKBONES.get(recipe.backbone)
    path = location(recipe.collection)
    collection = Collection.open(path)
    given = dataclasses.replace(recipe, collection=str(path))
    recipe = given.resolve(
        demo=made_by_demo(collection), window_frames=collection.front_end.window_frames
    )
    logger.info(f"{collection.name}, {len(collection)} tracks")
    if not collection.front_end.takes_waveforms:
        logger.info(
            f"its mels were imported: the model will take mels of front end "
            f"{collection.front_end.name!r}, and no waveforms"
        )
    reader = WindowReader(collection, recipe.frames, short="skip")
    parts, split = _parts(recipe, collection, groups_given=given.groups is not None)
    pairings = [part.pairing for part in parts]
    bands = collection.front_end.bands
    recipe, stream = planned(given, recipe, pairings, steps, machine, bands)
    probe_pairs = ProbePairs.of(split.held_out, reader) if split else None
    recipe = _probed(given, recipe, split, probe_pairs)
    _tell(recipe, parts, stream)
    chance, false_negatives = _chance(recipe, parts, stream, collection)
    keys = {part.groups_name: part.groups_key for part in parts}
    facts = {
        "collection": collection.content_key,
        "groups": keys if len(parts) > 1 else parts[0].groups_key,
        "exclude": parts[0].exclude_key,
        "steps_per_epoch": stream.steps_per_epoch,
    }
    if (quiet := np.flatnonzero(collection.quiet)).size:  # no part of the collection's key
        facts["silent"] = content_key(quiet.tobytes())
    for pairing in pairings:
        if pairing.y == "vector":
            facts["vectors"] = content_key(pairing.table.tobytes())  # type: ignore[attr-defined]
    return recipe, Data(collection, reader, stream, probe_pairs, facts, chance, false_negatives)


def planned(
    given: PretrainRecipe,
    recipe: PretrainRecipe,
    pairings: Sequence[Pairing],
    total: int | None = None,
    machine: Machine | None = None,
    bands: int = 96,
) -> tuple[PretrainRecipe, PairStream]:
    """Settle what depends on the number of pairs; returns it with the stream of its steps.

    That is all of ``--preset auto``, epochs that the recipe leaves open, and the warm-up. All
    epochs have the steps of the one with the fewest pairs, so that more epochs may have less each:
    where epochs follow from a ``total`` of steps, they are counted until there are no more.
    """
    fits = given.preset == "auto" and recipe.preset != "demo" and bool(given.open)
    if fits:
        pairs = min(pairing.count(epoch) for pairing in pairings for epoch in range(3))
        machine = machine or Machine()
        fit = fitted(given, pairs, machine, frames=recipe.frames, bands=bands)
        recipe = given.resolve(demo=False, window_frames=recipe.frames, fit=fit)
    if total is not None:
        recipe = dataclasses.replace(recipe, epochs=given.epochs)
    settled, epochs = recipe, None
    while epochs is None or epochs != settled.epochs:
        epochs = settled.epochs or 1
        stream = plan(pairings, recipe.batch, epochs, smaller=given.batch is None and not fits)
        settled = recipe.with_steps(
            stream.steps_per_epoch,
            total=total or DEMO_STEPS,
            keep_warmup=given.warmup_steps is not None,
        )
    if fits:
        logger.info(f"preset auto: {pairs:,} pairs an epoch, {machine}: {_text(settled, stream)}")
    elif given.open:
        logger.info(f"preset {recipe.preset}")
    if recipe.warmup_steps not in (None, settled.warmup_steps):
        logger.info(
            f"the run has {settled.epochs * stream.steps_per_epoch} steps, fewer than twice the "
            f"warm-up of {recipe.warmup_steps}: it warms up for {settled.warmup_steps} "
            "(--warmup-steps sets another number)"
        )
    return settled, stream


def _text(recipe: PretrainRecipe, stream: PairStream) -> str:
    """The settings that ``--preset auto`` has chosen, or left as they were given."""
    width = "" if recipe.width is None else f", width {recipe.width:g}"
    return (
        f"batch {recipe.batch}{width}, {recipe.epochs} epochs of {stream.steps_per_epoch} steps, "
        f"learning rate {recipe.learning_rate:g}, warm-up of {recipe.warmup_steps} steps, probe "
        f"every {recipe.probe_epochs} and checkpoint every {recipe.checkpoint_epochs} epochs"
    )


def _parts(
    recipe: PretrainRecipe, collection: Collection, *, groups_given: bool
) -> tuple[list[Part], Split | None]:
    """Load the groups of every pairing, hold out tracks, and make the pairings of the others.

    Tracks are held out once, as pairs of playlists where any pairing has them, so that runs can be
    compared by their probes; no pairing trains on them. There is no split without any groups.
    """
    chosen: dict[str, Any] = {"frames": recipe.frames, "exclude": recipe.exclude}
    of_pairings = [recipe.of_pairing(name) for name in recipe.pairings]
    groups = {}
    for part in of_pairings:
        # The pairs of simclr need no groups; where there are some they serve the probe.
        there = groups_path(collection.path, part.groups).exists()
        if part.pairs != "simclr" or there or groups_given:
            groups[part.groups] = load_groups(collection, part.groups)
    split = None
    if groups:
        first = "playlists" if "playlists" in groups else next(iter(groups))
        split = split_groups(groups[first], collection, probe_share=recipe.probe_share, **chosen)
        usable, exclude_key = split.usable, split.exclude_key
    else:
        usable, exclude_key = usable_tracks(collection, **chosen)
    parts = []
    for part in of_pairings:
        own, kept = groups.get(part.groups), None
        if own is not None:
            kept = split.kept if part.groups == first else own.without_tracks(~usable)
            if not len(kept) and part.pairs != "simclr":
                raise GroupsError(
                    f"{collection.path}: no group of {part.groups!r} has two tracks that can be "
                    "trained on"
                )
        material = Material(kept, usable, part, collection.path, collection.track_ids)
        pairing = PAIRINGS.get(part.pairs)(material, part.seed)
        key = None if own is None else own.content_key
        parts.append(Part(part.groups, kept, pairing, key, exclude_key))
    return parts, split


def _probed(
    given: PretrainRecipe,
    recipe: PretrainRecipe,
    split: Split | None,
    probe_pairs: ProbePairs | None,
) -> PretrainRecipe:
    """Tell of the probe, and settle ``--keep`` where there is none."""
    if probe_pairs is not None:
        few = len(split.held_out) - probe_pairs.pairs
        logger.info(
            f"{len(split.held_out)} pairs of tracks are held out of training for the retrieval "
            "probe, which asks for each of two tracks by the other"
            + (f"; {few} of them have too few wrong answers" if few else "")
        )
        return recipe
    if given.keep == "best":
        raise RecipeError("--keep best: there is no retrieval probe to choose by")
    if recipe.probe_share:
        logger.info(
            f"no retrieval probe: it needs {FEWEST_PAIRS} pairs of tracks with enough wrong "
            f"answers, and may hold out {max(LARGEST_USUAL_SHARE, recipe.probe_share):.0%} of the "
            "tracks in groups (--probe-share)"
        )
    return dataclasses.replace(recipe, keep="last")


def _tell(recipe: PretrainRecipe, parts: Sequence[Part], stream: PairStream) -> None:
    """Log the numbers of groups, pairs and steps."""
    several = len(parts) > 1
    for name, part in {part.groups_name: part for part in parts}.items():
        if part.kept is not None:
            which = f"{name}: " if several else ""
            logger.info(f"{which}{counted(len(part.kept), 'group')} to train on")
            if len(part.kept) == 1 and part.pairing.name != "simclr":
                logger.warning(
                    f"{which}partners and negatives are all of one group, "
                    f"{shown(part.kept.group_ids[0])}: nothing tells them apart; match other "
                    "groups, such as --playlists tags --columns group=folder"
                )
    pairs = [part.pairing.expected_pairs for part in parts]
    if several:
        for part, count in zip(parts, pairs, strict=True):
            logger.info(f"{part.pairing.name}: about {count:,.0f} pairs an epoch")
    logger.info(
        f"about {min(pairs):,.0f} pairs and {stream.steps_per_epoch} steps of "
        f"{recipe.batch} an epoch, {recipe.epochs} epochs"
    )
    if several:
        logger.info("each step has a batch of each pairing; an epoch is as long as the shortest")


def _chance(
    recipe: PretrainRecipe,
    parts: Sequence[Part],
    stream: PairStream,
    collection: Collection,
) -> tuple[float, tuple[FalseNegatives, ...] | None]:
    """Loss at chance, and the false negatives of each pairing if they are to be left out."""
    from playlist_pretrain.models.nt_xent import chance_loss

    if not recipe.mask_false_negatives:
        return chance_loss(recipe.batch), None
    chances, finders = [], []
    for part, rows in zip(parts, np.split(stream.rows_of(0), len(parts)), strict=True):
        if part.kept is None:
            raise RecipeError(
                f"--mask-false-negatives: groups say what is no negative, and {collection.path} "
                f"has no groups {part.groups_name!r}"
            )
        finder = FalseNegatives.of(part.kept)
        which = f"{part.pairing.name}: " if len(parts) > 1 else ""
        logger.info(
            f"{which}{finder.share(rows):.1%} of the negatives of the first batch share a group: "
            "left out"
        )
        finders.append(finder)
        chances.append(finder.chance_loss(rows))  # all batches have about as many as the first
    return float(np.average(chances, weights=recipe.weights)), tuple(finders)
