"""The command ``export``: a model as a package for another program, checked there."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Sequence
from dataclasses import dataclass

from playlist_pretrain.cli import command_line

logger = logging.getLogger(__name__)

EXAMPLES = """
examples:
  python scripts/export.py --model runs/demo-playlist_co-vggish/saved_model --name demo-vggish
  python scripts/export.py --model runs/mine/run-1/saved_model --name my-tags --audio song.mp3 \\
      --target essentia,serving --author "A. Person" --email a@example.org --licence "CC BY 4.0"
"""


@dataclass
class Export:
    """Write a model as a package that runs elsewhere. For Essentia: a frozen graph, the same as a
    SavedModel, and the description that Essentia's models have, run in the installed Essentia on
    windows and on a file. For TensorFlow Serving: a folder to serve, with warm-up and clients,
    asked by the messages of its protocol. A package appears only if it gives there what the model
    gives here.
    """

    model: str
    """a saved_model of pretrain or finetune"""
    name: str
    """of the package: letters, digits and . _ -"""
    target: str = "essentia"
    """what it is to run in: essentia, serving, or both with a comma between"""
    out: str = "exports"
    """folder, in which TARGET/NAME/ is made"""
    audio: str | None = None
    """file to check the package for Essentia on, longer than a window [20 s that are made up]"""
    front_end: str | None = None
    """vggish-essentia, in the package for Essentia: for a model that was trained with vggish, whose
    log-mels Essentia does not make; says how far embeddings move"""
    description: str | None = None
    """what the model is, in a sentence; the kind of its input is added"""
    author: str | None = None
    """of the model"""
    email: str | None = None
    """of the author"""
    link: str | None = None
    """where the model is to be found"""
    model_version: str = "1"
    """of the model; on a server a whole number"""
    release_date: str | None = None
    """YYYY-MM-DD [today]"""
    citation: str | None = None
    """of the model [the paper of the method, arXiv 2304.12257]"""
    dataset: str | None = None
    """that it was trained on [the name of the collection]"""
    dataset_citation: str | None = None
    """of the dataset [that of the task, where it has one]"""
    dataset_size: str | None = None
    """of the dataset, in words"""
    licence: str | None = None
    """of the model, for its card"""
    trust_model: bool = False
    """load a model of your own that is refused otherwise: what is in it runs as you"""
    overwrite: bool = False
    """replace a package that is there"""
    quiet: bool = False
    """print nothing"""


def export(options: Export) -> None:
    """Export the model that the options name; print the checks and the next commands."""
    from playlist_pretrain.export.targets import export_all

    settings = dataclasses.asdict(options)
    model, target, name, _ = (settings.pop(key) for key in ("model", "target", "name", "quiet"))
    settings["version"] = settings.pop("model_version")
    for package in export_all(model, target.split(","), name, **settings):
        for line in (*package.report, *package.summary):
            logger.info(line)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit code."""
    return command_line.run(
        Export, export, prog="export.py", epilog=EXAMPLES, argv=argv, modules=("tensorflow",)
    )
