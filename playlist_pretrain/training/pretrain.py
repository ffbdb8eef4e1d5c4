"""Pre-training from top to bottom: recipe, data, model, fit, export, check."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from playlist_pretrain.cli import command_line
from playlist_pretrain.models import describe
from playlist_pretrain.runs import Run, tensorflow_errors, what_decides
from playlist_pretrain.training.engine import fits, reading_errors
from playlist_pretrain.training.pretrain_data import Data, default_name, settle
from playlist_pretrain.training.pretrain_results import conclude, report
from playlist_pretrain.training.recipes import PretrainRecipe
from playlist_pretrain.training.strategy import (
    Preempted,
    Workers,
    check_split,
    make_strategy,
    shared_out,
)

if TYPE_CHECKING:
    import tensorflow as tf

    from playlist_pretrain.training.probe import ProbeResult

NOTHING_TO_PROFILE = "no step is left to profile"
EXAMPLES = """
examples:
  python scripts/pretrain.py --pairs playlist_co
  python scripts/pretrain.py --pairs artist_co --collection tfrecords/mine
  python scripts/pretrain.py --pairs playlist_w2v --w2v-size 64 --collection tfrecords/mine
  python scripts/pretrain.py --pairs playlist_co --strategy mirrored --collection tfrecords/mine
  python scripts/pretrain.py --pairs playlist_co,artist_co --pair-weights 2,1
"""


@dataclass(frozen=True)
class PretrainCommand(PretrainRecipe):
    __doc__ = PretrainRecipe.__doc__

    out: str | None = None
    """run folder [runs/COLLECTION-PAIRS-BACKBONE]; the same command again resumes"""
    overwrite: bool = False
    """start over in a run folder that is there"""
    quiet: bool = False
    """no progress and no results, only warnings"""
    profile: bool = False
    """profile ten steps of this call for TensorBoard, in the run's tensorboard folder"""

    @property
    def recipe(self) -> PretrainRecipe:
        """The settings without those that only say where and how loudly to run."""
        return PretrainRecipe.of_command(self)


def pretrain(command: PretrainCommand) -> Run:
    """Train, or go on training, what a command asks for; the script's one function.

    Returns
    -------
    Run
        The run, finished unless SIGTERM stopped it: it can be gone on with.

    Raises
    ------
    PlaylistPretrainError
        With the option, file or track that has to be mended.
    """

    def say(text: str) -> None:
        if not quiet:
            print(text, flush=True)

    quiet = command.quiet
    run = Run(command.out or Path("runs") / default_name(command))
    run.check()  # before the pairs of all epochs are counted, and again under the lock
    strategy = make_strategy(command.recipe)
    workers = Workers(strategy)
    quiet = command.quiet or not workers.is_chief
    with tensorflow_errors(run):
        recipe, data = workers.together(
            "settings or inputs",
            lambda: settle(command.recipe, say, quiet=quiet),
            lambda settled: what_decides(settled[0], settled[1].facts),
        )
        check_split(recipe, strategy)
        with workers.folder(run) as own:
            workers.together(
                "run folders",
                lambda: (
                    workers.is_chief and run.claim(recipe, data.facts, overwrite=command.overwrite)
                ),
            )
            if workers.together("run folders", lambda: run.finished, str):
                say(f"{run.path} is finished; --overwrite starts over")
                if command.profile:
                    say(NOTHING_TO_PROFILE)
                if workers.is_chief:
                    report(run.summary, run, recipe, say)
                return run
            with strategy.scope():
                model = build_model(recipe, data)
            say(describe(model.backbone))
            try:
                probe_result = fit(
                    model, recipe, data, own, workers,
                    resumes_from=run, profile=command.profile, quiet=quiet, say=say,
                )  # fmt: skip
            except Preempted as stopped:
                say(f"{run.path}: {stopped}; the same command goes on")
                return run
            summary = conclude(model, recipe, data, own, probe_result)
            own.finish(summary)
            workers.together("results", lambda: None)
    if workers.is_chief:
        report(summary, run, recipe, say)
    return run


