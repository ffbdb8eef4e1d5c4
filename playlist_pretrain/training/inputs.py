"""What a run reads: its collection, groups and pairs, with every setting settled."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from playlist_pretrain.demo import DEMO_COLLECTION, ready_demo
from playlist_pretrain.errors import GroupsError, RecipeError
from playlist_pretrain.files import content_key
from playlist_pretrain.recipes import PretrainRecipe
from playlist_pretrain.storage import location

if TYPE_CHECKING:
    from playlist_pretrain.pairs import Material
    from playlist_pretrain.pairs.dataset import PairStream
    from playlist_pretrain.pairs.false_negatives import FalseNegatives
    from playlist_pretrain.playlists.groups import TrackGroups
    from playlist_pretrain.records.collection import Collection
    from playlist_pretrain.records.windows import WindowReader
    from playlist_pretrain.training.probe import ProbePairs

FEW_GROUPS = 5


@dataclass(frozen=True)
class Data:
    """What a recipe reads: settled rows, never ids."""

    collection: Collection
    reader: WindowReader
    stream: PairStream
    probe_pairs: ProbePairs | None
    facts: dict[str, Any]
    false_negatives: FalseNegatives | None = None


def settle(
    recipe: PretrainRecipe, say: Callable[[str], None], *, quiet: bool
) -> tuple[PretrainRecipe, Data]:
    """Open what the recipe names and settle every setting that depends on it."""
    from playlist_pretrain.models import BACKBONES
    from playlist_pretrain.pairs import PAIRINGS
    from playlist_pretrain.pairs.co_occurrence import PlaylistCoOccurrence
    from playlist_pretrain.pairs.dataset import PairStream
    from playlist_pretrain.records.collection import Collection
    from playlist_pretrain.records.windows import WindowReader
    from playlist_pretrain.training.probe import ProbePairs

    make_pairing = PAIRINGS.get(recipe.pairs)
    BACKBONES.get(recipe.backbone)  # refuses an unknown one before anything is read
    path = location(recipe.collection) if recipe.collection else ready_demo(say, quiet=quiet)
    demo = path.resolve() == DEMO_COLLECTION.resolve()
    collection = Collection.open(path)
    groups_given = recipe.groups is not None
    resolved = dataclasses.replace(recipe, collection=str(path)).resolve(
        demo=demo, window_frames=collection.front_end.window_frames
    )
    recipe = resolved.recipe
    say(f"preset {recipe.preset}: {collection.name}, {len(collection)} tracks")
    if not collection.front_end.takes_waveforms:
        say(
            f"its mels were imported: the model will take mels of front end "
            f"{collection.front_end.name!r}, and no waveforms"
        )

    reader = WindowReader(collection, recipe.frames, short="skip")
    kept, held_out, material, keys = _material(
        recipe, collection, say, groups_given=groups_given, quiet=quiet
    )
    pairing = make_pairing(material, recipe.seed)
    epochs = recipe.epochs or 1
    stream = PairStream.plan(pairing, recipe.batch, epochs, quiet=quiet)
    recipe, told = resolved.with_steps(stream.steps_per_epoch)
    if recipe.epochs != epochs:  # the demo's epochs follow from the pairs of its first
        stream = PairStream.plan(pairing, recipe.batch, recipe.epochs, quiet=quiet)
    if told:
        say(told)
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
    if kept is not None:
        say(f"{len(kept)} groups to train on, {len(held_out)} held out")
    say(
        f"about {pairing.expected_pairs:,.0f} pairs and {stream.steps_per_epoch} steps of "
        f"{recipe.batch} an epoch, {recipe.epochs} epochs"
    )
    false_negatives = None
    if recipe.mask_false_negatives:
        false_negatives = _false_negatives(recipe, collection, kept)
        share = false_negatives.share(stream.rows_of(0))
        say(f"{share:.1%} of the negatives of the first batch share a group: left out")
    if pairing.y == "vector":
        keys["vectors"] = content_key(pairing.table.tobytes())
    facts = {
        "collection": collection.content_key,
        **keys,
        "steps_per_epoch": stream.steps_per_epoch,
    }
    return recipe, Data(collection, reader, stream, probe_pairs, facts, false_negatives)


def _false_negatives(
    recipe: PretrainRecipe, collection: Collection, kept: TrackGroups | None
) -> FalseNegatives:
    from playlist_pretrain.pairs.false_negatives import FalseNegatives

    if kept is None:
        raise RecipeError(
            f"--mask-false-negatives: groups say what is no negative, and {collection.path} has "
            f"no groups {recipe.groups!r}"
        )
    return FalseNegatives.of(kept)


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

    chosen = {"frames": recipe.frames, "exclude": recipe.exclude, "say": say}
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
    return f"{collection}-{recipe.pairs}{groups}-{recipe.backbone}"
