"""A repaired collection knows its sources: the same command makes the lost tracks anew."""

import os

import numpy as np
import pytest
import soundfile
from damage import content, flip

from playlist_pretrain.audio.decode import AudioLoader
from playlist_pretrain.cli import check_collection as check
from playlist_pretrain.cli import make_tfrecords as make
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


def build(audio, out):
    assert make.main(["--audio", str(audio), "--out", str(out), "--quiet"]) == 0
    return Collection.open(out)


def test_the_next_build_reads_what_was_lost_and_nothing_else(audio, read, tmp_path):
    out = tmp_path / "out"
    before = content(build(audio, out))
    for first in (16, 0):  # shard 1, then shard 0, whose tracks come to the end
        collection = Collection.open(out)
        row = collection.row(f"{first:02d}")
        flip(collection.shard_paths[collection.shard[row]], int(collection.offset[row]) + 9)
        assert check.main(["--collection", str(out), "--repair", "--quiet"]) == 0
        left = list(Collection.open(out).track_ids)
        lost = sorted(before.keys() - set(left))
        assert f"{first:02d}" in lost and len(lost) in (4, 16)
        read.clear()
        again = build(audio, out)
        assert read == [f"{track}.wav" for track in lost]
        assert list(again.track_ids) == left + lost
        assert content(again) == before
        assert verify_collection(out).problems == []
    read.clear()
    assert build(audio, out).content_key == again.content_key
    assert read == []
