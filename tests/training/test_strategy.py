"""Several replicas and several workers: what one replica would come to, however it is split."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from playlist_pretrain.errors import RecipeError
from playlist_pretrain.export.saved_model import load_backbone
from playlist_pretrain.pairs.dataset import Share
from playlist_pretrain.recipes import PretrainRecipe
from playlist_pretrain.runs import Run
from playlist_pretrain.training.history import read_history
from playlist_pretrain.training.strategy import check_split, check_tf_config

ROOT = Path(__file__).parent.parent.parent
TRIAL = Path(__file__).parent / "replica_trial.py"
SCRIPT = ROOT / "scripts" / "pretrain.py"


def free_ports(count):
    with_sockets = [socket.socket() for _ in range(count)]
    for one in with_sockets:
        one.bind(("127.0.0.1", 0))
    ports = [one.getsockname()[1] for one in with_sockets]
    for one in with_sockets:
        one.close()
    return ports


def start(command, **environment):
    return subprocess.Popen(
        [sys.executable, *map(str, command)],
        env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def start_workers(commands):
    """One process a command, each a worker of one cluster on this machine."""
    hosts = [f"127.0.0.1:{port}" for port in free_ports(len(commands))]
    cluster = {"cluster": {"worker": hosts}}
    return [
        start(command, TF_CONFIG=json.dumps({**cluster, "task": {"type": "worker", "index": i}}))
        for i, command in enumerate(commands)
    ]


def end(*processes, code=0):
    said = [process.communicate(timeout=300) for process in processes]
    for process, (_, errors) in zip(processes, said, strict=True):
        assert process.returncode == code, errors[-2000:]
    return said


def load(path):
    with np.load(path) as file:
        found = {}
        for name in sorted(file):
            found.setdefault(name.rsplit("-", 1)[0], []).append(file[name])
    return found


def norm(arrays):
    return np.sqrt(sum(np.square(array, dtype=np.float64).sum() for array in arrays))


def distances(one, other):
    """Relative: of the loss, of the worst gradient, and how far apart after thirty steps."""
    pairs = list(zip(one["first"], other["first"], strict=True))
    loss = abs(float(pairs[0][1] - pairs[0][0])) / float(pairs[0][0])
    gradient = max(norm([b - a]) / max(norm([a]), 1e-9) for a, b in pairs[1:])
    travelled = norm([b - a for a, b in zip(one["before"], one["after"], strict=True)])
    apart = norm([b - a for a, b in zip(one["after"], other["after"], strict=True)])
    return loss, gradient, apart / travelled


@pytest.fixture(scope="module")
def trial(tmp_path_factory):
    """Callable: what a trial came to, each made once."""
    folder = tmp_path_factory.mktemp("trials")

    def run(backbone, sides, replicas, micro_batch=0, policy="float32", *local):
        words = [backbone, sides, replicas, micro_batch, policy, *local]
        path = folder / ("-".join(map(str, words)) + ".npz")
        if not path.exists():
            end(start([TRIAL, path, *words]))
        return load(path)

    return run


@pytest.mark.slow
@pytest.mark.parametrize("replicas", [2, 4])
def test_replicas_do_what_one_does(trial, replicas):
    loss, gradient, apart = distances(
        trial("vggish", "window", 1), trial("vggish", "window", replicas)
    )
    assert loss <= 1e-5 and gradient <= 1e-5 and apart <= 0.01


@pytest.mark.slow
@pytest.mark.parametrize("sides", ["views", "vector"])
def test_views_and_vectors_too(trial, sides):
    loss, gradient, _ = distances(trial("vggish", sides, 1), trial("vggish", sides, 2))
    assert loss <= 1e-5 and gradient <= 1e-5


@pytest.mark.slow
def test_slices_of_replicas_too(trial):
    loss, gradient, _ = distances(trial("vggish", "window", 1), trial("vggish", "window", 2, 2))
    assert loss <= 1e-5 and gradient <= 1e-5


@pytest.mark.slow
@pytest.mark.parametrize("sides", ["window", "views", "vector"])
def test_without_gathered_negatives_the_trial_fails(trial, sides):
    local = trial("vggish", sides, 2, 0, "float32", "local")
    loss, gradient, _ = distances(trial("vggish", sides, 1), local)
    assert loss > 1e-3 and gradient > 0.1


@pytest.mark.slow
def test_resnet50_synchronises_its_statistics(trial):
    # In float64: fifty normalisations of a small batch make the rounding of float32 large.
    alone, two = (trial("resnet50", "window", n, 0, "float64") for n in (1, 2))
    loss, gradient, _ = distances(alone, two)
    assert loss <= 1e-5 and gradient <= 1e-5


@pytest.mark.slow
def test_two_workers_do_what_one_process_does(trial, tmp_path):
    paths = [tmp_path / f"{i}.npz" for i in range(2)]
    end(*start_workers([[TRIAL, p, "vggish", "window", 1, 0, "float32"] for p in paths]))
    for path in paths:
        loss, gradient, apart = distances(trial("vggish", "window", 1), load(path))
        assert loss <= 1e-5 and gradient <= 1e-5 and apart <= 0.01


@pytest.fixture
def command(arguments):
    """Callable: the command of a short run into a folder."""

    def make(out, *more):
        own = list(arguments)
        own[own.index("--out") + 1] = str(out)
        return [SCRIPT, *own, *map(str, more)]

    return make


def results(run):
    losses = [float(row["loss"]) for row in read_history(run.history)]
    return losses, load_backbone(run.saved_model).model.get_weights()


@pytest.mark.slow
def test_a_run_is_the_same_however_it_is_split(command, tmp_path):
    alone, mirrored, workers = (Run(tmp_path / n) for n in ("alone", "mirrored", "workers"))
    end(start(command(alone.path)))
    end(start(command(mirrored.path, "--strategy", "mirrored", "--replicas", 2)))
    multi = command(workers.path, "--strategy", "multi_worker_mirrored")
    end(*start_workers([multi, multi]))
    losses, weights = results(alone)
    for run in (mirrored, workers):
        assert run.finished and run.figures.exists()
        found = results(run)
        np.testing.assert_allclose(found[0], losses, rtol=1e-3)
        assert norm([b - a for a, b in zip(weights, found[1], strict=True)]) < 0.01 * norm(weights)
    # The split may change between two calls: a finished run is the same run.
    end(start(command(alone.path, "--strategy", "mirrored", "--replicas", 2)))
    wrong = [
        command(workers.path, "--strategy", "multi_worker_mirrored", "--seed", s) for s in "12"
    ]
    for _, errors in end(*start_workers(wrong), code=1):
        assert "settings or inputs of the workers differ" in errors


@pytest.mark.slow
@pytest.mark.parametrize("several", [False, True])
def test_sigterm_saves_and_ends_well(command, tmp_path, several):
    whole, stopped = Run(tmp_path / "whole"), Run(tmp_path / "stopped")
    strategy = "multi_worker_mirrored" if several else "one_device"
    more = ["--epochs", 50 if several else 200, "--strategy", strategy]

    def started(run):
        one = [word for word in command(run.path, *more) if word != "--quiet"]
        return start_workers([one, one]) if several else [start(one)]

    end(*started(whole))
    processes = started(stopped)
    until = time.monotonic() + 120
    while not read_history(stopped.history) and time.monotonic() < until:
        time.sleep(0.05)
    processes[-1].send_signal(signal.SIGTERM)  # the others are told by it
    said = end(*processes)
    assert "stopped by SIGTERM after step" in said[0][0]
    assert not stopped.finished
    end(*started(stopped))
    (losses, weights), (found_losses, found) = map(results, (whole, stopped))
    np.testing.assert_allclose(found_losses, losses, rtol=1e-3 if several else 0)
    if not several:
        for left, right in zip(weights, found, strict=True):
            np.testing.assert_array_equal(left, right)


@pytest.mark.parametrize(
    "text, reason",
    [
        ("", "it is not set"),
        ("{", "Expecting"),
        ('{"task": {}}', "'cluster' is missing"),
        ('{"cluster": {"worker": ["a:1"]}, "task": {"type": "worker", "index": 1}}', "no worker 1"),
        ('{"cluster": {"worker": ["a"]}, "task": {"type": "worker", "index": 0}}', "no port"),
        ('{"cluster": {"ps": ["a:1"]}, "task": {"type": "ps", "index": 0}}', "chief and worker"),
        ('{"cluster": {"worker": ["a:1", "a:1"]}, "task": {"type": "worker", "index": 0}}', "same"),
        ("[]", "list"),
    ],
)
def test_refuses_an_environment_without_workers(text, reason, monkeypatch):
    monkeypatch.setenv("TF_CONFIG", text)
    with pytest.raises(RecipeError, match=reason):
        check_tf_config()


class TwoReplicas:
    num_replicas_in_sync = 2


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
        check_split(PretrainRecipe(**settings), TwoReplicas)


def test_parts_of_all_workers_are_the_batch_once():
    batches = [(3, 24, np.arange(24, dtype=np.int32).reshape(12, 2))]
    parts = [part for first in (0, 2) for part in Share(4, first, first + 2).of(batches)]
    assert [(epoch, position) for epoch, position, _ in parts] == [
        (3, 24 + 3 * k) for k in range(4)
    ]
    np.testing.assert_array_equal(np.concatenate([rows for *_, rows in parts]), batches[0][2])
