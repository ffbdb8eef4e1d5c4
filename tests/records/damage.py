"""Damage to collections, for the tests and the trial of checking and repairing them."""

import contextlib
import json
import struct
from pathlib import Path

import numpy as np
import pytest

from playlist_pretrain.records.example import masked_crc


class Killed(BaseException):
    """The process ends here."""


@contextlib.contextmanager
def killed(step, places, begin=None):
    """End at call ``step`` of functions ``(owner, name)``, counted once ``begin`` is called."""
    left = [None if begin else step]

    def dying(function):
        def call(*arguments, **options):
            if left[0] == 0:
                raise Killed
            if left[0] is not None:
                left[0] -= 1
            return function(*arguments, **options)

        return call

    def beginning(function):
        def call(*arguments):
            left[0] = step
            return function(*arguments)

        return call

    with pytest.MonkeyPatch.context() as patch, pytest.raises(Killed):
        for place in places:
            patch.setattr(*place, dying(getattr(*place)))
        if begin:
            patch.setattr(*begin, beginning(getattr(*begin)))
        yield


def record(data: bytes, length: int | None = None) -> bytes:
    """A TFRecord with valid checksums that holds ``data`` and claims ``length`` bytes."""
    header = struct.pack("<Q", len(data) if length is None else length)
    sums = (struct.pack("<I", masked_crc(part)) for part in (header, data))
    return header + next(sums) + data + next(sums)


def flip(path: Path, byte: int, bit: int = 0) -> None:
    """Turn one bit of a file."""
    data = bytearray(path.read_bytes())
    data[byte] ^= 1 << bit
    path.write_bytes(data)


def rewrite(folder: Path, change) -> None:
    """Change ``collection.json``."""
    path = folder / "collection.json"
    document = json.loads(path.read_text("utf-8"))
    change(document)
    path.write_text(json.dumps(document), "utf-8")


def content(collection) -> dict[str, tuple]:
    """Everything there is to know about each track, by its id."""
    return {
        track_id: (
            collection.mel(row).tobytes(),
            float(collection.start_seconds[row]),
            float(collection.source_seconds[row]),
        )
        for row, track_id in enumerate(collection.track_ids)
    }


def arrays(collection) -> list[np.ndarray]:
    """The index of an open collection."""
    names = "shard offset frames start_seconds source_seconds band_mean band_std"
    ids = collection.track_ids
    return [ids.data, ids.ends, *(getattr(collection, name) for name in names.split())]
