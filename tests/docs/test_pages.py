"""No command of a page escapes: each is found, and run by the tests beside this, or excused."""

import re
from pathlib import Path

import pytest
from not_run import every_command, reason_not_to_run
from page_groups import ELSEWHERE, GROUPS, OTHERS, is_elsewhere
from pages import FENCE, PAGES, ROOT, text_of

from playlist_pretrain.__main__ import VERBS


def test_every_page_is_in_one_group():
    listed = [page for pages in GROUPS.values() for page in pages]
    assert len(set(listed)) == len(listed) and set(listed) <= set(PAGES)
    elsewhere = [page for page in PAGES if is_elsewhere(page)]
    assert {*listed, *OTHERS, *elsewhere} == set(PAGES)
    for folder, test in ELSEWHERE.items():
        pages = [Path(page) for page in elsewhere if page.startswith(folder)]
        text = (Path(__file__).parent / test).read_text("utf-8") if pages else ""
        assert all(f'"{page.stem}"' in text or f'"{page}"' in text for page in pages), test


@pytest.mark.long
@pytest.mark.parametrize("page", PAGES)
def test_commands_that_are_not_run_name_options_and_files_that_are_there(page):
    for step in every_command():
        if step.page == page:
            reason_not_to_run(step)


def test_every_verb_has_a_guide_and_its_line_in_the_readme():
    for verb in VERBS:
        guide = f"docs/guides/{verb}.md"
        assert text_of(guide).startswith(f"# {verb}: ")
        assert re.search(
            rf"^\| `{verb}` \| .+ \| \[guide\]\({guide}\) \|$", text_of("README.md"), re.M
        )
        assert f"(guides/{verb}.md)" in text_of("docs/index.md")


def test_the_readme_is_of_two_screens():
    assert len(text_of("README.md").splitlines()) <= 120


@pytest.mark.parametrize("page", [*PAGES, "tfrecords/README.md", "CHANGELOG.md"])
def test_every_link_leads_to_a_file_of_the_repository(page):
    prose = FENCE.sub("", text_of(page))
    for link in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", prose):
        if not re.match(r"[a-z]+:", link):
            assert (ROOT / page).parent.joinpath(link).is_file(), link


def test_every_folder_of_the_layout_is_there():
    layout = text_of("docs/index.md").partition("## Layout")[2]
    (tree,) = (fence[3] for fence in FENCE.finditer(layout))
    for line in tree.splitlines():
        folder = ROOT / "playlist_pretrain" if line.startswith("  ") else ROOT
        assert (folder / line.split()[0]).is_dir(), line
