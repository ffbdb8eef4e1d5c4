"""Builds in real worker processes, and what may happen to them."""

import contextlib
import dataclasses
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
from processes import wait_for

from playlist_pretrain.errors import CollectionError
from playlist_pretrain.records import build
from playlist_pretrain.records.build import make_collection
from playlist_pretrain.records.collection import Collection

pytestmark = pytest.mark.slow
HERE = Path(__file__).parent

PROGRAM = """
import signal, sys
sys.path.insert(0, sys.argv[1])
from build_loaders import PAPER, Tones, sources
from playlist_pretrain.cli import command_line
from playlist_pretrain.records.build import make_collection

# A job in the background of a shell has this ignored, and hands that on.
signal.signal(signal.SIGINT, signal.default_int_handler)

def main(_):
    count, add = int(sys.argv[3]), sys.argv[4] == "True"
    load = Tones(delay=0.05)
    make_collection(sys.argv[2], sources(count=count), PAPER, load, workers=2, add=add)

import dataclasses
sys.exit(command_line.run(dataclasses.make_dataclass("Options", []), main, prog="build", argv=[]))
"""


def start(out, count=40, add=False):
    # As in a user's shell: whatever TensorFlow may print, the program has to keep quiet itself.
    environment = {k: v for k, v in os.environ.items() if k != "TF_CPP_MIN_LOG_LEVEL"}
    return subprocess.Popen(
        [sys.executable, "-c", PROGRAM, *map(str, (HERE, out, count, add))],
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
        start_new_session=True,
    )


def alive(group):
    """Processes of a group that still run; a zombie waits for its parent, and does nothing else."""
    found = []
    for status in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):  # it ended in between
            state, _, its_group = status.read_text().rpartition(")")[2].split()[:3]
            found += [status.parent.name] * (int(its_group) == group and state != "Z")
    return found


def test_the_number_of_workers_changes_nothing_and_dead_ones_are_replaced(tmp_path):
    tracks = sources("die:", f"die-once:{tmp_path / 'marker'}", "short:", "silent:")
    for row, token in ((20, "crash:"), (38, "kill:")):
        tracks[row] = dataclasses.replace(tracks[row], source=token)
    for workers in (1, 2):
        out = tmp_path / f"{workers}"
        report = make_collection(out, tracks, PAPER, Tones(), workers=workers)
        assert [source for _, source, _ in report.failed] == ["die:", "crash:", "kill:"]
        for (*_, reason), why in zip(
            report.failed, ("exit code 3", "SIGSEGV", "SIGKILL, often a sign of too"), strict=True
        ):
            assert reason.startswith(f"reading it ended the process twice ({why}")
        assert (report.tracks, report.made) == (37, 3)
    assert content(tmp_path / "1") == content(tmp_path / "2")


def finish(*arguments, **options):
    """Run the program to its end; the seconds it took."""
    began = time.monotonic()
    with start(*arguments, **options) as child:
        assert child.wait() == 0, child.stderr.read()
    return time.monotonic() - began


@pytest.mark.parametrize(
    ("add", "kills"),
    [(False, 3), *(pytest.param(add, 25, marks=pytest.mark.long) for add in (False, True))],
)
def test_killed_at_random_moments(tmp_path, add, kills):
    """A build, and an addition of 20 tracks to 20: old or new state, and in the end the new."""
    before, whole, out = (tmp_path / name for name in ("before", "whole", "out"))
    if add:
        finish(before, count=20)
        shutil.copytree(before, whole)
    seconds = finish(whole, add=add)
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
    assert stopped >= kills // 3
    finish(out, add=add)
    assert content(out) == expected


def test_interrupted_from_the_keyboard(tmp_path):
    out = tmp_path / "out"
    with start(out) as child:
        wait_for(lambda: list((out / ".build").glob("mel-*.json")))
        os.killpg(child.pid, signal.SIGINT)
        assert child.wait(30) == 130
        said = child.stderr.read().splitlines()
    assert said == ["build: interrupted; what was finished is kept"]
    assert not list((out / ".build").glob(".*.tmp"))
    wait_for(lambda: not alive(child.pid))
    finish(out)
    assert len(Collection.open(out)) == 40


def test_workers_that_cannot_start_end_the_build(tmp_path, monkeypatch):
    def dying(work, tasks, workers, *, on_step, on_death):
        task = tasks[0]
        while True:
            task = on_death(task, None, -signal.SIGKILL)
        yield

    monkeypatch.setattr(build, "work_through", dying)
    with pytest.raises(CollectionError) as caught:
        make_collection(tmp_path / "out", sources(), PAPER, Tones())
    assert "'album 0/000' … 'album 3/015'" in str(caught.value)
    assert "ended 3 times before its first track (SIGKILL" in str(caught.value)
    assert "fewer --workers" in str(caught.value)


def test_workers_end_when_their_parent_is_killed(tmp_path):
    with start(tmp_path / "out") as child:
        wait_for(lambda: list((tmp_path / "out" / ".build").glob("mel-*.json")))
        child.kill()
    wait_for(lambda: not alive(child.pid))
