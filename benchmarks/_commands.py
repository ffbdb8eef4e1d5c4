"""Whole commands, from the shell to their end: how long, and with how much memory."""

import subprocess
import sys
import time
from pathlib import Path


def run(*words):
    """Seconds a command took, and the peak memory in MB of it and of its largest child."""
    began = time.perf_counter()
    with subprocess.Popen([sys.executable, *map(str, words)]) as process:
        peaks = {}
        while process.poll() is None:
            for pid in [process.pid, *_children(process.pid)]:
                peaks[pid] = max(peaks.get(pid, 0), _peak(pid))
            time.sleep(0.05)
    if process.returncode:
        raise SystemExit(f"{words}: exit code {process.returncode}")
    seconds = time.perf_counter() - began
    own = peaks.pop(process.pid, 0)
    return seconds, own, max(peaks.values(), default=0)


def _children(pid):
    try:
        return [
            int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        ]
    except OSError:
        return []


def _peak(pid):
    try:
        status = Path(f"/proc/{pid}/status").read_text()
        return int(status.partition("VmHWM:")[2].split()[0]) / 1000
    except (OSError, IndexError):  # it has just ended
        return 0
