"""Figures of tagging."""

import matplotlib.figure
import numpy as np
import pytest

from playlist_pretrain.evaluation.tagging import tagging_metrics
from playlist_pretrain.training.figures import draw_per_tag

CLASSES = ("rock", "r&b $5 $6", "none has it", "ジャズ")


@pytest.fixture
def drawn(monkeypatch):
    """The figure that was saved last."""
    figures = []
    save = matplotlib.figure.Figure.savefig
    monkeypatch.setattr(
        matplotlib.figure.Figure,
        "savefig",
        lambda figure, *args, **options: (figures.append(figure), save(figure, *args, **options)),
    )
    return figures


@pytest.fixture
def runs(rng):
    targets = rng.random((50, 4)) < 0.4
    targets[:, 2] = False
    return [
        tagging_metrics(targets, rng.normal(size=targets.shape) + targets * i, CLASSES)
        for i in (0.5, 1, 2)
    ]


@pytest.mark.filterwarnings("ignore:Glyph")
def test_bars_are_sorted_and_named(runs, drawn, tmp_path):
    draw_per_tag(runs[2], tmp_path / "new" / "one.png")
    draw_per_tag(runs, tmp_path / "new" / "three.png")
    for name in ("one.png", "three.png"):
        assert (tmp_path / "new" / name).read_bytes().startswith(b"\x89PNG")
    one, three = (figure.axes[0] for figure in drawn)
    lengths = [bar.get_width() for bar in one.patches]
    assert lengths == sorted(lengths) == np.sort(runs[2].average_precision)[:3].tolist()
    best = np.nanargmax(runs[2].average_precision)
    label = one.get_yticklabels()[-1].get_text()
    assert label == f"{CLASSES[best]} ({runs[2].support[best]})"
    macro = f"macro {runs[2].macro_average_precision:.3f}"
    assert one.get_title() == f"{macro}; left out: 1 of 4 classes"
    assert "mean of 3 runs" in three.get_title()
    assert len(three.containers) == 2  # bars, and their whiskers