def build_model(recipe: PretrainRecipe, data: Data) -> tf.keras.Model:
    """Compiled contrastive model of a settled recipe."""
    import tensorflow as tf

    from playlist_pretrain.models import BACKBONES
    from playlist_pretrain.models.contrastive import ContrastiveModel
    from playlist_pretrain.models.layers import precision, projector
    from playlist_pretrain.models.nt_xent import NTXent
    from playlist_pretrain.training.schedules import warmup_cosine

    collection = data.collection
    standardise = recipe.input_norm == "band"
    with precision(recipe.precision):
        backbone = BACKBONES.get(recipe.backbone)(
            frames=recipe.frames,
            bands=collection.front_end.bands,
            mean=collection.band_mean if standardise else None,
            std=collection.band_std if standardise else None,
            initializer=recipe.initializer,
            seed=recipe.seed,
            **({} if recipe.width is None else {"width": recipe.width}),
        )
        head = projector(
            backbone.output_shape[-1], initializer=recipe.initializer, seed=recipe.seed + 1
        )
        settings = {"micro_batch": recipe.micro_batch, **_other_sides(recipe, data)}
        if len(recipe.pairings) > 1:
            kinds = [part.pairing.y for part in data.stream.streams]
            settings |= {"kinds": kinds, "weights": recipe.weights}
        model = ContrastiveModel(backbone, head, **settings)
        schedule = warmup_cosine(
            recipe.learning_rate, recipe.warmup_steps, recipe.epochs * data.stream.steps_per_epoch
        )
        model.compile(
            optimizer=tf.keras.optimizers.Adam(schedule, beta_1=0.9, beta_2=0.999),
            loss=NTXent(
                recipe.temperature,
                hard_negatives=recipe.hard_negatives,
                learnable=recipe.learnable_temperature,
            ),
            jit_compile=recipe.xla,
        )
    return model


def _other_sides(recipe: PretrainRecipe, data: Data) -> dict[str, Any]:
    """What the positive sides of the pairings need beyond the shared tower."""
    from playlist_pretrain.models.contrastive import vector_tower
    from playlist_pretrain.models.layers import projector
    from playlist_pretrain.models.views import MixedViews

    sides = {}
    for pairing in (part.pairing for part in data.stream.streams):
        if pairing.y == "views":
            sides["views"] = MixedViews(data.collection.front_end, recipe.seed)
        if pairing.y == "vector":
            head = projector(
                pairing.table.shape[1],  # type: ignore[attr-defined]
                initializer=recipe.initializer,
                seed=recipe.seed + 2,
                name="y_projector",
            )
            sides["y_tower"] = vector_tower(pairing.table, head)  # type: ignore[attr-defined]
    return sides


def fit(
    model: tf.keras.Model,
    recipe: PretrainRecipe,
    data: Data,
    run: Run,
    workers: Workers,
    *,
    resumes_from: Run,
    profile: bool = False,
    quiet: bool,
    say: Callable[[str], None],
) -> ProbeResult | None:
    """Fit to the last step, from the newest checkpoint of ``resumes_from`` when there is one."""
    from playlist_pretrain.pairs.dataset import step_dataset
    from playlist_pretrain.training import callbacks
    from playlist_pretrain.training.callbacks import COLUMNS, HistoryTable, read_history
    from playlist_pretrain.training.profile import Profile

    stream = data.stream
    per_epoch, total = stream.steps_per_epoch, recipe.epochs * stream.steps_per_epoch
    finite = callbacks.FiniteLoss(
        lambda step: [data.collection.track_ids[row] for row in np.unique(stream.rows_of(step))]
    )
    checkpoints = callbacks.Checkpoints(
        run.checkpoints, per_epoch, recipe.checkpoint_epochs, recipe.checkpoint_steps, finite.check
    )
    done = workers.together(
        "checkpoints", lambda: checkpoints.restore(model, resumes_from.checkpoints), str
    )
    if done and done < total:
        say(f"{resumes_from.path}: going on after step {done} of {total}")
    probe = None
    if data.probe_pairs is not None:
        probe = callbacks.RetrievalProbe(
            data.reader, data.probe_pairs, recipe.probe_epochs, recipe.epochs
        )
    windows = 2 * recipe.batch * len(stream.streams)
    table = HistoryTable(
        run.history, run.tensorboard, COLUMNS, per_epoch, windows, done,
        read_history(resumes_from.history),
    )  # fmt: skip
    preemption = callbacks.Preemption(checkpoints, workers.any_true)
    bar = callbacks.Progress(total, done, quiet)
    profiling = None
    if profile and done == total:
        say(NOTHING_TO_PROFILE)
    elif profile and workers.is_chief:
        profiling = Profile(run.tensorboard, total - done, say)
    used = [profiling, finite, probe, table, checkpoints, bar, preemption]
    used = [callbacks.KerasHistory(), *(callback for callback in used if callback is not None)]

    with reading_errors(data.reader), profiling or contextlib.nullcontext():
        for first, last, steps in fits(done, per_epoch, recipe.epochs):
            begin, end = last * per_epoch - (last - first) * steps, last * per_epoch
            dataset = functools.partial(
                step_dataset,
                data.reader,
                stream,
                seed=recipe.seed,
                first=begin,
                last=end,
                false_negatives=data.false_negatives,
            )
            with preemption.watching():
                model.fit(
                    shared_out(model.distribute_strategy, dataset),
                    initial_epoch=first,
                    epochs=last,
                    steps_per_epoch=steps,
                    callbacks=used,
                    verbose=0,
                )
    checkpoints.save()
    return probe.final(model) if probe else None


def main(argv: Sequence[str] | None = None) -> int:
    """Command line of :func:`pretrain`; returns the exit code."""
    return command_line.run(
        PretrainCommand, pretrain, prog="pretrain.py", epilog=EXAMPLES, argv=argv
    )
