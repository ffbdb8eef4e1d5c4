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
from playlist_pretrain.pairs.pairings import PlaylistCoOccurrence
from playlist_pretrain.playlists.groups import (
    TrackGroups,
    groups_path,
    load_groups,
    split_groups,
    usable_tracks,
)
from playlist_pretrain.records.collection import Collection
from playlist_pretrain.records.windows import WindowReader
from playlist_pretrain.storage import location
from playlist_pretrain.training.probe import ProbePairs
from playlist_pretrain.training.recipes import (
    DEMO_STEPS,
    PRETRAIN_PRESETS,
    PretrainRecipe,
    made_by_demo,
)

logger = logging.getLogger(__name__)

FEW_GROUPS = 5


@dataclass(frozen=True)
class Data:
    """Inputs of a recipe, in rows of its collection."""

    collection: Collection
    reader: WindowReader
    stream: PairStream
    """Pairs of every step, of one pairing or of several."""
    probe_pairs: ProbePairs | None
    """Held-out pairs, where there are enough."""
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
    held_out: TrackGroups | None
    pairing: Pairing
    groups_key: str | None
    exclude_key: str | None


def settle(recipe: PretrainRecipe, *, steps: int | None = None) -> tuple[PretrainRecipe, Data]:
    """Open the inputs of a recipe and settle every setting that depends on them.

    Epochs that the recipe does not give add up to ``steps``, whatever its preset says.
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
    if steps is not None:
        recipe = dataclasses.replace(recipe, epochs=given.epochs)
    logger.info(f"preset {recipe.preset}: {collection.name}, {len(collection)} tracks")
    if not collection.front_end.takes_waveforms:
        logger.info(
            f"its mels were imported: the model will take mels of front end "
            f"{collection.front_end.name!r}, and no waveforms"
        )
    reader = WindowReader(collection, recipe.frames, short="skip")
    parts = [
        _part(recipe.of_pairing(name), collection, groups_given=given.groups is not None)
        for name in recipe.pairings
    ]
    pairings = [part.pairing for part in parts]
    recipe, stream = planned(given, recipe, pairings, steps or DEMO_STEPS)
    probe_pairs = _probe_pairs(recipe, parts, reader)
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
    given: PretrainRecipe, recipe: PretrainRecipe, pairings: Sequence[Pairing], total: int
) -> tuple[PretrainRecipe, PairStream]:
    """Settle epochs and warm-up of a resolved recipe; returns it with the stream of its steps.

    All epochs have the steps of the one with the fewest pairs, so that more epochs may have less
    each: where epochs follow from a total of steps, they are counted until there are no more.
    """
    smaller = None if given.batch is not None else ("demo", PRETRAIN_PRESETS["demo"]["batch"])
    settled, epochs = recipe, None
    while epochs is None or epochs != settled.epochs:
        epochs = settled.epochs or 1
        stream = plan(pairings, recipe.batch, epochs, smaller=smaller)
        settled = recipe.with_steps(
            stream.steps_per_epoch, total=total, keep_warmup=given.warmup_steps is not None
        )
    if settled.warmup_steps != recipe.warmup_steps:
        logger.info(
            f"the run has {settled.epochs * stream.steps_per_epoch} steps, fewer than twice the "
            f"warm-up of {recipe.warmup_steps}: it warms up for {settled.warmup_steps} "
            "(--warmup-steps sets another number)"
        )
    return settled, stream


def _part(recipe: PretrainRecipe, collection: Collection, *, groups_given: bool) -> Part:
    """Load and split the groups of one pairing, and make the pairing."""
    chosen: dict[str, Any] = {"frames": recipe.frames, "exclude": recipe.exclude}
    there = groups_path(collection.path, recipe.groups).exists()
    if recipe.pairs == "simclr" and not (there or groups_given):
        # Its pairs need no groups; where there are some they serve the probe.
        usable, exclude_key = usable_tracks(collection, **chosen)
        kept = held_out = groups_key = None
    else:
        groups = load_groups(collection, recipe.groups)
        groups_key = groups.content_key
        split = split_groups(groups, collection, probe_share=recipe.probe_share, **chosen)
        kept, held_out = split.kept, split.held_out
        usable, exclude_key = split.usable, split.exclude_key
        if not len(kept) and recipe.pairs != "simclr":
            raise GroupsError(
                f"{collection.path}: no group of {recipe.groups!r} has two tracks that can be "
                "trained on"
            )
    material = Material(kept, usable, recipe, collection.path, collection.track_ids)
    pairing = PAIRINGS.get(recipe.pairs)(material, recipe.seed)
    return Part(recipe.groups, kept, held_out, pairing, groups_key, exclude_key)


def _probe_pairs(
    recipe: PretrainRecipe, parts: Sequence[Part], reader: WindowReader
) -> ProbePairs | None:
    # Playlists, where any pairing has them: so that runs can be compared by their probes.
    part = min(parts, key=lambda part: part.groups_name != "playlists")
    kept, held_out, probe_pairs = part.kept, part.held_out, None
    if held_out is not None and len(held_out):
        others = np.flatnonzero(kept.covered & ~held_out.covered)
        probe_pairs = ProbePairs.draw(
            PlaylistCoOccurrence(held_out, recipe.seed), others, reader, recipe.batch, recipe.seed
        )
    if probe_pairs is None and recipe.probe_share:
        logger.info("too few groups for a retrieval probe: nothing is held out to watch")
    elif probe_pairs is not None and len(held_out) < FEW_GROUPS:
        logger.info(
            f"the retrieval probe rests on {probe_pairs.pairs} pairs of "
            f"{len(held_out)} held-out groups: too few to tell much"
        )
    return probe_pairs


def _tell(recipe: PretrainRecipe, parts: Sequence[Part], stream: PairStream) -> None:
    """Log the numbers of groups, pairs and steps."""
    several = len(parts) > 1
    for name, part in {part.groups_name: part for part in parts}.items():
        if part.kept is not None:
            which = f"{name}: " if several else ""
            logger.info(
                f"{which}{len(part.kept)} groups to train on, {len(part.held_out)} held out"
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
