"""The messages that the page on troubleshooting quotes are those of the program."""

import ast
import errno
import functools
import os
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "troubleshooting.md").read_text("utf-8")
SYSTEM = "In the system's own words"
VALUE = "\0"
"""What stands for a value in a message."""
SHORTEST = 9


def rows(text):
    return re.findall(r"^\| `(.*?)` \| (.+?) \| (.+?) \|$", text, re.M)


def sections():
    parts = re.split(r"^## (.*)\n", PAGE, flags=re.M)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


OURS = [row[0] for title, text in sections().items() if title != SYSTEM for row in rows(text)]


def text_of(node):
    """Literal text of an expression, with ``VALUE`` for what is worked out."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.JoinedStr):
        return "".join(map(text_of, node.values))
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        return text_of(node.left) + text_of(node.right)
    return VALUE


@functools.cache
def messages():
    """Every string of the package, of which docstrings are none."""
    found = set()
    for path in (ROOT / "playlist_pretrain").rglob("*.py"):
        tree = ast.parse(path.read_text("utf-8"))
        statements = {
            id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)
        }  # docstrings
        found |= {
            text_of(node)
            for node in ast.walk(tree)
            if isinstance(node, (ast.Constant, ast.JoinedStr, ast.BinOp))
            and id(node) not in statements
        }
    return found


def is_message(pattern):
    parts = [re.escape(part) for part in re.split(r"\s*…\s*", pattern)]
    wanted = re.compile(".*".join(parts), re.S)
    return any(wanted.search(message) for message in messages())


def test_the_page_is_read_as_it_is_meant():
    lines = [line for line in PAGE.splitlines() if line.startswith("| `")]
    assert len(lines) == sum(len(rows(text)) for text in sections().values())
    assert len(OURS) == len(set(OURS)) >= 40


@pytest.mark.parametrize("pattern", OURS)
def test_a_message_is_in_the_source(pattern):
    assert max(len(part) for part in pattern.split("…")) >= SHORTEST
    assert is_message(pattern)


@pytest.mark.parametrize(
    "pattern", ["no such message", "no audio in …; found …", "cannot be decoded with: …"]
)
def test_other_messages_are_not(pattern):
    assert not is_message(pattern)


def test_the_systems_words():
    known = {os.strerror(number) for number in errno.errorcode}
    quoted = [row[0] for row in rows(sections()[SYSTEM])]
    assert quoted and set(quoted) <= known


def test_options_and_commands_that_are_advised_are_there():
    from playlist_pretrain.__main__ import VERBS

    advised = {word for row in rows(PAGE) for word in re.findall(r"`(\w+) --", row[2])}
    assert advised - {"pip"} <= set(VERBS)
    options = set(re.findall(r"`[^`]*?(--[a-z][\w-]+)", PAGE))
    assert options
    fields = {
        text_of(node.target) if isinstance(node.target, ast.Constant) else node.target.id
        for path in (ROOT / "playlist_pretrain").rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name)
    }
    known = {"--" + name.replace("_", "-") for name in fields} | {"--debug"}
    assert options <= known, options - known
