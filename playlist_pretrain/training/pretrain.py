"""Pre-training from top to bottom: settings, data, model, training, export, report."""

from __future__ import annotations

import dataclasses
import functools
import logging
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from playlist_pretrain.errors import RunError
from playlist_pretrain.messages import command
from playlist_pretrain.models import backbone, describe
from playlist_pretrain.models.saved_model import save_backbone
from playlist_pretrain.pairs.dataset import step_dataset
from playlist_pretrain.runs import SUMMARY, Run
from playlist_pretrain.storage import location
from playlist_pretrain.training.figures import draw_curves
from playlist_pretrain.training.pretrain_data import Data, settle
from playlist_pretrain.training.probe import ProbeResult, mean_cosine, probe
from playlist_pretrain.training.recipes import OF_PRETRAIN_PRESETS, PretrainRecipe
from playlist_pretrain.training.strategy import Workers, check_split, make_strategy

if TYPE_CHECKING:
    import tensorflow as tf

    from playlist_pretrain.training.engine import BestEpoch

logger = logging.getLogger(__name__)

COLUMNS = (
    "epoch", "step", "loss", "gradient_norm", "skipped_steps", "positive_similarity",
    "negative_similarity", "alignment", "uniformity", "learning_rate", "temperature", "seconds",
    "windows_per_second", "probe_top1", "probe_top10", "probe_chance1", "probe_chance10",
    "probe_percentile", "probe_mean_cosine",
)  # fmt: skip
"""Columns of ``history.csv``."""
NAMED_TRACKS = 10
PROFILED_STEPS = 10
COLLAPSED_COSINE = 0.999
AT_CHANCE = 0.99
"""A final loss above this share of the loss at chance has not learned anything worth having."""
FEW_STEPS = 100
"""Nobody expects fewer to leave chance, where playlist pairs stay for hundreds of steps."""


def pretrain(
    pairs: str = "playlist_co",
    *,
    collection: str | Path,
    out: str | Path | None = None,
    overwrite: bool = False,
    profile: bool = False,
    **settings: Any,
) -> Run:
    """Pre-train a backbone on pairs of tracks, or go on with a run that was stopped.

    Parameters
    ----------
    pairs : str
        Pairing, or several with commas between them.
    collection : str or Path
        Folder or URL of a collection.
    out : str or Path, optional
        Run folder [runs/COLLECTION-PAIRS-BACKBONE].
    overwrite : bool
        Start over in a run folder that is there.
    profile : bool
        Profile ten steps of this call for TensorBoard.
    **settings
        Fields of :class:`~playlist_pretrain.training.recipes.PretrainRecipe`.

    Returns
    -------
    Run
        Finished, unless SIGTERM stopped it: then the same call goes on with it.

    Raises
    ------
    PlaylistPretrainError
        With the option, file or track that has to be mended.
    """
    from playlist_pretrain.training.engine import Preempted, tensorflow_errors

    given = PretrainRecipe(pairs=pairs, collection=str(collection), **settings)
    run = Run(out or Path("runs") / default_name(given))
    run.check()  # before the pairs of all epochs are counted, and again under the lock
    strategy = make_strategy(given.strategy, given.replicas)
    workers = Workers(strategy)
    with tensorflow_errors(run.path):
        machine = workers.machine()

        def settled() -> tuple[PretrainRecipe, Data]:
            own = given if overwrite else run.with_saved(given, OF_PRETRAIN_PRESETS)
            return settle(own, machine=machine)

        recipe, data = workers.settled(settled)
        check_split(recipe, strategy)
        with workers.folder(run) as own:
            if workers.claim(run, recipe, data.facts, overwrite=overwrite):
                logger.info(f"{run.path} is finished; --overwrite starts over")
                if workers.is_chief:
                    report(run, recipe)
                    with run.whole_summary():
                        kept = run.summary.get("kept", {"which": "last"})["which"]
                    if kept != recipe.keep:
                        logger.warning(
                            f"{run.saved_model} is of the {kept} epoch; with {SUMMARY} removed, "
                            f"the same command makes it of the {recipe.keep} one"
                        )
                return run
            with strategy.scope():
                model = build_model(recipe, data)
            logger.info(describe(model.backbone))
            best = best_epoch(model, own, run) if data.probe_pairs is not None else None
            try:
                rows = train(model, recipe, data, own, workers, run, best, profile=profile)
            except Preempted as stopped:
                logger.info(f"{run.path}: {stopped}; the same command goes on")
                return run
            own.finish(conclude(model, recipe, data, own, rows, best))
            workers.together("results", lambda: None)
    if workers.is_chief:
        report(run, recipe)
    return run


