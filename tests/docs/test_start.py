"""The README, the first page and the platforms: what a newcomer types works."""

import re
import subprocess

import pytest
from page_groups import GROUPS
from pages import ROOT, text_of


def rows_of(text):
    """Cells of the rows of tables that have a figure; empty cells are left out."""
    rows = (line.strip("|").split("|") for line in re.findall(r"^\|.*\d.*\|$", text, re.M))
    return [[cell.strip() for cell in row if cell.strip()] for row in rows]


@pytest.mark.long
def test_the_readme(home_at, demo, follow):
    home = home_at("bare", demo)
    steps = [step for step, _ in follow("README.md", home)]
    done = [step.text.split()[1] for step in steps if not step.python]
    made = [f"scripts/{verb}.py" for verb in (
        "make_tfrecords", "match_playlists", "pretrain", "embed", "search",
    )]  # fmt: skip
    assert done == ["demo", *made, "demo-tables"]
    for run in ("demo-playlist_co-vggish", "mine-playlist_co-vggish"):
        assert (home / "runs" / run / "saved_model").is_dir()
    assert (home / "map.html").stat().st_size > 1e6  # what it needs to work offline is in it


@pytest.mark.long
@pytest.mark.parametrize("page", ["docs/index.md", "docs/platforms.md"])
def test_follow(page, home_at, demo, follow):
    home = home_at(GROUPS["start"][page], demo)
    follow(page, home)
    assert (home / "runs" / "demo-playlist_co-vggish" / "saved_model").is_dir()
    if page == "docs/index.md":
        assert len(list((home / "songs").rglob("*.wav"))) >= 240


def test_the_results_of_the_readme_are_those_of_the_benchmarks():
    results = text_of("README.md").partition("## Results")[2].partition("\n## ")[0]
    measured, rows = rows_of(text_of("docs/benchmarks.md")), rows_of(results)
    assert len(rows) >= 5
    for name, *cells in rows:
        there = {cell for row in measured if row[0] == name for cell in row[1:]}
        assert there >= set(cells), name


@pytest.mark.long
def test_make_says_why_python_311_and_how_to_get_it(tmp_path):
    ready = tmp_path / "venv" / ".ready"
    done = subprocess.run(
        ["make", f"READY={ready}", "PYTHON=", str(ready)],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode != 0
    for words in ("Python 3.11", "tensorflow-addons", "pyenv install 3.11", "PYTHON=/path"):
        assert words in done.stderr
    other = subprocess.run(
        ["make", f"READY={ready}", "PYTHON=true", str(ready)],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert other.returncode != 0 and not ready.exists()
