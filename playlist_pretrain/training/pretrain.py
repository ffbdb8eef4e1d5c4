"""Pre-training from top to bottom: recipe, data, model, fit, export, check."""

from __future__ import annotations

import dataclasses
import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from playlist_pretrain import cli
from playlist_pretrain.errors import GroupsError, ModelError
from playlist_pretrain.files import content_key, folder_lock
from playlist_pretrain.recipes import PretrainRecipe
from playlist_pretrain.runs import Run

if TYPE_CHECKING:
    import tensorflow as tf

    from playlist_pretrain.pairs.dataset import PairStream
    from playlist_pretrain.playlists.groups import TrackGroups
    from playlist_pretrain.records.collection import Collection
    from playlist_pretrain.records.windows import WindowReader
    from playlist_pretrain.training.probe import ProbePairs, ProbeResult

DEMO_COLLECTION = Path("tfrecords") / "demo"
PARITY_WINDOWS = 8
PARITY_TOLERANCE = 1e-4
COLLAPSED_COSINE = 0.999
EXAMPLES = """
examples:
  python scripts/pretrain.py --pairs playlist_co
  python scripts/pretrain.py --pairs playlist_co --collection tfrecords/mine --groups artists
"""
AT_CHANCE = 0.99
"""A final loss above this share of the loss at chance has not learned anything worth having."""


@dataclass(frozen=True)
class PretrainCommand(PretrainRecipe):
    __doc__ = PretrainRecipe.__doc__

    out: str | None = None
    """run folder [runs/COLLECTION-PAIRS-BACKBONE]; the same command again resumes"""
    overwrite: bool = False
    """start over in a run folder that is there"""
    quiet: bool = False
    """no progress and no results, only warnings"""

    @property
    def recipe(self) -> PretrainRecipe:
        """The settings that decide the result."""
        fields = dataclasses.fields(PretrainRecipe)
        return PretrainRecipe(**{field.name: getattr(self, field.name) for field in fields})


@dataclass(frozen=True)
class Data:
    """What a recipe reads: settled rows, never ids."""

    collection: Collection
    reader: WindowReader
    stream: PairStream
    probe_pairs: ProbePairs | None
    facts: dict[str, Any]


def pretrain(command: PretrainCommand) -> Run:
    """Train, or go on training, what a command asks for; the script's one function.

    Returns
    -------
    Run
        The finished run.

    Raises
    ------
    PlaylistPretrainError
        With the option, file or track that has to be mended.
    """

    def say(text: str) -> None:
        if not command.quiet:
            print(text, flush=True)

    recipe, data = settle(command, say)
    run = Run(command.out or Path("runs") / default_name(recipe))
    with folder_lock(run.path, f"a run is being trained in {run.path}"):
        resumes = run.claim(recipe, data.facts, overwrite=command.overwrite)
        if run.finished:
            say(f"{run.path} is finished; --overwrite starts over")
            report(run.summary, run, say)
            return run
        model = build_model(recipe, data)
        probe_result = fit(model, recipe, data, run, resumes=resumes, quiet=command.quiet, say=say)
        summary = conclude(model, recipe, data, run, probe_result)
        run.finish(summary)
    report(summary, run, say)
    return run


