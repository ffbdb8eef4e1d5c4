"""Of the containers, what can be checked without building them."""

import configparser
import json
import re
from pathlib import Path

import pytest

from playlist_pretrain.messages import CONSOLE

ROOT = Path(__file__).parent.parent
FILES = ("Dockerfile", "Dockerfile.gpu")


def lines(name):
    """Instructions and their words, continued lines joined."""
    text = (ROOT / name).read_text("utf-8").replace("\\\n", " ")
    found = [line for line in text.splitlines() if line and not line.startswith("#")]
    return [tuple(line.split(maxsplit=1)) for line in found]


@pytest.mark.parametrize("name", FILES)
def test_the_base_is_pinned_to_the_python_that_the_package_needs(name):
    bases = {words.split()[0] for word, words in lines(name) if word == "FROM"}
    assert bases == {"python:3.11-slim-bookworm"}
    assert "python_requires = >=3.11,<3.12" in (ROOT / "setup.cfg").read_text("utf-8")


@pytest.mark.parametrize("name", FILES)
def test_it_installs_the_pinned_versions_and_starts_the_command_as_nobody_special(name):
    found = lines(name)
    last = dict(found)  # of each instruction the last one counts
    assert json.loads(last["ENTRYPOINT"]) == [CONSOLE]
    assert last["USER"] not in ("root", "0") and f" {last['USER']}" in last["RUN"]
    order = [word for word, _ in found]
    assert order.index("USER") > max(i for i, word in enumerate(order) if word == "RUN")
    assert "--constraint /tmp/constraints.txt" in last["RUN"]
    copied = [words.split() for word, words in found if word == "COPY"]
    assert ["constraints.txt", "/tmp/constraints.txt"] in copied
    assert ["--from=wheel", "/wheels", "/tmp/wheels"] in copied


def test_the_extra_of_the_gpu_image_is_there():
    parser = configparser.ConfigParser()
    parser.read(ROOT / "setup.cfg", "utf-8")
    (extra,) = re.findall(r"\.whl\)\[(\w+)\]", (ROOT / "Dockerfile.gpu").read_text("utf-8"))
    assert "tensorflow[and-cuda]" in parser["options.extras_require"][extra]


def test_the_context_lets_through_what_the_images_copy():
    ignored = (ROOT / ".dockerignore").read_text("utf-8").splitlines()
    let_through = {line[1:] for line in ignored if line.startswith("!")}
    assert "*" in ignored and "constraints.txt" in let_through
    assert all((ROOT / name).exists() for name in let_through)


def test_the_table_of_platforms_says_what_was_not_run():
    text = (ROOT / "docs" / "platforms.md").read_text("utf-8")
    rows = [line.strip("|").split("|") for line in text.splitlines() if line.startswith("| ")]
    states = {row[0].strip(): row[-1].strip() for row in rows[1:]}
    tested = [name for name, state in states.items() if state == "tested"]
    assert tested == ["Debian 12, x86_64, Python 3.11"]
    assert set(states.values()) == {"tested", "not run", "not built", "not supported"}
    for name in FILES:
        assert f"`{name}`" in text
    commands = re.findall(r"^(docker .*)$", text, re.M)
    shown = "\n".join((ROOT / name).read_text("utf-8") for name in FILES)
    shown = re.sub(r" \\\n#\s*", " ", shown)
    assert len(commands) == 4 and all(command in shown for command in commands)