def default_name(recipe: PretrainRecipe) -> str:
    """Name of the run folder when the user gives none."""
    collection = location(recipe.collection).resolve().name
    groups = "" if recipe.groups in (None, recipe.own_groups) else f"-{recipe.groups}"
    return f"{collection}-{'+'.join(recipe.pairings)}{groups}-{recipe.backbone}"


def build_model(recipe: PretrainRecipe, data: Data) -> tf.keras.Model:
    """Build and compile the contrastive model of a settled recipe."""
    import tensorflow as tf

    from playlist_pretrain.models.contrastive import ContrastiveModel, vector_tower
    from playlist_pretrain.models.layers import precision, projector
    from playlist_pretrain.models.nt_xent import NTXent
    from playlist_pretrain.models.views import MixedViews
    from playlist_pretrain.training.schedules import warmup_cosine

    collection = data.collection
    pairings = data.stream.pairings
    standardise = recipe.input_norm == "band"
    with precision(recipe.precision):
        b = backbone(
            recipe.backbone,
            frames=recipe.frames,
            bands=collection.front_end.bands,
            mean=collection.band_mean if standardise else None,
            std=collection.band_std if standardise else None,
            initializer=recipe.initializer,
            seed=recipe.seed,
            width=recipe.width,
        )
        h = projector(b.output_shape[-1], initializer=recipe.initializer, seed=recipe.seed + 1)
        sides: dict[str, Any] = {"micro_batch": recipe.micro_batch}
        for pairing in pairings:  # what the positive side needs beyond the shared tower
            if pairing.y == "views":
                sides["views"] = MixedViews(collection.front_end, recipe.seed)
            if pairing.y == "vector":
                table = pairing.table  # type: ignore[attr-defined]
                y_head = projector(
                    table.shape[1],
                    initializer=recipe.initializer,
                    seed=recipe.seed + 2,
                    name="y_projector",
                )
                sides["y_tower"] = vector_tower(table, y_head)
        if len(pairings) > 1:
            sides |= {"kinds": [pairing.y for pairing in pairings], "weights": recipe.weights}
        model = ContrastiveModel(b, h, **sides)
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


def best_epoch(model: tf.keras.Model, run: Run, resumes_from: Run) -> BestEpoch:
    """Keeper of the weights that did best in the probe, of the projector too: it is asked again."""
    from playlist_pretrain.training.engine import BestEpoch

    models = [model.backbone, model.projector]
    return BestEpoch(models, run.checkpoints, resumes_from.checkpoints, "probe_percentile")


def train(
    model: tf.keras.Model,
    recipe: PretrainRecipe,
    data: Data,
    run: Run,
    workers: Workers,
    resumes_from: Run,
    best: BestEpoch | None = None,
    *,
    profile: bool = False,
) -> list[dict[str, Any]]:
    """Train to the last step with the shared engine; returns the rows of the history."""
    from playlist_pretrain.training.engine import Engine

    stream = data.stream

    def evaluate(epoch: int) -> dict[str, float]:
        """Temperature, and the retrieval probe when it is due."""
        values = {
            "skipped_steps": 0,  # only mixed_float16 skips any, and then the logs have it
            "temperature": float(model.loss.temperature),
        }
        due = epoch % recipe.probe_epochs == 0 or epoch == recipe.epochs
        if data.probe_pairs is not None and due:
            found = probe(model.backbone, model.projector, data.reader, data.probe_pairs)
            values["probe_top1"], values["probe_top10"] = found.top(1), found.top(10)
            values["probe_chance1"], values["probe_chance10"] = found.chance(1), found.chance(10)
            # All workers have to agree on which epoch is the best.
            values["probe_percentile"] = workers.of_chief(found.percentile)
            values["probe_mean_cosine"] = found.mean_cosine
        return values

    engine = Engine(
        model,
        run,
        COLUMNS,
        steps_per_epoch=stream.steps_per_epoch,
        epochs=recipe.epochs,
        windows=2 * recipe.batch * len(stream.pairings),
        check=lambda epoch, logs: check_finite(model, data),
        evaluate=evaluate,
        best=best,
        checkpoint_epochs=recipe.checkpoint_epochs,
        checkpoint_steps=recipe.checkpoint_steps,
    )
    return engine.train(
        functools.partial(
            step_dataset,
            data.reader,
            stream,
            seed=recipe.seed,
            false_negatives=data.false_negatives,
        ),
        reader=data.reader,
        workers=workers,
        resumes_from=resumes_from,
        callbacks=[profiler(run)] if profile and workers.is_chief else [],
    )


