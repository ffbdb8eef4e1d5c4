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


@pytest.fixture(scope="session")
def tagged_world(tmp_path_factory):
    """Collection of 48 tracks and its tags.tsv: a class has bands of its own, a little louder.

    Windows of 16 frames are enough. Tracks have 20 to 67 frames; ``rare`` is the tag of one
    training track and of no other.
    """
    from playlist_pretrain.audio.front_end import front_end
    from playlist_pretrain.records.schema import shard_name
    from playlist_pretrain.records.writer import ShardWriter, write_collection

    path = tmp_path_factory.mktemp("tagged") / "tagged"
    settings, rng = front_end("vggish"), np.random.default_rng(3)
    classes = ["low", "middle", "high"]
    splits = ["train"] * 24 + ["validation"] * 12 + ["test"] * 12
    lines = ["track_id\tsplit\ttags"]
    with ShardWriter(path / shard_name(0), settings.bands) as writer:
        for track, split in enumerate(splits):
            tags = [name for name in classes if rng.random() < 0.5] or [classes[track % 3]]
            mel = rng.normal(0, 1, (20 + track, settings.bands)).astype(np.float32)
            for place, name in enumerate(classes):
                mel[:, place * 20 : place * 20 + 20] += 0.5 * (name in tags)
            writer.add(f"t{track:02d}", mel, start_seconds=0.0, source_seconds=0.2)
            lines.append(f"t{track:02d}\t{split}\t{'|'.join(tags + ['rare'] * (track == 0))}")
    write_collection(path, settings, [writer.part], source={"made": "for a test"})
    (path / "tags.tsv").write_text("\n".join(lines) + "\n")
    return path


@pytest.fixture
def tagging_arguments(tagged_world, tmp_path):
    """Command line of a fine-tuning of two runs of four epochs that takes seconds."""
    return [
        "--collection", str(tagged_world), "--out", str(tmp_path / "tagger"), "--frames", "16",
        "--width", "0.05", "--batch", "8", "--epochs", "4", "--runs", "2", "--quiet",
        "--low-learning-rate", "1e-3", "--high-learning-rate", "1e-2",
    ]  # fmt: skip