def settle(
    command: PretrainCommand, say: Callable[[str], None] = print
) -> tuple[PretrainRecipe, Data]:
    """Open what the recipe names and settle every setting that depends on it."""
    from playlist_pretrain.pairs import PAIRINGS
    from playlist_pretrain.pairs.dataset import PairStream
    from playlist_pretrain.playlists.groups import load_groups
    from playlist_pretrain.records.collection import Collection
    from playlist_pretrain.records.windows import WindowReader
    from playlist_pretrain.training.probe import ProbePairs

    recipe = command.recipe
    make_pairing = PAIRINGS.get(recipe.pairs)
    path = Path(recipe.collection) if recipe.collection else DEMO_COLLECTION
    demo = path.resolve() == DEMO_COLLECTION.resolve()
    if recipe.collection is None:
        from playlist_pretrain.demo.build import build_demo

        if not path.exists():
            say(f"{path} is missing: making the demo collection")
        build_demo(path.parent, quiet=command.quiet)  # also mends one that was interrupted
    collection = Collection.open(path)
    resolved = dataclasses.replace(recipe, collection=str(path)).resolve(
        demo=demo, patch_frames=collection.front_end.patch_frames
    )
    recipe = resolved.recipe
    say(f"preset {recipe.preset}: {collection.name}, {len(collection)} tracks")

    reader = WindowReader(collection, recipe.frames, short="skip")
    groups = load_groups(collection, recipe.groups)
    excluded, exclude_key = read_excluded(recipe.exclude, collection)
    groups_key = groups.content_key
    groups = usable_groups(groups, reader, excluded, say)
    kept, held_out = groups.hold_out(recipe.probe_share, recipe.seed)
    if not len(kept):
        raise GroupsError(
            f"{path}: no group of {recipe.groups!r} has two tracks that can be trained on"
        )
    pairing = make_pairing(kept, recipe.seed)
    epochs = recipe.epochs or 1
    stream = PairStream.plan(pairing, recipe.batch, epochs, quiet=command.quiet)
    recipe, told = resolved.with_steps(stream.steps_per_epoch)
    if recipe.epochs != epochs:  # the demo's epochs follow from the pairs of its first
        stream = PairStream.plan(pairing, recipe.batch, recipe.epochs, quiet=command.quiet)
    if told:
        say(told)
    probe_pairs = None
    if len(held_out):
        held_out_pairing = PAIRINGS.get("playlist_co")(held_out, recipe.seed)
        probe_pairs = ProbePairs.draw(held_out_pairing, reader, recipe.batch, recipe.seed)
    if probe_pairs is None and recipe.probe_share:
        say("too few groups for a retrieval probe: nothing is held out to watch")
    say(
        f"{len(kept)} groups to train on, {len(held_out)} held out; {pairing.count(0)} pairs in "
        f"the first epoch, {stream.steps_per_epoch} steps of {recipe.batch} an epoch, "
        f"{recipe.epochs} epochs"
    )
    facts = {
        "collection": collection.content_key,
        "groups": groups_key,
        "exclude": exclude_key,
        "steps_per_epoch": stream.steps_per_epoch,
    }
    return recipe, Data(collection, reader, stream, probe_pairs, facts)


def default_name(recipe: PretrainRecipe) -> str:
    """Name of a run folder when the user gives none."""
    return f"{Path(recipe.collection).name}-{recipe.pairs}-{recipe.backbone}"


def read_excluded(file: str | None, collection: Collection) -> tuple[np.ndarray, str | None]:
    """Rows that ``--exclude`` names, and the key of that file's content."""
    from playlist_pretrain.playlists.track_ids import read_track_ids

    if file is None:
        return np.empty(0, np.int32), None
    ids = read_track_ids(file)
    rows = collection.rows(ids)
    return rows[rows >= 0], content_key(*sorted(i.encode() for i in ids))


def usable_groups(
    groups: TrackGroups,
    reader: WindowReader,
    excluded: np.ndarray,
    say: Callable[[str], None],
) -> TrackGroups:
    """Groups without excluded tracks and without tracks that are shorter than a window."""
    left_out = ~reader.usable
    short = int(left_out.sum())
    left_out[excluded] = True
    if short:
        say(f"{short} tracks are shorter than a window of {reader.frames} frames: left out")
    if len(excluded):
        say(f"{len(np.unique(excluded))} tracks are excluded")
    return groups.without_tracks(left_out) if left_out.any() else groups


