"""Fine-tuning from top to bottom: settings, task, runs, training, test, table.

A fine-tuning is several runs of one recipe with different seeds, or different models.
"""

from __future__ import annotations

import dataclasses
import functools
import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from playlist_pretrain.errors import RunError, ScoresError, TaskError
from playlist_pretrain.evaluation.bootstrap import bootstrap_intervals
from playlist_pretrain.evaluation.scores import load_scores, measurable, save_scores
from playlist_pretrain.evaluation.statistics import summarise_runs
from playlist_pretrain.evaluation.tagging import (
    TaggingResult,
    tagging_metrics,
    write_per_tag_table,
)
from playlist_pretrain.files import TableWriter, atomic_write, content_key
from playlist_pretrain.messages import command, words_of
from playlist_pretrain.models import AUDIOSET, BACKBONES, SCRATCH
from playlist_pretrain.models.load import LoadedModel, label_of, starting_point
from playlist_pretrain.models.saved_model import save_tagger
from playlist_pretrain.models.track_outputs import track_means
from playlist_pretrain.records.collection import Collection
from playlist_pretrain.records.windows import WindowReader
from playlist_pretrain.runs import SUMMARY, Run
from playlist_pretrain.storage import location
from playlist_pretrain.tasks import SPLITS, TASKS, read_task
from playlist_pretrain.tasks.batches import TaggingStream, tagging_dataset
from playlist_pretrain.tasks.task import TaskRows, match_task
from playlist_pretrain.training.figures import draw_learning_curves, draw_per_tag
from playlist_pretrain.training.recipes import (
    OF_FINETUNE_PRESETS,
    FinetuneRecipe,
    made_by_demo,
)
from playlist_pretrain.training.strategy import Workers, check_share, make_strategy

if TYPE_CHECKING:
    import tensorflow as tf


logger = logging.getLogger(__name__)

TAGS = "tags.tsv"
SCORES, RESULTS, PER_TAG = "scores.npz", "results.csv", "per_tag.csv"
VALIDATION_SECONDS = 30.0
"""Validation looks at the centre of each track, the test at all of it (section 3.2)."""
METRICS = {"roc_auc": "ROC-AUC", "average_precision": "average precision"}
COLUMNS = (
    "epoch", "step", "loss", "cross_entropy", "learning_rate", "seconds", "windows_per_second",
    "validation_roc_auc", "validation_average_precision",
)  # fmt: skip
"""Columns of each run's ``history.csv``."""
RESULT_COLUMNS = (
    "run", "model", "seed", "epochs", "best_epoch", "validation_roc_auc",
    "validation_average_precision", "roc_auc", "roc_auc_low", "roc_auc_high",
    "average_precision", "average_precision_low", "average_precision_high",
)  # fmt: skip


class TaggingRuns(Run):
    """A folder of several runs of one recipe, ``run-1``, ``run-2``, …; it has no model itself."""

    def part(self, number: int) -> Run:
        """The run of that number, from 1."""
        return Run(self.path / f"run-{number}")

    @property
    def finished(self) -> bool:
        """Whether all runs are done, and summed up."""
        return (self.path / SUMMARY).exists()

    @property
    def best(self) -> int:
        """Number of the run that did best in validation, from 1."""
        with self.whole_summary():
            found = [run["validation_average_precision"] for run in self.summary["runs"]]
            return 1 + found.index(max(found))

    @property
    def contents(self) -> list[Path]:
        """Files and folders that the runs write, without their recipe."""
        names = (RESULTS, "results.md", PER_TAG, "predictions")
        runs = (path for path in self.path.glob("run-*") if path.name[4:].isdecimal())
        return [*super().contents, *runs, *(self.path / name for name in names)]

    def __repr__(self) -> str:
        if not self.finished:
            return super().__repr__()
        with self.whole_summary():
            found = ", ".join(f"{METRICS[name]} {self.summary[name]['text']}" for name in METRICS)
            return f"{type(self).__name__}({str(self.path)!r}: {found})"


