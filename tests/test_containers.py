"""Of the containers, what can be checked without building them."""

import json
from pathlib import Path

import pytest

from playlist_pretrain.messages import CONSOLE

ROOT = Path(__file__).parent.parent
FILES = {"Dockerfile": "current.txt", "Dockerfile.gpu": "current-gpu.txt"}
"""Name → the lock that it installs."""


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
    assert "--no-deps --require-hashes -r /tmp/lock.txt" in last["RUN"]
    copied = [words.split() for word, words in found if word == "COPY"]
    assert [f"constraints/{FILES[name]}", "/tmp/lock.txt"] in copied
    assert (ROOT / "constraints" / FILES[name]).is_file()
    assert ["--from=wheel", "/wheels", "/tmp/wheels"] in copied


def test_the_gpu_image_has_cuda_and_the_other_none():
    gpu, cpu = (
        (ROOT / "constraints" / FILES[name]).read_text("utf-8") for name in sorted(FILES)[::-1]
    )
    assert "\nnvidia-cudnn-" in gpu and "\ntensorflow==" in gpu and "\ntensorflow-cpu==" not in gpu
    assert "nvidia" not in cpu and "\ntensorflow-cpu==" in cpu and "\ntensorflow==" not in cpu


def test_the_context_lets_through_what_the_images_copy():
    ignored = (ROOT / ".dockerignore").read_text("utf-8").splitlines()
    let_through = {line[1:] for line in ignored if line.startswith("!")}
    assert "*" in ignored and "constraints" in let_through
    assert all((ROOT / name).exists() for name in let_through)
