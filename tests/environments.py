"""Environments that hold nothing but what is asked for, made of the one the tests run in.

An environment is a virtual one without pip, in which the files of some distributions, and of those
that they require, are links. What is not among these cannot be imported, whoever asks.
"""

import configparser
import os
import re
import subprocess
import venv
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement

ROOT = Path(__file__).parent.parent
OURS = "playlist_pretrain"
LEFT_OUT = {
    line.strip()
    for name in ("dropped.txt", "cpu.txt")
    for line in (ROOT / "constraints" / name).read_text("utf-8").splitlines()
    if line.strip() and not line.startswith("#")
}
"""What the locks leave out although it is required; ``tensorflow-cpu`` is there for the last."""


def of_package(extras):
    """Requirements of this package with some extras, as ``setup.cfg`` has them."""
    settings = configparser.ConfigParser()
    settings.read(ROOT / "setup.cfg", "utf-8")
    texts = [settings["options"]["install_requires"]]
    texts += [settings["options.extras_require"][extra] for extra in extras]
    return [line for text in texts for line in text.splitlines() if line and line[0] != "#"]


def closure(requirements):
    """Distributions that are installed for requirements, by name; fails where one is not here."""
    found, todo = {}, [(Requirement(one), "") for one in requirements]
    seen = set()
    while todo:
        wanted, extra = todo.pop()
        name = wanted.name.lower().replace("_", "-")
        if (name, frozenset(wanted.extras)) in seen or not (
            wanted.marker is None or wanted.marker.evaluate({"extra": extra})
        ):
            continue
        seen.add((name, frozenset(wanted.extras)))
        if name == OURS.replace("_", "-"):
            todo += [(Requirement(one), "") for one in of_package(wanted.extras)]
            continue
        try:
            here = metadata.distribution(name)
        except metadata.PackageNotFoundError:
            assert name in LEFT_OUT, f"{name} is required and neither installed nor left out"
            todo += [(Requirement("tensorflow-cpu"), "")] * (name == "tensorflow")
            continue
        found[name] = here
        for one in map(Requirement, here.requires or ()):
            todo += [(one, extra) for extra in ("", *wanted.extras)]
    return found


def named(code):
    """Requirements that a snippet of Python names in a comment: ``# pip install A B``."""
    return " ".join(re.findall(r"^# pip install (.+)$", code, re.M)).split()


def make_environment(folder, requirements):
    """Make an environment for requirements as pip takes them; path of its Python."""
    venv.EnvBuilder(symlinks=True).create(folder)
    (site,) = folder.glob("lib/python3*/site-packages")
    for here in closure(requirements).values():
        base = Path(here.locate_file(""))
        for file in here.files:
            if file.parts[0] == ".." or file.suffix in (".pth", ".pyc"):
                continue
            # A whole package is one link; of a folder that several distributions share, its files.
            parents = [base.joinpath(*file.parts[: n + 1]) for n in range(len(file.parts))]
            real = next((one for one in parents if (one / "__init__.py").is_file()), parents[-1])
            link = site / real.relative_to(base)
            if not link.is_symlink():
                link.parent.mkdir(parents=True, exist_ok=True)
                link.symlink_to(real)
    return folder / "bin" / "python"


def run_alone(python, file, *words, code=0):
    """Run a file as a user does who has only ``python``; what it prints, or why it ends."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        [python, file, *map(str, words)], env=environment, capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    assert done.returncode == code, done.stderr
    return done.stderr if code else done.stdout
