"""The commands as programs: ``playlist-pretrain VERB …``, the same as ``python scripts/VERB.py …``.

Until Ctrl-C is looked after, nothing is imported that Python has not loaded at its start.
"""

from __future__ import annotations

import _signal
import _thread
import atexit
import os
import sys
import time

VERBS = {
    "make_tfrecords": "playlist_pretrain.cli.make_tfrecords",
    "import_mels": "playlist_pretrain.cli.import_mels",
    "check_collection": "playlist_pretrain.cli.check_collection",
    "match_playlists": "playlist_pretrain.cli.match_playlists",
    "pretrain": "playlist_pretrain.cli.pretrain",
    "finetune": "playlist_pretrain.cli.finetune",
    "similarity": "playlist_pretrain.cli.similarity",
    "search": "playlist_pretrain.cli.search",
    "embed": "playlist_pretrain.cli.embed",
    "export": "playlist_pretrain.cli.export",
    "tables": "playlist_pretrain.cli.tables",
}
"""Verb → module whose ``main(argv)`` is the command; imported only when it is asked for."""
INTERRUPTED, CLOSED_PIPE = 130, 141
"""Exit codes after Ctrl-C or SIGTERM, and (``messages`` has it too) where nobody reads."""
PATIENCE_SECONDS = 5.0
"""For Ctrl-C to be heeded, until the program ends as it stands."""


def main(argv: list[str] | None = None) -> int:
    """Run the verb that comes first in ``argv`` with what follows; returns its exit code."""
    import importlib

    from playlist_pretrain.errors import shortened
    from playlist_pretrain.version import __version__

    arguments = list(sys.argv[1:] if argv is None else argv)
    word = arguments[0] if arguments else "--help"
    verb = word.replace("-", "_")
    if verb in VERBS:
        return importlib.import_module(VERBS[verb]).main(arguments[1:])
    usage = "usage: playlist-pretrain VERB [options]; verbs: " + ", ".join(VERBS)
    if word in ("--help", "-h"):
        print(usage + "\nplaylist-pretrain VERB --help shows the options of a verb")
        return 0
    if word == "--version":
        print(f"playlist-pretrain {__version__}")
        return 0
    import difflib

    near = difflib.get_close_matches(verb, VERBS, 1)
    meant = f", did you mean {near[0]}?" if near else ""
    text = shortened(f"playlist-pretrain: error: no verb {word!r}{meant}")
    print(f"{text}\n{usage}", file=sys.stderr)
    return 1


def start(module: str | None = None) -> int | str | None:
    """Run the command of a module of :mod:`playlist_pretrain.cli`, or :func:`main`, as a program.

    Returns its exit code. Ctrl-C and SIGTERM end it at any moment with one line and exit code 130;
    where nobody reads what it prints, it ends without a word.
    """
    interrupts = Interrupts("--debug" in sys.argv)
    code: int | str | None = CLOSED_PIPE
    try:
        interrupts.look_after()
        if module is None:
            code = main()
        else:
            import importlib

            command = importlib.import_module(f"playlist_pretrain.cli.{module}")
            code = command.main()
    except SystemExit as leaving:
        code = leaving.code
    except BrokenPipeError:  # nobody reads what is wrong
        pass
    except BaseException:  # a library may have made another error of Ctrl-C
        if not interrupts.asked or interrupts.debug:
            raise
    interrupts.leave_if_asked()
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        code = CLOSED_PIPE
    if code == CLOSED_PIPE:  # Python flushes its streams once more at its end
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, 1)
        os.dup2(nowhere, 2)
    return code


class Interrupts:
    """Ctrl-C and SIGTERM: one line, and the exit code 130, whatever is going on.

    The first raises KeyboardInterrupt in the main thread, so that what is half done is removed,
    and nothing but the one line reaches standard error any more. A library may swallow the
    exception, or be at work outside Python for minutes: a thread raises it again as long as nobody
    handles it, and ends the program as it stands after :data:`PATIENCE_SECONDS`. So does a second
    Ctrl-C: the files of all commands bear that, as they bear a power cut.
    """

    def __init__(self, debug: bool) -> None:
        self.asked: float | None = None
        self.debug = debug
        self._again = self._done = False
        self._said = _thread.allocate_lock()
        self._main = _thread.get_ident()

    def look_after(self) -> None:
        """Begin."""
        wake, signalled = os.pipe()
        os.set_blocking(signalled, False)
        # The system's handler writes to it at once, Python's runs when the main thread is back.
        _signal.set_wakeup_fd(signalled, warn_on_full_buffer=False)
        for number in (_signal.SIGINT, _signal.SIGTERM):
            # A job in the background of a shell has it ignored.
            if _signal.getsignal(number) != _signal.SIG_IGN:
                _signal.signal(number, self._interrupt)
        _thread.start_new_thread(self._see_to_it, (wake,))
        atexit.register(self._end)  # the first to come is the last to go

    def leave_if_asked(self) -> None:
        """Leave, or do so when asked from now on, when the command is done."""
        self._done = True
        if self.asked is not None:
            try:
                sys.stdout.flush()
                atexit._run_exitfuncs()  # of libraries that leave files until then
            finally:
                self._leave()

    def _end(self) -> None:
        """Let Python, which can run no handlers any more, come to its end."""
        for number in (_signal.SIGINT, _signal.SIGTERM):
            _signal.signal(number, _signal.SIG_IGN)

    def _interrupt(self, number: int, frame: object) -> None:
        if self._again:
            self._again = False
            raise KeyboardInterrupt
        now = time.monotonic()
        if self.asked is None:
            self.asked = now
            self._say()
            if not self._done:
                raise KeyboardInterrupt
        # A program that started this one may pass on what the terminal sent already.
        if self._done or now - self.asked > 0.5:
            self._leave()

    def _see_to_it(self, wake: int) -> None:
        """Wait for a signal that is ours, then until it is heeded."""
        while _signal.getsignal(os.read(wake, 1)[0]) != self._interrupt:
            pass
        unheeded = 0.0
        while unheeded < PATIENCE_SECONDS:
            time.sleep(0.1)
            unheeded = 0.0 if self._heeded() else unheeded + 0.1
            if self.asked is not None and unheeded > 0.25 and not (self._again or self._done):
                self._again = True
                _thread.interrupt_main()
        self._leave()

    def _heeded(self) -> bool:
        """True while the main thread handles KeyboardInterrupt, or an error made of it."""
        error = sys._current_exceptions().get(self._main)
        if isinstance(error, tuple):  # until Python 3.11
            error = error[1]
        seen = set()
        while error is not None and id(error) not in seen:
            if isinstance(error, KeyboardInterrupt):
                return True
            seen.add(id(error))
            error = error.__cause__ or error.__context__
        return False

    def _say(self) -> None:
        """Print the line, the last one."""
        if not self._said.acquire(blocking=False):
            return
        name = os.path.basename(sys.argv[0]) if sys.argv else ""
        name = name if name.endswith(".py") and name != "__main__.py" else "playlist-pretrain"
        line = f"{name}: interrupted; what was finished is kept\n"
        try:
            os.write(2, ("\n" * os.isatty(2) + line).encode())  # below a bar
        except OSError:
            return  # it is closed
        if not self.debug:
            os.dup2(os.open(os.devnull, os.O_WRONLY), 2)

    def _leave(self) -> None:
        self._say()
        os._exit(INTERRUPTED)


if __name__ == "__main__":
    raise SystemExit(start())
