"""Tables of made-up cells equal a table made by hand."""

import csv
import io
import json

import numpy as np
import pytest

from playlist_pretrain.errors import ScoresError
from playlist_pretrain.evaluation.paper_tables import (
    Difference,
    Measured,
    TableColumn,
    TableRow,
    build,
    csv_text,
    document,
    latex,
    markdown,
    pair_counts,
    tex,
)

ROWS = [
    TableRow("scratch", "VGGish", "From Scratch", "artist"),
    TableRow("artist", "VGGish", "Artist CO", "artist"),
    TableRow("playlist", "VGGish", "Playlist CO", "artist"),
    TableRow("res", "ResNet50", "Playlist CO", "res-artist"),
]
COLUMNS = [
    TableColumn("tags/a/roc", 2, "genre_1 | 50 %", "ROC-AUC"),
    TableColumn("tags/a/ap", 2, "genre_1 | 50 %", "AP"),
    TableColumn("triplets/b/acc", 3, "dim-sim", "accuracy"),
]
CELLS = {
    ("scratch", "tags/a/roc"): [0.81, 0.82, 0.83],
    ("artist", "tags/a/roc"): [0.850, 0.854, 0.852],
    ("playlist", "tags/a/roc"): [0.870, 0.874, 0.872],
    ("res", "tags/a/roc"): [0.872, 0.872, 0.872],
    ("scratch", "tags/a/ap"): [0.30, 0.31, 0.29],
    ("artist", "tags/a/ap"): [0.40, 0.42, 0.44],
    ("playlist", "tags/a/ap"): [0.41, 0.43, 0.45],
    ("artist", "triplets/b/acc"): [0.75],
    ("playlist", "triplets/b/acc"): [0.875],
}
# By hand: t of playlist against artist is 0.02 / (0.002 · sqrt(2/3)) = 12.2 for ROC-AUC, p 0.0001;
# for AP 0.01 / (0.02 · sqrt(2/3)) = 0.61, p = 0.29. Scratch is below the baseline.
TABLE_2 = r"""
| backbone | starts from | genre_1 \| 50 %: ROC-AUC | genre_1 \| 50 %: AP |
|---|---|---|---|
| VGGish | From Scratch | 0.820 ± 0.010 | 0.300 ± 0.010 |
| VGGish | Artist CO | 0.852 ± 0.002 | 0.420 ± 0.020 (paper: 0.5 ± 0.1) |
| VGGish | Playlist CO | **0.872 ± 0.002** † | **0.430 ± 0.020** |
| ResNet50 | Playlist CO | **0.872 ± 0.000** | – |
"""
TABLE_3 = """
| backbone | starts from | dim-sim: accuracy |
|---|---|---|
| VGGish | Artist CO | 0.750 |
| VGGish | Playlist CO | **0.875** |
"""
TEX_2 = r"""
\begin{tabular}{llrr}
\toprule
 &  & \multicolumn{2}{c}{genre\_1 | 50 \%} \\
\cmidrule(lr){3-4}
backbone & starts from & ROC-AUC & AP \\
\midrule
VGGish & From Scratch & 0.820 $\pm$ 0.010 & 0.300 $\pm$ 0.010 \\
VGGish & Artist CO & 0.852 $\pm$ 0.002 & 0.420 $\pm$ 0.020 \\
VGGish & Playlist CO & \cellcolor[gray]{0.85}\textbf{0.872 $\pm$ 0.002} & \textbf{0.430 $\pm$ 0.020} \\
\midrule
ResNet50 & Playlist CO & \textbf{0.872 $\pm$ 0.000} & -- \\
\bottomrule
\end{tabular}
"""  # noqa: E501
COUNTS = {"tracks": 240, "batch": 32, "steps_per_epoch": 3, "epochs": 399, "steps": 1197}


def measured(cells):
    return {
        key: Measured(tuple(values), tuple(f"run {k}" for k in range(len(values))), ("cells/x",))
        for key, values in cells.items()
    }


@pytest.fixture
def made():
    return build(
        ROWS,
        COLUMNS,
        measured(CELLS),
        unit="run",
        differences={
            ("playlist", "tags/a/roc"): Difference(0.02, (0.01, 0.03), "tracks", 60),
        },
        paper={("artist", "tags/a/ap"): (0.5, 0.1)},
    )


@pytest.fixture
def counts():
    found = [{**COUNTS, "pairs_per_epoch": 110.0}, {**COUNTS, "pairs_per_epoch": 111.0}]
    return [pair_counts("artist_co", "Artist CO", found, {"pairs_per_epoch": 1014528})]


