"""A user's home for every page, and the commands of a page run there in their order."""

import os
import re
import shutil
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))  # for what several tests import

from homes import STAGES
from not_run import reason_not_to_run
from pages import steps
from running import as_run, run

OF_A_VERB = re.compile(r"python scripts/|playlist-pretrain ")
"""Commands that end by saying which one comes next; ``--report`` only tells, and does not."""


@pytest.fixture(scope="session")
def stage(tmp_path_factory):
    """Callable: name of a stage → folder at that stage; each is made once, of the one before."""
    made = {}

    def folder(name):
        if name not in made:
            names = list(STAGES)
            place = names.index(name)
            here = tmp_path_factory.mktemp(name) / "home"
            if place:
                shutil.copytree(folder(names[place - 1]), here, symlinks=True)
            else:
                here.mkdir()
            STAGES[name](here)
            made[name] = here
        return made[name]

    return folder


@pytest.fixture(scope="session")
def demo(demo_collections):
    """The demo's collections."""
    return demo_collections


@pytest.fixture
def home_at(stage, tmp_path):
    """Callable: name of a stage → a home of the test's own; with ``demo`` its collections too."""

    def make(name, demo=None):
        home = shutil.copytree(stage(name), tmp_path / "home", symlinks=True)
        if demo is not None:
            shutil.copytree(demo, home / "tfrecords", copy_function=os.link, dirs_exist_ok=True)
        return home

    return make


@pytest.fixture
def follow():
    """Callable: page, home → ``[(step, what it printed)]``, after all that it says was done."""

    def follow_page(page, home, variables=None, before=None):
        done = []
        for step in steps(page):
            if before:
                before(step)
            if reason_not_to_run(step):
                continue
            where = f"{step.page}:{step.line}: {step.text}"
            if step.python:
                done.append((step, run([sys.executable, "-c", step.text], home, variables)))
                continue
            commands = as_run(step.text)
            printed = "".join(run(command, home, variables) for command in commands)
            if OF_A_VERB.search(commands[-1]) and "--report" not in commands[-1]:
                assert "next: " in printed, f"{where} does not say what comes next"
            done.append((step, printed))
        return done

    return follow_page
