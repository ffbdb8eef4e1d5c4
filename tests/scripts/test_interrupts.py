"""Ctrl-C ends a program at any moment with one line, a closed pipe without a word."""

import os
import signal
import subprocess
import sys
import textwrap
import time

import pytest
from processes import ROOT

HEAD = """
import atexit, ctypes, gc, logging, sys, threading, time, types
sys.argv = ["odd.py", *sys.argv[1:]]
from playlist_pretrain import __main__ as program
program.PATIENCE_SECONDS = 1.5
start = program.start
"""
TAIL = """
sys.modules["playlist_pretrain.cli.odd"] = types.SimpleNamespace(main=main)
raise SystemExit(start("odd"))
"""
LINE = "odd.py: interrupted; what was finished is kept\n"


def program(text, *words):
    """Start a program whose command is the ``main`` of a text."""
    return subprocess.Popen(
        [sys.executable, "-c", HEAD + textwrap.dedent(text) + TAIL, *words],
        env={**os.environ, "PYTHONPATH": str(ROOT)}, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        # A job in the background of a shell has it ignored, and hands that on.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )  # fmt: skip


PLACES = {
    "in Python": """
        def main():
            print("begun", flush=True)
            time.sleep(60)
        """,
    "while a library is imported": """
        class Slow:
            def find_spec(self, name, path, target=None):
                if name == "slow":
                    print("begun", flush=True)
                    time.sleep(60)
        def main():
            sys.meta_path.insert(0, Slow())
            try:
                import slow
            except BaseException as error:
                raise ImportError("slow cannot be imported") from error
        """,
    "in a callback that swallows it": """
        class Slow:
            def __del__(self):
                print("begun", flush=True)
                time.sleep(60)
        def main():
            Slow()
            time.sleep(60)
        """,
    "in a function of C's": """
        @ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p)
        def compare(one, other):
            print("begun", flush=True)
            time.sleep(60)
            return 0
        def main():
            while True:
                ctypes.CDLL(None).qsort(ctypes.create_string_buffer(16), 2, 8, compare)
        """,
    "where all is swallowed": """
        def main():
            print("begun", flush=True)
            while True:
                try:
                    time.sleep(60)
                except BaseException:
                    pass
        """,
    "where it becomes another error": """
        def main():
            try:
                print("begun", flush=True)
                time.sleep(60)
            except BaseException as error:
                raise RuntimeError(str(error)) from None
        """,
    "outside Python, without an end": """
        def main():
            libc, mutex = ctypes.CDLL(None), ctypes.create_string_buffer(64)
            libc.pthread_mutex_lock(mutex)
            print("begun", flush=True)
            libc.pthread_mutex_lock(mutex)
        """,
    "beside a thread that fails of it": """
        def main():
            ended = threading.Event()
            def fail():
                ended.wait()
                raise RuntimeError
            thread = threading.Thread(target=fail)
            thread.start()
            try:
                print("begun", flush=True)
                time.sleep(60)
            finally:
                ended.set()
                thread.join()
        """,
    "when the command is done": """
        def main():
            atexit.register(time.sleep, 60)
            print("begun", flush=True)
            return 0
        """,
}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("place", "number"),
    [*((place, signal.SIGINT) for place in PLACES), ("in Python", signal.SIGTERM)],
)
def test_it_ends_with_one_line(place, number):
    with program(PLACES[place]) as process:
        assert process.stdout.readline() == "begun\n"
        time.sleep(0.2)
        process.send_signal(number)
        said, errors = process.communicate(timeout=60)
    assert (process.returncode, errors) == (130, LINE)
    assert set(said.splitlines()) <= {"begun"}


@pytest.mark.slow
def test_what_is_half_done_is_cleaned_up_and_the_second_time_is_the_last(tmp_path):
    text = """
        def main():
            try:
                print("begun", flush=True)
                for _ in range(600):  # one sleep would miss what comes just before it
                    time.sleep(0.1)
            finally:
                open(sys.argv[1], "w").close()
                if sys.argv[2:]:
                    time.sleep(60)
        """
    for words in ((), ("slowly",)):
        mark = tmp_path / f"cleaned {len(words)}"
        with program(text, mark, *words) as process:
            process.stdout.readline()
            process.send_signal(signal.SIGINT)
            if words:
                while not mark.exists():
                    assert process.poll() is None
                    time.sleep(0.05)
                time.sleep(2.5)  # however long, what is handled is left alone
                assert process.poll() is None
                process.send_signal(signal.SIGINT)
            errors = process.communicate(timeout=60)[1]
        assert (process.returncode, errors) == (130, LINE)
        assert mark.exists()


@pytest.mark.slow
def test_debug_shows_where_it_was():
    with program(PLACES["in Python"], "--debug") as process:
        process.stdout.readline()
        process.send_signal(signal.SIGINT)
        errors = process.communicate(timeout=60)[1]
    assert errors.startswith(LINE) and errors.endswith("KeyboardInterrupt\n")
    assert "time.sleep(60)" in errors or "in main" in errors


@pytest.mark.slow
def test_ignored_it_stays_ignored():
    text = """
        def main():
            print("begun", flush=True)
            time.sleep(1)
            return 0
        """
    head = "import signal; signal.signal(signal.SIGINT, signal.SIG_IGN)\n"
    code = head + HEAD + textwrap.dedent(text) + TAIL
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, env=environment
    ) as process:
        process.stdout.readline()
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 0


@pytest.mark.slow
@pytest.mark.parametrize("stream", ["messages", "help", "errors"])
def test_a_closed_pipe_ends_it_quietly(stream, tmp_path):
    if stream == "messages":
        process = program(
            """
            def main():
                from playlist_pretrain.messages import show_messages
                show_messages()
                try:
                    while True:
                        logging.getLogger("playlist_pretrain").info("x" * 1000)
                except Exception:
                    print("swallowed", file=sys.stderr)
                finally:
                    open(sys.argv[1], "w").close()
            """,
            tmp_path / "cleaned",
        )
        process.stdout.readline()
    else:
        words = ["--help"] if stream == "help" else ["--nothing"]
        environment = {k: v for k, v in os.environ.items() if k != "PYTHONUNBUFFERED"}
        process = subprocess.Popen(
            [sys.executable, ROOT / "scripts" / "search.py", *words],
            stdout=subprocess.PIPE, text=True, env={**environment, "PYTHONPATH": str(ROOT)},
            stderr=subprocess.STDOUT if stream == "errors" else subprocess.PIPE,
        )  # fmt: skip
    process.stdout.close()
    if process.stderr is not None:
        assert process.stderr.read() == ""
        process.stderr.close()
    assert process.wait(60) == 141
    assert stream != "messages" or (tmp_path / "cleaned").exists()