def test_markdown_equals_a_table_made_by_hand(made, counts):
    page = markdown(made, counts, "Title", "About.")
    assert TABLE_2 in page and TABLE_3 in page
    assert "| Artist CO | 240 | 110.5 | 32 | 3 | 399 | 1,197 | 1,014,528 | – |" in page
    assert "| VGGish | Playlist CO | genre_1 \\| 50 %: ROC-AUC | +0.020 [+0.010, +0.030] |" in page
    assert page.count("†") == 2  # the one grey cell, and what it means


def test_latex_equals_a_table_made_by_hand(made, counts):
    assert TEX_2 in latex(made, counts)


def test_latex_escapes_everything_that_it_would_not_print():
    assert tex(r"50 % of {a_b} & $x^2$ ~ # \n") == (
        r"50 \% of \{a\_b\} \& \$x\textasciicircum{}2\$ \textasciitilde{} \# \textbackslash{}n"
    )
    assert "\n" not in tex("two\nlines")


def test_csv_has_every_number(made, counts):
    rows = list(csv.DictReader(io.StringIO(csv_text(made, counts))))
    one = next(r for r in rows if (r["row"], r["metric"]) == ("playlist", "ROC-AUC"))
    assert [float(value) for value in one["values"].split()] == CELLS["playlist", "tags/a/roc"]
    assert (one["table"], one["best"], one["grey"], one["units"]) == ("2", "1", "1", "3")
    assert float(one["difference_low"]) == 0.01
    assert [r["mean"] for r in rows if r["metric"] == "pairs_per_epoch"] == ["110.5"]
    paper = next(r for r in rows if (r["row"], r["metric"]) == ("artist", "AP"))
    assert (paper["paper_mean"], paper["paper_std"]) == ("0.5", "0.1")
    assert len([r for r in rows if r["table"] != "1"]) == len(CELLS)


def test_json_holds_what_a_page_needs(made):
    found = json.loads(json.dumps(document(made), allow_nan=False))
    entry = next(e for e in found["entries"] if e["row"] == "playlist" and "roc" in e["column"])
    assert entry["values"] == CELLS["playlist", "tags/a/roc"] and entry["folders"] == ["cells/x"]
    assert entry["best"] and entry["grey"] and entry["test"]["level"] == 0.005
    assert entry["against_baseline"]["interval"] == [0.01, 0.03]
    assert {row["id"] for row in found["rows"]} == {row.id for row in ROWS}
    cells = {("artist", "tags/a/roc"): [0.5, 0.5], ("playlist", "tags/a/roc"): [0.75, 0.75]}
    found = document(build(ROWS, COLUMNS, measured(cells), unit="run"))
    test = next(e["test"] for e in found["entries"] if e["row"] == "playlist")
    assert test["statistic"] is None and test["p_value"] == 0 and test["significant"]
    json.dumps(found, allow_nan=False)  # infinite numbers are none


def test_worlds_are_paired_by_their_names():
    rng = np.random.default_rng(0)
    base = rng.uniform(0.5, 0.9, 5)
    apart = np.array([0.01, 0.03, 0.02, 0.05, 0.04])
    worlds = tuple(f"world {k}" for k in range(6))
    shuffled = [3, 1, 4, 0, 2]
    found = build(
        ROWS,
        COLUMNS,
        {
            ("artist", "tags/a/roc"): Measured((*base, 0.9), worlds),  # the last has no pair
            ("playlist", "tags/a/roc"): Measured(
                tuple((base + apart)[shuffled]), tuple(worlds[k] for k in shuffled)
            ),
        },
        unit="world",
        paired=True,
    ).entries["playlist", "tags/a/roc"]
    assert found.against.difference == pytest.approx(0.03)
    assert (found.against.over, found.against.count) == ("worlds", 5)
    # every resample of five worlds, counted one by one
    grid = np.stack(np.meshgrid(*[apart] * 5), -1).reshape(-1, 5).mean(axis=1)
    low, high = np.percentile(grid, [2.5, 97.5])
    assert found.against.interval == pytest.approx((low, high), abs=0.0015)
    assert found.effect == pytest.approx(0.03 / apart.std(ddof=1) * (1 - 3 / 15))


def test_values_that_are_not_finite_are_refused():
    cells = {("artist", "tags/a/roc"): [0.5, float("nan")]}
    with pytest.raises(ScoresError, match="not all of them are finite"):
        build(ROWS, COLUMNS, measured(cells), unit="run")
