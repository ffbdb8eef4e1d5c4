"""The retrieval probe: ranks against a loop, figures, chance, p-values, what is no noise."""

import numpy as np
import pytest
import tensorflow as tf

from playlist_pretrain.playlists.groups import HeldOut
from playlist_pretrain.records.windows import WindowReader
from playlist_pretrain.training.probe import WINDOWS, ProbePairs, ProbeResult, probe

PAIRS = 24


def held_out(sharing=()):
    """48 tracks of which only pairs share a group, and those of ``sharing``."""
    wrong = ~np.kron(np.eye(PAIRS, dtype=bool), np.ones((2, 2), bool))
    for one, other in sharing:
        wrong[one, other] = wrong[other, one] = False
    return HeldOut(np.arange(2 * PAIRS, dtype=np.int32).reshape(-1, 2), wrong)


@pytest.fixture(scope="module")
def reader(make_collection, tmp_path_factory):
    frames = [8 + track for track in range(2 * PAIRS)]
    collection = make_collection(tmp_path_factory.mktemp("probe") / "c", frames, "vggish")
    return WindowReader(collection, 8)


def flat_models():
    inputs = tf.keras.Input((8, 64))
    backbone = tf.keras.Model(inputs, tf.keras.layers.Flatten()(inputs))
    inputs = tf.keras.Input((512,))
    return backbone, tf.keras.Model(inputs, inputs[:, :40])


def test_windows_are_spread_over_each_track_and_the_same_each_time(reader):
    pairs, again = (ProbePairs.of(held_out(), reader) for _ in range(2))
    np.testing.assert_array_equal(pairs.starts, again.starts)
    assert pairs.starts.shape == (2 * PAIRS, WINDOWS)
    assert pairs.starts[0].tolist() == [0, 0, 0]
    assert pairs.starts[36].tolist() == [6, 18, 30]
    assert pairs.pairs == PAIRS and set(pairs.candidates) == {2 * PAIRS - 1}
    nothing = HeldOut(np.empty((0, 2), np.int32), np.empty((0, 0), bool))
    assert ProbePairs.of(nothing, reader) is None


def test_ranks_equal_a_loop_over_tracks_that_share_no_group(reader):
    sharing = [(0, 5), (4, 9)] + [(10, other) for other in range(18, 48)]
    pairs = ProbePairs.of(held_out(sharing), reader)
    assert not {10, 11} & set(pairs.anchors)  # too few wrong answers to one of them
    result = probe(*flat_models(), reader, pairs)
    vectors = []
    for row, starts in zip(pairs.rows, pairs.starts, strict=True):
        windows = [reader.collection.mel(row)[s : s + 8].ravel()[:40].astype("f8") for s in starts]
        vectors.append(np.mean([w / np.linalg.norm(w) for w in windows], axis=0))
    cosine = np.corrcoef(vectors)
    for i, one in enumerate(vectors):
        for j, other in enumerate(vectors):
            cosine[i, j] = one @ other / np.linalg.norm(one) / np.linalg.norm(other)
    for k, anchor in enumerate(pairs.anchors):
        partner = anchor + 1 if anchor % 2 == 0 else anchor - 1
        wrong = [
            other
            for other in range(2 * PAIRS)
            if other not in (anchor, partner)
            and (anchor, other) not in sharing
            and (other, anchor) not in sharing
        ]
        nearer = sum(cosine[anchor, other] > cosine[anchor, partner] for other in wrong)
        assert result.found[k] == nearer
        assert pairs.candidates[k] == len(wrong) + 1
        assert result.percentiles[k] == pytest.approx(1 - nearer / len(wrong))


def result_of(similarity, sharing=()):
    """Result of a probe that found these similarities of 48 tracks."""
    from playlist_pretrain.training.probe import _ranks

    out = held_out(sharing)
    pairs = ProbePairs(
        out.pairs.ravel(), np.zeros((2 * PAIRS, WINDOWS), np.int32), out.wrong,
        np.flatnonzero(np.repeat(out.askable, 2)),
    )  # fmt: skip
    among = out.wrong | (np.arange(2 * PAIRS)[:, None] == np.arange(2 * PAIRS) ^ 1)
    ranks = [_ranks(similarity[a], similarity[a][among[a]]) for a in pairs.anchors]
    return ProbeResult(pairs, np.stack(ranks), 0.0)


def planted(rng, nearness):
    """Similarities at random, symmetric, those of pairs larger by ``nearness``."""
    noise = rng.normal(size=(2 * PAIRS, 2 * PAIRS))
    partners = np.kron(np.eye(PAIRS), np.ones((2, 2)))
    return noise + noise.T + nearness * partners


def test_figures_of_perfect_and_of_equal_answers(rng):
    perfect, equal = result_of(planted(rng, 99)), result_of(np.ones((2 * PAIRS, 2 * PAIRS)))
    assert (perfect.top(1), perfect.top(10), perfect.percentile) == (1.0, 1.0, 1.0)
    assert (equal.top(1), equal.top(10), equal.percentile) == (0.0, 0.0, 0.5)
    assert [perfect.chance(k) for k in (1, 10, 99)] == pytest.approx([1 / 47, 10 / 47, 1.0])
    assert perfect.p_value(1) == perfect.p_value(10) == 1e-4
    assert equal.p_value(1) == 1.0


@pytest.mark.slow
def test_chance_is_what_its_figures_say_it_is():
    rng = np.random.default_rng(5)
    found = [result_of(planted(rng, 0.0), [(0, 5), (4, 9), (2, 30)]) for _ in range(60)]
    for k in (1, 10):
        assert np.mean([one.top(k) for one in found]) == pytest.approx(found[0].chance(k), abs=0.02)
    assert np.mean([one.percentile for one in found]) == pytest.approx(0.5, abs=0.02)
    p = np.array([one.p_value(10) for one in found[:24]])
    assert 0.3 < p.mean() < 0.7 and (p < 0.05).sum() <= 4


def test_a_fall_is_told_from_noise(rng):
    """Runs of 25 probes that differ by nothing but noise, and one that has learned by heart."""
    alarms = 0
    for _ in range(100):
        of_pairs = np.kron(np.diag(rng.normal(2, 1, PAIRS)), np.ones((2, 2)))
        probes = [result_of(planted(rng, 0.0) + of_pairs) for _ in range(25)]
        best = max(probes, key=lambda one: one.percentile)
        alarms += probes[-1].falls_below(best)
    assert alarms <= 4
    assert result_of(planted(rng, 0.5)).falls_below(result_of(planted(rng, 4.0)))
    one = result_of(planted(rng, 1.0))
    assert not one.falls_below(one)


def test_collapsed_embeddings_find_nothing(reader):
    inputs = tf.keras.Input((8, 64))
    constant = tf.keras.layers.Lambda(lambda x: 0 * x[:, 0, :4] + 1.0)(inputs)
    backbone = tf.keras.Model(inputs, constant)
    inputs = tf.keras.Input((4,))
    projector = tf.keras.Model(inputs, tf.keras.layers.Lambda(lambda x: x)(inputs))
    result = probe(backbone, projector, reader, ProbePairs.of(held_out(), reader))
    assert result.top(1) == 0.0 and result.percentile == 0.5
    assert result.mean_cosine == pytest.approx(1.0)
