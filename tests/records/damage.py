"""Damage to collections, for the tests and the trial of checking and repairing them."""

import json
import struct
from pathlib import Path

import numpy as np

from playlist_pretrain.records.shard_file import masked_crc


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
    names = (
        "shard",
        "offset",
        "frames",
        "start_seconds",
        "source_seconds",
        "band_mean",
        "band_std",
    )
    ids = collection.track_ids
    return [ids.data, ids.ends, *(getattr(collection, name) for name in names)]
