"""Several replicas and workers take the steps of one, whatever is trained."""

import json
import subprocess
from pathlib import Path

import numpy as np
import pytest
from processes import end, norm, start, start_workers

TRIAL = Path(__file__).parent / "replica_trial.py"


def ask(process, out, **settings):
    """Give a process of ``replica_trial.py`` a trial."""
    print(json.dumps({"out": str(out), **settings}), file=process.stdin, flush=True)


def load(path):
    with np.load(path) as file:
        found = {}
        for name in sorted(file):
            found.setdefault(name.rsplit("-", 1)[0], []).append(file[name])
    return found


def distances(one, other):
    """Relative: of the loss, and of the worst gradient."""
    pairs = list(zip(one["first"], other["first"], strict=True))
    loss = abs(float(pairs[0][1] - pairs[0][0])) / float(pairs[0][0])
    return loss, max(norm([b - a]) / max(norm([a]), 1e-9) for a, b in pairs[1:])


def apart(one, other):
    """How far apart after some steps, relative to the way there."""
    travelled = norm([b - a for a, b in zip(one["before"], one["after"], strict=True)])
    return norm([b - a for a, b in zip(one["after"], other["after"], strict=True)]) / travelled


@pytest.fixture(scope="module")
def trial(tmp_path_factory):
    """Callable: what a trial came to, each made once; one process for two replicas, one for four,
    and either for one."""
    folder = tmp_path_factory.mktemp("trials")
    processes, found = {}, {}

    def run(sides, replicas=1, **settings):
        key = json.dumps([sides, replicas, settings])
        if key not in found:
            count, path = max(2, replicas), folder / f"{len(found)}.npz"
            errors = folder / f"{count}.txt"
            if count not in processes:
                with open(errors, "w") as stream:
                    processes[count] = start([TRIAL], stdin=subprocess.PIPE, stderr=stream)
            ask(processes[count], path, sides=sides, replicas=replicas, **settings)
            assert processes[count].stdout.readline(), errors.read_text()[-2000:]
            found[key] = load(path)
        return found[key]

    yield run
    end(*processes.values())


@pytest.mark.slow
@pytest.mark.parametrize("replicas", [2, 4])
def test_replicas_do_what_one_does(trial, replicas):
    alone, several = (trial("window", count, fit=30) for count in (1, replicas))
    loss, gradient = distances(alone, several)
    assert loss <= 1e-5 and gradient <= 1e-5 and apart(alone, several) <= 0.01


@pytest.mark.slow
@pytest.mark.parametrize("sides", ["views", "vector"])
def test_views_and_vectors_too(trial, sides):
    loss, gradient = distances(trial(sides), trial(sides, 2))
    assert loss <= 1e-5 and gradient <= 1e-5


@pytest.mark.slow
def test_slices_of_replicas_too(trial):
    loss, gradient = distances(trial("window"), trial("window", 2, micro_batch=2))
    assert loss <= 1e-5 and gradient <= 1e-5


@pytest.mark.slow
@pytest.mark.parametrize("sides", ["window", "views", "vector"])
def test_without_gathered_negatives_the_trial_fails(trial, sides):
    loss, gradient = distances(trial(sides), trial(sides, 2, local=True))
    assert loss > 1e-3 and gradient > 0.1


@pytest.mark.slow
def test_two_replicas_do_what_one_does_for_resnet50(trial):
    # In float64: fifty normalisations of a small batch make the rounding of float32 large.
    settings = {"backbone": "resnet50", "policy": "float64", "fit": 5}
    alone, two = (trial("window", count, **settings) for count in (1, 2))
    loss, gradient = distances(alone, two)
    assert loss <= 1e-5 and gradient <= 1e-5 and apart(alone, two) <= 0.01


@pytest.mark.slow
def test_two_workers_do_what_one_process_does(trial, tmp_path):
    paths = [tmp_path / f"{i}.npz" for i in range(2)]
    workers = start_workers([[TRIAL]] * 2, stdin=subprocess.PIPE)
    for worker, path in zip(workers, paths, strict=True):
        ask(worker, path, sides="window", fit=30)
    end(*workers)
    alone = trial("window", fit=30)
    for several in map(load, paths):
        loss, gradient = distances(alone, several)
        assert loss <= 1e-5 and gradient <= 1e-5 and apart(alone, several) <= 0.01
