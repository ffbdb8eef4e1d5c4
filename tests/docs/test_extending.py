"""What the pages on extending tell a contributor to write works, and so do their commands."""

import os
import re
import runpy
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from playlist_pretrain.models import BACKBONES
from playlist_pretrain.pairs import PAIRINGS
from playlist_pretrain.playlists.readers import READERS
from playlist_pretrain.tasks import TASKS

PAGES = Path(__file__).parents[2] / "docs" / "extending"
NAMES = ("reader", "pairing", "backbone", "task")
SMALL = {
    "pretrain": " --batch 4 --epochs 1 --frames 16",
    "finetune": " --batch 8 --epochs 1 --frames 16 --runs 1",
    "match_playlists": "",
}


def blocks(page, language):
    text = (PAGES / f"{page}.md").read_text("utf-8")
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.M | re.S)


@pytest.fixture
def written(tmp_path, request):
    """Folder with the files of a page; the first line of each says its name."""
    for code in blocks(request.param, "python"):
        name = re.match(r"# (\w+\.py)\n", code)[1]
        (tmp_path / name).write_text(code, "utf-8")
    return tmp_path


@pytest.fixture
def clean(monkeypatch, written):
    """What a page registers and imports is gone afterwards."""
    for registry in (READERS, PAIRINGS, BACKBONES, TASKS):
        monkeypatch.setattr(registry, "_items", dict(registry._items))
    monkeypatch.syspath_prepend(str(written))
    before = set(sys.modules)
    yield
    for name in {path.stem for path in written.glob("*.py")} - before:
        sys.modules.pop(name, None)


def test_there_is_a_page_for_each():
    assert {path.stem for path in PAGES.glob("*.md")} == set(NAMES)


@pytest.mark.parametrize("written", NAMES, indirect=True)
def test_the_example_keeps_its_contract(written, clean, tmp_path_factory):
    (file,) = written.glob("test_*.py")
    (test,) = [
        value for name, value in runpy.run_path(str(file)).items() if name.startswith("test_")
    ]
    needs = test.__code__.co_varnames[: test.__code__.co_argcount]
    test(**{"tmp_path": tmp_path_factory.mktemp("example")} if needs else {})


def other_files(page, folder):
    """What the commands of a page read beside the collection."""
    if page == "reader":
        (folder / "lists").mkdir()
        for group in range(3):
            lines = [f"File{k}=t{10 * group + k:02d}.mp3" for k in range(1, 5)]
            text = "\n".join(["[playlist]", *lines, "NumberOfEntries=4"])
            (folder / "lists" / f"{group}.pls").write_text(text, "utf-8")
    if page == "task":
        (folder / "data").mkdir()
        rows = [f"t{k:02d},{k // 2 % 5},{('low', 'high')[k % 2]}\n" for k in range(48)]
        text = "track_id,fold,label\n" + "".join(rows)
        (folder / "data" / "folds.csv").write_text(text, "utf-8")


@pytest.mark.long
@pytest.mark.parametrize(("page", "written"), [(n, n) for n in NAMES], indirect=["written"])
def test_the_commands_of_the_page(page, written, tiny_collection):
    shutil.copytree(tiny_collection, written / "tfrecords" / "mine")
    if page == "reader":
        (written / "tfrecords" / "mine" / "groups-playlists.npz").unlink()
    other_files(page, written)
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    commands = [line for block in blocks(page, "bash") for line in block.splitlines()]
    assert commands
    for command in commands:
        verb = command.split()[2]
        small = SMALL[verb]
        if small and page != "backbone":
            small += " --width 0.05"
        done = subprocess.run(
            command + small, shell=True, cwd=written, capture_output=True, text=True, check=False,
            env={**os.environ, "PATH": path},
        )  # fmt: skip
        assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
        assert "next: " in done.stdout
