"""A hundred random damages: each is found, none misleads a reader, and what is sound is kept."""

import shutil

import numpy as np
import pytest
from damage import content, flip

from playlist_pretrain.errors import CollectionError, PlaylistPretrainError
from playlist_pretrain.records.collection import Collection
from playlist_pretrain.records.verify import repair_collection, verify_collection
from playlist_pretrain.records.windows import WindowReader

FRAMES, PER_SHARD = 4, 4


@pytest.fixture(scope="module")
def sound(make_collection, tmp_path_factory):
    """Twelve tracks in three shards."""
    folder = tmp_path_factory.mktemp("damage") / "sound"
    return make_collection(folder, [3, 4, 5, 6] * 3, per_shard=PER_SHARD)


def damage(folder, rng):
    """Damage one file of a collection; its name."""
    pattern = rng.choice(["mel-*.tfrecord", "mel-*.tfrecord", "index-*.npz", "collection.json"])
    path = rng.choice(sorted(folder.glob(str(pattern))))
    size = path.stat().st_size
    how = rng.choice(["bit", "bits", "cut", "gone"], p=[0.6, 0.2, 0.15, 0.05])
    if how == "cut":
        with open(path, "r+b") as stream:
            stream.truncate(int(rng.integers(0, size)))
    elif how == "gone":
        path.unlink()
    else:
        for byte in rng.integers(0, size, 1 if how == "bit" else 8).tolist():
            flip(path, byte, int(rng.integers(0, 8)))
    return path.name


def is_misleading(folder, sound):
    """Whether the collection opens, reads without an error, and gives other values."""
    try:
        collection = Collection.open(folder)
        reader = WindowReader(collection, FRAMES, "repeat")
        rows = np.arange(len(collection))
        reader.read(rows, np.zeros(len(rows), np.int64))
        now, before = content(collection), content(sound)
    except PlaylistPretrainError:
        return False
    assert list(now) == list(before), "other tracks"
    for track_id, (mel, *seconds) in now.items():
        changed = np.frombuffer(mel, np.uint8) != np.frombuffer(before[track_id][0], np.uint8)
        # A few bits may differ; another track's mel differs in almost all of its bytes.
        assert seconds == list(before[track_id][1:]) and changed.sum() <= 8, track_id
    return now != before or collection.front_end != sound.front_end


@pytest.mark.long
@pytest.mark.parametrize("first", range(0, 100, 25))
def test_random_damage_is_found_and_misleads_nobody(sound, tmp_path, first):
    before, ids, found = content(sound), list(sound.track_ids), 0
    for number in range(first, first + 25):
        folder = tmp_path / str(number)
        shutil.copytree(sound.path, folder)
        name = damage(folder, np.random.default_rng([0, number]))
        try:
            problems = verify_collection(folder).problems
        except CollectionError:  # collection.json is to be made anew
            assert name == "collection.json"
            found += 1
            continue
        if not problems:
            assert not is_misleading(folder, sound), f"trial {number}: {name} is not found"
            continue
        found += 1
        assert any(text.startswith((name, "collection.json")) for text in problems), number
        repair_collection(folder)
        assert verify_collection(folder).problems == []
        shards = sorted(path.name for path in sound.path.glob("mel-*.tfrecord"))
        lost = shards.index(name) * PER_SHARD if name in shards else len(ids)
        kept = ids[:lost] + ids[lost + PER_SHARD :]
        assert content(Collection.open(folder)) == {i: before[i] for i in kept}, number
    assert found > 18
