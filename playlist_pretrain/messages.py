"""How the program was started, so that the commands it prints can be typed as they stand.

From a checkout that is ``python scripts/VERB.py``; where the package was installed there are no
scripts, and it is ``playlist-pretrain VERB``.

Progress with rate and time left; silent when nobody is watching.
"""

from __future__ import annotations

import dataclasses
import logging
import re
import shlex
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from playlist_pretrain.errors import printable

CONSOLE = "playlist-pretrain"
"""Name of the console command (``setup.cfg``)."""
SCRIPTS = Path(__file__).parent.parent / "scripts"
PACKAGE_MAIN = Path(__file__).parent / "__main__.py"


def command(verb: str, *words: str) -> str:
    """Command line of ``verb``, in the form in which this program was started.

    Parameters
    ----------
    verb : str
        A key of :data:`playlist_pretrain.__main__.VERBS`.
    *words : str
        Options and values; each is quoted for a shell where it needs to be.
    """
    return " ".join([_start(verb), *map(shlex.quote, words)])


def words_of(options: Any, *without: str) -> list[str]:
    """The words that give a command ``options`` again: those that are not their defaults.

    Parameters
    ----------
    options : dataclass
        As :func:`playlist_pretrain.cli.command_line.run` parses them; switches are off by default.
    *without : str
        Fields that are left out.
    """
    words = []
    for field in dataclasses.fields(options):
        value = getattr(options, field.name)
        if value == field.default or field.name in without:
            continue
        name = "--" + field.name.replace("_", "-")
        if value is True:
            words.append(name)
        elif isinstance(value, tuple | list):
            words += [name, *map(str, value)]
        elif str(value).startswith("-"):
            words.append(f"{name}={value}")
        else:
            words += [name, str(value)]
    return words


def as_given() -> str | None:
    """The command line that this program was given, without ``--overwrite``, so that it goes on.

    None where it was not started as a command: from a notebook, or from another program.
    """
    started, *words = sys.argv or [""]
    path = Path(started).resolve()
    words = [word for word in words if word != "--overwrite"]
    if path.parent == SCRIPTS.resolve() and path.suffix == ".py":
        return command(path.stem, *words)
    if words and (path.name == CONSOLE or path == PACKAGE_MAIN):
        return command(*words)
    return None


def as_started(text: str) -> str:
    """``text`` with every ``python scripts/VERB.py`` in the form of :func:`command`."""
    return re.sub(r"python scripts/(\w+)\.py", lambda found: _start(found[1]), text)


def program(script: str) -> str:
    """Name of a command in its help and errors: ``VERB.py``, or the console command's."""
    if script.endswith(".py") and not _start("").startswith("python scripts"):
        return _start(script.removesuffix(".py"))
    return script


def _start(verb: str) -> str:
    started = Path(sys.argv[0] if sys.argv else "")
    if started.name == PACKAGE_MAIN.name and started.resolve() == PACKAGE_MAIN:
        return f"python -m playlist_pretrain {verb}"
    if started.name == CONSOLE or not SCRIPTS.is_dir():
        return f"{CONSOLE} {verb}"
    return f"python scripts/{verb}.py"


class _Printer(logging.Handler):
    """Prints records to standard output, as whatever standard output is at that moment."""

    def emit(self, record: logging.LogRecord) -> None:
        text = printable(record.getMessage(), keep="\n")
        if record.levelno >= logging.WARNING:
            text = f"{record.levelname}: {text}"
        print(text, flush=True)


def show_messages(*, quiet: bool = False) -> None:
    """Print what the package logs to standard output: all of it, or warnings alone if ``quiet``.

    Without it, as in a notebook, the package's messages go where Python's logging sends them.
    """
    logger = logging.getLogger("playlist_pretrain")
    logger.setLevel(logging.WARNING if quiet else logging.INFO)
    logger.propagate = False
    if not any(isinstance(handler, _Printer) for handler in logger.handlers):
        logger.addHandler(_Printer())


def progress(iterable: Iterable | None = None, *, quiet: bool = False, **options: Any) -> Any:
    """``tqdm`` bar on standard error, shown after two seconds and only on a terminal.

    Not shown where the package's logger leaves out information, as with ``--quiet``.

    Parameters
    ----------
    iterable : iterable, optional
        What to iterate over; without one the caller updates the bar.
    **options
        Passed to ``tqdm`` (``total``, ``desc``, ``unit``, …).
    """
    from tqdm import tqdm

    logger = logging.getLogger("playlist_pretrain")
    disable = quiet or logger.level > logging.INFO or not sys.stderr.isatty()
    return tqdm(iterable, delay=2, disable=disable, dynamic_ncols=True, **options)
