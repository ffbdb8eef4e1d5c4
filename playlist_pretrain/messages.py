"""Messages of the program: command lines to type next, log messages, progress bars.

The commands it prints can be typed as they stand: ``python scripts/VERB.py`` in a checkout, and
``playlist-pretrain VERB`` where the package is installed.
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

from playlist_pretrain.errors import printable, shortened

CONSOLE = "playlist-pretrain"
"""Name of the console command (``setup.cfg``)."""
CLOSED_PIPE = 141
"""Exit code where nobody reads what is printed, as that of other programs."""
SCRIPTS = Path(__file__).parent.parent / "scripts"
PACKAGE_MAIN = Path(__file__).parent / "__main__.py"


def command(verb: str, *words: str) -> str:
    """Return the command line of a verb, in the form in which this program was started.

    Words, options and values, are quoted for a shell where they need to be.
    """
    return " ".join([_start(verb), *map(shlex.quote, words)])


def option(field: str) -> str:
    """Return the option of a setting: ``learning_rate`` → ``--learning-rate``."""
    return "--" + field.replace("_", "-")


def words_of(options: Any, *without: str) -> list[str]:
    """Return the command-line words of those settings that are not their defaults.

    ``options`` is a dataclass, whose switches are off by default.
    """
    words = []
    for field in dataclasses.fields(options):
        value = getattr(options, field.name)
        if value == field.default or field.name in without:
            continue
        name = option(field.name)
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
    """Return the command line of this program without ``--overwrite``, so that it resumes.

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
    """Replace every ``python scripts/VERB.py`` in a text by the form of :func:`command`."""
    return re.sub(r"python scripts/(\w+)\.py", lambda found: _start(found[1]), text)


def program(script: str) -> str:
    """Return the name of a command for its help and errors: ``VERB.py``, or the console's."""
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
    """Prints records to ``sys.stdout`` as it is at that moment, above any progress bar."""

    def emit(self, record: logging.LogRecord) -> None:
        from tqdm import tqdm

        warns = record.levelno >= logging.WARNING
        # What is told at length, such as the next command, is to be typed as it stands.
        text = printable(shortened(record.getMessage(), quotations=warns), keep="\n")
        if warns:
            text = f"{record.levelname}: {text}"
        try:
            with tqdm.external_write_mode():
                print(text, flush=True)
        except BrokenPipeError:  # nobody reads: no error that anybody could mend, or should catch
            raise SystemExit(CLOSED_PIPE) from None


def show_messages(*, quiet: bool = False) -> None:
    """Print what the package logs to standard output: all of it, or only warnings if ``quiet``.

    Without this call, as in a notebook, messages go where Python's logging sends them.
    """
    logger = logging.getLogger("playlist_pretrain")
    logger.setLevel(logging.WARNING if quiet else logging.INFO)
    logger.propagate = False
    if not any(isinstance(handler, _Printer) for handler in logger.handlers):
        logger.addHandler(_Printer())


def progress(iterable: Iterable | None = None, **options: Any) -> Any:
    """Return a ``tqdm`` bar on standard error, shown after two seconds and only on a terminal.

    Not shown where the package's logger leaves out information, as with ``--quiet``. Without an
    iterable the caller updates the bar.
    """
    from tqdm import tqdm

    hidden = not logging.getLogger("playlist_pretrain").isEnabledFor(logging.INFO)
    disable = hidden or not sys.stderr.isatty()
    return tqdm(iterable, delay=2, disable=disable, dynamic_ncols=True, **options)
