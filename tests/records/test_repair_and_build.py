"""A repaired collection knows its sources: the next build reads what was lost, and that alone."""

import os
import shutil

import numpy as np
import pytest
import soundfile
from damage import content, flip

from playlist_pretrain.audio.decode import AudioLoader
from playlist_pretrain.cli import check_collection as check
from playlist_pretrain.cli import make_tfrecords as make
from playlist_pretrain.records import verify as repair
from playlist_pretrain.records.collection import Collection
from playlist_pretrain.records.verify import verify_collection

TRACKS, RATE = 20, 16000


@pytest.fixture(scope="module")
def audio(tmp_path_factory):
    """Folder of short noises, no two alike."""
    folder, rng = tmp_path_factory.mktemp("audio"), np.random.default_rng(4)
    for number in range(TRACKS):
        noise = rng.uniform(-0.3, 0.3, RATE + 100 * number)
        soundfile.write(folder / f"{number:02d}.wav", noise, RATE)
    return folder


@pytest.fixture
def read(in_process, monkeypatch):
    """Names of the files that were read, in their order."""
    read, load = [], AudioLoader.__call__

    def spy(self, source):
        read.append(os.path.basename(source))
        return load(self, source)

    monkeypatch.setattr(AudioLoader, "__call__", spy)
    return read


def build(audio, out, *more):
    assert make.main(["--audio", str(audio), "--out", str(out), "--quiet", *more]) == 0
    return Collection.open(out)


def repaired(folder):
    assert check.main(["--collection", str(folder), "--repair", "--quiet"]) == 0
    return Collection.open(folder)


def spoil(collection, *rows):
    """Damage the mels of some rows."""
    for row in rows:
        flip(collection.shard_paths[collection.shard[row]], int(collection.offset[row]) + 9)


def spoil_two(collection):
    spoil(collection, 3, 17)


def lose_a_shard(collection):
    collection.shard_paths[1].unlink()


def cut_a_shard(collection):
    os.truncate(collection.shard_paths[0], int(collection.offset[14]) + 5)


def spoil_and_lose_the_index(collection):
    spoil(collection, 5)
    (collection.path / "index-0.npz").unlink()


@pytest.mark.parametrize(
    ("damage", "lost"),
    [
        (spoil_two, [3, 17]),
        (lose_a_shard, [16, 17, 18, 19]),
        (cut_a_shard, [14, 15]),
        (spoil_and_lose_the_index, [5]),
    ],
)
def test_the_next_build_reads_what_was_lost_and_nothing_else(audio, read, tmp_path, damage, lost):
    out = tmp_path / "out"
    whole = build(audio, out)
    before, listing = content(whole), (out / "sources-0.jsonl").read_bytes()
    assert read == [f"{row:02d}.wav" for row in range(TRACKS)]
    damage(whole)
    left = repaired(out)
    ids = [f"{row:02d}" for row in range(TRACKS) if row not in lost]
    assert list(left.track_ids) == ids
    (sources,) = out.glob("sources-*.jsonl")
    assert sources.read_bytes() == listing
    read.clear()
    again = build(audio, out)
    assert read == [f"{row:02d}.wav" for row in lost]
    assert list(again.track_ids) == ids + [f"{row:02d}" for row in lost]
    assert content(again) == before
    assert verify_collection(out).problems == []
    read.clear()
    assert build(audio, out).content_key == again.content_key
    assert read == []


def test_damage_after_an_addition_and_after_a_repair(audio, read, tmp_path):
    out, some = tmp_path / "out", tmp_path / "some"
    some.mkdir()
    for path in sorted(audio.iterdir())[:12]:
        shutil.copy2(path, some)
    build(some, out)
    before = content(build(audio, out, "--add"))
    for lost in ([2, 15], [0], [19]):
        # Each time the rows are in another order: what was lost came back at the end.
        collection = Collection.open(out)
        ids = list(collection.track_ids)
        spoil(collection, *lost)
        repaired(out)
        read.clear()
        assert content(build(audio, out)) == before
        assert read == sorted(f"{ids[row]}.wav" for row in lost)


class Killed(BaseException):
    """The process ends here."""


@pytest.mark.parametrize("step", ["_keep_sources", "write_collection", "_remove_unnamed"])
def test_a_repair_that_was_killed_keeps_them_too(audio, read, tmp_path, monkeypatch, step):
    out = tmp_path / "out"
    whole = build(audio, out)
    before = content(whole)
    spoil_two(whole)
    with monkeypatch.context() as patch:

        def killed(*arguments, **named):
            raise Killed

        patch.setattr(repair, step, killed)
        with pytest.raises(Killed):
            repaired(out)
    repaired(out)
    read.clear()
    assert content(build(audio, out)) == before
    assert read == ["03.wav", "17.wav"]
