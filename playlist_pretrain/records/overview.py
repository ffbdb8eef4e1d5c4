"""What is in a sound collection, for people: numbers, ranges, and tracks to look at.

How a collection looks: its values, its bands and its lengths, as PNG.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from playlist_pretrain.files import atomic_write
from playlist_pretrain.records.collection import Collection
from playlist_pretrain.records.report import counted
from playlist_pretrain.records.verify import ShardScan
from playlist_pretrain.records.writer import Tally
from playlist_pretrain.storage import RemotePath

SHOWN = 5


def seconds_of(collection: Collection) -> tuple[np.ndarray, str]:
    """Length of each mel and its unit: frames when the front end has no hop in seconds."""
    made_by = collection.front_end
    hop, rate = (getattr(made_by, name, None) for name in ("hop_length", "sample_rate"))
    if not hop or not rate:
        return collection.frames.astype(np.float64), "frames"
    return collection.frames * (hop / rate), "seconds"


def overview(collection: Collection, scans: Sequence[ShardScan], tally: Tally) -> Iterator[str]:
    """Lines that say what is in a collection.

    Parameters
    ----------
    collection : Collection
    scans : sequence of ShardScan
        Of its shards, in order.
    tally : Tally
        Their values.
    """
    made_by = collection.front_end
    lengths, unit = seconds_of(collection)
    audio = float(lengths.sum())
    total = f"{audio / 3600:,.2f} hours of audio" if unit == "seconds" else f"{audio:,.0f} frames"
    size = sum(scan.part.size for scan in scans)
    tracks = counted(len(collection), "track")
    yield f"{collection.path}: {tracks}, {total}, key {collection.content_key}"
    yield (
        f"front end {made_by.name!r}: {made_by.bands} bands, windows of {made_by.window_frames} "
        f"frames; {counted(len(scans), 'shard')}, {size / 1e6:,.1f} MB"
    )
    yield (
        f"{unit} a track: {lengths.min():,.2f} to {lengths.max():,.2f}, "
        f"median {np.median(lengths):,.2f}"
    )
    low, high, mean, deviation = tally.summary()
    silence = float(np.float16(made_by.silence))
    yield (
        f"values: {low:.3f} to {high:.3f}, mean {mean:.3f}, deviation {deviation:.3f} "
        f"(silence is {silence:.3f})"
    )
    constant = int((tally.low == tally.high).sum())
    if constant:
        yield f"{constant} of {made_by.bands} bands never change"
    silent = np.concatenate([scan.silent for scan in scans])
    short = collection.frames < made_by.window_frames
    yield _tracks(collection, np.flatnonzero(silent), "silent")
    yield _tracks(collection, np.flatnonzero(short), "shorter than a window")
    yield from _equal(collection, scans, silent)


def _tracks(collection: Collection, rows: np.ndarray, what: str) -> str:
    named = ", ".join(repr(collection.track_ids[row]) for row in rows[:SHOWN])
    more = f" and {len(rows) - SHOWN:,} more" if len(rows) > SHOWN else ""
    return f"{what}: {counted(len(rows), 'track')}" + (f" ({named}{more})" if named else "")


def _equal(collection: Collection, scans: Sequence[ShardScan], silent: np.ndarray) -> Iterator[str]:
    """Tracks with the mel of an earlier one; silent ones are not counted again."""
    prints = np.concatenate([scan.fingerprints for scan in scans])
    order = np.flatnonzero(~silent)
    order = order[np.argsort(prints[order], kind="stable")]
    ordered = prints[order]
    pairs = []
    for position in (np.flatnonzero(ordered[1:] == ordered[:-1]) + 1).tolist():
        if position < 2 or ordered[position] != ordered[position - 2]:
            first = int(order[position - 1])
        pairs.append((first, int(order[position])))
    ids = collection.track_ids
    named = ", ".join(f"{ids[first]!r} = {ids[row]!r}" for first, row in pairs[:SHOWN])
    more = f" and {len(pairs) - SHOWN:,} more" if len(pairs) > SHOWN else ""
    yield f"with the mel of another track: {len(pairs):,}" + (f" ({named}{more})" if named else "")


_LENGTH_BINS = 60


def draw_collection(
    collection: Collection, tally: Tally, seconds: np.ndarray, unit: str, path: Path | RemotePath
) -> None:
    """Draw values, values by band, and lengths of tracks.

    Parameters
    ----------
    collection : Collection
    tally : Tally
        Its values.
    seconds : ndarray [shape=(tracks,)]
        Length of each mel.
    unit : str
        What ``seconds`` are, for the axis.
    path : Path
        PNG to write.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 9), layout="constrained")
    FigureCanvasAgg(figure)
    values, bands, lengths = figure.subplots(3, 1)
    counts, edges = tally.histogram()
    values.stairs(counts, edges, fill=True)
    values.set_yscale("log")
    values.set_ylim(bottom=0.5)
    values.set_xlabel("log-mel value")
    values.set_ylabel("values")
    number = np.arange(len(collection.band_mean))
    mean, std = collection.band_mean, collection.band_std
    bands.fill_between(number, tally.low, tally.high, alpha=0.2, label="lowest to highest")
    bands.fill_between(number, mean - std, mean + std, alpha=0.4, label="mean ± deviation")
    bands.plot(number, mean)
    bands.set_xlabel("band")
    bands.set_ylabel("log-mel value")
    bands.legend(fontsize="small")
    lengths.hist(seconds, bins=_LENGTH_BINS, log=True)
    lengths.set_ylim(bottom=0.5)
    lengths.set_xlabel(f"{unit} of a track")
    lengths.set_ylabel("tracks")
    figure.suptitle(
        f"{collection.name}: {len(collection):,} tracks, front end {collection.front_end.name}",
        parse_math=False,
    )
    with atomic_write(path) as stream:
        figure.savefig(stream, format="png", dpi=120)
