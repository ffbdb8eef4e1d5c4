"""What a fine-tuning reads: its collection, its task and what it starts from.

One run of a fine-tuning: model, fit, best epoch, test, export.

What a fine-tuning comes to: the table of its runs, their means, tags and figures.

Fine-tuning from top to bottom: recipe, task, runs, table, predictions.
"""

from __future__ import annotations

import csv
import dataclasses
import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from playlist_pretrain.cli import command_line
from playlist_pretrain.demo import DEMO_COLLECTION, ready_demo
from playlist_pretrain.errors import ModelError, RunError, ScoresError, TaskError
from playlist_pretrain.files import atomic_write, content_key
from playlist_pretrain.messages import command, words_of
from playlist_pretrain.models.load import LoadedModel, label_of, starting_point
from playlist_pretrain.retrieval.predict import check_audio, predict_folder
from playlist_pretrain.runs import SUMMARY, Run, tensorflow_errors, what_decides
from playlist_pretrain.storage import location
from playlist_pretrain.tasks import SPLITS
from playlist_pretrain.training.engine import fits, reading_errors
from playlist_pretrain.training.recipes import AUDIOSET, SCRATCH, FinetuneRecipe
from playlist_pretrain.training.strategy import (
    Preempted,
    Workers,
    check_share,
    make_strategy,
    shared_out,
)

if TYPE_CHECKING:
    from pathlib import Path

    import tensorflow as tf

    from playlist_pretrain.evaluation.tagging import TaggingResult
    from playlist_pretrain.models.load import LoadedModel
    from playlist_pretrain.records.collection import Collection
    from playlist_pretrain.records.windows import WindowReader
    from playlist_pretrain.storage import RemotePath
    from playlist_pretrain.tasks.task import SplitRows, TaskRows
    from playlist_pretrain.training.recipes import FinetuneRecipe

TAGS = "tags.tsv"
MEASURED = ("validation", "test")


@dataclass(frozen=True)
class TaggingData:
    """What a recipe reads.

    Attributes
    ----------
    collection : Collection
    task : TaskRows
        In rows of the collection.
    points : tuple of LoadedModel
        One for each model.
    name : str
        Of the task.
    citation : str
        Of its dataset.
    facts : dict
        What decides the runs beside their recipe.
    """

    collection: Collection
    task: TaskRows
    points: tuple[LoadedModel, ...]
    name: str
    citation: str
    facts: dict[str, Any]


def settle(
    recipe: FinetuneRecipe, say: Callable[[str], None], *, quiet: bool
) -> tuple[FinetuneRecipe, TaggingData]:
    """Open what the recipe names and settle every setting that depends on it."""
    from playlist_pretrain.records.collection import Collection
    from playlist_pretrain.tasks import TASKS, read_task
    from playlist_pretrain.tasks.task import match_task

    TASKS.get(recipe.task)  # refuses an unknown one before anything is read
    path = location(recipe.collection) if recipe.collection else ready_demo(say, quiet=quiet)
    collection = Collection.open(path)
    recipe = dataclasses.replace(recipe, collection=str(path)).resolve(
        demo=is_demo(path), window_frames=collection.front_end.window_frames
    )
    if recipe.task == "tags" and recipe.tags is None:
        recipe = dataclasses.replace(recipe, tags=_own_tags(collection))
    say(f"preset {recipe.preset}: {collection.name}, {len(collection)} tracks")
    task = read_task(recipe)
    rows = match_task(task, collection, partial=recipe.partial)
    say(f"task {task.name}")
    for note in rows.notes:
        say(note)
    for name in MEASURED:
        _check_measurable(task.name, name, getattr(rows, name))
    left_out = rows.validation.targets.all(axis=0) | ~rows.validation.targets.any(axis=0)
    if left_out.any():
        names = ", ".join(np.array(rows.classes)[left_out])
        say(f"validation cannot measure, and leaves out: {names}")
    points = tuple(starting_point(name, recipe, collection) for name in recipe.model)
    parts = [part for name in SPLITS for part in _bytes_of(getattr(rows, name))]
    facts = {
        "collection": collection.content_key,
        "task": content_key("\n".join(rows.classes).encode(), *parts),
        "models": [point.key for point in points],
    }
    return recipe, TaggingData(collection, rows, points, task.name, task.citation, facts)


def _check_measurable(task: str, name: str, split: SplitRows) -> None:
    """Refuse, before hours of training, a split that no metric can be worked out for after it."""
    from playlist_pretrain.evaluation.scores import measurable

    try:
        measurable(split.targets)
    except ScoresError as error:
        raise TaskError(f"{task}, {name}: {error}") from error


