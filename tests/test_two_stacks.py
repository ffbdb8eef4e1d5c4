"""What one stack makes the other uses: models, runs that go on, packages, embeddings.

Needs the Python of the other stack, in ``.venv``, ``.venv-card`` or the variable OTHER_PYTHON::

    OTHER_PYTHON=/path/to/python python -m pytest tests/test_two_stacks.py
"""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from processes import ROOT

from playlist_pretrain import read_embeddings
from playlist_pretrain.runs import Run
from playlist_pretrain.training.engine import read_history
from playlist_pretrain.training.pretrain import COLUMNS

pytestmark = pytest.mark.long
LEVEL = 1e-4
"""Most that embeddings may move, in deviations of their values."""
SMALL = ["--preset", "fast", "--frames", "16", "--batch", "6"]


def version_of(python):
    """Its TensorFlow's, without importing it; empty where it has none."""
    # The locks have tensorflow-cpu under this name.
    code = "from importlib import metadata as m; "
    code += "print(m.version(m.packages_distributions()['tensorflow'][0]))"
    words = [str(python), "-c", code]
    return subprocess.run(words, capture_output=True, text=True, check=False).stdout.strip()


@pytest.fixture(scope="module")
def pythons():
    """Interpreters by the version of their TensorFlow."""
    given = [
        os.environ.get("OTHER_PYTHON"),
        *(ROOT / v / "bin/python" for v in (".venv", ".venv-card")),
    ]
    found = {version_of(sys.executable): sys.executable}
    for python in filter(None, given):
        if Path(python).exists() and (version := version_of(python)):
            found.setdefault(version, str(python))
    if len(found) < 2:
        assert not os.environ.get("OTHER_PYTHON"), "it is no Python of the other stack"
        pytest.skip("there is one stack only; OTHER_PYTHON names the Python of another")
    return found


def begun(python, verb, *words):
    """Start a command of the package in a stack, which chooses its own Keras."""
    env = {name: value for name, value in os.environ.items() if name != "TF_USE_LEGACY_KERAS"}
    return subprocess.Popen(
        [python, "-m", "playlist_pretrain", verb, *map(str, words)],
        env={**env, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def done(python, verb, *words):
    process = begun(python, verb, *words)
    _, errors = process.communicate(timeout=600)
    assert process.returncode == 0, errors[-3000:]


def vectors(python, model, collection, out):
    done(python, "embed", "--model", model, "--collection", collection, "--out", out, "--quiet")
    return np.asarray(read_embeddings(out))


@pytest.mark.parametrize(("backbone", "order"), [("vggish", 0), ("resnet50", 1)])
def test_a_model_of_one_stack_is_used_in_the_other(
    pythons, tiny_collection, tmp_path, backbone, order
):
    names = sorted(pythons)[:: 1 - 2 * order][:2]
    one, other = (pythons[name] for name in names)
    run = tmp_path / "run"
    done(one, "pretrain", "--pairs", "playlist_co", "--collection", tiny_collection, "--out", run,
         "--backbone", backbone, *SMALL)  # fmt: skip
    model = run / "saved_model"
    here = vectors(one, model, tiny_collection, tmp_path / "one.parquet")
    there = vectors(other, model, tiny_collection, tmp_path / "other.parquet")
    assert np.abs(here - there).max() <= LEVEL * here.std()

    tags = tmp_path / "tags"
    done(other, "finetune", "--model", model, "--task", "tags", "--collection", tiny_collection,
         "--out", tags, "--runs", "1", "--preset", "fast")  # fmt: skip
    tagger = tags / "run-1" / "saved_model"
    again = vectors(one, tagger, tiny_collection, tmp_path / "tags-one.parquet")
    same = vectors(other, tagger, tiny_collection, tmp_path / "tags-other.parquet")
    assert np.abs(again - same).max() <= LEVEL * again.std()

    package = ["--model", model, "--name", "m", "--out", tmp_path / "exports"]  # run there
    done(other, "export", *package, "--target", "serving")
    done(other, "export", *package, "--target", "essentia", "--front-end", "vggish-essentia")
    found = tmp_path / "found.csv"
    done(
        one, "search", "--embeddings", tmp_path / "other.parquet", "--track", "t03", "--out", found
    )
    assert len(found.read_text("utf-8").splitlines()) > 5


@pytest.mark.parametrize("order", [0, 1])
def test_a_run_that_one_stack_began_goes_on_in_the_other(pythons, tiny_collection, tmp_path, order):
    one, other = (pythons[name] for name in sorted(pythons)[:: 1 - 2 * order][:2])
    run = Run(tmp_path / "run")
    words = ["--pairs", "playlist_co", "--collection", tiny_collection, "--out", run.path, *SMALL,
             "--epochs", "400", "--checkpoint-steps", "2"]  # fmt: skip
    process = begun(one, "pretrain", *words)
    until = time.monotonic() + 120
    while len(read_history(run.history, COLUMNS)) < 3 and time.monotonic() < until:
        time.sleep(0.02)
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 0 and not run.finished, errors[-3000:]
    rows = read_history(run.history, COLUMNS)
    process = begun(other, "pretrain", *words)
    _, errors = process.communicate(timeout=600)
    assert process.returncode == 0 and run.finished, errors[-3000:]
    assert read_history(run.history, COLUMNS)[: len(rows)] == rows
    here, there = (
        vectors(python, run.path / "saved_model", tiny_collection, tmp_path / f"{place}.parquet")
        for place, python in enumerate((one, other))
    )
    assert np.abs(here - there).max() <= LEVEL * here.std()
