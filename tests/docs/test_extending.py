"""What the pages on extending tell a contributor to write works, and so do their commands."""

import os
import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = ROOT / "docs" / "extending"
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


def test_there_is_a_page_for_each():
    assert {path.stem for path in PAGES.glob("*.md")} == set(NAMES)


@pytest.fixture
def run(only, written):
    """Callable: runs a command of a shell in that folder, with this package and nothing more."""
    here = Path(only("playlist_pretrain[page,train]")).parent
    environment = {**os.environ, "PATH": f"{here}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT)}

    def run_there(command):
        done = subprocess.run(
            command, shell=True, cwd=written, capture_output=True, text=True, check=False,
            env=environment,
        )  # fmt: skip
        assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    return run_there


@pytest.mark.slow
@pytest.mark.parametrize("written", NAMES, indirect=True)
def test_the_example_keeps_its_contract(written, run, tmp_path_factory):
    (file,) = written.glob("test_*.py")
    (test,) = re.findall(r"^def (test_\w+)\((tmp_path)?\):$", file.read_text("utf-8"), re.M)
    name, needs = test
    given = f"Path({str(tmp_path_factory.mktemp('example'))!r})" if needs else ""
    code = f"from pathlib import Path; from {file.stem} import {name}; {name}({given})"
    run(f"python -c {shlex.quote(code)}")


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
def test_the_commands_of_the_page(page, written, run, tiny_collection):
    shutil.copytree(tiny_collection, written / "tfrecords" / "mine")
    if page == "reader":
        (written / "tfrecords" / "mine" / "groups-playlists.npz").unlink()
    other_files(page, written)
    commands = [line for block in blocks(page, "bash") for line in block.splitlines()]
    assert commands
    for command in commands:
        verb = command.split()[2]
        small = SMALL[verb]
        if small and page != "backbone":
            small += " --width 0.05"
        assert "next: " in run(command + small)