def finetune(
    model: str | Path | Sequence[str | Path] = SCRATCH,
    *,
    collection: str | Path,
    task: str = "tags",
    out: str | Path | None = None,
    overwrite: bool = False,
    trust_model: bool = False,
    **settings: Any,
) -> TaggingRuns:
    """Train and test taggers, or go on with runs that were stopped.

    Parameters
    ----------
    model : str, Path or a sequence of them
        Where to start: the saved model of a run, ``scratch``, ``audioset``, or the ``.pb`` of a
        model that Essentia publishes; several of them have a run each.
    collection : str or Path
        Folder or URL of a collection.
    task : str
        Name in :data:`~playlist_pretrain.tasks.TASKS`; ``tags`` is a table of one's own.
    out : str or Path, optional
        Run folder [runs/COLLECTION-TASK-MODEL].
    overwrite : bool
        Start over in a run folder that is there.
    trust_model : bool
        See :func:`~playlist_pretrain.models.load.load_model`.
    **settings
        Fields of :class:`~playlist_pretrain.training.recipes.FinetuneRecipe`.

    Returns
    -------
    TaggingRuns
        Finished, unless SIGTERM stopped them: then the same call goes on with them.

    Raises
    ------
    PlaylistPretrainError
        With the option, file or track that has to be mended.
    """
    from playlist_pretrain.training.engine import tensorflow_errors

    models = (model,) if isinstance(model, str | Path) else model
    given = FinetuneRecipe(
        model=tuple(map(str, models)), collection=str(collection), task=task, **settings
    )
    runs = TaggingRuns(out or Path("runs") / default_name(given))
    runs.check()
    for name in set(given.model) - {SCRATCH, AUDIOSET}:
        if Path(name).resolve().is_relative_to(runs.path.resolve()):
            raise RunError(f"{runs.path}: --model {name} is in it; choose another --out")
    strategy = make_strategy(given.strategy, given.replicas)
    workers = Workers(strategy)
    with tensorflow_errors(runs.path):

        def settled() -> tuple[FinetuneRecipe, TaggingData]:
            own = given if overwrite else runs.with_saved(given, OF_FINETUNE_PRESETS)
            return settle(own, trust_model)

        recipe, data = workers.settled(settled)
        check_share(recipe.batch, strategy)
        with workers.folder(runs) as own:
            if workers.claim(runs, recipe, data.facts, overwrite=overwrite):
                logger.info(f"{runs.path} is finished; --overwrite starts over")
            elif not all_runs(recipe, data, runs, own, workers, strategy):
                return runs
    if workers.is_chief:
        more = [*(["--trust-model"] * trust_model), *(["--out", str(out)] if out else [])]
        report(runs, [*words_of(given), *more])
    return runs


def default_name(recipe: FinetuneRecipe) -> str:
    """Name of the run folder when the user gives none."""
    collection = location(recipe.collection).resolve().name
    labels = "+".join(label_of(name, recipe.backbone) for name in recipe.model)
    return f"{collection}-{recipe.task}-{labels}{'-frozen' if recipe.freeze else ''}"


@dataclass(frozen=True)
class TaggingData:
    """Inputs of a recipe: the collection, the task in its rows, and the models to start from."""

    collection: Collection
    task: TaskRows
    points: tuple[LoadedModel, ...]
    name: str
    citation: str
    facts: dict[str, Any]
    """Facts that decide the runs beside their recipe."""


