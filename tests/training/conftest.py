"""A collection small enough to train on in seconds, and the arguments to do so."""

import numpy as np
import pytest


@pytest.fixture(scope="session")
def small_world(make_collection, tmp_path_factory):
    """Collection of 60 tracks with 20 playlists of 3 to 8 tracks; two tracks are short.

    There are 30 artists as well, of two tracks each.
    """
    from playlist_pretrain.playlists.groups import TrackGroups, groups_path

    path = tmp_path_factory.mktemp("world") / "small"
    collection = make_collection(path, [40 + i for i in range(58)] + [5, 9], front_end="vggish")
    generator = np.random.default_rng(7)
    lists = [
        np.sort(generator.choice(60, generator.integers(3, 9), replace=False)) for _ in range(20)
    ]
    groups = TrackGroups.from_lists(
        "playlists", lists, tracks=60, collection_key=collection.content_key
    )
    groups.save(groups_path(path, "playlists"))
    artists = TrackGroups.from_lists(
        "artists",
        [range(first, first + 2) for first in range(0, 60, 2)],
        tracks=60,
        collection_key=collection.content_key,
    )
    artists.save(groups_path(path, "artists"))
    return path


@pytest.fixture
def arguments(small_world, tmp_path):
    """Command line of a run of three epochs that takes seconds."""
    return [
        "--collection", str(small_world), "--out", str(tmp_path / "run"), "--frames", "16",
        "--width", "0.05", "--batch", "6", "--epochs", "3", "--warmup-steps", "2",
        "--learning-rate", "1e-3", "--quiet",
    ]  # fmt: skip
