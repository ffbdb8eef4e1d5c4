"""The messages that the page on troubleshooting quotes are those of the program."""

import ast
import errno
import functools
import os
import re

import pytest
from pages import ROOT, text_of

PAGE = text_of("docs/troubleshooting.md")
OURS, SYSTEM = (
    re.findall(r"^\| `(.*?)` \|", part, re.M) for part in PAGE.split("## In the system's own words")
)
VALUE = "\0"
"""What stands for a value in a message."""
SHORTEST = 9


def literal(node):
    """Literal text of an expression, with ``VALUE`` for what is worked out."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.JoinedStr):
        return "".join(map(literal, node.values))
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        return literal(node.left) + literal(node.right)
    return VALUE


@functools.cache
def messages():
    """Every string of the package."""
    trees = (ast.parse(path.read_text("utf-8")) for path in ROOT.glob("playlist_pretrain/**/*.py"))
    kinds = ast.Constant, ast.JoinedStr, ast.BinOp
    return {literal(node) for tree in trees for node in ast.walk(tree) if isinstance(node, kinds)}


@pytest.mark.parametrize("pattern", OURS)
def test_a_message_is_in_the_source(pattern):
    parts = re.split(r"\s*…\s*", pattern)
    assert max(map(len, parts)) >= SHORTEST
    wanted = re.compile(".*".join(map(re.escape, parts)), re.S)
    assert any(wanted.search(message) for message in messages())


def test_the_systems_words():
    assert SYSTEM and {os.strerror(number) for number in errno.errorcode} >= set(SYSTEM)