def _bytes_of(split: SplitRows) -> tuple[bytes, bytes]:
    return split.rows.tobytes(), split.targets.tobytes()


def is_demo(path: Path | RemotePath) -> bool:
    """Whether a path is one of the demo's two collections."""
    demo = DEMO_COLLECTION.resolve()
    return path.resolve() in (demo, demo.with_name(f"{demo.name}-eval"))


def _own_tags(collection: Collection) -> str:
    path = collection.path / TAGS
    if not path.is_file():
        raise TaskError(
            f"{collection.path}: no {TAGS} in it; --tags FILE names a table of tracks and tags, "
            "--task another task"
        )
    return str(path)


def default_name(recipe: FinetuneRecipe) -> str:
    """Name of a run folder when the user gives none."""
    collection = location(recipe.collection or DEMO_COLLECTION).resolve().name
    labels = "+".join(label_of(name, recipe.backbone) for name in recipe.model)
    frozen = "-frozen" if recipe.freeze else ""
    return f"{collection}-{recipe.task}-{labels}{frozen}"


VALIDATION_SECONDS = 30.0
"""Validation looks at the centre of each track, the test at all of it (section 3.2)."""
PARITY_WINDOWS = 8
PARITY_TOLERANCE = 1e-4
SCORES = "scores.npz"


@dataclass(frozen=True)
class OneRun:
    """One of the runs.

    Attributes
    ----------
    folder : Run
        Below the folder of all runs.
    number : int
        From 1.
    point : LoadedModel
    seed : int
        Of new weights, the order of the tracks and the window positions.
    """

    folder: Run
    number: int
    point: LoadedModel
    seed: int


