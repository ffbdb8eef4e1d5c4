"""Figures of training as PNG: curves of a run, and average precision class by class."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from playlist_pretrain.evaluation.tagging import TaggingResult, over_runs
from playlist_pretrain.files import atomic_write

if TYPE_CHECKING:
    from matplotlib.figure import Figure

CURVES = {
    "loss": "loss in training",
    "validation_average_precision": "Average Precision, validation",
    "validation_roc_auc": "ROC-AUC, validation",
}
_INCHES_A_CLASS = 0.2
_MOST_INCHES = 400  # a PNG of matplotlib has at most 65,535 pixels a side


def draw_curves(
    rows: Sequence[Mapping[str, Any]],
    path: str | Path,
    chance: float,
    probe_chance: float,
    kept: int,
) -> None:
    """Draw loss, learning rate and retrieval probe of a history against the steps, as a PNG.

    ``chance`` is the loss at chance, ``probe_chance`` the top-1 of the probe (nan without one),
    ``kept`` the step that became the model.
    """
    probed = [row for row in rows if row["probe_top1"] != ""]
    figure = _figure(8, 8 if probed else 5.5)
    axes = figure.subplots(3 if probed else 2, 1, sharex=True)

    def draw(place: int, name: str, where: Sequence[Mapping[str, Any]], label: str = "") -> None:
        steps = [int(row["step"]) for row in where]
        axes[place].plot(steps, [float(row[name]) for row in where], label=label or None)

    draw(0, "loss", rows)
    axes[0].axhline(chance, color="grey", linestyle=":", label=f"chance {chance:.2f}")
    axes[0].set_ylabel("NT-Xent")
    axes[0].legend()
    draw(1, "learning_rate", rows)
    axes[1].set_ylabel("learning rate")
    if probed:
        draw(2, "probe_top1", probed, "top-1")
        draw(2, "probe_top10", probed, "top-10")
        draw(2, "probe_percentile", probed, "percentile")
        axes[2].axhline(probe_chance, color="grey", linestyle=":", label="top-1 by chance")
        axes[2].axvline(kept, color="grey", linewidth=0.8, label=f"model: step {kept}")
        axes[2].set_ylabel("retrieval, held out")
        axes[2].legend()
    axes[-1].set_xlabel("step")
    _save(figure, path)


def draw_per_tag(results: TaggingResult | Sequence[TaggingResult], path: str | Path) -> None:
    """Draw a bar of Average Precision for each class as a PNG, the best on top.

    Several runs on the same split give bars of their means and whiskers of ± one sample standard
    deviation. Classes that are left out have no bar. Raises ScoresError if the results are not of
    the same classes and tracks.
    """
    results = [results] if isinstance(results, TaggingResult) else list(results)
    mean, std = (values[1] for values in over_runs(results))
    support = results[0].support
    shown = np.flatnonzero(~np.isnan(mean))
    shown = shown[np.argsort(mean[shown], kind="stable")]
    height = min(1.2 + _INCHES_A_CLASS * len(shown), _MOST_INCHES)
    figure = _figure(8, height)
    axes = figure.subplots()
    places = np.arange(len(shown))
    axes.barh(places, mean[shown], xerr=std[shown] if len(results) > 1 else None)
    labels = [f"{results[0].classes[row]} ({support[row]:,})" for row in shown]
    axes.set_yticks(places, labels, fontsize="small", parse_math=False)
    axes.set_ylim(-0.6, len(shown) - 0.4)
    axes.set_xlim(0, 1)
    axes.set_xlabel("Average Precision of each class (tracks that have it)")
    macro = float(np.mean([result.macro_average_precision for result in results]))
    axes.axvline(macro, color="grey", linestyle=":")
    title = f"macro {macro:.3f}"
    if len(results) > 1:
        title += f", mean of {len(results)} runs"
    if results[0].left_out:
        title += f"; left out: {len(results[0].left_out):,} of {len(support):,} classes"
    axes.set_title(title, fontsize="medium")
    _save(figure, path)


def draw_learning_curves(
    runs: Mapping[str, Sequence[Mapping[str, str | float]]], path: str | Path
) -> None:
    """Draw loss and validation metrics of several histories against the epoch, a line a run.

    A value that is empty or not there is left out of its curve.
    """
    figure = _figure(8, 8)
    every_axes = figure.subplots(len(CURVES), 1, sharex=True)
    for axes, (column, label) in zip(every_axes, CURVES.items(), strict=True):
        for rows in runs.values():
            there = [row for row in rows if row.get(column, "") != ""]
            epochs = [int(row["epoch"]) for row in there]
            axes.plot(epochs, [float(row[column]) for row in there], marker=".")
        axes.set_ylabel(label)
    every_axes[-1].set_xlabel("epoch")
    every_axes[-1].xaxis.get_major_locator().set_params(integer=True)
    legend = every_axes[0].legend(every_axes[0].lines, list(runs), fontsize="small")
    for text in legend.get_texts():
        text.set_parse_math(False)
    _save(figure, path)


def _figure(width: float, height: float) -> Figure:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def _save(figure: Figure, path: str | Path) -> None:
    with atomic_write(path) as stream:
        figure.savefig(stream, format="png", dpi=120)
