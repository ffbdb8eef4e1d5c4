"""A plan of tables that takes seconds a cell, and the collection that it is about."""

import numpy as np
import pytest

PLAN = """
name = "tiny"
about = "Made of noise."
backbones = ["vggish"]
pairings = ["artist_co", "playlist_co"]
others = ["scratch"]
threads = 1
{more}

[pretrain]
collection = "{collection}"
steps = 24

[pretrain.settings]
preset = "demo"
frames = 16
width = 0.05
batch = 6
warmup_steps = 2
learning_rate = 1e-3
checkpoint_steps = 2

[finetune]
runs = 2

[finetune.settings]
epochs = 2
batch = 8

[tags.own]
title = "tags & more"
collection = "{collection}"

[triplets.own]
collection = "{collection}"
"""


@pytest.fixture(scope="session")
def tiny_collection(tmp_path_factory, make_collection):
    """Collection of 48 tracks of 24 artists with playlists, tags and triplets; see ``PLAN``."""
    from playlist_pretrain.playlists.groups import TrackGroups, groups_path

    path = tmp_path_factory.mktemp("tiny") / "tiny"
    rng, ids = np.random.default_rng(3), [f"t{track:02d}" for track in range(48)]
    mels = [rng.normal(0, 1, (20 + track, 64)).astype(np.float32) for track in range(48)]
    lines = ["track_id\tsplit\ttags"]
    for track, mel in enumerate(mels):
        mel[:, :8] += 0.2 * (track % 2)
        split = ("train", "train", "validation", "test")[track // 2 % 4]
        lines.append(f"{ids[track]}\t{split}\t{('low', 'high')[track % 2]}")
    collection = make_collection(path, mels, "vggish", ids=ids, per_shard=48, seconds=0.2)
    lists = [np.arange(k % 2, 48, 2)[k // 2 :: 4] for k in range(8)]
    for name, groups in (
        ("playlists", lists),
        ("artists", [[track, track + 2] for track in range(46) if track // 2 % 2 == 0]),
    ):
        made = TrackGroups.from_lists(
            name, groups, tracks=48, collection_key=collection.content_key
        )
        made.save(groups_path(path, name))
    (path / "tags.tsv").write_text("\n".join(lines) + "\n")
    rows = [f"t{k:02d},t{k + 2:02d},t{k + 1:02d}" for k in range(40)]
    (path / "triplets.csv").write_text("anchor,positive,negative\n" + "\n".join(rows) + "\n")
    return path


@pytest.fixture
def write_plan(tiny_collection, tmp_path):
    """Callable: path of the tiny plan, with changes ``{text: other text}``."""

    def write(changes=None, more=""):
        text = PLAN.format(collection=tiny_collection, more=more)
        for old, new in (changes or {}).items():
            assert old in text
            text = text.replace(old, new)
        path = tmp_path / "plan.toml"
        path.write_text(text)
        return path

    return write
