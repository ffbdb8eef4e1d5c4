"""Builds in real worker processes, and what may happen to them."""

import contextlib
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from build_loaders import PAPER, Tones, content, sources

from playlist_pretrain.errors import CollectionError
from playlist_pretrain.records import build
from playlist_pretrain.records.build import make_collection
from playlist_pretrain.records.collection import Collection

pytestmark = pytest.mark.slow
HERE = Path(__file__).parent

PROGRAM = """
import resource, signal, sys
sys.path.insert(0, sys.argv[1])
from build_loaders import PAPER, Tones, sources
from playlist_pretrain.cli import command_line
from playlist_pretrain.records.build import make_collection

# A job in the background of a shell has this ignored, and hands that on.
signal.signal(signal.SIGINT, signal.default_int_handler)

def main(_):
    limit, count, add = int(sys.argv[3]), int(sys.argv[4]), sys.argv[5] == "True"
    if limit:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    load = Tones(delay=0.05)
    make_collection(sys.argv[2], sources(count=count), PAPER, load, workers=2, add=add)

import dataclasses
sys.exit(command_line.run(dataclasses.make_dataclass("Options", []), main, prog="build", argv=[]))
"""


def start(out, limit=0, count=40, add=False):
    # As in a user's shell: whatever TensorFlow may print, the program has to keep quiet itself.
    environment = {k: v for k, v in os.environ.items() if k != "TF_CPP_MIN_LOG_LEVEL"}
    return subprocess.Popen(
        [sys.executable, "-c", PROGRAM, *map(str, (HERE, out, limit, count, add))],
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
        start_new_session=True,
    )


def wait_for_shard(out, child):
    until = time.monotonic() + 120
    while not list((out / ".build").glob("mel-*.json")):
        assert child.poll() is None, child.stderr.read()
        assert time.monotonic() < until, "no shard was finished in time"
        time.sleep(0.01)


def wait_for_end_of_group(group):
    until = time.monotonic() + 20
    while True:
        states = []
        for status in Path("/proc").glob("[0-9]*/stat"):
            with contextlib.suppress(OSError):  # it ended in between
                state, _, its_group = status.read_text().rpartition(")")[2].split()[:3]
                if int(its_group) == group and state != "Z":
                    states.append(state)
        if not states:
            return
        assert time.monotonic() < until, "processes are left behind"
        time.sleep(0.05)


def test_the_number_of_workers_changes_nothing_and_dead_ones_are_replaced(tmp_path):
    tracks = sources("die:", f"die-once:{tmp_path / 'marker'}", "short:", "silent:")
    tracks[20] = tracks[20].__class__("crashing", "crash:")
    reports = [
        make_collection(tmp_path / f"{workers}", tracks, PAPER, Tones(), workers=workers)
        for workers in (1, 2)
    ]
    for report in reports:
        assert [(source, reason) for _, source, reason in report.failed] == [
            ("die:", "reading it ended the process twice (exit code 3)"),
            ("crash:", "reading it ended the process twice (SIGSEGV)"),
        ]
        assert report.tracks == 38
        assert report.made == 3
    assert content(tmp_path / "1") == content(tmp_path / "2")


def timed(begin):
    """Seconds that what ``begin()`` starts takes when nothing happens to it."""
    began = time.monotonic()
    with begin() as child:
        assert child.wait() == 0, child.stderr.read()
    return time.monotonic() - began


@pytest.mark.parametrize("kills", [5, pytest.param(25, marks=pytest.mark.long)])
@pytest.mark.parametrize("add", [False, True])
def test_killed_at_random_moments(tmp_path, add, kills):
    """A build, and an addition of 20 tracks to 20: old or new state, and in the end the new."""
    before, whole, out = (tmp_path / name for name in ("before", "whole", "out"))
    if add:
        timed(lambda: start(before, count=20))
        shutil.copytree(before, whole)
    seconds = timed(lambda: start(whole, add=add))
    expected, keys = content(whole), {40: Collection.open(whole).content_key}
    if add:
        keys[20] = Collection.open(before).content_key

    def clear():
        shutil.rmtree(out, ignore_errors=True)
        if add:
            shutil.copytree(before, out)

    moments, stopped = random.Random(7), 0
    clear()
    for attempt in range(kills):
        with start(out, add=add) as child:
            try:
                assert child.wait(moments.uniform(0, seconds)) == 0, child.stderr.read()
                assert content(out) == expected
                clear()
            except subprocess.TimeoutExpired:
                stopped += 1
                # Half the time the workers are left behind, as when memory runs out.
                if attempt % 2:
                    os.killpg(child.pid, signal.SIGKILL)
                else:
                    child.kill()
                child.wait()
        if add or (out / "collection.json").exists():
            collection = Collection.open(out)
            assert collection.content_key == keys[len(collection)]
    assert stopped >= kills // 2
    with start(out, add=add) as child:
        assert child.wait() == 0, child.stderr.read()
    assert content(out) == expected


def test_interrupted_from_the_keyboard(tmp_path):
    out = tmp_path / "out"
    with start(out) as child:
        wait_for_shard(out, child)
        os.killpg(child.pid, signal.SIGINT)
        assert child.wait(30) == 130
        said = child.stderr.read().splitlines()
    assert said == ["build: interrupted; what was finished is kept"]
    assert not list((out / ".build").glob(".*.tmp"))
    wait_for_end_of_group(child.pid)
    with start(out) as child:
        assert child.wait() == 0
    assert len(Collection.open(out)) == 40


def test_a_disk_without_room(tmp_path):
    out = tmp_path / "out"
    with start(out, limit=600_000) as child:  # the last shard has 0.5 MB, the others 1 MB
        assert child.wait() == 1
        said = child.stderr.read().splitlines()
    assert len(said) == 1
    assert "File too large" in said[0]
    assert "of 3 shards are finished and kept" in said[0]
    with start(out) as child:
        assert child.wait() == 0


def test_a_worker_that_the_system_kills_costs_its_file_at_most(tmp_path):
    marker = tmp_path / "marker"
    tracks = sources(f"kill-once:{marker}", "kill:", count=18)
    report = make_collection(tmp_path / "out", tracks, PAPER, Tones(), workers=2)
    assert marker.exists() and report.tracks == 17
    ((_, source, reason),) = report.failed
    assert source == "kill:"
    assert reason.startswith("reading it ended the process twice (SIGKILL, often a sign of too")


def test_workers_that_cannot_start_end_the_build(tmp_path, monkeypatch):
    def work_through(work, tasks, workers, *, on_step, on_death):
        task = tasks[0]
        while True:
            task = on_death(task, None, -signal.SIGKILL)
        yield

    monkeypatch.setattr(build, "work_through", work_through)
    with pytest.raises(CollectionError) as caught:
        make_collection(tmp_path / "out", sources(), PAPER, Tones())
    assert "'album 0/000' … 'album 3/015'" in str(caught.value)
    assert "ended 3 times before its first track (SIGKILL" in str(caught.value)
    assert "fewer --workers" in str(caught.value)
