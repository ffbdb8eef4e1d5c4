"""The pages of the API reference name modules that there are, and each one twice."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = sorted((ROOT / "docs" / "api").glob("*.md"))


def directives(text):
    return re.findall(r"^::: ([\w.]+)$", text, re.M)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_the_modules_of_a_page(page):
    text = page.read_text("utf-8")
    modules = directives(text)
    assert modules and len(modules) == text.count("\n:::")
    assert modules == re.findall(r"\]\[([\w.]+)\]", text)
    for module in modules:
        path = ROOT.joinpath(*module.split("."))
        assert path.with_suffix(".py").is_file() or (path / "__init__.py").is_file(), module
        if page.stem != "index":
            assert module.split(".")[1] == page.stem


def test_every_room_has_a_page_that_the_index_names():
    design = (ROOT / "docs" / "design.md").read_text("utf-8").partition("## Rooms")[2]
    rooms = set(re.findall(r"^\| `(\w+)` \|", design.partition("\n## ")[0], re.M))
    named = re.findall(r"\((\w+)\.md\)", (ROOT / "docs" / "api" / "index.md").read_text("utf-8"))
    pages = {page.stem for page in PAGES} - {"index"}
    assert set(named) == pages == rooms - {"recipes"}
