"""What a fine-tuning comes to: the table of its runs, their means, tags and figures."""

from __future__ import annotations

import csv
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from playlist_pretrain.commands import command
from playlist_pretrain.errors import RunError, ScoresError
from playlist_pretrain.files import atomic_write
from playlist_pretrain.recipes import FinetuneRecipe
from playlist_pretrain.runs import SUMMARY, Run
from playlist_pretrain.tasks import SPLITS
from playlist_pretrain.training.tag_run import SCORES, measure

if TYPE_CHECKING:
    from playlist_pretrain.training.finetune_inputs import TaggingData

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
    from playlist_pretrain.evaluation.tagging_figures import draw_learning_curves, draw_per_tag
    from playlist_pretrain.training.history import read_history
    from playlist_pretrain.training.tag_callbacks import COLUMNS as HISTORY

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
