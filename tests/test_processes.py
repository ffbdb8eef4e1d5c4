"""Worker processes and a process of one's own, and what may happen to them."""

import errno
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from chores import chore
from processes import ROOT, wait_for

from playlist_pretrain.errors import AudioError
from playlist_pretrain.processes import (
    OwnProcess,
    ProcessEnded,
    without_interrupts,
    work_through,
)

pytestmark = pytest.mark.slow

ERRORS = [
    ("audio error", AudioError, "a.ogg: not audio"),
    ("disk full", OSError, "[Errno 28] No space left on device: 'b'"),
    ("not installed", ModuleNotFoundError, "No module named 'not_installed'"),
    ("unpicklable", RuntimeError, "Odd: cannot travel"),
]


@pytest.fixture(scope="module")
def own():
    return OwnProcess(chore)


def runs(process):
    """True while it runs; a zombie waits for its parent, and does nothing else."""
    try:
        status = Path(f"/proc/{process}/stat").read_text()
    except OSError:
        return False
    return status.rpartition(")")[2].split()[0] != "Z"


@pytest.mark.parametrize(("task", "kind", "message"), ERRORS)
def test_errors_of_workers_arrive_with_their_traceback(task, kind, message):
    work = work_through(chore, [task], 1, on_death=lambda *_: None)
    with pytest.raises(kind) as caught:
        list(work)
    assert str(caught.value) == message
    assert "chores.py" in "".join(caught.value.__notes__)


@pytest.mark.parametrize(("task", "kind", "message"), ERRORS)
def test_errors_of_an_own_process_cost_one_task(own, task, kind, message):
    process = own("process")
    with pytest.raises(kind) as caught:
        own(task)
    assert str(caught.value) == message
    assert own("process") == process != os.getpid()
    if kind is OSError:
        assert caught.value.errno == errno.ENOSPC and caught.value.filename == "b"
    if kind is ModuleNotFoundError:
        assert caught.value.name == "not_installed"


@pytest.mark.parametrize("way", ["workers", "own"])
def test_arrays_travel_as_they_are(own, way, rng):
    large = rng.normal(size=(3, 1_000_001)).astype(np.float32)
    sent = {
        "large": large, "in columns": large.T, "with gaps": large[:, ::7], "empty": large[:0],
        "half": np.float16(large), "none": np.float32(3), "words": np.array(["a", "ü"], object),
    }  # fmt: skip
    if way == "own":
        found = own(sent)
    else:
        ((_, found),) = work_through(chore, [sent], 1, on_death=lambda *_: None)
    assert list(found) == list(sent)
    for name, array in sent.items():
        np.testing.assert_array_equal(found[name], array)
        assert found[name].dtype == array.dtype
    found["large"] += 1


def test_what_ends_a_process_costs_that_task_alone(own, tmp_path):
    first = own("process")
    assert own(f"crash once:{tmp_path / 'died'}").startswith("crash once")
    second = own("process")
    for task, began, how in (
        ("crash", True, "SIGSEGV"), ("exit:3", True, "exit code 3"),
        ("crash at once", False, "SIGSEGV"),
    ):  # fmt: skip
        with pytest.raises(ProcessEnded) as caught:
            own(task)
        assert (caught.value.began, str(caught.value)) == (began, how)
    assert len({first, second, own("process"), os.getpid()}) == 4


def test_a_process_that_was_killed_while_it_was_idle_has_two_tries_left(own, tmp_path):
    os.kill(own("process"), signal.SIGKILL)
    wait_for(lambda: own._process.poll() is not None)
    assert own(f"crash once:{tmp_path / 'died'}").startswith("crash once")


def test_the_answer_to_an_interrupted_task_is_not_the_next_one(own, tmp_path):
    class Interrupt(BaseException):
        pass

    def interrupt(*_):
        raise Interrupt

    before = signal.signal(signal.SIGALRM, interrupt)
    try:
        own("")
        signal.setitimer(signal.ITIMER_REAL, 0.3)
        with pytest.raises(Interrupt):
            own("sleep:1")
    finally:
        signal.signal(signal.SIGALRM, before)
    assert own("next") == "next"


def test_threads_take_turns(own):
    tasks = [f"sleep:0.00{n % 7}" for n in range(60)] + [f"task {n}" for n in range(60)]
    with ThreadPoolExecutor(12) as threads:
        assert list(threads.map(own, tasks)) == tasks


ENVIRONMENT = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "tests")])}
HEAD = """
import multiprocessing, os, signal, sys, threading
from chores import chore
from playlist_pretrain.processes import OwnProcess
own = OwnProcess(chore)
"""


