"""The retrieval probe: ranks against a loop, chance, p-values, collapse."""

import numpy as np
import pytest
import tensorflow as tf

from playlist_pretrain.pairs import PAIRINGS
from playlist_pretrain.playlists.groups import TrackGroups
from playlist_pretrain.records.windows import WindowReader
from playlist_pretrain.training.probe import ProbePairs, ProbeResult, mean_cosine, probe


@pytest.fixture
def reader(make_collection, tmp_path):
    return WindowReader(make_collection(tmp_path / "c", [20] * 24, front_end="vggish"), 8)


def pairing(groups, tracks=24):
    groups = TrackGroups.from_lists("playlists", groups, tracks=tracks, collection_key="k")
    return PAIRINGS.get("playlist_co")(groups, 0)


def flat_models():
    inputs = tf.keras.Input((8, 64))
    backbone = tf.keras.Model(inputs, tf.keras.layers.Flatten()(inputs))
    inputs = tf.keras.Input((512,))
    return backbone, tf.keras.Model(inputs, inputs[:, :40])


def test_draws_fixed_batches_without_a_track_twice(reader):
    drawn = ProbePairs.draw(pairing([range(0, 12), range(12, 24)]), reader, 5, seed=3)
    again = ProbePairs.draw(pairing([range(0, 12), range(12, 24)]), reader, 5, seed=3)
    assert drawn.rows.shape == drawn.starts.shape == (8, 5, 2)
    np.testing.assert_array_equal(drawn.rows, again.rows)
    np.testing.assert_array_equal(drawn.starts, again.starts)
    for batch in drawn.rows:
        assert len(np.unique(batch)) == 10
        assert ((batch < 12).sum(axis=1) % 2 == 0).all()
    assert drawn.starts.min() >= 0 and drawn.starts.max() <= 12


def test_fewer_pairs_than_a_batch_make_a_smaller_one(reader):
    drawn = ProbePairs.draw(pairing([range(6)]), reader, 32, seed=0)
    assert drawn.batch == 3
    assert ProbePairs.draw(pairing([range(2)]), reader, 32, seed=0) is None


def test_ranks_equal_a_loop(reader):
    pairs = ProbePairs.draw(pairing([range(24)]), reader, 6, seed=1)
    backbone, projector = flat_models()
    result = probe(backbone, projector, reader, pairs)
    for b, (rows, starts) in enumerate(zip(pairs.rows, pairs.starts, strict=True)):
        x, y = (
            np.stack([
                reader.collection.mel(r)[s : s + 8].ravel()[:40].astype("f8")
                for r, s in zip(rows[:, side], starts[:, side], strict=True)
            ])
            for side in (0, 1)
        )  # fmt: skip
        for i in range(6):
            cosine = [x[i] @ y[j] / np.linalg.norm(x[i]) / np.linalg.norm(y[j]) for j in range(6)]
            for j in range(6):
                assert result.ranks[b, i, j] == sum(c > cosine[j] for c in cosine)


def planted(rng, hits):
    """Ranks of 4 batches of 20 in which the first ``hits`` anchors find their positive."""
    ranks = np.stack([[rng.permutation(20) for _ in range(20)] for _ in range(4)]).astype(float)
    for b in range(4):
        for i in range(20):
            j = int(np.flatnonzero(ranks[b, i] == (0 if i < hits else 19))[0])
            ranks[b, i, [i, j]] = ranks[b, i, [j, i]]
    return ProbeResult(ranks, 0.0)


def test_top_chance_and_p(rng):
    perfect, none, half = (planted(rng, hits) for hits in (20, 0, 10))
    assert (perfect.top(1), half.top(1), none.top(10)) == (1.0, 0.5, 0.0)
    assert (perfect.chance(1), perfect.chance(10), perfect.chance(99)) == (0.05, 0.5, 1.0)
    assert perfect.p_value(1) == half.p_value(1) == 1e-4
    assert none.p_value(1) == 1.0


def test_p_value_of_chance_is_not_small(rng):
    ranks = [[[rng.permutation(20) for _ in range(20)] for _ in range(4)] for _ in range(20)]
    p = [ProbeResult(np.array(r, float), 0.0).p_value(10) for r in ranks]
    assert 0.2 < np.mean(p) < 0.8


def test_collapsed_embeddings_find_nothing(reader):
    inputs = tf.keras.Input((8, 64))
    constant = tf.keras.layers.Lambda(lambda x: 0 * x[:, 0, :4] + 1.0)(inputs)
    backbone = tf.keras.Model(inputs, constant)
    inputs = tf.keras.Input((4,))
    projector = tf.keras.Model(inputs, tf.keras.layers.Lambda(lambda x: x)(inputs))
    pairs = ProbePairs.draw(pairing([range(24)]), reader, 12, seed=0)
    result = probe(backbone, projector, reader, pairs)
    assert result.top(1) == 0.0 and result.p_value(1) == 1.0
    assert result.mean_cosine == pytest.approx(1.0)


def test_mean_cosine_equals_a_loop(rng):
    vectors = rng.normal(1, 1, (9, 4))
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    expected = np.mean([unit[i] @ unit[j] for i in range(9) for j in range(9) if i != j])
    assert mean_cosine(vectors) == pytest.approx(expected)
