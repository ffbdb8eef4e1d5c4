"""The stream of steps: the same from wherever one starts, whole batches, honest refusals."""

import numpy as np
import pytest
import tensorflow as tf

from playlist_pretrain.errors import RecipeError
from playlist_pretrain.models.contrastive import ContrastiveModel
from playlist_pretrain.models.layers import projector
from playlist_pretrain.models.nt_xent import NTXent
from playlist_pretrain.pairs import pairing
from playlist_pretrain.pairs.dataset import pair_dataset, plan, step_dataset
from playlist_pretrain.playlists.groups import TrackGroups, groups_path
from playlist_pretrain.records.windows import WindowReader, random_starts


class Blocks:
    """Pairing that numbers its pairs and yields them in odd blocks."""

    name = "blocks"
    y = "window"

    def __init__(self, counts, block=7):
        self.counts, self.block = counts, block

    def count(self, epoch):
        return self.counts[epoch]

    def epoch(self, epoch):
        n = self.counts[epoch]
        pairs = np.stack([np.arange(n), np.full(n, epoch)], 1).astype(np.int32)
        for i in range(0, n, self.block):
            yield pairs[i : i + self.block]


COUNTS = [23, 31, 20, 26]


@pytest.mark.parametrize("block", [1, 7, 100])
@pytest.mark.parametrize("first", [0, 1, 5, 15])
def test_steps_do_not_depend_on_blocks_or_on_where_one_starts(block, first):
    stream = plan([Blocks(COUNTS, block)], 4, epochs=4)
    assert stream.steps_per_epoch == 5
    found = list(stream.batches(first, 19))
    assert len(found) == 19 - first
    for step, (epoch, position, rows) in zip(range(first, 19), found, strict=True):
        assert (epoch, position) == (step // 5, step % 5 * 4)
        np.testing.assert_array_equal(rows[:, 0], position + np.arange(4))
        assert (rows[:, 1] == epoch).all()
        np.testing.assert_array_equal(stream.rows_of(step), rows)


def test_a_batch_that_does_not_fit_names_the_largest_that_does():
    with pytest.raises(RecipeError, match=r"--batch 21: .* only 20 pairs; .* --batch 20"):
        plan([Blocks(COUNTS)], 21, epochs=4)
    assert plan([Blocks(COUNTS)], 20, epochs=4).steps_per_epoch == 1
    with pytest.raises(RecipeError, match="no batch fits"):
        plan([Blocks([1])], 2, epochs=1)
    alone = Blocks([1])
    alone.y = "views"
    with pytest.raises(RecipeError, match="only 1 pair; no batch fits, more tracks are needed"):
        plan([alone], 2, epochs=1)


@pytest.mark.parametrize("kind", ["window", "views", "vector"])
def test_elements_are_what_the_pairing_says(kind, make_collection, tmp_path):
    collection = make_collection(tmp_path / "c", [40] * 32, front_end="vggish")
    reader = WindowReader(collection, 8)
    blocks = Blocks([20, 21])
    blocks.y = kind
    plain = blocks.epoch
    # Another positive for every anchor.
    blocks.epoch = lambda epoch: (
        (block[:, :1] * [1, 3] % [32, 31]).astype(np.int32) for block in plain(epoch)
    )
    stream = plan([blocks], 4, epochs=2)
    dataset = step_dataset(reader, stream, seed=5, first=3, last=8)
    elements = list(dataset)
    wanted = list(stream.batches(3, 8))
    assert len(elements) == len(wanted) == 5
    for element, (epoch, position, pairs) in zip(elements, wanted, strict=True):
        sides = 2 if kind == "window" else 1
        starts = random_starts(reader.last_start(pairs[:, :sides]), 5, epoch, position)
        x = element if kind == "views" else element[0]
        np.testing.assert_array_equal(x.numpy(), reader.read(pairs[:, 0], starts[:, 0]))
        if kind == "window":
            np.testing.assert_array_equal(
                element[1].numpy(), reader.read(pairs[:, 1], starts[:, 1])
            )
        if kind == "vector":
            assert element[1].dtype == tf.int32
            np.testing.assert_array_equal(element[1].numpy(), pairs[:, 1])


@pytest.fixture
def collection(make_collection, tmp_path):
    collection = make_collection(tmp_path / "c", [40] * 31 + [3], front_end="vggish")
    lists = [range(8 * i, 8 * i + 8) for i in range(4)]
    for name in ("playlists", "artists"):
        groups = TrackGroups.from_lists(
            name, lists, tracks=32, collection_key=collection.content_key
        )
        groups.save(groups_path(collection.path, name))
    return collection


@pytest.mark.slow
def test_pairs_of_a_collection_go_into_fit(collection):
    pairs = pairing("playlist_co", collection.path, frames=8, seed=3)
    dataset = pair_dataset(collection.path, pairs, batch=4, epochs=2, frames=8)
    assert len(dataset) == 2 * (pairs.count(0) // 4) == 6
    backbone = tf.keras.Sequential([tf.keras.layers.Flatten(input_shape=(8, 64))])
    model = ContrastiveModel(backbone, projector(512))
    model.compile(optimizer="adam", loss=NTXent(0.1))
    history = model.fit(dataset, epochs=2, verbose=0).history
    assert np.isfinite(history["loss"]).all() and len(history["loss"]) == 2
    with pytest.raises(RecipeError, match="the largest batch that fits is --batch 15"):
        pair_dataset(collection, pairs, batch=16, frames=8)


@pytest.mark.parametrize("name", [pytest.param("artist_co", marks=pytest.mark.slow), "simclr"])
def test_a_pairing_of_a_collection_or_of_groups(collection, name):
    found = pairing(name, collection, frames=8)
    rows = np.concatenate(list(found.epoch(0)))
    assert 31 not in rows, "it is shorter than a window"
    groups = TrackGroups.from_lists("x", [range(32)], tracks=32, collection_key="k")
    assert set(np.concatenate(list(pairing(name, groups).epoch(0))).flat) == set(range(32))
    with pytest.raises(RecipeError, match="'tracks'"):
        pairing("tracks", groups)
    with pytest.raises(RecipeError, match="--max-group-length 1: must be"):
        pairing(name, groups, max_group_length=1)
