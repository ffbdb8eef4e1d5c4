"""Messages fit a screen and steer no terminal, whatever they quote of a file."""

import logging

import pytest

from playlist_pretrain import errors
from playlist_pretrain.cli import command_line
from playlist_pretrain.errors import PlaylistPretrainError, RecipeError, TableError, shortened
from playlist_pretrain.messages import show_messages

LONG = "a" * 150 + "b" * 100_000 + "z" * 150


@pytest.mark.parametrize("kind", [PlaylistPretrainError, TableError])
def test_what_a_message_quotes_is_cut(kind):
    text = str(kind(f'list.csv: unknown key {LONG!r} (it\'s no key); "{LONG}": rename it'))
    assert text.startswith("list.csv: unknown key 'aaaa") and text.endswith('zzz": rename it')
    assert "zzz' (it's no key); \"aaa" in text and text.count(" … ") == 2
    assert len(text) < 500


def test_what_is_short_or_no_quotation_stays_as_it_is():
    names = ", ".join(repr(f"name {i}") for i in range(60))
    text = f"it's a user's 'x' {'word ' * 60}'y' and {names}; the command's words: '{'a' * 198}'"
    assert shortened(text) == text


def test_a_long_line_loses_its_middle():
    text = shortened("a.json: " + "word " * 100_000 + "; mend it\nline 2")
    first, second = text.split("\n")
    assert first.startswith("a.json: word") and first.endswith("; mend it") and second == "line 2"
    assert len(first) == errors.LONGEST_LINE and " … " in first


@pytest.mark.parametrize("kind", [PlaylistPretrainError, TableError])
def test_no_message_steers_a_terminal(kind):
    text = str(kind("a\x1b]0;title\x07\u202e\udcff\rb\nc"))
    newline = "\n" if kind is PlaylistPretrainError else "\\n"
    assert text == "a\\x1b]0;title\\x07\\u202e\\udcff\\rb" + newline + "c"


def fail(options):
    raise options


@pytest.mark.parametrize(
    "error",
    [
        RecipeError(f"\x1b[2J {LONG!r}"),
        OSError(2, "no such file", f"\x1b[2J\n{LONG}"),
        ImportError("\x1b[2J", name="faiss"),
    ],
)
def test_a_command_prints_all_through_one_filter(error, capsys, monkeypatch):
    monkeypatch.setattr(command_line, "_parser", lambda *_: Parsed(error))
    if isinstance(error, ImportError):
        error = ModuleNotFoundError("\x1b[2J", name="faiss")
    monkeypatch.setattr(command_line, "_parser", lambda *_: Parsed(error))
    assert command_line.run(object, fail, prog="x.py", argv=[]) == 1
    said = capsys.readouterr().err
    assert said[:-1].isprintable() and 10 < len(said) < 2100


class Parsed:
    """A command line that was parsed to be an error."""

    def __init__(self, options):
        self.options = options

    def parse_args(self, argv):
        return self


def test_warnings_are_cut_and_commands_are_not(capsys):
    show_messages()
    logger = logging.getLogger("playlist_pretrain.test")
    path = "d" * 300
    logger.warning("not read: %r", path)
    logger.info("next: search --out '%s'", path)
    logger.info("ids: %r", LONG)
    warning, command, ids = capsys.readouterr().out.splitlines()
    assert len(warning) < 250 and path in command and len(ids) == errors.LONGEST_LINE