def build(recipe: FinetuneRecipe, run: OneRun, data: TaggingData, steps: int) -> tf.keras.Model:
    """Compiled trainer of a run, whose epochs have so many ``steps``."""
    import tensorflow as tf

    from playlist_pretrain.models.layers import precision
    from playlist_pretrain.models.tagger import TaggerTrainer, tagger
    from playlist_pretrain.training.schedules import triangular

    with precision(recipe.precision):
        backbone = run.point.build(run.seed)
        backbone.trainable = not recipe.freeze
        model = TaggerTrainer(
            tagger(
                backbone,
                len(data.task.classes),
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
        activations = tf.zeros([1, len(data.task.classes)])
        model.compiled_loss.build(activations)
        model.compiled_metrics.build(activations, activations)
    return model


def train_and_test(
    recipe: FinetuneRecipe,
    run: OneRun,
    data: TaggingData,
    workers: Workers,
    strategy: tf.distribute.Strategy,
    *,
    resumes_from: Run,
    quiet: bool,
    say: Callable[[str], None],
) -> None:
    """Go through one run, or through what is missing of it; it ends with its summary."""
    from playlist_pretrain.records.windows import WindowReader
    from playlist_pretrain.tasks.batches import TaggingStream

    reader = WindowReader(data.collection, run.point.frames, short="repeat")
    stream = TaggingStream(data.task.train, recipe.batch, run.seed)
    with strategy.scope():
        model = build(recipe, run, data, stream.steps_per_epoch)
    best = _fit(
        model, recipe, run, data, reader, stream, workers, resumes_from=resumes_from, quiet=quiet,
        say=say,
    )  # fmt: skip
    best.restore(model.tagger)
    _conclude(model.tagger, best, recipe, run, data, reader, quiet=quiet)


def _fit(model, recipe, run, data, reader, stream, workers, *, resumes_from, quiet, say):
    """Fit to the last epoch or the early stop, from the newest checkpoint if there is one."""
    from playlist_pretrain.tasks.batches import tagging_dataset
    from playlist_pretrain.training import callbacks
    from playlist_pretrain.training import callbacks as tag_callbacks
    from playlist_pretrain.training.callbacks import EpochTable, read_history

    folder = run.folder
    per_epoch, total = stream.steps_per_epoch, recipe.epochs * stream.steps_per_epoch
    checkpoints = callbacks.Checkpoints(folder.checkpoints, per_epoch, 1, total, lambda: None)
    done = workers.together(
        "checkpoints", lambda: checkpoints.restore(model, resumes_from.checkpoints), str
    )
    if done and done < total:
        say(f"{resumes_from.path}: going on after step {done}")
    before = read_history(resumes_from.history, tag_callbacks.COLUMNS)
    table = EpochTable(
        folder.history, folder.tensorboard, tag_callbacks.COLUMNS, per_epoch, recipe.batch, done,
        before,
    )  # fmt: skip
    metrics = functools.partial(
        _validation_metrics, reader, data.task.validation, data.task.classes
    )
    # All workers have to agree on which epoch is the best, and stop together.
    validation = tag_callbacks.Validation(
        lambda tagger: tuple(map(workers.of_chief, metrics(tagger)))
    )
    best = tag_callbacks.BestEpoch(
        folder.checkpoints, resumes_from.checkpoints, table, recipe.patience
    )
    bar = callbacks.Progress(total, done, quiet)
    preemption = callbacks.Preemption(checkpoints, workers.any_true)
    used = [
        callbacks.KerasHistory(), tag_callbacks.FiniteEpoch(), validation, table, best,
        checkpoints, bar, preemption,
    ]  # fmt: skip
    with reading_errors(reader):
        for first, last, steps in fits(done, per_epoch, recipe.epochs):
            if best.exhausted:
                break
            dataset = functools.partial(
                tagging_dataset,
                reader,
                stream,
                first=last * per_epoch - (last - first) * steps,
                last=last * per_epoch,
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
    return best


def track_scores(
    model: tf.keras.Model,
    reader: WindowReader,
    rows: np.ndarray,
    seconds: float | None,
    *,
    quiet: bool,
) -> np.ndarray:
    """Mean activations of non-overlapping windows, float32 [tracks, classes].

    Parameters
    ----------
    model : tf.keras.Model
        A tagger.
    reader : WindowReader
    rows : ndarray [shape=(tracks,), int]
    seconds : float or None
        In the centre of each track; None for all of it.
    quiet : bool
        No progress.
    """
    from playlist_pretrain.records.windows import WindowPositions
    from playlist_pretrain.retrieval.window_batches import track_means

    return track_means(model, WindowPositions(reader, rows, seconds), quiet=quiet)


def _validation_metrics(
    reader: WindowReader, split: SplitRows, classes: tuple[str, ...], model: tf.keras.Model
) -> tuple[float, float]:
    from playlist_pretrain.evaluation.tagging import tagging_metrics

    scores = track_scores(model, reader, split.rows, VALIDATION_SECONDS, quiet=True)
    result = tagging_metrics(split.targets, scores, classes)
    return result.macro_roc_auc, result.macro_average_precision


def _conclude(
    model: tf.keras.Model,
    best: Any,
    recipe: FinetuneRecipe,
    run: OneRun,
    data: TaggingData,
    reader: WindowReader,
    *,
    quiet: bool,
) -> None:
    """Export the best epoch, prove it, test it, and sum up."""
    from playlist_pretrain.evaluation.bootstrap import bootstrap_intervals
    from playlist_pretrain.evaluation.scores import save_scores
    from playlist_pretrain.models.layers import plain_float32
    from playlist_pretrain.models.saved_model import save_tagger

    folder, classes, test = run.folder, data.task.classes, data.task.test
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
    rows = np.resize(test.rows, PARITY_WINDOWS)
    windows = reader.read(rows, np.zeros(PARITY_WINDOWS, np.int32))
    difference = check_tagger(tagger, folder.saved_model, windows)
    scores = track_scores(tagger, reader, test.rows, None, quiet=quiet)
    track_ids = [data.collection.track_ids[row] for row in test.rows]
    save_scores(folder.path / SCORES, track_ids, test.targets, scores, classes)
    result = measure(folder.path / SCORES)
    intervals = bootstrap_intervals(test.targets, scores)
    row = best.row
    folder.finish(
        {
            "model": run.point.label,
            "seed": run.seed,
            "epochs": best.epochs,
            "best_epoch": best.epoch,
            "validation_roc_auc": float(row["validation_roc_auc"]),
            "validation_average_precision": float(row["validation_average_precision"]),
            "roc_auc": result.macro_roc_auc,
            "average_precision": result.macro_average_precision,
            "intervals": {name: list(ends) for name, ends in intervals.items()},
            "left_out": list(result.left_out),
            "export_difference": difference,
        }
    )
    folder.drop_checkpoints()


def measure(path: Path) -> TaggingResult:
    """Metrics of a file of per-track scores."""
    from playlist_pretrain.evaluation.scores import load_scores
    from playlist_pretrain.evaluation.tagging import tagging_metrics

    _, targets, scores, classes = load_scores(path)
    return tagging_metrics(targets, scores, classes)


def check_tagger(tagger: tf.keras.Model, saved_model: Path, windows: np.ndarray) -> float:
    """Largest difference between a tagger and its reloaded export.

    Raises
    ------
    ModelError
        If it is above 1e-4: activations go from 0 to 1.
    """
    from playlist_pretrain.models.load import load_tagger

    before = tagger(windows, training=False).numpy()
    after = load_tagger(saved_model).model(windows, training=False).numpy()
    difference = float(np.abs(before - after).max())
    if not difference <= PARITY_TOLERANCE:
        raise ModelError(
            f"{saved_model}: the export differs from the trained model by {difference:.3g}"
        )
    return difference


METRICS = {"roc_auc": "ROC-AUC", "average_precision": "average precision"}
RESULTS, PER_TAG = "results.csv", "per_tag.csv"
COLUMNS = (
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
    def contents(self) -> list[Path]:
        """What the runs write, but for the recipe."""
        names = (RESULTS, "results.md", PER_TAG, "predictions")
        runs = (path for path in self.path.glob("run-*") if path.name[4:].isdecimal())
        return [*super().contents, *runs, *(self.path / name for name in names)]


def conclude(
    recipe: FinetuneRecipe, data: TaggingData, run: TaggingRuns, count: int
) -> dict[str, Any]:
    """Measure the saved scores of all runs again, write the tables and figures, and sum up."""
    from playlist_pretrain.evaluation.statistics import summarise_runs
    from playlist_pretrain.evaluation.tagging import write_per_tag_table
    from playlist_pretrain.training.callbacks import TAG_CALLBACKS_COLUMNS as HISTORY
    from playlist_pretrain.training.callbacks import read_history
    from playlist_pretrain.training.figures import draw_learning_curves, draw_per_tag

    parts = [run.part(number) for number in range(1, count + 1)]
    try:
        results = [measure(part.path / SCORES) for part in parts]
    except ScoresError as error:
        raise RunError(
            f"{error}; with the {SUMMARY} beside it removed, the same command does that run again"
        ) from error
    runs = [part.summary for part in parts]
    write_per_tag_table(run.path / PER_TAG, results)
    draw_per_tag(results, run.figures / "per_tag.png")
    draw_learning_curves(
        {f"run {k}": read_history(part.history, HISTORY) for k, part in enumerate(parts, 1)},
        run.figures / "curves.png",
    )
    found = {
        name: summarise_runs([getattr(result, f"macro_{name}") for result in results])
        for name in METRICS
    }
    summary = {
        "task": data.name,
        "citation": data.citation,
        "notes": list(data.task.notes),
        "tracks": {
            name: {"used": len(rows), "of": rows.asked}
            for name, rows in ((name, getattr(data.task, name)) for name in SPLITS)
        },
        "classes": len(data.task.classes),
        "left_out": list(results[0].left_out),
        "runs": runs,
        **{name: {"mean": s.mean, "std": s.std, "text": s.text()} for name, s in found.items()},
    }
    _write_results(run, summary)
    return summary


def _write_results(run: TaggingRuns, summary: dict[str, Any]) -> None:
    with atomic_write(run.path / RESULTS, "w") as stream:
        table = csv.DictWriter(stream, COLUMNS, extrasaction="ignore", lineterminator="\n")
        table.writeheader()
        for number, part in enumerate(summary["runs"], 1):
            ends = {
                f"{name}_{end}": part["intervals"][name][side]
                for name in METRICS
                for side, end in enumerate(("low", "high"))
            }
            table.writerow({"run": number, **part, **ends})
    with atomic_write(run.path / "results.md", "w") as stream:
        stream.write("\n".join([*markdown(summary), ""]))


def markdown(summary: dict[str, Any]) -> list[str]:
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


def report(
    summary: dict[str, Any], run: TaggingRuns, words: Sequence[str], say: Callable[[str], None]
) -> None:
    """Print the table of a fine-tuning, what was left out, and the next command.

    ``words`` are those that the fine-tuning was asked for with.
    """
    tracks = summary["tracks"]["test"]
    of = "" if tracks["used"] == tracks["of"] else f" of {tracks['of']:,}"
    measured = summary["classes"] - len(summary["left_out"])
    say(f"{summary['task']}: {tracks['used']:,}{of} test tracks, means over {measured} classes")
    for line in markdown(summary):
        say(line)
    if summary["left_out"]:
        say(f"left out, since no test track has them, or all: {', '.join(summary['left_out'])}")
    say(f"tags: {run.path / PER_TAG}; figures: {run.figures}; scores: {run.path}/run-*/{SCORES}")
    say(f"taggers: {run.path}/run-*/saved_model")
    if summary["citation"]:
        say(f"cite: {summary['citation']}")
    say("the next command tags a folder of audio files, DIR")
    say("next: " + command("finetune", *words, "--predict", "DIR"))


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
    from playlist_pretrain.models.load import load_tagger

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
    return command_line.run(
        FinetuneCommand, finetune, prog="finetune.py", epilog=EXAMPLES, argv=argv
    )
