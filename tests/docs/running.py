"""How the commands of the pages are run: as they stand, but for what takes long."""

import os
import re
import subprocess
import sys
import tempfile

from pages import ROOT


def run(command, home, more=None):
    """Do what a user types in ``home``, whose ``~`` it is; what the command prints."""
    environment = {
        **os.environ,
        "HOME": str(home),
        "MPLCONFIGDIR": os.path.expanduser("~/.config/matplotlib"),  # fonts are found once
        "PATH": f"{os.path.dirname(sys.executable)}:{os.environ['PATH']}",
        "PYTHONPATH": f"{ROOT}:{os.environ.get('PYTHONPATH', '')}",
        **(more or {}),
    }
    words = ["bash", "-c", command] if isinstance(command, str) else command
    done = subprocess.run(
        words, cwd=home, capture_output=True, text=True, env=environment, check=False
    )
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def as_run(command):
    """A command as it is run here: what takes long by ``--preset fast``, or as ``--dry-run``."""
    if command.startswith("make "):
        return [line for made in recipe(command.split()[1]) for line in as_run(made)]
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
    with tempfile.NamedTemporaryFile() as ready:
        words = ["make", "--dry-run", "PYTHON=python3.11", f"READY={ready.name}", target]
        done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=True)
    assert "pip install" not in done.stdout
    return done.stdout.splitlines()
