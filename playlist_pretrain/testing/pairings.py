"""The contract of pairings."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from playlist_pretrain.pairs import Material, Pairing
from playlist_pretrain.playlists.groups import TrackGroups
from playlist_pretrain.testing.clauses import require, require_name

TRACKS, UNUSABLE, GROUPS, LONGEST = 120, 10, 80, 50
EPOCHS = (0, 1, 2)
ALIKE = 20
KINDS = ("window", "views", "vector")
ROOM = 0.2
"""Relative distance of the expected number of pairs from those of three epochs."""


def example_material(seed: int = 0) -> Material:
    """Material for a pairing: 120 tracks in 80 groups with a long tail of popularity.

    Groups have 2 to 50 tracks. The last ten tracks are in none and must not be trained on.
    """
    generator = np.random.default_rng(seed)
    usable = np.arange(TRACKS) < TRACKS - UNUSABLE
    weights = 1 / np.arange(1, TRACKS - UNUSABLE + 1)
    lists = [
        generator.choice(usable.sum(), length, replace=False, p=weights / weights.sum())
        for length in np.minimum(1 + generator.geometric(0.1, GROUPS), LONGEST)
    ]
    groups = TrackGroups.from_lists("playlists", lists, tracks=TRACKS, collection_key="example")
    return Material(groups, usable, track_ids=[f"track/{row:03d}" for row in range(TRACKS)])


def check_pairing(
    make: Callable[[Material, int], Pairing], material: Material | None = None
) -> None:
    """Check a pairing against :class:`playlist_pretrain.pairs.Pairing`.

    ``make`` is ``(material, seed) → Pairing``, as it is registered. ``material`` is by default
    :func:`example_material`; one of your own needs as many pairs that orders can be told apart:
    some dozens.
    Raises ContractError at the first clause that is broken.
    """
    material = material or example_material()
    before = repr(np.random.get_state())
    pairing = make(material, 11)
    _anatomy(pairing, len(material.usable))
    made = []
    for epoch in EPOCHS:
        blocks = list(pairing.epoch(epoch))
        copies = [np.array(block) for block in blocks]
        _pairs(pairing, blocks, material.usable)
        count, size = pairing.count(epoch), sum(map(len, blocks))
        require(count == size, f"count({epoch}): {size} pairs were made, not {count}")
        made.append(np.concatenate(copies))
        list(pairing.epoch(epoch + 1))
        same = all(map(np.array_equal, blocks, copies))
        require(same, "epoch: arrays that were yielded are not touched afterwards")
    counts, expected = [len(pairs) for pairs in made], pairing.expected_pairs
    near = isinstance(expected, float) and (
        min(counts) * (1 - ROOM) <= expected <= max(counts) * (1 + ROOM)
    )
    require(near, f"expected_pairs: a float near {counts}, not {expected!r}")
    other = make(material, 11)
    for epoch in reversed(EPOCHS):
        require(
            np.array_equal(np.concatenate(list(other.epoch(epoch))), made[epoch]),
            "epoch: equal seeds give equal pairs, in whatever order epochs are asked for",
        )
    with ThreadPoolExecutor(len(EPOCHS)) as threads:
        found = list(threads.map(make(material, 11).count, EPOCHS))
    require(found == counts, f"count: the same from several threads at once, not {found}")
    seeded = np.concatenate(list(make(material, 12).epoch(0)))
    for what, pairs in (("epoch", made[1]), ("seed", seeded)):
        require(
            not np.array_equal(made[0][:ALIKE], pairs[:ALIKE]),
            f"epoch: another {what} gives other pairs, or another order",
        )
    require(repr(np.random.get_state()) == before, "epoch: NumPy's global generator is left alone")


def _anatomy(pairing: Pairing, tracks: int) -> None:
    require_name(pairing.name)
    require(pairing.y in KINDS, f"y: one of {', '.join(KINDS)}, not {pairing.y!r}")
    table = getattr(pairing, "table", None)
    there = (table is not None) == (pairing.y == "vector")
    require(there, "table: there where y is 'vector', and nowhere else")
    if table is not None:
        plain = isinstance(table, np.ndarray) and table.dtype == np.float32 and table.ndim == 2
        require(plain, "table: a float32 array of two axes")
        require(len(table) == tracks, f"table: a row for each of {tracks} tracks")
        require(np.isfinite(table).all(), "table: finite numbers")


def _pairs(pairing: Pairing, blocks: list[np.ndarray], usable: np.ndarray) -> None:
    require(blocks, "epoch: yields pairs where there are groups")
    for block in blocks:
        kind = getattr(block, "dtype", type(block))
        plain = isinstance(block, np.ndarray) and kind == np.int32
        require(plain, f"epoch: blocks are int32 arrays, not {kind}")
        require(
            block.ndim == 2 and block.shape[1] == 2 and len(block) >= 1,
            f"epoch: blocks are [k, 2] with k of 1 or more, not {list(block.shape)}",
        )
    pairs = np.concatenate(blocks)
    inside = pairs.min() >= 0 and pairs.max() < len(usable)
    require(inside, f"epoch: rows from 0 to {len(usable) - 1}")
    require(usable[pairs].all(), "epoch: only tracks that may be trained on")
    equal = pairs[:, 0] == pairs[:, 1]
    if pairing.y == "window":
        require(not equal.any(), "epoch: anchor and positive are two tracks where y is 'window'")
    if pairing.y == "views":
        require(equal.all(), "epoch: anchor and positive are one track where y is 'views'")
