"""Whole files decoded in worker processes, whatever a file does to them."""

import os
import threading
import time
from dataclasses import replace

import numpy as np
import pytest
from build_loaders import PAPER, AloneLoader, AloneWindows, Tones, sources

from playlist_pretrain.records.build import make_collection
from playlist_pretrain.records.sources import find_audio
from playlist_pretrain.records.workers import decode_files, decode_in_order

pytestmark = pytest.mark.slow


def test_one_file_costs_nothing_but_itself(tmp_path):
    tokens = [
        "noise:a", "crash:", "unreadable:", f"die-once:{tmp_path / 'died'}", "bug:", "noise:b",
    ]  # fmt: skip
    tracks = sources(*tokens, count=len(tokens))
    found = dict(decode_files(tracks, "", Tones(), workers=2))
    assert sorted(found) == list(range(6))
    for position in (0, 3, 5):
        expected = Tones()(tokens[position])
        np.testing.assert_array_equal(found[position].waveform, expected.waveform)
        assert found[position].source_seconds == expected.source_seconds
    assert found[1] == "reading it ended the process twice (SIGSEGV)"
    assert found[2] == "not audio"
    assert found[4] == "KeyError: 'no such thing'"


def test_in_order_and_what_waits_is_bounded(tmp_path):
    flag, others = tmp_path / "flag", tmp_path / "others"
    others.mkdir()
    names = [f"until:{flag}", *(f"touch:{others / str(n)}" for n in range(10)), "bug:"]
    seen = []

    def release():
        until = time.monotonic() + 60
        while len(os.listdir(others)) < 3 and time.monotonic() < until:
            time.sleep(0.05)
        time.sleep(1)  # for what must not begin
        seen.append(len(os.listdir(others)))
        flag.touch()

    def size_of(found):
        return 0 if isinstance(found, str) else found.waveform.nbytes

    load = Tones()
    size = size_of(load("noise:a"))
    releasing = threading.Thread(target=release)
    releasing.start()
    found = list(
        decode_in_order(
            sources(*names, count=len(names)), "", load, 2, size_of=size_of, most_waiting=2 * size
        )
    )
    releasing.join()
    assert [position for position, _ in found] == list(range(12))
    assert size_of(found[0][1]) == size
    assert found[11][1] == "KeyError: 'no such thing'"
    # Three pass the limit, and a fourth is begun before the third has come.
    assert 3 <= seen[0] <= 4


def test_workers_decode_themselves_and_without_tensorflow(noise_folder, tmp_path):
    """Modules that the first file led to are loaded when the second one is read."""
    folder = noise_folder({f"{n}": 2.0 for n in range(4)})
    tracks = find_audio(folder).tracks
    found = dict(decode_files(tracks, folder, AloneWindows(PAPER, 64), workers=2))
    assert [len(found[n].windows) for n in range(4)] == [2] * 4
    files = [replace(track, source=os.path.join(folder, track.source)) for track in tracks]
    report = make_collection(tmp_path / "out", files, PAPER, AloneLoader(), workers=2)
    assert (report.tracks, report.failed) == (4, [])