def settle(recipe: FinetuneRecipe, trust: bool) -> tuple[FinetuneRecipe, TaggingData]:
    """Open the inputs of a recipe and settle every setting that depends on them."""
    TASKS.get(recipe.task)  # unknown names are refused before anything is read
    BACKBONES.get(recipe.backbone or "vggish")
    path = location(recipe.collection)
    collection = Collection.open(path)
    recipe = dataclasses.replace(recipe, collection=str(path))
    demo, frames = made_by_demo(collection), collection.front_end.window_frames
    recipe.resolve(demo=demo, window_frames=frames)  # refused before the task is read
    if recipe.task == "tags" and recipe.tags is None:
        if not (collection.path / TAGS).is_file():
            raise TaskError(
                f"{collection.path}: no {TAGS} in it; --tags FILE names a table of tracks and "
                "tags, --task another task"
            )
        recipe = dataclasses.replace(recipe, tags=str(collection.path / TAGS))
    logger.info(f"{collection.name}, {len(collection)} tracks")
    task = read_task(recipe)
    rows = match_task(task, collection, partial=recipe.partial)
    splits = [getattr(rows, name) for name in SPLITS]
    recipe = recipe.resolve(demo=demo, window_frames=frames, tracks=len(rows.train))
    logger.info(
        f"preset {recipe.preset}, {len(rows.train):,} tracks to train on: at most {recipe.epochs} "
        f"epochs, batch {recipe.batch}, {recipe.runs} {'run' if recipe.runs == 1 else 'runs'}"
        f"{'' if recipe.width is None else f', width {recipe.width:g}'}"
    )
    logger.info(f"task {task.name}")
    for note in rows.notes:
        logger.info(note)
    for name in ("validation", "test"):  # before hours of training, not after them
        try:
            measurable(getattr(rows, name).targets)
        except ScoresError as error:
            raise TaskError(f"{task.name}, {name}: {error}") from error
    targets = rows.validation.targets
    left_out = targets.all(axis=0) | ~targets.any(axis=0)
    if left_out.any():
        names = ", ".join(np.array(rows.classes)[left_out])
        logger.info(f"validation cannot measure, and leaves out: {names}")
    points = tuple(starting_point(name, recipe, collection, trust=trust) for name in recipe.model)
    parts = [array.tobytes() for split in splits for array in (split.rows, split.targets)]
    facts = {
        "collection": collection.content_key,
        "task": content_key("\n".join(rows.classes).encode(), *parts),
        "models": [point.key for point in points],
    }
    return recipe, TaggingData(collection, rows, points, task.name, task.citation, facts)


@dataclass(frozen=True)
class OneRun:
    """One of the runs; the seed is that of new weights, orders of tracks and window positions."""

    folder: Run  # that this worker writes
    resumes_from: Run  # the chief's
    number: int
    point: LoadedModel  # to start from
    seed: int


def all_runs(
    recipe: FinetuneRecipe,
    data: TaggingData,
    runs: TaggingRuns,
    own: TaggingRuns,
    workers: Workers,
    strategy: tf.distribute.Strategy,
) -> bool:
    """Do the runs that are missing and sum up; returns whether SIGTERM has not stopped them."""
    from playlist_pretrain.training.engine import Preempted

    planned = [
        (point, recipe.seed + number) for point in data.points for number in range(recipe.runs)
    ]
    for number, (point, seed) in enumerate(planned, 1):
        run = OneRun(own.part(number), runs.part(number), number, point, seed)
        if workers.together("run folders", lambda: run.resumes_from.finished, str):  # noqa: B023
            if workers.is_chief:
                run.resumes_from.drop_checkpoints()  # a kill may have come before it
            continue
        logger.info(f"run {number} of {len(planned)}: {point.label}, seed {seed}")
        try:
            train_and_test(recipe, run, data, workers, strategy)
        except Preempted as stopped:
            logger.info(f"{run.resumes_from.path}: {stopped}; the same command goes on")
            return False
        workers.together("results", lambda: None)
    if workers.is_chief:
        runs.finish(conclude(data, runs, len(planned)))
    workers.together("results", lambda: None)
    return True


def train_and_test(
    recipe: FinetuneRecipe,
    run: OneRun,
    data: TaggingData,
    workers: Workers,
    strategy: tf.distribute.Strategy,
) -> None:
    """Train one run with the shared engine, test its best epoch, and write its summary."""
    from playlist_pretrain.training.engine import BestEpoch, Engine

    reader = WindowReader(data.collection, run.point.frames, short="repeat")
    stream = TaggingStream(data.task.train, recipe.batch, run.seed)
    with strategy.scope():
        model = build_model(recipe, run, data, stream.steps_per_epoch)
    best = BestEpoch(
        [model.tagger],
        run.folder.checkpoints,
        run.resumes_from.checkpoints,
        "validation_average_precision",
        recipe.patience,
    )
    engine = Engine(
        model,
        run.folder,
        COLUMNS,
        steps_per_epoch=stream.steps_per_epoch,
        epochs=recipe.epochs,
        windows=recipe.batch,
        check=check_finite,
        # All workers have to agree on which epoch is the best, and stop together.
        evaluate=lambda epoch: {
            name: workers.of_chief(value) for name, value in validate(model.tagger, data).items()
        },
        best=best,
    )
    rows = engine.train(
        functools.partial(tagging_dataset, reader, stream),
        reader=reader,
        workers=workers,
        resumes_from=run.resumes_from,
    )
    best.restore(rows)
    test(model.tagger, best.row(rows), len(rows), recipe, run, data, reader)


