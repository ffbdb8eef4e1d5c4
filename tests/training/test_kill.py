"""kill -9 at random moments of training: the same command ends with the same weights."""

import os
import random
import signal
import time

import pytest
from processes import ROOT, end, start

from playlist_pretrain.runs import Run
from playlist_pretrain.training.engine import read_history
from playlist_pretrain.training.pretrain import COLUMNS

SCRIPT = ROOT / "scripts" / "pretrain.py"
KILLS = 10


@pytest.mark.long
def test_kills_change_nothing(arguments, assert_same, tmp_path):
    arguments = [a for a in arguments if a != "--quiet"]
    arguments[arguments.index("--epochs") + 1] = "300"
    arguments += ["--checkpoint-steps", "2", "--probe-epochs", "5"]

    def command(folder):
        arguments[arguments.index("--out") + 1] = str(folder)
        return [SCRIPT, *arguments]

    whole, killed = Run(tmp_path / "whole"), Run(tmp_path / "killed")
    end(start(command(whole.path)))

    generator = random.Random(5)
    steps_seen = set()
    for kill in range(KILLS):
        process = start(command(killed.path))
        while process.poll() is None and not (killed.path / "recipe.json").exists():
            time.sleep(0.02)
        # The first kills fall into starting up, the later ones into training: each process is
        # given until it has written a checkpoint of its own, then a random moment more.
        before = len(read_history(killed.history, COLUMNS))
        until = time.monotonic() + (60 if kill > 1 else 0)
        while process.poll() is None and time.monotonic() < until:
            if len(read_history(killed.history, COLUMNS)) > before:
                break
            time.sleep(0.01)
        time.sleep(generator.uniform(0, 0.3))
        if process.poll() is None:
            os.kill(process.pid, signal.SIGKILL)
        process.communicate()
        steps_seen.add(len(read_history(killed.history, COLUMNS)))
        assert not killed.finished, "the run is too short to be killed so often"
    assert len(steps_seen) >= KILLS // 2
    end(start(command(killed.path)))

    assert_same(whole, killed)
    assert not list(killed.path.glob(".saved_model*"))
