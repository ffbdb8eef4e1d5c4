"""Runs of several replicas and of several workers, which SIGTERM may stop; what is refused."""

import signal
import time
from types import SimpleNamespace

import numpy as np
import pytest
from processes import ROOT, end, norm, start, start_workers

from playlist_pretrain.cli import pretrain
from playlist_pretrain.errors import RecipeError
from playlist_pretrain.models.load import load_backbone
from playlist_pretrain.runs import Run
from playlist_pretrain.training.engine import read_history
from playlist_pretrain.training.pretrain import COLUMNS
from playlist_pretrain.training.recipes import PretrainRecipe
from playlist_pretrain.training.strategy import check_split, check_tf_config

SCRIPT = ROOT / "scripts" / "pretrain.py"


@pytest.fixture(scope="module")
def words(probed_command_line):
    """Callable: the arguments of a run with a probe into a folder; quiet unless told otherwise."""

    def make(run, *more, quiet=True):
        own = [word for word in probed_command_line(run.path) if quiet or word != "--quiet"]
        return [*own, *map(str, more)]

    return make


WORKERS = ("--strategy", "multi_worker_mirrored")


@pytest.fixture(scope="module")
def whole(words, tmp_path_factory):
    """A run of two workers that nothing stopped."""
    run = Run(tmp_path_factory.mktemp("whole") / "run")
    end(*start_workers([[SCRIPT, *words(run, *WORKERS)]] * 2))
    return run


def results(run):
    losses = [float(row["loss"]) for row in read_history(run.history, COLUMNS)]
    return losses, load_backbone(run.saved_model).model.get_weights()


def assert_close(one, other):
    """Whether two runs came to the same but for rounding."""
    (losses, weights), (found_losses, found) = map(results, (one, other))
    np.testing.assert_allclose(found_losses, losses, rtol=1e-3)
    assert one.summary["kept"] == other.summary["kept"]
    assert one.summary["kept"]["which"] == "best"
    assert norm([b - a for a, b in zip(weights, found, strict=True)]) < 0.01 * norm(weights)


@pytest.mark.long
def test_a_run_is_the_same_however_it_is_split(words, whole, tmp_path):
    alone, mirrored = (Run(tmp_path / name) for name in ("alone", "mirrored"))
    assert pretrain.main(words(alone)) == 0
    end(start([SCRIPT, *words(mirrored, "--strategy", "mirrored", "--replicas", 2)]))
    for run in (mirrored, whole):
        assert run.finished and run.figures.exists()
        assert_close(alone, run)
    # The split may change between two calls: a finished run is the same run.
    before = mirrored.history.read_bytes()
    assert pretrain.main(words(mirrored)) == 0 and mirrored.history.read_bytes() == before
    wrong = [[SCRIPT, *words(whole, *WORKERS, "--seed", seed)] for seed in "12"]
    for _, errors in end(*start_workers(wrong), code=1):
        assert "settings or inputs of the workers differ" in errors


STOPS = """
import sys, time
from pathlib import Path
from playlist_pretrain.cli import pretrain
from playlist_pretrain.training import engine

reached, sent = map(Path, sys.argv[1:3])
count = engine.Engine.show_progress

def wait(self):
    count(self)
    if self.done == 5:
        reached.touch()
        until = time.monotonic() + 120
        while not sent.exists() and time.monotonic() < until:
            time.sleep(0.01)

engine.Engine.show_progress = wait
raise SystemExit(pretrain.main(sys.argv[3:]))
"""


@pytest.mark.long
def test_sigterm_to_one_worker_stops_all_of_them(words, whole, tmp_path):
    stopped, reached, sent = Run(tmp_path / "stopped"), tmp_path / "reached", tmp_path / "sent"
    command = words(stopped, *WORKERS, quiet=False)
    workers = start_workers([[SCRIPT, *command], ["-c", STOPS, reached, sent, *command]])
    while not reached.exists() and workers[-1].poll() is None:
        time.sleep(0.05)
    workers[-1].send_signal(signal.SIGTERM)  # the others are told by it
    sent.touch()
    said = end(*workers)
    assert "stopped by SIGTERM after step 5" in said[0][0]
    assert not stopped.finished
    end(*start_workers([[SCRIPT, *command]] * 2))
    assert_close(whole, stopped)


@pytest.mark.parametrize(
    "text, reason",
    [
        ("", "it is not set"),
        ("{", "Expecting"),
        ('{"task": {}}', "'cluster' is missing"),
        ('{"cluster": {"worker": ["a:1"]}, "task": {"type": "worker", "index": 1}}', "no worker 1"),
        ('{"cluster": {"ps": ["a:1"]}, "task": {"type": "ps", "index": 0}}', "chief and worker"),
        ('{"cluster": {"worker": ["a:1", "a:1"]}, "task": {"type": "worker", "index": 0}}', "same"),
    ],
)
def test_refuses_an_environment_without_workers(text, reason, monkeypatch):
    monkeypatch.setenv("TF_CONFIG", text)
    with pytest.raises(RecipeError, match=reason):
        check_tf_config()


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"batch": 7}, "--batch 7: 2 replicas need a multiple of 2"),
        ({"batch": 2}, "of 4 at least"),
        ({"batch": 8, "micro_batch": 8}, "must divide the 4 pairs"),
        ({"batch": 8, "xla": True}, "--xla"),
        ({"batch": 8, "micro_batch": 2, "backbone": "resnet50"}, "--backbone resnet50"),
    ],
)
def test_refuses_what_replicas_cannot_share(settings, message):
    with pytest.raises(RecipeError, match=message):
        check_split(PretrainRecipe(**settings), SimpleNamespace(num_replicas_in_sync=2))