def build_model(
    recipe: FinetuneRecipe, run: OneRun, data: TaggingData, steps: int
) -> tf.keras.Model:
    """Build and compile the trainer of a run, whose epochs have so many ``steps``."""
    import tensorflow as tf

    from playlist_pretrain.models.layers import precision
    from playlist_pretrain.models.tagger import TaggerTrainer, tagger
    from playlist_pretrain.training.schedules import triangular

    classes = len(data.task.classes)
    with precision(recipe.precision):
        backbone = run.point.build(run.seed)
        backbone.trainable = not recipe.freeze
        model = TaggerTrainer(
            tagger(
                backbone,
                classes,
                head=recipe.head,
                initializer=recipe.initializer,
                seed=run.seed + 1,
            ),
            recipe.l2,
        )
        schedule = triangular(
            recipe.low_learning_rate, recipe.high_learning_rate, recipe.cycle_epochs * steps
        )
        model.compile(
            optimizer=tf.keras.optimizers.Adam(schedule),
            loss=tf.keras.losses.BinaryCrossentropy(),
            metrics=[tf.keras.metrics.BinaryCrossentropy(name="cross_entropy")],
        )
        # Keras makes the running means at the first step only; a checkpoint needs them before.
        activations = tf.zeros([1, classes])
        model.compiled_loss.build(activations)
        model.compiled_metrics.build(activations, activations)
    return model


def check_finite(epoch: int, logs: Mapping[str, Any]) -> None:
    """Raise RunError when the mean loss of an epoch is not finite."""
    if not math.isfinite(loss := float(logs["loss"])):
        raise RunError(
            f"the loss of epoch {epoch} is {loss}; try a lower --high-learning-rate or "
            "--l2, with --overwrite or another --out"
        )


def validate(tagger: tf.keras.Model, data: TaggingData) -> dict[str, float]:
    """Compute macro ROC-AUC and average precision on the validation split."""
    split = data.task.validation
    scores = track_means(tagger, data.collection, rows=split.rows, seconds=VALIDATION_SECONDS)
    result = tagging_metrics(split.targets, scores, data.task.classes)
    return {
        "validation_roc_auc": result.macro_roc_auc,
        "validation_average_precision": result.macro_average_precision,
    }


def test(
    model: tf.keras.Model,
    best: Mapping[str, Any],
    epochs: int,
    recipe: FinetuneRecipe,
    run: OneRun,
    data: TaggingData,
    reader: WindowReader,
) -> None:
    """Export the tagger of the best epoch, prove it by reloading, test it, and sum up."""
    from playlist_pretrain.models.layers import plain_float32
    from playlist_pretrain.training.engine import check_export

    folder, classes, split = run.folder, data.task.classes, data.task.test
    tagger = plain_float32(model)
    about = {
        "recipe": dataclasses.asdict(recipe),
        "collection": data.collection.name,
        "task": data.name,
        "citation": data.citation,
        "run": run.number,
        "seed": run.seed,
    }
    save_tagger(tagger, classes, run.point.front_end, folder.saved_model, about)
    difference, _ = check_export(tagger, folder.saved_model, reader, split.rows, scale=1.0)
    scores = track_means(tagger, data.collection, rows=split.rows, desc="testing")
    track_ids = [data.collection.track_ids[row] for row in split.rows]
    save_scores(folder.path / SCORES, track_ids, split.targets, scores, classes)
    result = measure(folder.path / SCORES)
    intervals = bootstrap_intervals(split.targets, scores)
    folder.finish(
        {
            "model": run.point.label,
            "seed": run.seed,
            "epochs": epochs,
            "best_epoch": int(best["epoch"]),
            "validation_roc_auc": float(best["validation_roc_auc"]),
            "validation_average_precision": float(best["validation_average_precision"]),
            "roc_auc": result.macro_roc_auc,
            "average_precision": result.macro_average_precision,
            "intervals": {name: list(ends) for name, ends in intervals.items()},
            "left_out": list(result.left_out),
            "export_difference": difference,
        }
    )
    folder.drop_checkpoints()


