"""Overview of a sound collection: numbers, ranges, tracks to look at, and a figure."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from playlist_pretrain.files import atomic_write, load_arrays, parse_json
from playlist_pretrain.messages import progress
from playlist_pretrain.records.collection import Collection
from playlist_pretrain.records.report import counted
from playlist_pretrain.records.verify import Tally, Verification
from playlist_pretrain.records.windows import WindowReader

SHOWN = 5
MIDDLE, AT_ONCE = 8, 1024
"""Frames by which mels are told apart at first, and tracks that are looked at together."""


def lengths_of(collection: Collection) -> np.ndarray:
    """Length of each mel in seconds."""
    return collection.frames * (collection.front_end.hop_length / collection.front_end.sample_rate)


def overview(collection: Collection, found: Verification) -> Iterator[str]:
    """Summary of a collection that was verified, one line a fact."""
    front_end = collection.front_end
    lengths = lengths_of(collection)
    audio = f"{float(lengths.sum()) / 3600:,.2f} hours of audio"
    size = sum(entry["size"] for entry in found.document["shards"])
    tracks = counted(len(collection), "track")
    yield f"{collection.path}: {tracks}, {audio}, key {collection.content_key}"
    yield (
        f"front end {front_end.name!r}: {front_end.bands} bands, windows of "
        f"{front_end.window_frames} frames; {counted(len(found.scans), 'shard')}, "
        f"{size / 1e6:,.1f} MB"
    )
    yield (
        f"seconds a track: {lengths.min():,.2f} to {lengths.max():,.2f}, "
        f"median {np.median(lengths):,.2f}"
    )
    low, high, mean, deviation = found.tally.summary()
    yield (
        f"values: {low:.3f} to {high:.3f}, mean {mean:.3f}, deviation {deviation:.3f} "
        f"(silence is {float(np.float16(front_end.silence)):.3f})"
    )
    constant = int((found.tally.low == found.tally.high).sum())
    if constant:
        yield f"{constant} of {front_end.bands} bands never change"
    scans = [scan for scan in found.scans if scan]
    silent = np.concatenate([scan.silent for scan in scans])
    short = collection.frames < front_end.window_frames
    ids = collection.track_ids
    quiet = collection.quiet & ~silent
    whats = (silent, "silent"), (quiet, "nearly silent"), (short, "shorter than a window")
    for rows, what in whats:
        some = [repr(ids[row]) for row in np.flatnonzero(rows)[:SHOWN]]
        yield f"{what}: {counted(int(rows.sum()), 'track')}{_some(some, int(rows.sum()))}"
    first: dict[int, int] = {}  # row of the first track with each mel
    equal = []
    for row, mel in enumerate(np.concatenate([scan.fingerprints for scan in scans]).tolist()):
        if not silent[row] and first.setdefault(mel, row) != row:
            equal.append((first[mel], row))
    some = [f"{ids[one]!r} = {ids[other]!r}" for one, other in equal[:SHOWN]]
    yield f"with the mel of another track: {len(equal):,}{_some(some, len(equal))}"


def equal_mels(collection: Collection, rows: np.ndarray) -> list[list[int]]:
    """Those of ``rows`` that have the same mel, two or more together; silent ones are left out.

    Of each a few frames from its middle are read, and all frames of those that agree in them.
    """
    reader = WindowReader(collection, MIDDLE, short="repeat")
    likely: dict[tuple[int, bytes], list[int]] = {}
    parts = [rows[at : at + AT_ONCE] for at in range(0, len(rows), AT_ONCE)]
    for part in progress(parts, desc="same audio", unit_scale=AT_ONCE, unit=" tracks"):
        windows = reader.read(part, reader.last_start(part) // 2)
        frames = collection.frames[part].tolist()
        for row, count, window in zip(part.tolist(), frames, windows, strict=True):
            likely.setdefault((count, _digest(window)), []).append(row)
    equal: dict[bytes, list[int]] = {}
    for same in likely.values():
        for row in same if len(same) > 1 else ():
            mel = collection.mel(row)
            if mel.max() > collection.front_end.silence:
                equal.setdefault(_digest(mel), []).append(row)
    return [same for same in equal.values() if len(same) > 1]


def _digest(mel: np.ndarray) -> bytes:
    return hashlib.blake2b(mel.tobytes(), digest_size=16).digest()


def _some(shown: list[str], number: int) -> str:
    more = f" and {number - SHOWN:,} more" if number > SHOWN else ""
    return f" ({', '.join(shown)}{more})" if shown else ""


def draw_collection(collection: Collection, tally: Tally, path: Path) -> None:
    """Draw the values, the values by band and the lengths of the tracks as the PNG ``path``."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 9), layout="constrained")
    FigureCanvasAgg(figure)
    values, bands, lengths = figure.subplots(3, 1)
    counts, edges = tally.histogram()
    values.stairs(counts, edges, fill=True)
    values.set_yscale("log")
    values.set_ylim(bottom=0.5)
    values.set(xlabel="log-mel value", ylabel="values")
    number = np.arange(len(collection.band_mean))
    mean, std = collection.band_mean, collection.band_std
    bands.fill_between(number, tally.low, tally.high, alpha=0.2, label="lowest to highest")
    bands.fill_between(number, mean - std, mean + std, alpha=0.4, label="mean ± deviation")
    bands.plot(number, mean)
    bands.set(xlabel="band", ylabel="log-mel value")
    bands.legend(fontsize="small")
    lengths.hist(lengths_of(collection), bins=60, log=True)
    lengths.set_ylim(bottom=0.5)
    lengths.set(xlabel="seconds of a track", ylabel="tracks")
    figure.suptitle(
        f"{collection.name}: {len(collection):,} tracks, front end {collection.front_end.name}",
        parse_math=False,
    )
    with atomic_write(path) as stream:
        figure.savefig(stream, format="png", dpi=120)


def groups_of_other_content(collection: Collection) -> Iterator[str]:
    """Names of the groups in the folder that were matched to another content of the collection."""
    for path in sorted(collection.path.glob("groups-*.npz")):
        try:
            header = load_arrays(path, ["header"])["header"].tobytes()
            key = parse_json(header)["collection_key"]
        except Exception:  # damaged in one of many ways: who opens them says so
            continue
        if key != collection.content_key:
            yield path.name.removeprefix("groups-").removesuffix(".npz")
