"""What a run reads: its collection, groups and pairs, with every setting settled."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from playlist_pretrain.demo import DEMO_COLLECTION, ready_demo
from playlist_pretrain.errors import GroupsError, RecipeError
from playlist_pretrain.files import content_key
from playlist_pretrain.storage import location
from playlist_pretrain.training.recipes import PRETRAIN_PRESETS, PretrainRecipe

if TYPE_CHECKING:
    from playlist_pretrain.pairs import Material, Pairing
    from playlist_pretrain.pairs.dataset import JointStream, PairStream
    from playlist_pretrain.pairs.false_negatives import FalseNegatives
    from playlist_pretrain.playlists.groups import TrackGroups
    from playlist_pretrain.records.collection import Collection
    from playlist_pretrain.records.windows import WindowReader
    from playlist_pretrain.training.probe import ProbePairs
    from playlist_pretrain.training.recipes import Resolved

FEW_GROUPS = 5


@dataclass(frozen=True)
class Data:
    """What a recipe reads: settled rows, never ids.

    Attributes
    ----------
    stream : PairStream or JointStream
        Of one pairing, or of several.
    facts : dict
        What decides the run beside its recipe.
    chance : float
        Loss of a model that knows nothing.
    false_negatives : tuple of FalseNegatives or None
        One for each pairing, if they are to be left out.
    """

    collection: Collection
    reader: WindowReader
    stream: PairStream | JointStream
    probe_pairs: ProbePairs | None
    facts: dict[str, Any]
    chance: float
    false_negatives: tuple[FalseNegatives, ...] | None


def settle(
    recipe: PretrainRecipe, say: Callable[[str], None], *, quiet: bool, steps: int | None = None
) -> tuple[PretrainRecipe, Data]:
    """Open what the recipe names and settle every setting that depends on it.

    ``steps`` are those that epochs come to where the recipe has none, whatever its preset says.
    """
    from playlist_pretrain.models import BACKBONES
    from playlist_pretrain.models.nt_xent import chance_loss
    from playlist_pretrain.pairs import PAIRINGS
    from playlist_pretrain.pairs.co_occurrence import PlaylistCoOccurrence
    from playlist_pretrain.records.collection import Collection
    from playlist_pretrain.records.windows import WindowReader
    from playlist_pretrain.training.probe import ProbePairs

    makers = [PAIRINGS.get(name) for name in recipe.pairings]
    BACKBONES.get(recipe.backbone)  # refuses an unknown one before anything is read
    path = location(recipe.collection) if recipe.collection else ready_demo(say, quiet=quiet)
    demo = path.resolve() == DEMO_COLLECTION.resolve()
    collection = Collection.open(path)
    groups_given = recipe.groups is not None
    resolved = dataclasses.replace(recipe, collection=str(path)).resolve(
        demo=demo, window_frames=collection.front_end.window_frames, steps=steps
    )
    recipe = resolved.recipe
    say(f"preset {recipe.preset}: {collection.name}, {len(collection)} tracks")
    if not collection.front_end.takes_waveforms:
        say(
            f"its mels were imported: the model will take mels of front end "
            f"{collection.front_end.name!r}, and no waveforms"
        )

    reader = WindowReader(collection, recipe.frames, short="skip")
    parts = _materials(recipe, collection, say, groups_given=groups_given, quiet=quiet)
    pairings = [make(part.material, recipe.seed) for make, part in zip(makers, parts, strict=True)]
    recipe, told, stream = planned(resolved, pairings, quiet=quiet)
    if told:
        say(told)
    # Playlists, where any pairing has them: so that runs can be compared by their probes.
    probed = min(parts, key=lambda part: part.groups_name != "playlists")
    kept, held_out = probed.kept, probed.held_out
    probe_pairs = None
    if held_out is not None and len(held_out):
        held_out_pairing = PlaylistCoOccurrence(held_out, recipe.seed)
        others = np.flatnonzero(kept.covered & ~held_out.covered)
        probe_pairs = ProbePairs.draw(held_out_pairing, others, reader, recipe.batch, recipe.seed)
    if probe_pairs is None and recipe.probe_share:
        say("too few groups for a retrieval probe: nothing is held out to watch")
    elif probe_pairs is not None and len(held_out) < FEW_GROUPS:
        say(
            f"the retrieval probe rests on {probe_pairs.pairs} pairs of "
            f"{len(held_out)} held-out groups: too few to tell much"
        )
    for groups_name, part in {part.groups_name: part for part in parts}.items():
        if part.kept is not None:
            which = f"{groups_name}: " if len(parts) > 1 else ""
            say(f"{which}{len(part.kept)} groups to train on, {len(part.held_out)} held out")
    for pairing in pairings if len(parts) > 1 else []:
        say(f"{pairing.name}: about {pairing.expected_pairs:,.0f} pairs an epoch")
    pairs = min(pairing.expected_pairs for pairing in pairings)
    say(
        f"about {pairs:,.0f} pairs and {stream.steps_per_epoch} steps of "
        f"{recipe.batch} an epoch, {recipe.epochs} epochs"
    )
    if len(parts) > 1:
        say("each step has a batch of each pairing; an epoch is as long as the shortest")
    false_negatives, chances = None, [chance_loss(recipe.batch)] * len(parts)
    if recipe.mask_false_negatives:
        false_negatives = tuple(_false_negatives(part, collection) for part in parts)
        found = [part.rows_of(0) for part in stream.streams]
        found = list(zip(pairings, false_negatives, found, strict=True))
        for pairing, finder, rows in found:
            which = f"{pairing.name}: " if len(parts) > 1 else ""
            share = finder.share(rows)
            say(f"{which}{share:.1%} of the negatives of the first batch share a group: left out")
        # All batches have about as many as the first.
        chances = [finder.chance_loss(rows) for _, finder, rows in found]
    keys = _keys(parts)
    for pairing in pairings:
        if pairing.y == "vector":
            keys["vectors"] = content_key(pairing.table.tobytes())  # type: ignore[attr-defined]
    facts = {
        "collection": collection.content_key,
        **keys,
        "steps_per_epoch": stream.steps_per_epoch,
    }
    chance = float(np.average(chances, weights=recipe.weights))
    return recipe, Data(collection, reader, stream, probe_pairs, facts, chance, false_negatives)


def planned(
    resolved: Resolved, pairings: Sequence[Pairing], *, quiet: bool
) -> tuple[PretrainRecipe, str, PairStream | JointStream]:
    """The recipe with its epochs and warm-up, what to tell the user of them, and its steps.

    All epochs have the steps of the one with the fewest pairs, so that more epochs may have less
    each: where epochs follow from a number of steps, they are counted until there are no more.

    Raises
    ------
    RecipeError
        If an epoch has fewer pairs than a batch.
    """
    from playlist_pretrain.pairs.dataset import plan

    recipe, epochs = resolved.recipe, None
    smaller = None if resolved.batch_given else ("demo", PRETRAIN_PRESETS["demo"]["batch"])
    while epochs is None or epochs != recipe.epochs:
        epochs = recipe.epochs or 1
        stream = plan(pairings, recipe.batch, epochs, smaller=smaller, quiet=quiet)
        recipe, told = resolved.with_steps(stream.steps_per_epoch)
    return recipe, told, stream


@dataclass(frozen=True)
class _Part:
    """What one pairing of a run is made of."""

    groups_name: str
    kept: TrackGroups | None
    held_out: TrackGroups | None
    material: Material
    keys: dict[str, str | None]


def _materials(
    recipe: PretrainRecipe,
    collection: Collection,
    say: Callable[[str], None],
    *,
    groups_given: bool,
    quiet: bool,
) -> list[_Part]:
    """The part of every pairing; what is true of all is said once."""
    told = set()

    def say_once(text: str) -> None:
        if text not in told:
            told.add(text)
            say(text)

    parts = []
    for name in recipe.pairings:
        alone = recipe.of_pairing(name)
        found = _material(alone, collection, say_once, groups_given=groups_given, quiet=quiet)
        parts.append(_Part(alone.groups, *found))
    return parts


def _keys(parts: list[_Part]) -> dict[str, Any]:
    """Keys of the groups, by name where there are several pairings, and of the excluded ids."""
    if len(parts) == 1:
        return dict(parts[0].keys)
    groups = {part.groups_name: part.keys["groups"] for part in parts}
    return {"groups": groups, "exclude": parts[0].keys["exclude"]}


def _false_negatives(part: _Part, collection: Collection) -> FalseNegatives:
    from playlist_pretrain.pairs.false_negatives import FalseNegatives

    if part.kept is None:
        raise RecipeError(
            f"--mask-false-negatives: groups say what is no negative, and {collection.path} has "
            f"no groups {part.groups_name!r}"
        )
    return FalseNegatives.of(part.kept)


def _material(
    recipe: PretrainRecipe,
    collection: Collection,
    say: Callable[[str], None],
    *,
    groups_given: bool,
    quiet: bool,
) -> tuple[TrackGroups | None, TrackGroups | None, Material, dict[str, str | None]]:
    """Groups to train on and held out, what pairs are made of, and the keys of the inputs."""
    from playlist_pretrain.pairs import Material
    from playlist_pretrain.playlists.groups import groups_path, load_groups
    from playlist_pretrain.playlists.split import split_groups, usable_tracks

    chosen: dict[str, Any] = {"frames": recipe.frames, "exclude": recipe.exclude, "say": say}
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
    material = Material(
        kept, usable, recipe, collection.path, collection.track_ids, say=say, quiet=quiet
    )
    return kept, held_out, material, {"groups": groups_key, "exclude": exclude_key}


def default_name(recipe: PretrainRecipe) -> str:
    """Name of a run folder when the user gives none."""
    collection = location(recipe.collection or DEMO_COLLECTION).resolve().name
    own = dataclasses.replace(recipe, groups=None).groups_name
    groups = "" if recipe.groups_name == own else f"-{recipe.groups}"
    return f"{collection}-{'+'.join(recipe.pairings)}{groups}-{recipe.backbone}"
