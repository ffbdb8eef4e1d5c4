"""A user's home for every page, and the commands of a page run there in their order."""

import os
import re
import shutil
import sys
from pathlib import Path

import pytest
from environments import named

sys.path.insert(0, str(Path(__file__).parent))  # for what several tests import

from homes import STAGES
from not_run import reason_not_to_run
from pages import check_options
from running import as_run, run_in

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
def follow(only):
    """Callable: steps, home → ``[(step, what it printed)]``, after all that they say was done.

    In an environment of what the page names; a block of Python that names its own has just that.
    """

    def follow_steps(steps, home, variables=None, extras=()):
        done, commands = [], []
        for step in steps:
            if reason_not_to_run(step):
                continue
            alone = named(step.text) if step.python else []
            if alone:
                words = [[only(*alone), "-c", step.text]]
                commands.append((words[0], {**(variables or {}), "PYTHONPATH": ""}))
            elif step.python:
                commands.append((["python", "-c", step.text], variables))
            else:
                commands += [(command, variables) for command in as_run(step.text)]
            done.append((step, len(commands)))
        here = only(f"playlist_pretrain[{','.join(sorted({'train', 'page', *extras}))}]")
        printed = run_in(here, commands, home)
        told = []
        for first, (step, last) in zip([0, *(last for _, last in done)], done, strict=False):
            told.append((step, "".join(printed[first:last])))
            if step.python or not OF_A_VERB.search(commands[last - 1][0]):
                continue
            following = re.findall(r"^next: (.*)", told[-1][1], re.M)
            assert following or "--report" in step.text, f"{step} does not say what comes next"
            for command in filter(OF_A_VERB.match, following):
                check_options(command)
        return told

    return follow_steps
