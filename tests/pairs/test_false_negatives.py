"""False negatives of a batch, against sets of groups."""

import math

import numpy as np
import pytest

from playlist_pretrain.models.nt_xent import chance_loss, nt_xent
from playlist_pretrain.pairs.dataset import Share, plan, step_dataset
from playlist_pretrain.pairs.false_negatives import FalseNegatives
from playlist_pretrain.pairs.pairings import SimClr
from playlist_pretrain.playlists.groups import TrackGroups
from playlist_pretrain.records.windows import WindowReader


def groups_of(rng, tracks, count, longest):
    lists = [
        rng.choice(tracks, n, replace=False) for n in rng.integers(0, longest + 1, count)
    ]  # the last tenth of the tracks is in no group
    lists = [rows[rows < tracks * 9 // 10] for rows in lists]
    return TrackGroups.from_lists("playlists", lists, tracks=tracks, collection_key="k")


def slow(groups, pairs):
    """The mask by sets, position by position."""
    rows = [*pairs[:, 0], *pairs[:, 1]]
    of = {row: {g for g in range(len(groups)) if row in groups.group(g)} for row in set(rows)}
    mask = np.zeros((len(rows), len(rows)), bool)
    for i, one in enumerate(rows):
        for j, other in enumerate(rows):
            partner = abs(i - j) in (0, len(pairs))
            mask[i, j] = not partner and (one == other or bool(of[one] & of[other]))
    return mask


@pytest.mark.parametrize(("count", "longest"), [(0, 0), (1, 40), (30, 6), (300, 20)])
def test_equals_what_sets_say(rng, count, longest):
    groups = groups_of(rng, 60, count, longest)
    false_negatives = FalseNegatives.of(groups)
    for n in (1, 2, 25):
        pairs = rng.integers(0, 60, (n, 2)).astype(np.int32)  # some tracks twice
        pairs[0, 1] = pairs[0, 0]
        found = false_negatives.left_out(pairs)
        np.testing.assert_array_equal(found, slow(groups, pairs))
        np.testing.assert_array_equal(false_negatives.left_out(pairs), found)


def test_chance_and_share_are_those_of_the_mask(rng):
    groups = groups_of(rng, 60, 30, 6)
    false_negatives = FalseNegatives.of(groups)
    pairs = rng.integers(0, 60, (20, 2)).astype(np.int32)
    left_out = false_negatives.left_out(pairs)
    equal = np.ones((20, 4), np.float32)
    at_chance = nt_xent(equal, equal, left_out=left_out).numpy().mean()
    assert false_negatives.chance_loss(pairs) == pytest.approx(at_chance, rel=1e-5)
    assert false_negatives.share(pairs) == pytest.approx(left_out.sum() / (40 * 38))
    none = FalseNegatives.of(groups_of(rng, 60, 0, 0))
    distinct = np.arange(40, dtype=np.int32).reshape(20, 2)
    assert none.chance_loss(distinct) == pytest.approx(chance_loss(20))
    assert math.isnan(none.share(pairs[:1]))


@pytest.mark.parametrize("kind", ["window", "views", "vector"])
@pytest.mark.parametrize("share", [Share(), Share(4, 1, 3)])
def test_every_part_of_a_batch_comes_with_the_mask_of_the_whole(
    kind, share, make_collection, tmp_path, rng
):
    collection = make_collection(tmp_path / "c", [40] * 30, front_end="vggish")
    reader = WindowReader(collection, 8)
    groups = groups_of(rng, 30, 20, 5)
    pairing = SimClr(np.arange(30), 0)
    pairing.y = kind
    stream = plan([pairing], 8, epochs=3)
    settings = {"seed": 5, "first": 2, "last": 7, "share": share}
    plain = list(step_dataset(reader, stream, **settings))
    found = list(
        step_dataset(reader, stream, **settings, false_negatives=[FalseNegatives.of(groups)])
    )
    parts = share.last - share.first
    assert len(found) == len(plain) == 5 * parts
    for i, (element, sides) in enumerate(zip(found, plain, strict=True)):
        sides = (sides,) if kind == "views" else sides
        assert len(element) == len(sides) + 1
        for one, other in zip(element, sides, strict=False):
            np.testing.assert_array_equal(one, other)
        np.testing.assert_array_equal(element[-1], slow(groups, stream.rows_of(2 + i // parts)))
