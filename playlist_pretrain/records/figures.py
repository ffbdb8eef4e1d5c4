"""How a collection looks: its values, its bands and its lengths, as PNG."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from playlist_pretrain.files import atomic_write
from playlist_pretrain.records.collection import Collection
from playlist_pretrain.records.values import Tally
from playlist_pretrain.storage import RemotePath

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
