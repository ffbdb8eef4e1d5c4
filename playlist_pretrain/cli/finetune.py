"""The command ``finetune``, and ``--predict``, which tags audio files when it is done."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass

from playlist_pretrain.cli import command_line
from playlist_pretrain.demo import ready_demo
from playlist_pretrain.records.collection import Collection
from playlist_pretrain.retrieval.predict import check_audio, predict_folder
from playlist_pretrain.storage import location
from playlist_pretrain.training.finetune import TaggingRuns, finetune
from playlist_pretrain.training.recipes import FinetuneRecipe
from playlist_pretrain.training.strategy import is_chief

logger = logging.getLogger(__name__)

EXAMPLES = """
examples:
  python scripts/finetune.py --model runs/demo-playlist_co-vggish/saved_model
  python scripts/finetune.py --model scratch --backbone resnet50 --task jamendo-genre \\
      --splits data/splits/split-0 --collection tfrecords/jamendo
  python scripts/finetune.py --model audioset --weights vggish_model.ckpt --task mtat \\
      --splits magnatagatune --collection tfrecords/mtat-vggish
  python scripts/finetune.py --model runs/mine/saved_model --tags tags.csv --collection \\
      tfrecords/mine --freeze --head linear
"""


@dataclass(frozen=True)
class FinetuneCommand(FinetuneRecipe):
    __doc__ = FinetuneRecipe.__doc__

    trust_model: bool = False
    """load a model of your own that is refused otherwise: what is in it runs as you"""
    predict: str | None = None
    """folder of audio files, or one file, that the best run tags when all are done"""
    out: str | None = None
    """run folder [runs/COLLECTION-TASK-MODEL]; the same command again resumes"""
    overwrite: bool = False
    """start over in a run folder that is there"""
    quiet: bool = False
    """no progress and no results, only warnings"""


def run(command: FinetuneCommand) -> None:
    """Fine-tune as the command asks, on the demo collection if none is named."""
    collection = command.collection or ready_demo()
    if command.predict:  # refused now, not when all is trained
        check_audio(command.predict, Collection.open(location(collection)).front_end)
    settings = command_line.settings(command, "predict")
    runs = finetune(**{**settings, "collection": collection})
    if command.predict and runs.finished and is_chief(command.strategy):
        _predict(runs, command.predict, command.trust_model)


def _predict(runs: TaggingRuns, audio: str, trust: bool) -> None:
    from playlist_pretrain.models.load import load_tagger

    logger.info(f"tagging {audio} with run {runs.best}, the best in validation")
    tagger = load_tagger(runs.part(runs.best).saved_model, trust=trust)
    found = predict_folder(tagger, audio, runs.path / "predictions")
    logger.info(f"{found.files} files tagged: {found.table}, {found.lines}")
    if found.failed:
        logger.warning(f"{found.failed} files could not be read: {found.report}")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    return command_line.run(
        FinetuneCommand,
        run,
        prog="finetune.py",
        epilog=EXAMPLES,
        argv=argv,
        modules=("tensorflow",),
    )
