"""The pages as a site: every page is in it, every link and anchor of it leads somewhere."""

import re
import subprocess
import sys

import pytest
import yaml
from pages import PAGES, ROOT


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """Folder of the site, built as ``make docs`` builds it."""
    folder = tmp_path_factory.mktemp("site")
    words = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


def named(entry):
    """Files that an entry of the navigation names."""
    if isinstance(entry, str):
        return [entry]
    return [name for part in (entry.values() if isinstance(entry, dict) else entry)
            for name in named(part)]  # fmt: skip


@pytest.mark.long
def test_is_built_without_a_warning_whole_and_needs_no_network(site):
    for page in PAGES[1:]:
        assert (site / page.removeprefix("docs/")).with_suffix(".html").is_file(), page
    assert (site / "tfrecords" / "index.html").is_file() and (site / "pipeline.svg").is_file()
    assert not list(site.rglob("hooks.py"))
    for page in site.rglob("*.html"):
        html = page.read_text("utf-8")
        assert not re.search(r"<(script|img|iframe)[^>]+src=\"?(https?:)?//", html), page
        assert not re.search(r"<link[^>]+rel=\"?(stylesheet|preconnect)[^>]+//", html), page
    # Links out of docs/ lead to copies in the site.
    html = (site / "guides" / "tables.html").read_text("utf-8")
    (link,) = set(re.findall(r"href=\"?([^\" >]*demo\.toml)", html))
    copy = (site / "guides" / link).resolve()
    assert copy.read_bytes() == (ROOT / "experiments" / "demo.toml").read_bytes()


def test_the_navigation_names_every_page():
    text = (ROOT / "mkdocs.yml").read_text("utf-8")
    pages = set(named(yaml.safe_load(text)["nav"]))
    assert {page.removeprefix("docs/") for page in PAGES[1:]} <= pages
