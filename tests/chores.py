"""Work for the processes of ``test_processes.py``, which have to import it."""

import errno
import os
import signal
import time
from pathlib import Path

from playlist_pretrain.errors import AudioError


class Odd(Exception):
    """An error that cannot be unpickled."""

    def __init__(self, first, second):
        super().__init__(f"{first} {second}")


def chore(task, announce):
    """Do what the task's text says, or give back a task that is none."""
    kind, _, rest = task.partition(":") if isinstance(task, str) else ("", "", "")
    if kind == "crash at once":
        crash()
    announce(0)
    match kind:
        case "audio error":
            raise AudioError("a.ogg: not audio")
        case "disk full":
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "b")
        case "not installed":
            import not_installed  # noqa: F401
        case "unpicklable":
            raise Odd("cannot", "travel")
        case "crash":
            crash()
        case "crash once" if not Path(rest).exists():
            Path(rest).touch()
            crash()
        case "exit":
            os._exit(int(rest))
        case "process":
            return os.getpid()
        case "begin and sleep":
            Path(rest).touch()
            time.sleep(60)
        case "sleep":
            time.sleep(float(rest))
    announce(1)
    return task


def crash():
    os.kill(os.getpid(), signal.SIGSEGV)
