"""Some mutated inputs for every reader; ``mutations.py`` takes as many as one likes."""

import ast
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from mutations import TARGETS, TESTS, Target, made, mutate, one, row, run

from playlist_pretrain.errors import TableError

PACKAGE = TESTS.parent / "playlist_pretrain"
READS = {
    "load_json", "parse_json", "load_arrays", "read_arrays", "read_columns", "read_header",
    "text_lines", "read_whole", "open_bytes", "ParquetFile", "FromString", "load_checkpoint",
    "read_far", "object_of", "deserialize_index", "File",
}  # fmt: skip
"""What the package reads files by."""
OTHERWISE = {
    "export/serving.py _signatures": "the model that was just written",
    "export/serving.py ask": "in the page: what a server answers",
    "export/serving_check.py answer": "what the process beside was given",
    "records/beam_build.py read_task": "what this build has just written, for its workers",
    "training/strategy.py check_tf_config": "a variable of the environment",
}
"""Functions that read, but no file that comes from elsewhere."""


@pytest.mark.slow
@pytest.mark.parametrize("name", TARGETS)
def test_a_mutated_input_gives_a_result_or_an_error_of_the_family(name):
    target = TARGETS[name]
    count = 20 if target.cost > 50 else max(30, 120 // int(target.cost))
    with made(target) as (folder, sound):  # in this process: others would take longer to start
        lines = [one(target, folder, sound, 22, number) for number in range(count)]
    assert not [line for line in lines if line[1] == "fault"]
    assert any(line[1] == "result" for line in lines)  # not everything is refused


def test_a_mutation_is_known_by_its_number_and_changes_something():
    content = b'{"a": [1, 2, {"b": "c"}], "d": 0.5}'
    kinds = set()
    for number in range(200):
        found = []
        for _ in range(2):
            files = {"a.json": content}
            found.append((mutate(files, np.random.default_rng([0, number])), files))
        assert found[0] == found[1]
        kinds.add(found[0][0].split(": ")[1])
    assert kinds >= {"mutated_json", "1 times other bytes", "copy"}


@pytest.mark.parametrize(
    ("error", "answer"),
    [
        (None, "result"),
        (TableError("t.csv: line 1: wrong"), "refused"),
        (ValueError("wrong"), "fault"),
    ],
)
def test_other_errors_are_faults(error, answer, tmp_path):
    def read(folder):
        assert [path.name for path in folder.iterdir()] == ["a.json"]
        if error:
            raise error

    sound = {"sound": {"a.json": b"[1, 2]"}}
    line = one(Target(print, read), tmp_path, sound, 0, 0)
    assert line[:2] == [0, answer] and bool(line[5]) == (answer == "fault")


def test_a_log_is_gone_on_with(tmp_path):
    whole = run("report", 12, seed=3, log=tmp_path / "whole.log")
    log = tmp_path / "parts.log"
    run("report", 5, seed=3, log=log)
    log.write_text(log.read_text() + "[5, 'resu")  # it was killed here
    parts = run("report", 12, seed=3, log=log)
    assert [line[:2] for line in parts] == [line[:2] for line in whole]
    assert len(log.read_text().splitlines()) == 12
    assert row("report", parts).startswith("report\t12\t")


def read_in_this_process(function):
    """Names of the functions of the package that run in it."""
    seen = set()

    def called(frame, event, arg):
        code = frame.f_code
        if event == "call" and code.co_filename.startswith(str(PACKAGE)):
            name = code.co_qualname.partition(".<locals>")[0]
            seen.add(f"{Path(code.co_filename).relative_to(PACKAGE)} {name}")

    sys.setprofile(called)
    try:
        function()
    finally:
        sys.setprofile(None)
    return seen


def readers_of(path):
    """Functions of a module that read something."""
    waiting = [(ast.parse(path.read_text("utf-8")), "", False)]
    while waiting:
        node, name, within = waiting.pop()
        for inner in ast.iter_child_nodes(node):
            function = isinstance(inner, ast.FunctionDef)
            named = not within and (function or isinstance(inner, ast.ClassDef))
            own = f"{name}.{inner.name}".removeprefix(".") if named else name
            waiting.append((inner, own, within or function))
            if isinstance(inner, ast.Call) and within:
                called = getattr(inner.func, "attr", getattr(inner.func, "id", ""))
                if called in READS:
                    yield f"{path.relative_to(PACKAGE)} {name}"


@pytest.mark.slow
@pytest.mark.long
def test_every_function_that_reads_a_file_is_reached_by_a_target():
    words = [sys.executable, "-c", f"import {__name__} as me; me.print_reached()"]
    path = os.pathsep.join([str(TESTS), str(TESTS.parent)])
    done = subprocess.run(
        words, env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True, check=True
    )
    reached = json.loads(done.stdout.splitlines()[-1])
    there = {name for path in PACKAGE.rglob("*.py") for name in readers_of(path)}
    assert len(there) > 60
    assert there - set(reached) == set(OTHERWISE)


def print_reached():
    """Print what the sound inputs of all targets reach; a process of its own has no fixtures."""

    def sound():
        for target in TARGETS.values():
            with made(target):
                pass

    print(json.dumps(sorted(read_in_this_process(sound))))
