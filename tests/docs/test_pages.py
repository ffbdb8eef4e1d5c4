"""No snippet escapes: each is found, and run by the tests beside this, or excused."""

import ast
import itertools
import re
import shlex
from collections import Counter

import pytest
from not_run import reason_not_to_run
from pages import BESIDE, FENCE, PAGES, PROGRAMS, ROOT, help_of, steps, text_of

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


HELP, EXPORT = "docs/test_guides.py", "export/test_essentia.py export/test_serving.py"
SNIPPETS = {
    **{f"cli/{verb}.py": (1, HELP) for verb in VERBS},
    "cli/make_demo.py": (2, HELP),
    "demo/build.py": (1, "demo/test_build.py"),
    "errors.py": (1, "scripts/test_extras.py"),
    "export/essentia.py": (2, EXPORT),
    "export/package.py": (2, EXPORT),
    "export/serving.py": (8, EXPORT),
    "messages.py": (1, "docs/test_guides.py"),  # what a command prints to go on with
    "processes.py": (1, "test_processes.py"),
    "records/build_folder.py": (1, "test_storage.py"),
    "retrieval/projector.py": (1, ""),  # tensorboard: a server
    "training/pretrain.py": (1, ""),
}
"""Texts of the package's modules that hold commands or code, and the tests that run these."""
OTHERS = "aws", "docker", "pip", "tensorboard"
CODE = re.compile(
    rf"""(?:^|[\s'"`])(?:(?:{"|".join(OTHERS)})\ [\w.-] | python\ (?:-m|scripts/\w|[\w./-]+\.py)
    | playlist-pretrain\ [a-z_]+\ -- | curl\ ) | ^\s*(?:import|from)\ [\w.]+(?:$|\ import|\ as)
    | ^\s*(?:>>>\ |```)""",
    re.M | re.X,
)


def test_every_text_of_the_package_with_code_is_run_by_a_test():
    found = Counter()
    for path in (ROOT / "playlist_pretrain").rglob("*.py"):
        tree = ast.parse(path.read_text("utf-8"))
        statements = (node for node in ast.walk(tree) if isinstance(node, ast.Expr))
        told = {id(node.value) for node in statements}  # test_python.py runs those of docstrings
        for node in ast.walk(tree):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                module = str(path.relative_to(ROOT / "playlist_pretrain"))
                found[module] += id(node) not in told and bool(CODE.search(node.value))
    assert +found == Counter({module: count for module, (count, _) in SNIPPETS.items()})
    for _, tests in SNIPPETS.values():
        assert all((ROOT / "tests" / test).is_file() for test in tests.split())
    for path in itertools.chain(
        *((ROOT / "playlist_pretrain").rglob(f"*.{k}") for k in ("js", "html"))
    ):
        assert not re.search(rf"\b({'|'.join(PROGRAMS)}) [\w.-]+", path.read_text("utf-8")), path


def test_every_page_and_notebook_is_known():
    folders = "benchmarks constraints docs experiments notebooks playlist_pretrain scripts tests"
    found = itertools.chain(ROOT.glob("*.md"), *((ROOT / n).rglob("*.md") for n in folders.split()))
    pages = {str(path.relative_to(ROOT)) for path in found}
    assert pages == {*PAGES, *BESIDE, "CHANGELOG.md"} - {"tfrecords/README.md"}
    assert not FENCE.search(text_of("CHANGELOG.md"))  # tells what was
    for folder in folders.split():
        notebooks = (ROOT / folder).rglob("*.ipynb")
        assert all(path.parent == ROOT / "notebooks" for path in notebooks)


FILES = [*ROOT.glob("Dockerfile*"), *(ROOT / "experiments").glob("*.toml")]


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_commands_in_comments_are_those_of_a_page(file):
    known = {" ".join(step.text.split()) for page in PAGES for step in steps(page)}
    comments = re.sub(r" \\\n# +", " ", file.read_text("utf-8"))
    shown = re.findall(r"^#.*?((?:docker|make|python) .*)", comments, re.M)
    for command in itertools.chain(*(re.split(r"\s{2,}or\s{2,}", line) for line in shown)):
        assert command in known or command in help_of(("scripts/tables.py",)), command


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
