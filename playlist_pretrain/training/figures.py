"""Curves of a run as PNG."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from playlist_pretrain.files import atomic_write


def draw_curves(rows: Sequence[dict], path: str | Path, chance: float, probe_chance: float) -> None:
    """Draw loss, learning rate and retrieval probe against the steps.

    Parameters
    ----------
    rows : sequence of dict
        Rows of ``history.csv``.
    path : str or Path
        PNG to write.
    chance : float
        Loss at chance.
    probe_chance : float
        Expected top-1 of the probe at chance; nan when there was no probe.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    steps = [int(row["step"]) for row in rows]
    probed = [row for row in rows if row["probe_top1"] != ""]
    figure = Figure(figsize=(8, 8 if probed else 5.5), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(3 if probed else 2, 1, sharex=True)
    axes[0].plot(steps, [float(row["loss"]) for row in rows])
    axes[0].axhline(chance, color="grey", linestyle=":", label=f"chance {chance:.2f}")
    axes[0].set_ylabel("NT-Xent")
    axes[0].legend()
    axes[1].plot(steps, [float(row["learning_rate"]) for row in rows])
    axes[1].set_ylabel("learning rate")
    if probed:
        at = [int(row["step"]) for row in probed]
        for name, label in (("probe_top1", "top-1"), ("probe_top10", "top-10")):
            axes[2].plot(at, [float(row[name]) for row in probed], label=label)
        axes[2].axhline(probe_chance, color="grey", linestyle=":", label="top-1 by chance")
        axes[2].set_ylabel("retrieval, held out")
        axes[2].legend()
    axes[-1].set_xlabel("step")
    with atomic_write(path) as stream:
        figure.savefig(stream, format="png", dpi=120)