def program(text, *arguments, **options):
    """Start a program that has an ``own``."""
    return subprocess.Popen(
        [sys.executable, "-c", HEAD + textwrap.dedent(text), *arguments], env=ENVIRONMENT,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options,
    )  # fmt: skip


@pytest.mark.parametrize("busy", [False, True], ids=["idle", "busy"])
def test_it_ends_when_its_parent_is_killed(busy, tmp_path):
    text = """
        print(own("process"), flush=True)
        own(sys.argv[1])
        signal.pause()
    """
    begun = tmp_path / "begun"
    with program(text, f"begin and sleep:{begun}" if busy else "idle") as parent:
        process = int(parent.stdout.readline())
        if busy:
            wait_for(begun.exists)
        assert runs(process)
        parent.kill()
    wait_for(lambda: not runs(process))


def test_it_leaves_ctrl_c_to_its_parent_and_ends_with_it(tmp_path):
    text = """
        signal.signal(signal.SIGINT, signal.default_int_handler)
        process = own("process")
        print(process, flush=True)
        try:
            own(sys.argv[1])
        except KeyboardInterrupt:
            print(own("process") != process, flush=True)
            last = own("process")
            try:
                os.killpg(0, signal.SIGINT)
                signal.pause()
            except KeyboardInterrupt:
                assert own("process") == last
                print(last)
    """
    begun = tmp_path / "begun"
    task = f"begin and sleep:{begun}"
    with program(text, task, start_new_session=True) as parent:
        first = int(parent.stdout.readline())
        wait_for(begun.exists)
        os.killpg(parent.pid, signal.SIGINT)
        another, last = parent.stdout.read().split()
        assert parent.stderr.read() == ""
    assert parent.returncode == 0 and another == "True"
    assert not runs(first) and not runs(int(last))


@pytest.mark.parametrize("busy", [False, True], ids=["idle", "busy"])
def test_a_forked_child_starts_its_own(busy, tmp_path):
    text = """
        before, begun, busy = own("process"), sys.argv[1], sys.argv[2] == "True"
        if busy:  # the thread that holds the lock is not in the child
            task = "begin and sleep:" + begun
            threading.Thread(target=own, args=(task,), daemon=True).start()
            while not os.path.exists(begun):
                pass
        child = os.fork()
        if child == 0:
            print(own("process") != before, flush=True)
            sys.exit()
        assert os.waitpid(child, 0)[1] == 0
        print(own._process.poll() is None and (busy or own("process") == before))
    """
    with program(text, tmp_path / "begun", str(busy)) as parent:
        said, errors = parent.communicate(timeout=60)
    assert (parent.returncode, said.split()) == (0, ["True", "True"]), errors


def test_it_goes_in_daemons_and_in_programs_that_a_child_imports(tmp_path):
    text = """
        print(own("process") != os.getpid(), flush=True)
        def ask(_):
            return own("process") != os.getpid()
        if __name__ == "__main__":
            for method in ("fork", "spawn"):
                with multiprocessing.get_context(method).Pool(1) as pool:
                    print(pool.map(ask, [0]))
    """
    (tmp_path / "script.py").write_text(HEAD + textwrap.dedent(text))
    done = subprocess.run(
        [sys.executable, str(tmp_path / "script.py")], env=ENVIRONMENT,
        capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["True", "[True]", "True", "[True]"]


def test_it_finds_what_its_parent_finds_wherever_that_goes(tmp_path, monkeypatch):
    """``sys.path`` may be changed by a notebook, and name the folder of the start by nothing."""
    (tmp_path / "found_here.py").write_text("def work(task, announce):\n    return task + 1\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "path", [path for path in sys.path if Path(path) != ROOT])
    sys.path.append("")
    from found_here import work

    own = OwnProcess(work)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    (tmp_path / "elsewhere" / "pickle.py").write_text("raise SystemExit('the wrong one')")
    assert own(1) == 2


def test_a_lock_that_is_held_is_let_go_by_an_error(own):
    with pytest.raises(AudioError):
        own("audio error")
    thread = threading.Thread(target=own, args=("",))
    thread.start()
    thread.join(60)
    assert not thread.is_alive()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupts_are_put_off_whatever_thread_takes_them(number):
    before = signal.signal(number, signal.default_int_handler)
    ended, done = threading.Event(), []
    thread = threading.Thread(target=ended.wait)
    thread.start()  # signals are not blocked in it
    try:
        with pytest.raises(KeyboardInterrupt):
            with without_interrupts():
                os.kill(os.getpid(), number)
                time.sleep(0.2)
                done.append("in the block")
            done.append("after it")
        assert done == ["in the block"]
        assert signal.getsignal(number) is signal.default_int_handler
    finally:
        ended.set()
        thread.join()
        signal.signal(number, before)
