"""A loader without audio files: its tokens say what reading them does.

In a module of its own, because worker processes have to import it.
"""

import errno
import hashlib
import os
import signal
import sys
import time
import zlib
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import numpy as np

from playlist_pretrain.audio import decode
from playlist_pretrain.audio.decode import AudioLoader
from playlist_pretrain.audio.file_tags import FileTags
from playlist_pretrain.audio.front_end import front_end
from playlist_pretrain.errors import AudioError
from playlist_pretrain.records.shards import ShardWork
from playlist_pretrain.records.sources import TrackSource
from playlist_pretrain.records.track_windows import FileWindows
from playlist_pretrain.records.writer import ShardWriter

RATE = 16000
PAPER = front_end("paper")


def sources(*tokens, count=40):
    tokens = [*tokens, *(f"noise:{n}" for n in range(count - len(tokens)))]
    return [TrackSource(f"album {n // 5}/{n:03d}", token) for n, token in enumerate(tokens)]


def content(folder):
    """Every file of a collection's folder and its digest."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def interrupt_at_shard(monkeypatch, number):
    """Ctrl-C when shard ``number`` is begun."""
    original = ShardWork.__call__

    def call(self, task, announce):
        if task.number == number:
            raise KeyboardInterrupt
        return original(self, task, announce)

    monkeypatch.setattr(ShardWork, "__call__", call)


def full_disk_at_shard(monkeypatch, number):
    """No room for shard ``number``."""
    original = ShardWriter.add

    def add(self, *args):
        if self.path.name == f"mel-{number:05d}.tfrecord":
            error = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self.path))
            error.add_note("in a worker process:\n…\n")
            raise error
        original(self, *args)

    monkeypatch.setattr(ShardWriter, "add", add)


@dataclass(frozen=True)
class Tones:
    """Noise of ``seconds`` that depends on the token alone."""

    seconds: float = 4.0
    delay: float = 0.0
    sample_rate: int = RATE

    def __call__(self, source: str) -> SimpleNamespace:
        kind, _, rest = source.partition(":")
        time.sleep(self.delay)
        waveform = _ACTIONS.get(kind, _noise)(source, rest, int(self.seconds * RATE))
        return SimpleNamespace(
            waveform=waveform.astype(np.float32),
            start_seconds=1.5,
            source_seconds=len(waveform) / RATE + 3.0,
        )


def _noise(source, rest, samples):
    rng = np.random.default_rng(zlib.crc32(source.encode()))
    return rng.uniform(-0.5, 0.5, samples)


def _unreadable(source, rest, samples):
    raise AudioError(f"{source}: not audio")


def _bug(source, rest, samples):
    raise KeyError("no such thing")


def _touch(source, rest, samples):
    Path(rest).touch()
    return _noise(source, rest, samples)


def _until(source, rest, samples):
    while not Path(rest).exists():
        time.sleep(0.02)
    return _noise(source, rest, samples)


def _die_once(source, rest, samples):
    marker = Path(rest)
    if not marker.exists():
        marker.touch()
        os._exit(3)
    return _noise(source, rest, samples)


_ACTIONS = {
    "unreadable": _unreadable,
    "bug": _bug,
    "die": lambda *_: os._exit(3),
    "crash": lambda *_: os.kill(os.getpid(), signal.SIGSEGV),
    "die-once": _die_once,
    "kill": lambda *_: os.kill(os.getpid(), signal.SIGKILL),
    "touch": _touch,
    "until": _until,
    "silent": lambda source, rest, samples: np.full(samples, 1e-6),
    "quiet": lambda source, rest, samples: np.full(samples, 5e-4),
    "short": lambda source, rest, samples: _noise(source, rest, RATE),
    "nothing": lambda source, rest, samples: np.zeros(0),
    "nan": lambda source, rest, samples: np.full(samples, np.nan),
}


@dataclass(frozen=True)
class Tagged(Tones):
    """The same with tags, which depend on the token too."""

    def tags(self, source: str) -> FileTags:
        return FileTags(f"by {source}", "", source, "=x", "1999")


class Alone:
    """A loader that refuses TensorFlow in its process, and a process that decodes for it."""

    def __call__(self, source):
        found = super().__call__(source)
        if "tensorflow" in sys.modules or decode._apart._process is not None:
            raise AudioError(f"{source}: not alone")
        return found


class AloneLoader(Alone, AudioLoader):
    """Of whole files."""


class AloneWindows(Alone, FileWindows):
    """Of their windows."""