def check_finite(model: tf.keras.Model, data: Data) -> None:
    """Raise RunError when a step had a loss or gradient that is not finite; names its tracks."""
    step = int(model.first_bad_step.numpy())
    if step < 0:
        return
    ids = [data.collection.track_ids[row] for row in np.unique(data.stream.rows_of(step))]
    more = f" and {len(ids) - NAMED_TRACKS} more" if len(ids) > NAMED_TRACKS else ""
    raise RunError(
        f"loss or gradient of step {step} is not finite; its batch held the tracks "
        f"{', '.join(ids[:NAMED_TRACKS])}{more}. Try a lower --learning-rate or a longer "
        "--warmup-steps, with --overwrite or another --out"
    )


def profiler(run: Run) -> tf.keras.callbacks.Callback:
    """Profile the steps 11 … 20 of a call, for TensorBoard."""
    import tensorflow as tf

    logger.info(
        f"steps {PROFILED_STEPS + 1} to {2 * PROFILED_STEPS} are profiled; to see it: "
        f"tensorboard --logdir {shlex.quote(str(run.tensorboard))}"
    )
    return tf.keras.callbacks.TensorBoard(
        run.tensorboard,
        write_graph=False,
        profile_batch=(PROFILED_STEPS + 1, 2 * PROFILED_STEPS),
    )


