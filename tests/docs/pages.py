"""What the pages tell a user to type: every command and every block of Python, in their order."""

import functools
import os
import re
import shlex
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGES = ["README.md", *sorted(str(p.relative_to(ROOT)) for p in (ROOT / "docs").rglob("*.md"))]
BESIDE = ["tfrecords/README.md", "constraints/README.md"]
"""Pages outside the site's folder."""
FENCE = re.compile(r"^( *)```([^\n`]*)\n(.*?)^\1```$", re.M | re.S)
SPAN = re.compile(r"(?<!`)`([^`]+)`(?!`)")
PROGRAMS = ("aws", "docker", "make", "mkdocs", "pip", "playlist-pretrain", "pytest", "python",
            "python3", "source", "tensorboard", ".venv/bin/pip", ".venv/bin/python",
            ".venv-gpu/bin/pip", ".venv-gpu/bin/python",
            "venv/bin/pip", "venv/bin/playlist-pretrain", "venv/bin/python")  # fmt: skip
"""What a command begins with; in a block of bash anything may."""
PLACEHOLDER = re.compile(r"(?<![\w$-])(DIR|FILE|NAME|VERB)\b(?!=)")


@dataclass(frozen=True)
class Step:
    """Something to do: a command line, or Python where ``python`` is set."""

    page: str
    line: int
    text: str
    python: bool = False

    @property
    def form(self):
        """Whether it only shows the form of a command, by words in capitals."""
        return bool(PLACEHOLDER.search(self.text))


def text_of(page):
    return (ROOT / page).read_text("utf-8")


def lines_of(block):
    """The commands of a block, continued lines joined, comments left out."""
    joined = re.sub(r" *\\\n\s*", " ", block)
    commands = (re.sub(r"(^|\s)#\s.*$", "", line).strip() for line in joined.splitlines())
    return [command for command in commands if command]


def looks_like_a_command(text):
    first, _, rest = text.partition(" ")
    return first in PROGRAMS and bool(rest)


def steps_of(text, page="page"):
    """All of a page's steps, in its order; the mention of one that is there already is none."""
    found = []
    for fence in FENCE.finditer(text):
        line, language = text[: fence.start()].count("\n") + 1, fence[2].strip()
        if language in ("bash", "sh", "shell", "console"):
            found += [Step(page, line, command) for command in lines_of(fence[3])]
        elif language == "python":
            found.append(Step(page, line, fence[3].replace("\n" + fence[1], "\n"), python=True))
        else:
            python = re.findall(r"^\s*(?:>>> |import \w|from \S+ import ).*", fence[3], re.M)
            hidden = python + [line for line in lines_of(fence[3]) if looks_like_a_command(line)]
            assert not hidden, f"{page}:{line}: bash or Python in a block of neither: {hidden}"
    blank = FENCE.sub(lambda fence: "\n" * fence[0].count("\n"), text)
    for span in SPAN.finditer(blank):
        command = " ".join(span[1].split())
        if looks_like_a_command(command) and command not in [step.text for step in found]:
            found.append(Step(page, blank[: span.start()].count("\n") + 1, command))
    return sorted(found, key=lambda step: step.line)


def steps(page):
    return steps_of(text_of(page), page)


def extras_of(page):
    """Extras that a page names, but those of another stack and of machines with a GPU."""
    found = re.findall(r"(?:extras? `|playlist_pretrain\[)([\w,]+)", text_of(page))
    return {name for names in found for name in names.split(",")} - {"card", "gpu"}


@functools.cache
def help_of(program):
    """What ``--help`` of a script or module prints."""
    done = subprocess.run(
        [sys.executable, *program, "--help"], cwd=ROOT, capture_output=True, text=True, check=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    return done.stdout


def check_options(command):
    """Every option that a command of this package names is one."""
    words = shlex.split(command)
    if "VERB" in command:
        assert words[0] == "playlist-pretrain" or words[:2] == ["python", "scripts/VERB.py"]
        return
    if words[0].endswith("playlist-pretrain"):
        program = "-m", "playlist_pretrain", words[1]
    elif words[1] == "-m":
        program = "-m", words[2]
    else:
        program = (words[1],)
    known = set(re.findall(r"--[a-z][\w-]*", help_of(program)))
    for option in re.findall(r"(?<=\s)--[a-z][\w-]*", command):
        assert option in known, f"{command}: no option {option}"
