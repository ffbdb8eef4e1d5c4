"""Messages of the program: command lines to type next, log messages, progress.

The commands it prints can be typed as they stand: ``python scripts/VERB.py`` in a checkout, and
``playlist-pretrain VERB`` where the package is installed.
"""

from __future__ import annotations

import dataclasses
import logging
import math
import os
import re
import shlex
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sized
from pathlib import Path
from typing import Any

from playlist_pretrain.errors import printable, shortened

CONSOLE = "playlist-pretrain"
"""Name of the console command (``setup.cfg``)."""
CLOSED_PIPE = 141
"""Exit code where nobody reads what is printed, as that of other programs."""
SECONDS_BETWEEN_LINES = 30
"""Of progress, where it is told and not drawn."""
SCRIPTS = Path(__file__).parent.parent / "scripts"
PACKAGE_MAIN = Path(__file__).parent / "__main__.py"

logger = logging.getLogger(__name__)


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
        if value == field.default or field.name in without or value == []:
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


def progress(
    iterable: Iterable | None = None, *, facts: Callable[[], str] | None = None, **options: Any
) -> Any:
    """Return the progress of a loop: a bar on a terminal, lines in the log elsewhere.

    The bar is ``tqdm``'s on standard error, shown after two seconds. Where standard error is no
    terminal, or one without a width, a message of the package every half minute says how far the
    loop is, how fast it goes and how long it will take. Neither is shown where the package's
    logger leaves out information, as with ``--quiet``.

    ``options`` are those of ``tqdm``: ``total``, ``initial``, ``desc``, ``unit``, ``unit_scale``.
    Without an iterable the caller updates and closes the progress. ``facts()`` is more text for a
    line; it is asked for when a line is due, and such a loop has a last line however short it is.
    """
    if not _terminal_columns():
        return _ProgressLines(iterable, facts, **options)
    from tqdm import tqdm

    disable = not logger.isEnabledFor(logging.INFO)
    return tqdm(iterable, delay=2, disable=disable, dynamic_ncols=True, **options)


def _terminal_columns() -> int:
    """Width of the terminal that standard error is; 0 without a terminal, or without a width."""
    try:
        return 0 if os.environ.get("COLUMNS") == "0" else os.get_terminal_size(2).columns
    except OSError:
        return 0


class _ProgressLines:
    """Progress as messages, with the methods of a ``tqdm`` bar that the package uses."""

    def __init__(
        self,
        iterable: Iterable | None,
        facts: Callable[[], str] | None,
        *,
        desc: str = "",
        total: int | None = None,
        initial: int = 0,
        unit: str = "it",
        unit_scale: bool = False,
    ):
        if total is None and isinstance(iterable, Sized):
            total = len(iterable)
        self.iterable, self.facts, self.desc = iterable, facts, desc
        self.total, self.unit, self.scale = total, unit.strip(), unit_scale
        self.initial, self.n = initial, initial
        self.begun = self.last = time.monotonic()
        self.told: int | None = None

    def __iter__(self) -> Iterator:
        with self:
            for item in self.iterable or ():
                yield item
                self.update()

    def __enter__(self) -> _ProgressLines:
        return self

    def __exit__(self, *error: Any) -> None:
        self.close()

    def update(self, count: int = 1) -> None:
        """Count what was done, and tell it when a line is due."""
        self.n += count
        now = time.monotonic()
        if now - self.last >= SECONDS_BETWEEN_LINES:
            self._tell(now)

    def close(self) -> None:
        """Tell the end of a loop that told of its way; once."""
        if self.n == self.total != self.told and (self.facts or self.told is not None):
            self._tell(time.monotonic())
        self.told, self.facts = None, None

    def refresh(self) -> None:
        """Nothing: a line is not drawn again."""

    def set_postfix(self, *values: Any, **options: Any) -> None:
        """Nothing: ``facts`` says more."""

    def _tell(self, now: float) -> None:
        self.told, self.last = self.n, now
        rate = (self.n - self.initial) / max(now - self.begun, 1e-9)
        unit = {"B": "bytes"}.get(self.unit, self.unit.removesuffix("s") + "s")
        parts = [f"{self._number(self.n)} {unit}"]
        if self.total is not None:
            parts = [f"{self._number(self.n)} of {self._number(self.total)} {unit}"]
        parts += [self.facts()] if self.facts else []
        parts.append(f"{self._number(rate) if self.scale else f'{rate:,.2f}'} a second")
        if self.total is not None and rate > 0:
            minutes, seconds = divmod(math.ceil((self.total - self.n) / rate), 60)
            hours, minutes = divmod(minutes, 60)
            parts.append(
                f"{hours}:{minutes:02d}:{seconds:02d} left"
                if hours
                else f"{minutes}:{seconds:02d} left"
            )
        logger.info(f"{self.desc}: {', '.join(parts)}")

    def _number(self, value: float) -> str:
        from tqdm import tqdm

        return tqdm.format_sizeof(value) if self.scale else f"{value:,}"
