"""The retrieval probe: ranks against a loop, chance, p-values, collapse."""

import numpy as np
import pytest
import tensorflow as tf

from playlist_pretrain.pairs.pairings import PlaylistCoOccurrence
from playlist_pretrain.playlists.groups import TrackGroups
from playlist_pretrain.records.windows import WindowReader
from playlist_pretrain.training.probe import ProbePairs, ProbeResult, probe


@pytest.fixture
def reader(make_collection, tmp_path):
    return WindowReader(make_collection(tmp_path / "c", [20] * 24, front_end="vggish"), 8)


def pairing(groups, tracks=24):
    groups = TrackGroups.from_lists("playlists", groups, tracks=tracks, collection_key="k")
    return PlaylistCoOccurrence(groups, 0)


def flat_models():
    inputs = tf.keras.Input((8, 64))
    backbone = tf.keras.Model(inputs, tf.keras.layers.Flatten()(inputs))
    inputs = tf.keras.Input((512,))
    return backbone, tf.keras.Model(inputs, inputs[:, :40])


OTHERS = np.arange(18, 24)


def test_draws_fixed_batches_without_a_track_twice(reader):
    drawn, again = (
        ProbePairs.draw(pairing([range(12), range(12, 18)]), OTHERS, reader, 4, seed=3)
        for _ in range(2)
    )
    assert [len(batch.anchors) for batch in drawn.batches] == [4, 4, 1]
    assert [len(batch.candidates) for batch in drawn.batches] == [4, 4, 4]
    assert (drawn.pairs, drawn.batch) == (9, 4)
    seen = []
    for batch, same in zip(drawn.batches, again.batches, strict=True):
        for name in ("anchors", "anchor_starts", "candidates", "candidate_starts"):
            np.testing.assert_array_equal(getattr(batch, name), getattr(same, name))
        positives = batch.candidates[: len(batch.anchors)]
        np.testing.assert_array_equal(batch.anchors < 12, positives < 12)
        assert set(batch.candidates[len(positives) :]) <= set(OTHERS)
        assert len(set(batch.candidates)) == 4
        for starts in (batch.anchor_starts, batch.candidate_starts):
            assert starts.min() >= 0 and starts.max() <= 12
        seen += [*batch.anchors, *positives]
    assert sorted(seen) == list(range(18))


def test_few_pairs_are_told_from_tracks_of_no_held_out_group(reader):
    def draw(groups, others, batch):
        return ProbePairs.draw(pairing(groups), others, reader, batch, seed=0)

    drawn = draw([range(6)], OTHERS, 8)
    assert (drawn.pairs, drawn.batch) == (3, 8)
    assert draw([range(6)], OTHERS, 32).batch == 9
    assert draw([range(2)], OTHERS[:0], 32) is None
    assert draw([range(20)], OTHERS[:0], 1) is None


@pytest.mark.parametrize("batch", [4, 18])
def test_ranks_equal_a_loop(reader, batch):
    pairs = ProbePairs.draw(pairing([range(18)]), OTHERS, reader, batch, seed=1)
    backbone, projector = flat_models()
    result = probe(backbone, projector, reader, pairs)

    def vectors(rows, starts):
        mels = [reader.collection.mel(r)[s : s + 8] for r, s in zip(rows, starts, strict=True)]
        return [mel.ravel()[:40].astype("f8") for mel in mels]

    for found, given in zip(result.ranks, pairs.batches, strict=True):
        x = vectors(given.anchors, given.anchor_starts)
        y = vectors(given.candidates, given.candidate_starts)
        assert found.shape == (len(x), len(y))
        for i, a in enumerate(x):
            cosine = [a @ c / np.linalg.norm(a) / np.linalg.norm(c) for c in y]
            for j in range(len(y)):
                assert found[i, j] == sum(c > cosine[j] for c in cosine)


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
    assert [perfect.chance(k) for k in (1, 10, 99)] == pytest.approx([0.05, 0.5, 1.0])
    uneven = ProbeResult((np.zeros((3, 10)), np.zeros((1, 2))), 0.0)
    assert uneven.chance(1) == pytest.approx((3 * 0.1 + 0.5) / 4)
    assert perfect.p_value(1) == half.p_value(1) == 1e-4
    assert none.p_value(1) == 1.0


@pytest.mark.slow
def test_p_values_of_chance_are_uniform(rng):
    def ranks():
        return [[rng.permutation(20) for _ in range(20)] for _ in range(4)]

    p = [ProbeResult(np.array(ranks(), float), 0.0).p_value(10) for _ in range(8)]
    assert 0.2 < np.mean(p) < 0.8


def test_collapsed_embeddings_find_nothing(reader):
    inputs = tf.keras.Input((8, 64))
    constant = tf.keras.layers.Lambda(lambda x: 0 * x[:, 0, :4] + 1.0)(inputs)
    backbone = tf.keras.Model(inputs, constant)
    inputs = tf.keras.Input((4,))
    projector = tf.keras.Model(inputs, tf.keras.layers.Lambda(lambda x: x)(inputs))
    pairs = ProbePairs.draw(pairing([range(24)]), OTHERS[:0], reader, 12, seed=0)
    result = probe(backbone, projector, reader, pairs)
    assert result.top(1) == 0.0 and result.p_value(1) == 1.0
    assert result.mean_cosine == pytest.approx(1.0)