def conclude(
    model: tf.keras.Model,
    recipe: PretrainRecipe,
    data: Data,
    run: Run,
    rows: list[dict[str, Any]],
    best: BestEpoch | None = None,
) -> dict[str, Any]:
    """Export the backbone, prove it by reloading, draw the curves, and sum up."""
    from playlist_pretrain.models.layers import plain_float32
    from playlist_pretrain.training.engine import check_export

    if not rows:
        raise RunError(f"{run.history}: missing, though all is trained; --overwrite starts over")
    kept = int(rows[-1]["step"])
    found = None
    probed: dict[str, Any] | None = None
    if best is not None:
        found, kept, probed = probe_the_end(model, recipe, data, rows, best)
    trained = plain_float32(model.backbone)
    about = {
        "recipe": dataclasses.asdict(recipe), "collection": data.collection.name, "step": kept
    }  # fmt: skip
    save_backbone(trained, data.collection.front_end, run.saved_model, about)
    rows_of_tracks = data.stream.rows_of(0)[:, 0]
    difference, embeddings = check_export(trained, run.saved_model, data.reader, rows_of_tracks)
    tail = rows[-max(1, len(rows) // 10) :]
    chance = float("nan") if found is None else found.chance(1)
    draw_curves(rows, run.figures / "curves.png", data.chance, chance, kept)
    return {
        "steps": recipe.epochs * data.stream.steps_per_epoch,
        "skipped_steps": sum(int(float(row["skipped_steps"])) for row in rows),
        "loss": float(np.mean([float(row["loss"]) for row in tail])),
        "chance_loss": data.chance,
        "mean_cosine": mean_cosine(embeddings) if found is None else found.mean_cosine,
        "export_difference": difference,
        "kept": {"which": recipe.keep, "step": kept},
        "probe": probed,
    }


def probe_the_end(
    model: tf.keras.Model,
    recipe: PretrainRecipe,
    data: Data,
    rows: list[dict[str, Any]],
    best: BestEpoch,
) -> tuple[ProbeResult, int, dict[str, Any]]:
    """Probe the last and the best epoch, and leave the model with the weights of ``--keep``.

    Returns the probe of that epoch, its step, and the part of the summary.
    """
    ask = functools.partial(probe, model.backbone, model.projector, data.reader, data.probe_pairs)
    steps = {"last": int(rows[-1]["step"]), "best": int((best.row(rows) or rows[-1])["step"])}
    found = {"last": ask()}
    found["best"] = found["last"]
    if steps["best"] != steps["last"]:
        last = [m.get_weights() for m in best.models]
        best.restore(rows)
        found["best"] = ask()
        if recipe.keep == "last":
            for part, weights in zip(best.models, last, strict=True):
                part.set_weights(weights)
    kept = found[recipe.keep]
    summary: dict[str, Any] = {
        "candidates": float(np.mean(data.probe_pairs.candidates)),
        "pairs": data.probe_pairs.pairs,
        "percentile": kept.percentile,
        **{
            f"top{k}": {
                "share": kept.top(k), "chance": kept.chance(k), "p_value": kept.p_value(k)
            }
            for k in (1, 10)
        },
        **{
            which: {
                "step": steps[which], "percentile": one.percentile, "top1": one.top(1),
                "top10": one.top(10),
            }
            for which, one in found.items()
        },
        "fell": found["last"].falls_below(found["best"]),
    }  # fmt: skip
    return kept, steps[recipe.keep], summary


def at_chance(summary: Mapping[str, Any]) -> bool:
    """Whether a run has not learned anything worth having."""
    return summary["loss"] > AT_CHANCE * summary["chance_loss"]


def warnings_of(summary: Mapping[str, Any]) -> list[str]:
    """Warnings about a run that did not learn."""
    found = []
    if summary["mean_cosine"] > COLLAPSED_COSINE:
        found.append(
            f"the embeddings have collapsed (mean cosine {summary['mean_cosine']:.5f}): try a "
            "lower --learning-rate, a longer --warmup-steps, or --temperature 0.1"
        )
    if at_chance(summary) and summary["steps"] >= FEW_STEPS:
        found.append(
            f"the loss is still at chance ({summary['loss']:.4f} of {summary['chance_loss']:.4f}):"
            " try more --epochs (playlist pairs often stay there for hundreds of steps), another"
            " --learning-rate, or look at the groups (do their tracks sound alike?)"
        )
    return found


def report(run: Run, recipe: PretrainRecipe) -> None:
    """Log the results of a run, warnings, and the next command."""
    with run.whole_summary():
        _report(run.summary)
    logger.info(f"model: {run.saved_model}; curves: {run.figures / 'curves.png'}")
    words = ["--model", str(run.saved_model), "--collection", str(recipe.collection)]
    logger.info("next: " + command("embed", *words, "--out", f"{run.path.resolve().name}.parquet"))


def _of_keeping(found: Mapping[str, Any], kept: Mapping[str, Any]) -> list[str]:
    """Lines about the percentile, the step that became the model, and overfitting."""
    best, last = found["best"], found["last"]
    lines = [
        f"the partner is nearer than {found['percentile']:.1%} of the wrong answers (chance 50 %)"
    ]
    model = f"the model of step {kept['step']} is kept"
    if found["fell"]:
        lines.append(
            f"the probe was best after step {best['step']} (percentile {best['percentile']:.3f}, "
            f"top-1 {best['top1']:.3f}) and fell to {last['percentile']:.3f} ({last['top1']:.3f}) "
            "at the end: the run went on to learn its own tracks and nothing of others; "
            f"{model}{'' if kept['which'] == 'best' else ', --keep best keeps the other'}"
        )
    elif kept["which"] == "best":
        more = "" if best == last else f"; the last, {last['step']}, is not clearly worse"
        lines.append(f"{model}, the best of the probe{more}")
    return lines


def _report(summary: Mapping[str, Any]) -> None:
    logger.info(f"loss {summary['loss']:.4f} (chance {summary['chance_loss']:.4f})")
    if summary["skipped_steps"]:
        logger.info(
            f"{summary['skipped_steps']} steps were skipped, their gradient overflowed float16"
        )
    found = summary["probe"]
    among = found and found.get("candidates", found.get("batch"))  # that of earlier versions
    for k in (1, 10) if found else ():
        top = found[f"top{k}"]
        if top["chance"] < 1:
            logger.info(
                f"held-out retrieval top-{k} {top['share']:.3f} (chance {top['chance']:.3f}, "
                f"p = {top['p_value']:.4f}) among {among:.0f}, {found['pairs']} pairs"
            )
    if found and "kept" in summary:
        for line in _of_keeping(found, summary["kept"]):
            logger.info(line)
    logger.info(f"export reloaded, largest difference {summary['export_difference']:.1e}")
    if at_chance(summary) and summary["steps"] < FEW_STEPS:
        logger.info(
            f"the loss is at chance, as expected: {summary['steps']} steps try the command, and "
            "teach a model nothing"
        )
    for warning in warnings_of(summary):
        logger.warning(warning)
