import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from build_loaders import Chore

from playlist_pretrain.errors import AudioError, CollectionError
from playlist_pretrain.records.workers import describe_exit, work_through


def run(tasks, workers=2, on_death=None):
    steps, deaths = [], []

    def died(task, step, code):
        deaths.append((task, step, code))
        return on_death(task, step, code)

    results = dict(
        work_through(
            Chore(),
            tasks,
            workers,
            on_step=lambda task, step: steps.append((task, step)),
            on_death=died,
        )
    )
    return results, steps, deaths


def test_every_task_is_done_once_and_announced():
    tasks = [f"add {n}" for n in range(7)]
    results, steps, deaths = run(tasks)
    assert results == {task: len(task) for task in tasks}
    assert sorted(steps) == sorted((task, step) for task in tasks for step in (0, 1))
    assert not deaths


@pytest.mark.parametrize(
    ("task", "code"), [("exit 3", 3), ("kill", -signal.SIGKILL), ("segfault", -signal.SIGSEGV)]
)
def test_a_dead_worker_is_told_with_its_last_step_and_replaced(task, code):
    results, _, deaths = run([task, "other", "another"], on_death=lambda *_: "instead")
    assert deaths == [(task, 0, code)]
    assert results == {"instead": 7, "other": 5, "another": 7}


def test_what_on_death_raises_ends_the_pool():
    def give_up(task, step, code):
        raise CollectionError("enough")

    with pytest.raises(CollectionError, match="enough"):
        run(["exit 3", "wait 30"], on_death=give_up)


@pytest.mark.parametrize(
    ("task", "kind", "message"),
    [
        ("audio error", AudioError, "a.ogg"),
        ("disk full", OSError, "No space left on device: 'b'"),
        ("unpicklable", RuntimeError, "Odd: cannot travel"),
    ],
)
def test_errors_arrive_with_the_workers_traceback(task, kind, message):
    with pytest.raises(kind, match=message) as caught:
        run([task])
    assert "build_loaders.py" in "".join(caught.value.__notes__)


def test_closing_stops_the_workers():
    began = time.monotonic()
    results = work_through(
        Chore(), ["quick", "wait 60"], 2, on_step=lambda *_: None, on_death=lambda *_: None
    )
    assert next(results) == ("quick", 5)
    results.close()
    assert time.monotonic() - began < 30


def test_workers_end_when_their_parent_is_killed(tmp_path):
    code = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "from build_loaders import Chore\n"
        "from playlist_pretrain.records.workers import work_through\n"
        "list(work_through(Chore(), ['tell ' + sys.argv[2]], 1,"
        " on_step=lambda *_: None, on_death=lambda *_: None))\n"
    )
    note = tmp_path / "pid"
    with subprocess.Popen(
        [sys.executable, "-c", code, str(Path(__file__).parent), str(note)]
    ) as parent:
        worker = _wait_for(lambda: note.exists() and note.read_text())
        parent.kill()
    _wait_for(lambda: not _alive(int(worker)))


def _wait_for(condition, seconds=30):
    until = time.monotonic() + seconds
    while not (answer := condition()):
        assert time.monotonic() < until, "it did not happen in time"
        time.sleep(0.05)
    return answer


def _alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    # A zombie waits for its new parent, and does nothing else.
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"


def test_exit_codes_in_words():
    assert describe_exit(3) == "exit code 3"
    assert describe_exit(-signal.SIGSEGV) == "SIGSEGV"
    assert "memory" in describe_exit(-signal.SIGKILL)
    assert describe_exit(-120) == "signal 120"
