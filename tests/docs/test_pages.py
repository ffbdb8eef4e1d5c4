"""No command of a page escapes: each is found, and run by the tests beside this, or excused."""

import re
import shlex

import pytest
from not_run import reason_not_to_run
from pages import BESIDE, FENCE, PAGES, ROOT, steps, text_of

from playlist_pretrain.__main__ import VERBS, main
from playlist_pretrain.cli import command_line


@pytest.mark.long
@pytest.mark.parametrize("page", PAGES + BESIDE)
def test_commands_that_are_not_run_name_options_and_files_that_are_there(page):
    for step in steps(page):
        reason_not_to_run(step)


UNTRIED = [step.text for step in steps("docs/reproducibility.md") if "scripts/" in step.text]


@pytest.mark.parametrize("command", UNTRIED)
def test_options_of_a_command_go_together(command, monkeypatch):
    """As far as they can be judged without what they name."""
    _, script, *words = shlex.split(command)
    parsed = []

    def parse(options, function, *, prog, epilog="", argv=None, modules=()):
        parsed.append(command_line._parser(options, prog, epilog).parse_args(argv).options)
        return 0

    monkeypatch.setattr(command_line, "run", parse)
    verb = script.removeprefix("scripts/").removesuffix(".py")
    assert main([verb, *words]) == 0
    if verb in ("pretrain", "finetune"):
        parsed[0].resolve(demo=False, window_frames=256)


def test_modules_that_the_page_on_design_names_are_there():
    kept = text_of("docs/design.md").partition("Kept in one module each")[2].partition("\n\n")[0]
    for name in re.findall(r"`([\w/]+)`", kept):
        assert (ROOT / "playlist_pretrain" / f"{name}.py").is_file(), name


def test_every_verb_has_a_guide_and_its_line_in_the_readme():
    for verb in VERBS:
        guide = f"docs/guides/{verb}.md"
        assert text_of(guide).startswith(f"# {verb}: ")
        assert re.search(
            rf"^\| `{verb}` \| .+ \| \[guide\]\({guide}\) \|$", text_of("README.md"), re.M
        )
        assert f"(guides/{verb}.md)" in text_of("docs/index.md")


@pytest.mark.parametrize("page", [*PAGES, *BESIDE, "CHANGELOG.md"])
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