def build_model(recipe: PretrainRecipe, data: Data) -> tf.keras.Model:
    """Compiled contrastive model of a settled recipe."""
    import tensorflow as tf

    from playlist_pretrain.models import BACKBONES
    from playlist_pretrain.models.contrastive import ContrastiveModel
    from playlist_pretrain.models.nt_xent import NTXent
    from playlist_pretrain.models.projector import projector
    from playlist_pretrain.training.schedules import warmup_cosine

    collection = data.collection
    standardise = recipe.input_norm == "band"
    backbone = BACKBONES.get(recipe.backbone)(
        frames=recipe.frames,
        bands=collection.front_end.bands,
        width=recipe.width,
        mean=collection.band_mean if standardise else None,
        std=collection.band_std if standardise else None,
        initializer=recipe.initializer,
        seed=recipe.seed,
    )
    head = projector(
        backbone.output_shape[-1], initializer=recipe.initializer, seed=recipe.seed + 1
    )
    model = ContrastiveModel(backbone, head)
    schedule = warmup_cosine(
        recipe.learning_rate, recipe.warmup_steps, recipe.epochs * data.stream.steps_per_epoch
    )
    model.compile(
        optimizer=tf.keras.optimizers.Adam(schedule, beta_1=0.9, beta_2=0.999),
        loss=NTXent(recipe.temperature),
    )
    return model


def fit(
    model: tf.keras.Model,
    recipe: PretrainRecipe,
    data: Data,
    run: Run,
    *,
    resumes: bool,
    quiet: bool,
    say: Callable[[str], None],
) -> ProbeResult | None:
    """Fit to the last step, from the newest checkpoint when there is one."""
    from playlist_pretrain.pairs.dataset import pair_dataset
    from playlist_pretrain.training import callbacks

    stream = data.stream
    per_epoch, total = stream.steps_per_epoch, recipe.epochs * stream.steps_per_epoch
    finite = callbacks.FiniteLoss(
        lambda step: [data.collection.track_ids[row] for row in np.unique(stream.rows_of(step))]
    )
    checkpoints = callbacks.Checkpoints(
        run.checkpoints, per_epoch, recipe.checkpoint_epochs, recipe.checkpoint_steps, finite.check
    )
    done = checkpoints.restore(model)
    if resumes and done < total:
        say(f"{run.path}: going on after step {done} of {total}")
    probe = None
    if data.probe_pairs is not None:
        probe = callbacks.RetrievalProbe(
            data.reader, data.probe_pairs, recipe.probe_epochs, recipe.epochs
        )
    table = callbacks.HistoryTable(run.history, run.tensorboard, per_epoch, recipe.batch, done)
    used = [finite, probe, table, checkpoints, callbacks.Progress(total, done, quiet)]
    used = [callback for callback in used if callback is not None]

    epoch, within = divmod(done, per_epoch)
    # Keras takes one number of steps for all epochs of a fit, so the rest of an interrupted
    # epoch is a fit of its own.
    parts = [(epoch, epoch + 1, per_epoch - within)] if within else []
    if epoch + bool(within) < recipe.epochs:
        parts.append((epoch + bool(within), recipe.epochs, per_epoch))
    try:
        for first, last, steps in parts:
            begin, end = last * per_epoch - (last - first) * steps, last * per_epoch
            model.fit(
                pair_dataset(data.reader, stream, seed=recipe.seed, first=begin, last=end),
                initial_epoch=first,
                epochs=last,
                steps_per_epoch=steps,
                callbacks=used,
                verbose=0,
            )
    except Exception:
        if data.reader.error is not None:  # TensorFlow wraps it into an error of its own
            raise data.reader.error from None
        raise
    checkpoints.save()
    return probe.run() if probe else None


