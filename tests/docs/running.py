"""How the commands of the pages are run: as they stand, but for what takes long.

As a program, by a Python that has what a page names, it does what it is told on standard input: a
home and commands a line, as JSON. What these print, or why one fails, comes back as a line too.
"""

import contextlib
import functools
import io
import json
import os
import re
import shlex
import subprocess
import sys
import tempfile
import traceback
from pathlib import Path
from unittest import mock

from pages import ROOT

from playlist_pretrain.__main__ import main

VERB = re.compile(r"python scripts/\w+\.py|(venv/bin/)?playlist-pretrain(?= )")
SHELL = re.compile(r"[|&;<>$`*?{}]")
"""What only a shell understands."""


def run(command, home, more=None):
    """Do what a user types in ``home``, whose ``~`` it is; what the command prints.

    A plain command of this package runs in this process, all else as a process of its own.
    """
    environment = {
        "HOME": str(home),
        "MPLCONFIGDIR": os.path.expanduser("~/.config/matplotlib"),  # fonts are found once
        "PATH": f"{os.path.dirname(sys.executable)}:{os.environ['PATH']}",
        "PYTHONPATH": f"{ROOT}:{os.environ.get('PYTHONPATH', '')}",
        **(more or {}),
    }
    verb = isinstance(command, str) and VERB.match(command)
    if verb and not SHELL.search(command):
        words = [re.sub("^~", str(home), word) for word in shlex.split(command[verb.end() :])]
        return run_here(verb[0].split()[-1], words, home, environment)
    words = ["bash", "-c", command] if isinstance(command, str) else command
    done = subprocess.run(
        words,
        cwd=home,
        capture_output=True,
        text=True,
        env={**os.environ, **environment},
        check=False,
    )
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def run_here(started, words, home, environment):
    """Call a command, as ``started`` with ``words`` in ``home``; what it prints."""
    argv = [started, *words] if started.endswith(".py") else [f"bin/{started}", *words]
    verb = [Path(started).stem] if started.endswith(".py") else []
    printed, wrong = io.StringIO(), io.StringIO()
    with (
        contextlib.chdir(home),
        mock.patch.dict(os.environ, environment),
        mock.patch.object(sys, "argv", argv),
        contextlib.redirect_stdout(printed),
        contextlib.redirect_stderr(wrong),
    ):
        code = main(verb + words)
    assert code == 0, f"{argv}\n{printed.getvalue()}\n{wrong.getvalue()}"
    return printed.getvalue()


def as_run(command):
    """A command as it is run here: what takes long by ``--preset fast``, or as ``--dry-run``."""
    if command.startswith("make "):
        return [line for made in recipe(command.split()[1]) for line in as_run(made)]
    if command.startswith("aws s3 cp --recursive "):  # another program
        words = command.removeprefix("aws s3 cp --recursive ")
        return [f"python {ROOT}/tests/remote_server.py {words}"]
    if "pytest" in command.split():  # a suite runs itself; that its tests are there is enough
        return [f"cd {ROOT} && {command} --collect-only"]
    verb = re.search(r"(?:scripts/|playlist-pretrain )(\w+)", command)
    if verb and verb[1] in ("pretrain", "finetune") and "--preset fast" not in command:
        command += " --preset fast"
    if verb and verb[1] == "tables" and "--dry-run" not in command:
        command += " --dry-run"
    return [command]


def recipe(target):
    """The commands that ``make`` runs for a target once its environment is ready."""
    lines = dry_run(target)
    return [line.replace(".venv/bin/python", "python") for line in lines if "python" in line]


def dry_run(target):
    """What ``make`` would do for a target, the environment being newer than what it is made of."""
    with tempfile.NamedTemporaryFile() as main, tempfile.NamedTemporaryFile() as every:
        ready = f"MAIN={main.name}", f"ALL={every.name}"
        words = ["make", "--dry-run", "PYTHON=python3", *ready, target]
        done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=True)
    assert "pip install" not in done.stdout
    return done.stdout.splitlines()


@functools.cache
def _program(python):
    """The program below, in an environment: neither its ``PATH`` nor its modules are ours."""
    ours = Path(sys.executable).parent
    path = [one for one in os.environ["PATH"].split(":") if Path(one) != ours]
    environment = {**os.environ, "PATH": ":".join(path), "PYTHONPATH": str(ROOT)}
    return subprocess.Popen(
        [python, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        env=environment,
    )  # fmt: skip


def run_in(python, commands, home):
    """Run commands, with the variables of each, in ``home`` by ``python``; what they print."""
    for name in ("venv", ".venv"):
        (home / name).unlink(missing_ok=True)
        (home / name).symlink_to(Path(python).parents[1])
    program = _program(python)
    print(json.dumps([str(home), commands]), file=program.stdin, flush=True)
    told = json.loads(program.stdout.readline())
    assert isinstance(told, list), told
    return told


def _serve():
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what else is printed is no answer
    for line in sys.stdin:
        home, commands = json.loads(line)
        try:
            told = [run(command, Path(home), more) for command, more in commands]
        except BaseException:
            told = traceback.format_exc()
        print(json.dumps(told), file=answers, flush=True)


if __name__ == "__main__":
    _serve()