def measure(path: Path) -> TaggingResult:
    """Compute the metrics of a file of per-track scores."""
    _, targets, scores, classes = load_scores(path)
    return tagging_metrics(targets, scores, classes)


def conclude(data: TaggingData, runs: TaggingRuns, count: int) -> dict[str, Any]:
    """Measure the saved scores of all runs again, write the tables and figures, and sum up."""
    from playlist_pretrain.training.engine import read_history

    parts = [runs.part(number) for number in range(1, count + 1)]
    try:
        results = [measure(part.path / SCORES) for part in parts]
    except ScoresError as error:
        raise RunError(
            f"{error}; with the {SUMMARY} beside it removed, the same command does that run again"
        ) from error
    write_per_tag_table(runs.path / PER_TAG, results)
    draw_per_tag(results, runs.figures / "per_tag.png")
    draw_learning_curves(
        {f"run {k}": read_history(part.history, COLUMNS) for k, part in enumerate(parts, 1)},
        runs.figures / "curves.png",
    )
    found = {
        name: summarise_runs([getattr(result, f"macro_{name}") for result in results])
        for name in METRICS
    }
    splits = {name: getattr(data.task, name) for name in SPLITS}
    summary: dict[str, Any] = {
        "task": data.name,
        "citation": data.citation,
        "notes": list(data.task.notes),
        "tracks": {name: {"used": len(rows), "of": rows.asked} for name, rows in splits.items()},
        "classes": len(data.task.classes),
        "left_out": list(results[0].left_out),
        "runs": [part.summary for part in parts],
        **{name: {"mean": s.mean, "std": s.std, "text": s.text()} for name, s in found.items()},
    }
    with atomic_write(runs.path / RESULTS, "w") as stream:
        table = TableWriter(stream)
        table.writerow(RESULT_COLUMNS)
        for number, part in enumerate(summary["runs"], 1):
            ends = {
                f"{name}_{end}": part["intervals"][name][side]
                for name in METRICS
                for side, end in enumerate(("low", "high"))
            }
            cells = {"run": number, **part, **ends}
            table.writerow(cells.get(name) for name in RESULT_COLUMNS)
    with atomic_write(runs.path / "results.md", "w") as stream:
        stream.write("\n".join([*markdown(summary), ""]))
    return summary


def markdown(summary: Mapping[str, Any]) -> list[str]:
    """Lines of a table: a row a run, with 95 % intervals over the tracks, and mean ± std."""
    lines = [
        "| run | model | epochs (best) | ROC-AUC [95 %] | average precision [95 %] |",
        "|---|---|---|---|---|",
    ]
    for number, part in enumerate(summary["runs"], 1):
        cells = [
            "{:.3f} [{:.3f}, {:.3f}]".format(part[name], *part["intervals"][name])
            for name in METRICS
        ]
        epochs = f"{part['epochs']} ({part['best_epoch']})"
        lines.append(f"| {number} | {part['model']} | {epochs} | {' | '.join(cells)} |")
    means = [summary[name]["text"] for name in METRICS]
    lines.append(f"| mean ± std | | | {' | '.join(means)} |")
    return lines


def report(runs: TaggingRuns, words: Sequence[str]) -> None:
    """Log the table of a fine-tuning, what was left out, and the next command.

    ``words`` are the options of the fine-tuning on a command line.
    """
    with runs.whole_summary():
        summary = runs.summary
        tracks = summary["tracks"]["test"]
        of = "" if tracks["used"] == tracks["of"] else f" of {tracks['of']:,}"
        measured = summary["classes"] - len(summary["left_out"])
        lines = [
            f"{summary['task']}: {tracks['used']:,}{of} test tracks, means over {measured} classes",
            *markdown(summary),
        ]
        if summary["left_out"]:
            names = ", ".join(summary["left_out"])
            lines.append(f"left out, since no test track has them, or all: {names}")
        citation = summary["citation"]
    path = runs.path
    lines += [
        f"tags: {path / PER_TAG}; figures: {runs.figures}; scores: {path}/run-*/{SCORES}",
        f"taggers: {path}/run-*/saved_model",
        *([f"cite: {citation}"] if citation else []),
        "the next command tags a folder of audio files, DIR",
        "next: " + command("finetune", *words, "--predict", "DIR"),
    ]
    for line in lines:
        logger.info(line)
