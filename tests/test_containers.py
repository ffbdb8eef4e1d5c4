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
    named = [re.findall(r"\.whl\)\[([\w,]+)\]", (ROOT / name).read_text("utf-8")) for name in FILES]
    extras = {name: set(found[0].split(",")) for name, found in zip(FILES, named, strict=True)}
    assert extras["Dockerfile.gpu"] - extras["Dockerfile"] == {"gpu"}
    assert extras["Dockerfile.gpu"] <= set(parser["options.extras_require"])


def test_the_context_lets_through_what_the_images_copy():
    ignored = (ROOT / ".dockerignore").read_text("utf-8").splitlines()
    let_through = {line[1:] for line in ignored if line.startswith("!")}
    assert "*" in ignored and "constraints.txt" in let_through
    assert all((ROOT / name).exists() for name in let_through)
