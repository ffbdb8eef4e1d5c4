"""Fine-tuning from top to bottom: recipe, task, runs, table, predictions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from playlist_pretrain import cli
from playlist_pretrain.commands import words_of
from playlist_pretrain.errors import RunError
from playlist_pretrain.evaluation.predict import check_audio, predict_folder
from playlist_pretrain.recipes import FinetuneRecipe
from playlist_pretrain.recipes.finetuning import AUDIOSET, SCRATCH
from playlist_pretrain.runs import Run, tensorflow_errors, what_decides
from playlist_pretrain.training.finetune_inputs import TaggingData, default_name, settle
from playlist_pretrain.training.finetune_outcome import TaggingRuns, conclude, report
from playlist_pretrain.training.strategy import (
    Preempted,
    Workers,
    check_share,
    make_strategy,
)
from playlist_pretrain.training.tag_run import OneRun, train_and_test

EXAMPLES = """
examples:
  python scripts/finetune.py --model runs/demo-playlist_co-vggish/saved_model
  python scripts/finetune.py --model scratch --backbone resnet50 --task jamendo-genre
      --splits data/splits/split-0 --collection tfrecords/jamendo
  python scripts/finetune.py --model audioset --weights vggish_model.ckpt --task mtat
      --splits magnatagatune --collection tfrecords/mtat-vggish
  python scripts/finetune.py --model runs/mine/saved_model --tags tags.csv --collection
      tfrecords/mine --freeze --head linear
"""


@dataclass(frozen=True)
class FinetuneCommand(FinetuneRecipe):
    __doc__ = FinetuneRecipe.__doc__

    predict: str | None = None
    """folder of audio files, or one file, that the best run tags when all are done"""
    out: str | None = None
    """run folder [runs/COLLECTION-TASK-MODEL]; the same command again resumes"""
    overwrite: bool = False
    """start over in a run folder that is there"""
    quiet: bool = False
    """no progress and no results, only warnings"""

    @property
    def recipe(self) -> FinetuneRecipe:
        """The settings without those that only say where and how loudly to run."""
        return FinetuneRecipe.of_command(self)


def finetune(command: FinetuneCommand) -> Run:
    """Train and test taggers, or go on with it; the script's one function.

    Returns
    -------
    Run
        The runs, finished unless SIGTERM stopped them: they can be gone on with.

    Raises
    ------
    PlaylistPretrainError
        With the option, file or track that has to be mended.
    """

    def say(text: str) -> None:
        if not quiet:
            print(text, flush=True)

    quiet = command.quiet
    run = TaggingRuns(command.out or Path("runs") / default_name(command))
    run.check()
    _keep_models(command.model, run)
    strategy = make_strategy(command.recipe)
    workers = Workers(strategy)
    quiet = command.quiet or not workers.is_chief
    with tensorflow_errors(run):
        recipe, data = workers.together(
            "settings or inputs",
            lambda: settle(command.recipe, say, quiet=quiet),
            lambda settled: what_decides(settled[0], settled[1].facts),
        )
        if command.predict:
            check_audio(command.predict, data.points[0].front_end)  # now, not when all is trained
        check_share(recipe.batch, strategy)
        with workers.folder(run) as own:
            workers.together(
                "run folders",
                lambda: (
                    workers.is_chief and run.claim(recipe, data.facts, overwrite=command.overwrite)
                ),
            )
            if workers.together("run folders", lambda: run.finished, str):
                say(f"{run.path} is finished; --overwrite starts over")
            elif not _all_runs(recipe, data, run, own, workers, strategy, quiet=quiet, say=say):
                return run
            if workers.is_chief:
                # --overwrite would train all runs again.
                words = words_of(command, "predict", "overwrite", "quiet")
                report(run.summary, run, words, say)
                if command.predict:
                    _predict(run, command.predict, say, quiet=quiet)
    return run


def _keep_models(models: Sequence[str], run: Run) -> None:
    """Refuse a run folder that a model is in: --overwrite would remove what it starts from."""
    for name in models:
        if name not in (SCRATCH, AUDIOSET) and Path(name).resolve().is_relative_to(
            run.path.resolve()
        ):
            raise RunError(f"{run.path}: --model {name} is in it; choose another --out")


def _all_runs(
    recipe: FinetuneRecipe,
    data: TaggingData,
    run: TaggingRuns,
    own: Run,
    workers: Workers,
    strategy: Any,
    *,
    quiet: bool,
    say: Callable[[str], None],
) -> bool:
    """Do what is missing of all runs; whether they are done, or SIGTERM has stopped them."""
    planned = [
        (point, recipe.seed + number) for point in data.points for number in range(recipe.runs)
    ]
    for number, (point, seed) in enumerate(planned, 1):
        shared = run.part(number)
        if workers.together("run folders", lambda: shared.finished, str):  # noqa: B023
            if workers.is_chief:
                shared.drop_checkpoints()  # a kill may have come before it
            continue
        say(f"run {number} of {len(planned)}: {point.label}, seed {seed}")
        part = OneRun(TaggingRuns(own.path).part(number), number, point, seed)
        try:
            train_and_test(
                recipe, part, data, workers, strategy,
                resumes_from=shared, quiet=quiet, say=say,
            )  # fmt: skip
        except Preempted as stopped:
            say(f"{shared.path}: {stopped}; the same command goes on")
            return False
        workers.together("results", lambda: None)
    if workers.is_chief:
        run.finish(conclude(recipe, data, run, len(planned)))
    workers.together("results", lambda: None)
    return True


def _predict(run: TaggingRuns, audio: str, say: Callable[[str], None], *, quiet: bool) -> None:
    """Tag audio files with the run that did best in validation."""
    from playlist_pretrain.export.saved_model import load_tagger

    runs = run.summary["runs"]
    best = max(range(len(runs)), key=lambda k: runs[k]["validation_average_precision"])
    say(f"tagging {audio} with run {best + 1}, the best in validation")
    tagger = load_tagger(run.part(best + 1).saved_model)
    found = predict_folder(tagger, audio, run.path / "predictions", quiet=quiet)
    say(f"{found.files} files tagged: {found.table}, {found.lines}")
    if found.failed:
        print(f"WARNING: {found.failed} files could not be read: {found.report}", flush=True)


def main(argv: Sequence[str] | None = None) -> int:
    """Command line of :func:`finetune`; returns the exit code."""
    return cli.run(FinetuneCommand, finetune, prog="finetune.py", epilog=EXAMPLES, argv=argv)
