"""Values of mels: counts, sums and extremes against NumPy's."""

import numpy as np
import pytest

from playlist_pretrain.records.writer import MelSums, Tally


@pytest.fixture
def mel(rng):
    return rng.normal(0, 3, (500, 7)).astype("<f2")


def test_sums_are_those_of_numpy_to_the_bit(mel):
    tally, sums = Tally(7), MelSums.empty(7)
    for piece in (mel[:123], mel[123:]):
        sums.add(piece.tobytes(), 0, tally.counts)
    exact = mel.astype(np.float64)
    expected = [exact.sum(0), np.square(exact).sum(0), exact.min(0), exact.max(0)]
    np.testing.assert_array_equal(sums.sums, expected)
    assert (sums.not_finite, sums.silent) == (0, 0)


def test_counts_say_everything_about_the_values(mel):
    tally = Tally(7)
    MelSums.empty(7).add(mel.tobytes(), 0, tally.counts)
    exact = mel.astype(np.float64)
    expected = (exact.min(), exact.max(), exact.mean(), exact.std())
    assert tally.summary() == pytest.approx(expected, rel=1e-12)
    counts, edges = tally.histogram()
    assert counts.sum() == mel.size and edges[[0, -1]].tolist() == [exact.min(), exact.max()]
    np.testing.assert_array_equal(counts, np.histogram(exact, edges)[0])


def test_what_is_not_finite_is_counted_and_not_summed():
    mel = np.array([[1, np.nan], [np.inf, 2], [-np.inf, 3]], "<f2")
    tally, sums = Tally(2), MelSums.empty(2)
    sums.add(mel.tobytes(), -1, tally.counts)
    assert sums.not_finite == 3 and sums.silent == 0
    assert sums.sums[0].tolist() == [1, 5]


def test_silence_is_counted_by_its_bits():
    silence = np.float16(-4.605)
    mel = np.full((5, 2), silence)
    mel[3, 1] = 0
    sums = MelSums.empty(2)
    sums.add(mel.tobytes(), int(silence.view(np.uint16)), Tally(2).counts)
    assert sums.silent == 9


def test_merging_is_seeing_both(mel):
    one, two, both = Tally(7), Tally(7), Tally(7)
    for tally, part in ((one, mel[:100]), (two, mel[100:]), (both, mel)):
        sums = MelSums.empty(7)
        sums.add(part.tobytes(), 0, tally.counts)
        tally.low, tally.high = sums.sums[2], sums.sums[3]
    one.merge(two)
    for name in ("counts", "low", "high"):
        np.testing.assert_array_equal(getattr(one, name), getattr(both, name))
