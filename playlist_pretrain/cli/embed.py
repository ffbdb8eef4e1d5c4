"""Command ``embed``: embeddings of a collection or of audio files, as a table."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass

from playlist_pretrain.cli import command_line
from playlist_pretrain.cli.search import track_words
from playlist_pretrain.demo import ready_demo
from playlist_pretrain.errors import printable
from playlist_pretrain.messages import command
from playlist_pretrain.retrieval.embed import embed

logger = logging.getLogger(__name__)

EXAMPLES = """
examples:
  python scripts/embed.py --model runs/demo-playlist_co-vggish/saved_model --out demo.parquet
  python scripts/embed.py --model runs/mine/saved_model --audio ~/music --out mine.parquet
  python scripts/embed.py --model runs/mine/saved_model --collection tfrecords/mine \\
      --per window --dtype float16 --out windows.parquet --projector projector
"""


@dataclass(frozen=True)
class Embed:
    """Write the embeddings of tracks: one vector a track, the mean over its non-overlapping
    windows, or one a window. Rows are in the order of the collection, or of the ids of audio
    files. The same command goes on where it was interrupted.
    """

    model: str
    """saved_model of a run (of a tagger, the embedding before its head), the .pb of a model for
    Essentia, or an exported package"""
    out: str
    """FILE.parquet; the vectors alone are written to FILE.npy beside it"""
    audio: str | None = None
    """folder of audio files, or one file: they are decoded, nothing else is written"""
    collection: str | None = None
    """instead of --audio, its folder or URL [tfrecords/demo, made when missing]"""
    excerpt: str | None = None
    """seconds from the centre of each file of --audio [all of it]; a collection has its own"""
    per: str = "track"
    """one vector a track or a window"""
    dtype: str = "float32"
    """type of the vectors: float32 or float16"""
    short: str = "repeat"
    """tracks shorter than a window: repeat, pad (with silence) or skip"""
    centre: bool = False
    """subtract the mean of all tracks from the vectors, so that cosines spread around 0; the file
    keeps it, and search.py --audio uses it"""
    batch: int = 64
    """windows that go through the model together, over all replicas"""
    workers: int | None = None
    """processes that decode --audio [one for each core]"""
    precision: str = "float32"
    """precision of the model: float32; mixed_bfloat16 or mixed_float16 are faster where the
    machine has them, and move embeddings by some percent of their spread"""
    strategy: str = "one_device"
    """one_device or mirrored: the GPUs of this machine share each batch"""
    replicas: int | None = None
    """GPUs that --strategy mirrored uses; without any GPU, parts of the CPU, for trials [all]"""
    projector: str | None = None
    """folder for vectors.tsv, metadata.tsv and projector_config.pbtxt: the embeddings for
    TensorBoard's projector"""
    trust_model: bool = False
    """load a model of your own that is refused otherwise: what is in it runs as you"""
    overwrite: bool = False
    """start over, and replace what is there"""
    quiet: bool = False
    """no progress and no results, only warnings"""


def run(options: Embed) -> None:
    """Write the embeddings that the options describe, and print the next command."""
    settings = command_line.settings(options)
    if options.audio is None and options.collection is None:
        settings["collection"] = ready_demo
    found = embed(**settings)
    search = command("search", "--embeddings", options.out)
    logger.info("next: %s %s", search, printable(track_words(found.first_track)))


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; the exit code."""
    return command_line.run(
        Embed, run, prog="embed.py", epilog=EXAMPLES, argv=argv, modules=("tensorflow",)
    )
