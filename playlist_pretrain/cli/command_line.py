"""Command lines made from typed dataclasses: an option is named and documented once.

A command hands a dataclass and a function to :func:`run`; every field becomes an option
(``learning_rate`` → ``--learning-rate``), its docstring the help text. Every command also has
``--debug`` (tracebacks) and answers ``--help`` without importing TensorFlow.
"""

from __future__ import annotations

import argparse
import dataclasses
import inspect
import sys
from collections.abc import Callable, Sequence
from typing import Any, NoReturn, TypeVar

import simple_parsing
from simple_parsing.help_formatter import SimpleHelpFormatter

from playlist_pretrain.errors import (
    PlaylistPretrainError,
    RecipeError,
    missing_extra,
    printable,
    require,
    shortened,
)
from playlist_pretrain.files import temporary_folder
from playlist_pretrain.messages import as_started, program, show_messages
from playlist_pretrain.version import __version__

Options = TypeVar("Options")


def run(
    options: type[Options],
    function: Callable[[Options], Any],
    *,
    prog: str,
    epilog: str = "",
    argv: Sequence[str] | None = None,
    modules: Sequence[str] = (),
) -> int:
    """Parse ``argv`` into ``options``, call ``function`` with it and return the exit code.

    Fields of the dataclass ``options`` are the options; those without a default are required.
    ``prog`` is the name of the command in help and errors, as a script of the checkout (see
    :mod:`playlist_pretrain.messages`), ``epilog`` is shown below the options, for examples, which
    begin with ``python scripts/VERB.py``; ``argv`` is by default ``sys.argv[1:]``. Where one of
    ``modules`` is not installed, that is said before ``function`` begins. The exit code is 0 on
    success, 1 when the user has to mend something, 130 after Ctrl-C.
    """
    prog = program(prog)
    debug = "--debug" in (sys.argv[1:] if argv is None else argv)
    try:
        parsed = _parser(options, prog, epilog).parse_args(argv)
        show_messages(quiet=getattr(parsed.options, "quiet", False))
        require(*modules)
        with temporary_folder():
            function(parsed.options)
        return 0
    except KeyboardInterrupt:
        if debug:
            raise
        _say(f"{prog}: interrupted; what was finished is kept")
        return 130
    except (PlaylistPretrainError, ImportError, OSError) as error:
        told = _told(error)
        if debug or told is None:
            raise
        _say(f"{prog}: error: {told}")
        return 1


def _told(error: Exception) -> str | None:
    """Message of an error that a user can mend, None for a fault of the program."""
    if isinstance(error, ImportError):
        return missing_extra(error)
    if isinstance(error, OSError):  # a full disk, a folder without permission
        where = f": {error.filename}" if error.filename else ""
        return printable(f"{error.strerror or error}{where}")
    return str(error)


def _say(text: str) -> None:
    print(printable(shortened(text), keep="\n"), file=sys.stderr)


def settings(options: Any, *without: str) -> dict[str, Any]:
    """Return the options of a command as arguments of the library function, without ``quiet``."""
    fields = (field.name for field in dataclasses.fields(options))
    return {name: getattr(options, name) for name in fields if name not in ("quiet", *without)}


def refuse_unread(options: Any, names: Sequence[str], missing: str) -> None:
    """Raise if one of the options ``names``, which only ``missing`` reads, is not the default.

    Raises RecipeError: with the option.
    """
    for field in dataclasses.fields(options):
        usual = field.default
        if field.default_factory is not dataclasses.MISSING:
            usual = field.default_factory()
        if field.name in names and getattr(options, field.name) != usual:
            option = "--" + field.name.replace("_", "-")
            raise RecipeError(f"{option}: nothing reads it without {missing}")


class _Parser(simple_parsing.ArgumentParser):
    """Raises instead of leaving with exit code 2, so every user error looks the same."""

    def error(self, message: str) -> NoReturn:
        raise PlaylistPretrainError(f"{message} (see {self.prog} --help)")


class _Formatter(SimpleHelpFormatter):
    """Switches without a value, and no default where there is none."""

    def start_section(self, heading: str | None) -> None:
        super().start_section("settings" if heading and "['options']" in heading else heading)
        self._starts_settings = self._current_section.heading == "settings"

    def end_section(self) -> None:
        super().end_section()
        self._starts_settings = False

    def add_text(self, text: str | None) -> None:
        if not getattr(self, "_starts_settings", False):  # the description says it already
            super().add_text(text)

    def _get_help_string(self, action: argparse.Action) -> str:
        text = (action.help or "").replace("(default: %(default)s)", "").strip()
        nothings = (None, False, argparse.SUPPRESS)
        if action.default == [] or any(action.default is nothing for nothing in nothings):
            return text
        return f"{text} [%(default)s]"

    def _format_action_invocation(self, action: argparse.Action) -> str:
        if any(option.startswith("--no") for option in action.option_strings[1:]):
            return action.option_strings[0]
        return super()._format_action_invocation(action).replace("[", "").replace("]", "")


def _parser(options: type, prog: str, epilog: str) -> argparse.ArgumentParser:
    parser = _Parser(
        prog=prog,
        usage=f"{prog} [options]",
        description=inspect.cleandoc(options.__doc__ or ""),
        epilog=inspect.cleandoc(as_started(epilog)),
        add_option_string_dash_variants=simple_parsing.DashVariant.DASH,
        formatter_class=_Formatter,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"{prog} {__version__}")
    parser.add_argument("--debug", action="store_true", help="show tracebacks")
    parser.add_arguments(options, "options")
    return parser
