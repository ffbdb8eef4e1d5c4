"""The report on a space, against loops, and what it says of bad ones."""

import json

import numpy as np
import pytest

from playlist_pretrain.errors import EmbeddingsError
from playlist_pretrain.evaluation.neighbours import ExactSearch, Neighbours
from playlist_pretrain.playlists.groups import TrackGroups
from playlist_pretrain.retrieval import space as module
from playlist_pretrain.retrieval.space import space_report


def groups_of(lists, tracks, name="artists"):
    return TrackGroups.from_lists(name, lists, tracks=tracks, collection_key="")


def report(vectors, groups=(), **settings):
    return space_report(ExactSearch(vectors), vectors, groups, **settings)


def test_figures_equal_loops(rng):
    vectors = rng.normal(size=(30, 4)) + 0.3
    lists = [[0, 1, 2, 9], [9, 11, 12], [20, 21]]
    found = report(vectors, [groups_of(lists, 30), groups_of([[3], []], 30, "playlists")], k=4)
    units = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    pairs = [units[i] @ units[j] for i in range(30) for j in range(30) if i != j]
    assert found.mean_cosine == pytest.approx(np.mean(pairs))
    near = [
        [j for j in np.argsort(-(units @ units[i]), kind="stable") if j != i][:4] for i in range(30)
    ]
    times = [sum(row in one for one in near) for row in range(30)]
    order = sorted(range(30), key=lambda row: (-times[row], row))[:5]
    assert found.hubs == [(row, times[row]) for row in order]
    assert found.nobodys == times.count(0)
    mates = {i: {j for one in lists if i in one for j in one} - {i} for i in range(30)}
    (artists,) = found.groups
    assert artists.share == pytest.approx(
        sum(j in mates[i] for i in range(30) for j in near[i]) / 120
    )
    assert artists.share_chance == pytest.approx(sum(map(len, mates.values())) / 30 / 29)
    assert list(artists.retrieval.recall) == [1, 10]  # no hundred others
    assert (found.tracks, found.dim, found.queries, found.k) == (30, 4, 30, 4)
    assert found.without_mates == ["playlists"]


def test_chance_is_what_neighbours_at_random_give(rng):
    class Random:
        def of_tracks(self, k, queries):
            rows = np.stack([
                rng.permutation(np.delete(np.arange(400), query))[:k] for query in queries
            ])  # fmt: skip
            return Neighbours(queries, rows, np.zeros(rows.shape), 400)

    artists = groups_of([range(first, first + 40) for first in range(0, 400, 40)], 400)
    found = space_report(Random(), rng.normal(size=(400, 6)), [artists])
    assert found.hubness == pytest.approx(found.hubness_chance, abs=0.35)
    assert found.groups[0].share == pytest.approx(found.groups[0].share_chance, abs=0.02)
    (artists,) = found.groups
    for k, recall in artists.retrieval.recall.items():
        assert recall == pytest.approx(artists.recall_chance[k], abs=0.02)
    assert artists.recall_chance == {k: pytest.approx(max(k, 39) / 399) for k in (1, 10, 100)}
    assert artists.retrieval.r_precision == pytest.approx(39 / 399, abs=0.02)
    assert artists.r_precision_chance == pytest.approx(39 / 399)


def test_bad_spaces_show(rng):
    good, shift = rng.normal(size=(60, 8)), np.full(8, 30)
    ids = [f"t{row}" for row in range(60)]
    assert "collapsed" not in report(good).text(ids)
    assert "the space may have collapsed" in report(good + shift).text(ids)
    # Short vectors around the mean of long ones are near to everything.
    far = rng.normal(size=(200, 100)) + 0.3
    far[0] = far.mean(axis=0)
    found = report(far)
    assert found.hubs[0][0] == 0 and found.hubness > 2 > found.hubness_chance


def test_many_tracks_are_sampled_and_it_is_said(rng, monkeypatch):
    monkeypatch.setattr(module, "LARGEST_WHOLE", 100)
    monkeypatch.setattr(module, "SAMPLE", 40)
    vectors = rng.normal(size=(101, 4))
    ids = [f"t{row}" for row in range(101)]
    groups = [groups_of([range(50)], 101)]
    first, again, other = (report(vectors, groups, seed=seed) for seed in (0, 0, 1))
    assert first == again != other
    assert first.queries == 40 and "nearest of 40 tracks drawn of 101" in first.text(ids)
    retrieval = first.groups[0].retrieval
    assert retrieval.queries + retrieval.left_out == 40
    assert report(vectors[:100]).queries == 100


def test_text_and_json(rng):
    vectors = rng.normal(size=(12, 3))
    found = report(vectors, [groups_of([[0, 1]], 12), groups_of([[3]], 12, "tags")], k=3)
    ids = [f"t{row}\x1b" for row in range(12)]
    text = found.text(ids)
    assert "\x1b" not in text
    assert text.startswith("the space: 12 tracks, 3 values; 3 nearest of all 12 tracks\n")
    table = [line.split() for line in text.splitlines() if line.startswith("  artists")]
    assert [row[:3] for row in table] == [
        ["artists", "2", "1"], ["artists", "2", "10"], ["artists", "2", "R"],
    ]  # fmt: skip
    assert table[0][4:6] == ["one", "group"] and "looked at" not in text
    content = json.loads(json.dumps(found.to_dict(ids), allow_nan=False))
    assert content["hubs"][0] == {"track_id": ids[found.hubs[0][0]], "times": found.hubs[0][1]}
    assert float(table[1][3]) == pytest.approx(
        content["groups"][0]["retrieval"]["recall"]["10"], abs=1e-4
    )


def test_more_mates_than_places_are_told(rng):
    found = report(rng.normal(size=(130, 3)), [groups_of([range(120), range(120, 130)], 130)])
    assert found.places == 100 and found.groups[0].retrieval.cut == 120
    ids = [f"t{row}" for row in range(130)]
    assert "R is more than the 100 places looked at: 120 of artists" in found.text(ids)


def test_two_tracks():
    found = report(np.eye(2), k=1)
    assert (found.mean_cosine, found.hubness, found.nobodys) == (0, 0, 0)
    with pytest.raises(EmbeddingsError, match="k must be between 1 and 1: 2 nearest of 2 tracks"):
        report(np.eye(2), k=2)
    with pytest.raises(EmbeddingsError, match="'artists' are of 3 tracks"):
        report(np.eye(2), [groups_of([[0, 1]], 3)], k=1)