def conclude(
    model: tf.keras.Model,
    recipe: PretrainRecipe,
    data: Data,
    run: Run,
    probe_result: ProbeResult | None,
) -> dict[str, Any]:
    """Export the backbone, prove it by reloading, draw the curves, and sum up."""
    from playlist_pretrain.export.saved_model import save_backbone
    from playlist_pretrain.models.nt_xent import chance_loss
    from playlist_pretrain.training.callbacks import read_history
    from playlist_pretrain.training.figures import draw_curves
    from playlist_pretrain.training.probe import mean_cosine

    about = {"recipe": dataclasses.asdict(recipe), "collection": data.collection.name}
    save_backbone(model.backbone, data.collection.front_end, run.saved_model, about)
    rows = data.stream.rows_of(0)[:, 0]
    rows = np.resize(rows, PARITY_WINDOWS)
    windows = data.reader.read(rows, np.zeros(PARITY_WINDOWS, np.int32))
    difference, embeddings = check_export(model.backbone, run.saved_model, windows)

    history = read_history(run.history)
    chance = chance_loss(recipe.batch)
    tail = history[-max(1, len(history) // 10) :]
    loss = float(np.mean([float(row["loss"]) for row in tail]))
    probe_chance = probe_result.chance(1) if probe_result else float("nan")
    draw_curves(history, run.figures / "curves.png", chance, probe_chance)
    summary = {
        "steps": recipe.epochs * data.stream.steps_per_epoch,
        "loss": loss,
        "chance_loss": chance,
        "mean_cosine": probe_result.mean_cosine if probe_result else mean_cosine(embeddings),
        "export_difference": difference,
        "probe": None,
    }
    if probe_result:
        summary["probe"] = {
            "batch": data.probe_pairs.batch,
            "pairs": data.probe_pairs.rows.shape[0] * data.probe_pairs.batch,
            **{
                f"top{k}": {
                    "share": probe_result.top(k),
                    "chance": probe_result.chance(k),
                    "p_value": probe_result.p_value(k),
                }
                for k in (1, 10)
            },
        }
    return summary


def check_export(
    backbone: tf.keras.Model, saved_model: Path, windows: np.ndarray
) -> tuple[float, np.ndarray]:
    """Largest difference between a backbone and its reloaded export, and the embeddings.

    Raises
    ------
    ModelError
        If it is above 1e-4 of the embeddings' standard deviation.
    """
    from playlist_pretrain.export.saved_model import load_backbone

    before = backbone.predict_on_batch(windows)
    after = load_backbone(saved_model).model.predict_on_batch(windows)
    difference = float(np.abs(before - after).max())
    if difference > PARITY_TOLERANCE * max(float(before.std()), 1e-6):
        raise ModelError(
            f"{saved_model}: the export differs from the trained model by {difference:.3g} "
            f"(embeddings have a standard deviation of {before.std():.3g})"
        )
    return difference, before


def warnings_of(summary: dict[str, Any]) -> Sequence[str]:
    """What a user must hear about a run that did not learn."""
    found = []
    if summary["mean_cosine"] > COLLAPSED_COSINE:
        found.append(
            f"the embeddings have collapsed (mean cosine {summary['mean_cosine']:.5f}): try a "
            "lower --learning-rate, a longer --warmup-steps, or --temperature 0.1"
        )
    if summary["loss"] > AT_CHANCE * summary["chance_loss"]:
        found.append(
            f"the loss is still at chance ({summary['loss']:.4f} of {summary['chance_loss']:.4f}):"
            " try more --epochs (playlist pairs often stay there for hundreds of steps), another"
            " --learning-rate, or look at the groups (do their tracks sound alike?)"
        )
    return found


def report(summary: dict[str, Any], run: Run, say: Callable[[str], None]) -> None:
    """Print what a run came to, warnings even when quiet, and the next command."""
    say(f"loss {summary['loss']:.4f} (chance {summary['chance_loss']:.4f})")
    if summary["probe"]:
        for k in (1, 10):
            top = summary["probe"][f"top{k}"]
            say(
                f"held-out retrieval top-{k} {top['share']:.3f} (chance {top['chance']:.3f}, "
                f"p = {top['p_value']:.4f}) among {summary['probe']['batch']}"
            )
    say(f"export reloaded, largest difference {summary['export_difference']:.1e}")
    for warning in warnings_of(summary):
        print(f"WARNING: {warning}", flush=True)
    say(f"model: {run.saved_model}; curves: {run.figures / 'curves.png'}")
    load = (
        f"import tensorflow as tf; print(tf.saved_model.load({str(run.saved_model)!r}).signatures)"
    )
    say(f"next: python -c {shlex.quote(load)}")


def main(argv: Sequence[str] | None = None) -> int:
    """Command line of :func:`pretrain`; returns the exit code."""
    return cli.run(PretrainCommand, pretrain, prog="pretrain.py", epilog=EXAMPLES, argv=argv)
