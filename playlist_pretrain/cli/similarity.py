"""Command ``similarity``: how often models agree with people about triplets."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from playlist_pretrain.cli import command_line
from playlist_pretrain.demo import DEMO_COLLECTION, ready_demo
from playlist_pretrain.messages import command
from playlist_pretrain.models import ESSENTIA
from playlist_pretrain.models.load import label_of
from playlist_pretrain.records.collection import Collection
from playlist_pretrain.records.windows import excerpt_frames, incomplete_excerpts
from playlist_pretrain.retrieval.similarity import UNTRAINED, similarity
from playlist_pretrain.storage import location
from playlist_pretrain.training.finetune import TAGS

logger = logging.getLogger(__name__)

DEMO_EVAL = DEMO_COLLECTION.with_name(f"{DEMO_COLLECTION.name}-eval")

EXAMPLES = """
examples:
  python scripts/similarity.py --model runs/demo-playlist_co-vggish/saved_model mean-of-mel
  python scripts/similarity.py --model runs/mine/saved_model scratch --triplets clean-dim-sim.csv \\
      --audio previews
  python scripts/similarity.py --model runs/mine/saved_model discogs-effnet-bs64-1.pb \\
      --triplets triplets.csv --collection tfrecords/mine
"""


@dataclass(frozen=True)
class Similarity:
    """Judge models by triplets, as arXiv 2304.12257 does by dim-sim's: a triplet is right when the
    anchor is nearer to the positive than to the negative, in cosine distance between the mean
    embeddings of the clips' windows. Nothing is trained.
    """

    model: tuple[str, ...]
    """one or several models, the others compared with the first: a saved_model, the .pb of a model
    for Essentia with its .json beside it, an exported package, scratch (random weights) or
    mean-of-mel (the log-mel alone)"""
    triplets: str | None = None
    """table with anchor, positive, negative, or with dim-sim's columns [the triplets.csv of the
    collection]"""
    audio: str | None = None
    """folder of audio files, each named by the id of its track"""
    collection: str | None = None
    """folder made by make_tfrecords, or its URL, in place of audio files [tfrecords/demo-eval,
    made when missing]"""
    cut: bool = False
    """--audio: the files are the excerpts already, named ID, or ID_START where the table names a
    track at several starts"""
    seconds: float | None = None
    """length of the excerpt from each start; without starts in the table clips are whole tracks
    [3]"""
    short: str = "repeat"
    """what fills the window of a clip that is shorter: repeat or pad"""
    partial: bool = False
    """leave out triplets of which a clip is missing or cannot be read, and count them"""
    front_end: str | None = None
    """scratch and mean-of-mel, with --audio: paper, musicnn, vggish or vggish-essentia [that of
    the other models; paper]"""
    backbone: str | None = None
    """scratch: vggish or resnet50 [vggish]"""
    width: float | None = None
    """scratch: scales the channels of VGGish [1.0]"""
    frames: int | None = None
    """scratch and mean-of-mel: frames of a window [the front end's own]"""
    seed: int = 0
    """seed of the intervals and of the weights of scratch"""
    trust_model: bool = False
    """load a model of your own that is refused otherwise: what is in it runs as you"""
    out: str | None = None
    """folder for the results [runs/NAME-similarity-MODEL, NAME that of the audio folder or of the
    collection]"""
    overwrite: bool = False
    """replace results that are there"""
    quiet: bool = False
    """no progress and no results, only warnings"""


def run(options: Similarity) -> None:
    """Judge the models that the options name, and print the next command."""
    settings, models = command_line.settings(options, "model"), options.model
    where = options.audio or options.collection
    if where is None:
        where = DEMO_EVAL
        settings["collection"] = _demo_eval
    if options.out is None and models:
        more = f"+{len(models) - 1}" if len(models) > 1 else ""
        label = label_of(models[0], options.backbone)
        name = Path(os.path.abspath(where)).name  # that of a link is kept
        settings["out"] = Path("runs") / f"{name}-similarity-{label}{more}"
    similarity(models, **settings)
    for line in _next(options):
        logger.info(line)


def _demo_eval() -> Path:
    ready_demo()
    return DEMO_EVAL


def _next(options: Similarity) -> list[str]:
    """Lines that say what comes next, the last of them ``next: …``."""
    known = [name for name in options.model if name not in UNTRAINED]
    if not known:
        return [
            "next: the same command with a --model that was trained, such as runs/NAME/saved_model"
        ]
    if len(known) == len(options.model):
        untrained = " ".join(UNTRAINED)
        same = f"the same command with {untrained} after --model"
        return [f"next: {same}: baselines that were not trained"]
    words = ["--model", known[0], *(["--freeze"] if known[0].endswith(ESSENTIA) else [])]
    needs = []
    if options.audio is None:
        collection = Collection.open(location(options.collection or DEMO_EVAL))
        words += ["--collection", str(options.collection or DEMO_EVAL)]
        rows = np.arange(len(collection))
        frames = collection.frames[rows]
        if incomplete_excerpts(*excerpt_frames(collection, rows), frames).any():
            words.append("--partial")
        if not (collection.path / TAGS).is_file():
            words += ["--tags", "FILE"]
            needs = ["the tags in FILE"]
    else:
        words += ["--collection", "FOLDER", "--tags", "FILE"]
        needs = ["a collection, FOLDER,", "the tags of its tracks in FILE"]
    judges = "the next command judges it by tags"
    return [
        f"{judges}; {' and '.join(needs)} are yours" if needs else judges,
        f"next: {command('finetune', *words)}",
    ]


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; the exit code."""
    return command_line.run(
        Similarity, run, prog="similarity.py", epilog=EXAMPLES, argv=argv, modules=("tensorflow",)
    )
