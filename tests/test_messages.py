"""Progress: a bar on a terminal that has a width, lines in the log elsewhere."""

import fcntl
import os
import struct
import subprocess
import sys
import termios

import pytest

from playlist_pretrain import messages
from playlist_pretrain.messages import progress, show_messages


@pytest.fixture
def clock(monkeypatch):
    """Callable that lets seconds pass."""
    now = [1000.0]

    def wait(seconds):
        now[0] += seconds

    monkeypatch.setattr(messages.time, "monotonic", lambda: now[0])
    return wait


@pytest.mark.parametrize("quiet", [False, True])
def test_a_line_every_half_minute(clock, capsys, quiet):
    show_messages(quiet=quiet)
    for _ in progress(range(100), desc="embedding", unit=" tracks"):
        clock(8)
    lines = [] if quiet else [
        f"embedding: {done} of 100 tracks, 0.12 a second, {left} left"
        for done, left in ((4, "12:48"), (8, "12:16"), (12, "11:44"))
    ]  # fmt: skip
    printed = capsys.readouterr()
    assert printed.out.splitlines()[:3] == lines and printed.err == ""
    last = [] if quiet else ["embedding: 100 of 100 tracks, 0.12 a second, 0:00 left"]
    assert printed.out.splitlines()[-1:] == last


def test_a_loop_that_goes_on_counts_its_own_rate(clock, capsys):
    show_messages()
    with progress(total=20_000, initial=10_000, desc="mine", unit=" tracks") as bar:
        clock(29)
        bar.update(10)
        assert capsys.readouterr().out == ""
        clock(21)
        bar.update(40)
        assert capsys.readouterr().out == (
            "mine: 10,050 of 20,000 tracks, 1.00 a second, 2:45:50 left\n"
        )
        bar.total -= 9_000  # found, not worked for
        bar.refresh()
        clock(30)
        bar.update(-50)  # begun anew
    assert capsys.readouterr().out == "mine: 10,000 of 11,000 tracks, 0.00 a second\n"


def test_sizes_and_totals_that_are_not_known(clock, capsys):
    show_messages()
    with progress(total=3_000_000, desc="shards", unit="B", unit_scale=True) as bar:
        clock(30)
        bar.update(1_500_000)
    with progress(desc="looking", unit="track") as bar:
        clock(60)
        bar.update(3)
    assert capsys.readouterr().out.splitlines() == [
        "shards: 1.50M of 3.00M bytes, 50.0k a second, 0:30 left",
        "looking: 3 tracks, 0.05 a second",
    ]


def test_what_is_done_at_once_says_nothing(capsys):
    show_messages()
    assert list(progress(iter("abc"), total=3, desc="x")) == ["a", "b", "c"]
    assert capsys.readouterr().out == ""


LOOP = """
import time
from playlist_pretrain import messages
messages.SECONDS_BETWEEN_LINES = 0
messages.show_messages()
with messages.progress(total=2, desc="loop", unit="track") as bar:
    bar.update()
    bar.refresh()
"""


@pytest.mark.parametrize(
    ("columns", "environment", "drawn"),
    [(80, {}, True), (0, {}, False), (0, {"COLUMNS": "80"}, False), (80, {"COLUMNS": "0"}, False)],
)
def test_a_bar_needs_a_terminal_with_a_width(columns, environment, drawn):
    ours, theirs = os.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    inherited = {k: v for k, v in os.environ.items() if k not in ("COLUMNS", "LINES")}
    try:
        done = subprocess.run(
            [sys.executable, "-c", LOOP], env=inherited | environment, stdout=subprocess.PIPE,
            stderr=theirs, text=True, timeout=120, check=True,
        )  # fmt: skip
        os.write(theirs, b"end")
        seen = b""
        while not seen.endswith(b"end"):
            seen += os.read(ours, 4096)
    finally:
        os.close(ours)
        os.close(theirs)
    assert (b"| 1/2 [" in seen) is drawn
    assert done.stdout.startswith("" if drawn else "loop: 1 of 2 tracks, ")
    assert bool(done.stdout) is not drawn
