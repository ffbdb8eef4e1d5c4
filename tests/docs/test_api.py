"""The API reference has a page for every room of the package, with every module once."""

import re
import runpy
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[2]


def test_every_module_is_on_the_page_of_its_room_once():
    pages = runpy.run_path(str(ROOT / "docs" / "hooks.py"))["api_pages"]()
    rooms = {path.parent.name for path in (ROOT / "playlist_pretrain").glob("*/__init__.py")}
    assert set(pages) == {f"api/{room}.md" for room in rooms}
    navigation = yaml.safe_load((ROOT / "mkdocs.yml").read_text("utf-8"))["nav"][-2]["API"]
    assert navigation == ["api/index.md", *navigation[1:]] and set(navigation[1:]) == set(pages)
    for path in (ROOT / "playlist_pretrain").glob("*/**/*.py"):
        module = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        if module.count(".") > 1:
            text = pages[f"api/{module.split('.')[1]}.md"]
            assert re.findall(rf"^::: {re.escape(module)}$", text, re.M) == [f"::: {module}"]
            assert f"][{module}] |" in text
