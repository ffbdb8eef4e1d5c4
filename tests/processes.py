"""Processes of tests, how trainings are stopped, and what they leave."""

import contextlib
import json
import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parent.parent


def wait_for(condition):
    """Answer of ``condition``, asked until it is true, for a minute at most."""
    until = time.monotonic() + 60
    while not (answer := condition()):
        assert time.monotonic() < until, "it did not happen in time"
        time.sleep(0.02)
    return answer


def free_ports(count):
    with_sockets = [socket.socket() for _ in range(count)]
    for one in with_sockets:
        one.bind(("127.0.0.1", 0))
    ports = [one.getsockname()[1] for one in with_sockets]
    for one in with_sockets:
        one.close()
    return ports


def start(command, *, env=None, stdin=None, stderr=subprocess.PIPE):
    return subprocess.Popen(
        [sys.executable, *map(str, command)],
        env={**os.environ, "PYTHONPATH": str(ROOT), **(env or {})},
        stdin=stdin, stdout=subprocess.PIPE, stderr=stderr, text=True,
    )  # fmt: skip


def start_workers(commands, **options):
    """One process a command, each a worker of one cluster on this machine."""
    hosts = [f"127.0.0.1:{port}" for port in free_ports(len(commands))]
    tasks = [
        {"cluster": {"worker": hosts}, "task": {"type": "worker", "index": i}}
        for i in range(len(commands))
    ]
    return [
        start(command, env={"TF_CONFIG": json.dumps(task)}, **options)
        for command, task in zip(commands, tasks, strict=True)
    ]


def end(*processes, code=0):
    said = [process.communicate(timeout=600) for process in processes]
    for process, (_, errors) in zip(processes, said, strict=True):
        assert process.returncode == code, (errors or "")[-2000:]
    return said


class Stop(Exception):
    """Raised in place of a power cut."""


def power_cut():
    raise Stop


@contextlib.contextmanager
def after_step(step, do, run=None):
    """Trainings, or the one in the folder of name ``run``, do something after a step."""
    from playlist_pretrain.training.engine import Engine

    show = Engine.show_progress

    def show_and_do(self):
        show(self)
        if self.done == step and run in (None, self.run.path.name):
            do()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Engine, "show_progress", show_and_do)
        yield


def norm(arrays):
    return np.sqrt(sum(np.square(array, dtype=np.float64).sum() for array in arrays))
