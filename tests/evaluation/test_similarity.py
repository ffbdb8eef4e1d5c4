"""Triplets: against a loop, ties, intervals, and tables that cannot be read."""

import numpy as np
import pytest

from playlist_pretrain.errors import TableError
from playlist_pretrain.evaluation.similarity import read_triplets, triplet_accuracy


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
