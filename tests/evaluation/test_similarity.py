"""Triplets: against a loop, ties, intervals, and tables that cannot be read."""

import numpy as np
import pytest

from playlist_pretrain.errors import EmbeddingsError, TableError
from playlist_pretrain.evaluation.similarity import (
    paired_difference,
    read_triplets,
    triplet_accuracy,
)


def test_equals_a_loop(rng):
    vectors = rng.normal(size=(30, 5))
    triplets = np.stack([rng.permutation(30)[:3] for _ in range(50)])

    def distance(i, j):
        a, b = vectors[i], vectors[j]
        return 1 - a @ b / np.sqrt(a @ a) / np.sqrt(b @ b)

    gaps = [distance(a, n) - distance(a, p) for a, p, n in triplets]
    result = triplet_accuracy(vectors, triplets)
    assert result.accuracy == pytest.approx(np.mean([gap > 0 for gap in gaps]))
    assert result.difference == pytest.approx(np.mean(gaps))
    assert result.interval[0] < result.accuracy < result.interval[1]


def test_ties_count_half_and_scale_does_not_matter():
    same = np.ones((3, 4))
    assert triplet_accuracy(same, np.array([[0, 1, 2]] * 5)).accuracy == 0.5
    vectors = np.array([[1.0, 0], [2, 0.1], [0, 3]])
    assert triplet_accuracy(vectors, np.array([[0, 1, 2]])).accuracy == 1.0
    assert triplet_accuracy(vectors, np.array([[0, 2, 1]])).accuracy == 0.0


def test_interval_is_that_of_a_binomial():
    vectors = np.array([[1.0, 0], [1, 0.1], [0, 1]])
    triplets = np.array([[0, 1, 2]] * 320 + [[0, 2, 1]] * 80)
    low, high = triplet_accuracy(vectors, triplets).interval
    half = 1.96 * np.sqrt(0.8 * 0.2 / 400)
    assert (low, high) == pytest.approx((0.8 - half, 0.8 + half), abs=0.005)


def test_the_centred_difference_equals_a_loop(rng):
    vectors = rng.normal(size=(30, 5)) + 20  # all in one direction
    triplets = np.stack([rng.permutation(25)[:3] for _ in range(50)])
    named = np.unique(triplets)

    def distance(i, j, centre):
        a, b = vectors[i] - centre, vectors[j] - centre
        return 1 - a @ b / np.sqrt(a @ a) / np.sqrt(b @ b)

    centre = np.mean([vectors[i] for i in named], axis=0)
    gaps = [distance(a, n, centre) - distance(a, p, centre) for a, p, n in triplets]
    result = triplet_accuracy(vectors, triplets)
    assert result.centred_difference == pytest.approx(np.mean(gaps))
    assert abs(result.difference) < 0.1 * abs(result.centred_difference)


def test_ties_are_counted():
    vectors = np.array([[1.0, 0], [0, 1], [0, 2], [1, 1]])
    result = triplet_accuracy(vectors, np.array([[0, 1, 2], [0, 3, 1], [0, 2, 1]]))
    assert result.ties == 2 and result.accuracy == pytest.approx(2 / 3)


def test_only_embeddings_that_are_named_count(rng):
    vectors = rng.normal(size=(5, 3))
    triplets = np.array([[0, 1, 2]])
    before = triplet_accuracy(vectors, triplets)
    vectors[4] = np.nan
    assert triplet_accuracy(vectors, triplets).centred_difference == before.centred_difference
    vectors[1, 2] = np.inf
    with pytest.raises(EmbeddingsError, match="row 1: NaN or infinite"):
        triplet_accuracy(vectors, triplets)
    with pytest.raises(EmbeddingsError, match="no triplets"):
        triplet_accuracy(vectors, triplets[:0])


def test_two_models_on_the_same_triplets():
    from scipy.stats import binom

    near, far, even = [1.0, 0.1], [0.0, 1.0], [1.0, 1.0]
    vectors = np.array([[1.0, 0.0], near, far, even, even])
    right, wrong, tie = [0, 1, 2], [0, 2, 1], [0, 3, 4]
    first = triplet_accuracy(vectors, np.array([right] * 10 + [wrong] * 3 + [tie] + [right] * 86))
    second = triplet_accuracy(vectors, np.array([wrong] * 10 + [right] * 3 + [right] * 87))
    found = paired_difference(first, second)
    assert (found.first, found.second) == (10, 3)  # a tie beside a right one is no side's
    assert found.difference == pytest.approx((10 - 3 - 0.5) / 100)
    assert found.interval[0] < found.difference < found.interval[1]
    assert found.p_value == pytest.approx(2 * binom.cdf(3, 13, 0.5))
    turned = paired_difference(second, first)
    assert (turned.difference, turned.p_value) == (-found.difference, found.p_value)
    same = paired_difference(first, first)
    assert (same.difference, same.first, same.p_value) == (0, 0, 1)
    with pytest.raises(EmbeddingsError, match="100 triplets and 1"):
        paired_difference(first, triplet_accuracy(vectors, np.array([right])))


@pytest.fixture
def collection(make_collection, tmp_path):
    return make_collection(tmp_path / "c", [4] * 3, front_end="vggish", ids=["a", "b/ö", "c"])


@pytest.mark.parametrize(
    "text",
    [
        "votes,anchor,positive,negative\r\n3,a,b/ö,c\r\n1,c,b/ö,a\r\n",
        "\ufeffnegative\tanchor\tpositive\nc\ta\tb/ö\n\na\tc\tb/ö",
        'anchor;positive;negative\n"a";"b/ö";"c"\nc;b/ö;a\n',
    ],
)
def test_reads(collection, tmp_path, text):
    path = tmp_path / "t.csv"
    path.write_bytes(text.encode())
    triplets = read_triplets(path, collection)
    np.testing.assert_array_equal(triplets, [[0, 1, 2], [2, 1, 0]])
    assert triplets.dtype == np.int32


HEADER = b"anchor,positive,negative"


@pytest.mark.parametrize(
    ("content", "word"),
    [
        (b"", "the file is empty"),
        (b"anchor,x\n", "no column 'positive', 'negative'; its columns are: 'anchor', 'x'"),
        (HEADER + b"\n", "a header and no rows"),
        (HEADER + b"\na,b/\xc3\xb6,c\na,c,a\n", "line 3: a track is named twice"),
        (HEADER + b"\na,c,a\na,x,c\n", "line 3: the positive 'x' is not in c"),
        (HEADER + b'\n\na,c,a\n\n"a",c,x\nx,a,a', "line 5: the negative 'x' is not in c"),
        (HEADER + b',note\na,c,a,"1\n2"\nx,c,a,\n', "line 4: the anchor 'x' is not in c"),
        (HEADER + b"\na,c\n", "line 2: 2 cells, the header has 3"),
        (HEADER + b"\na,,c\n", "line 2: column 'positive' is empty"),
        (b"\xff\xfe\x00", "UTF-8"),
        (HEADER + b"\na,b,\xff\n", "line 2: not UTF-8"),
    ],
)
def test_refuses(collection, tmp_path, content, word):
    path = tmp_path / "t.csv"
    path.write_bytes(content)
    with pytest.raises(TableError, match=word) as refused:
        read_triplets(path, collection)
    assert str(path) in str(refused.value)


def test_refuses_what_is_no_file(collection, tmp_path):
    with pytest.raises(TableError, match=r"t\.csv: no such file"):
        read_triplets(tmp_path / "t.csv", collection)
    with pytest.raises(TableError, match="a folder, not a file"):
        read_triplets(tmp_path, collection)
