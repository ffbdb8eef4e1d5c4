"""The report: what run folders hold is what it shows, and what is damaged is named."""

import csv
import re
import shutil

import numpy as np
import pytest
from finished_cells import leave_all

from playlist_pretrain.errors import RunError
from playlist_pretrain.experiments.cells import State, cells_of
from playlist_pretrain.experiments.collect import Collected
from playlist_pretrain.experiments.plan import read_plan
from playlist_pretrain.experiments.report import figures as looks
from playlist_pretrain.experiments.report import folders, sections
from playlist_pretrain.experiments.report.page import write_report
from playlist_pretrain.experiments.report.sections import (
    embedding_maps,
    environments,
    finetuning,
    pretraining,
    recipes,
    similarities,
    tags,
)
from playlist_pretrain.retrieval.embedding_table import read_embeddings

PLAYLIST_CO, SCRATCH = "vggish-playlist_co", "vggish-scratch"


@pytest.fixture
def made(write_plan, tmp_path):
    """Callable: the finished cells of the tiny plan, collected."""

    def collected(changes=None, name="out", **options):
        plan = read_plan(write_plan(changes))
        state = State(tmp_path / name)
        if not state.out.exists():
            leave_all(plan, state, **options)
        return Collected(plan, cells_of(plan), state)

    return collected


def folder_of(collected, kind, row):
    (cell,) = [c for c in collected.cells if c.kind == kind and c.row.id == row]
    return collected.state.folder(cell)


def renderers(figure, kind):
    return [one for one in figure.plot.renderers if type(one.glyph).__name__ == kind]


@pytest.mark.slow
def test_curves_are_the_histories(made):
    collected = made()
    loss, probe = pretraining(collected).figures
    lines = renderers(loss, "Line")
    assert [line.glyph.line_color for line in lines] == [
        looks.LOOKS[start].colour for start in ("artist_co", "playlist_co")
    ]
    drawn = lines[1].data_source.data
    assert drawn["x"].tolist() == [4, 8, 12, 16, 20, 24]
    assert drawn["y"] == pytest.approx([3 / e - 0.2 for e in range(1, 7)])
    assert [m.data_source.data["x"].tolist() for m in renderers(probe, "Scatter")] == [[24], [24]]
    assert "chance, 0.125" in probe.caption
    (table,) = pretraining(collected).tables
    assert table.rows[1] == ["Playlist CO", "1", "0.300", "0.450", "0.125", "0.750", "0.500"]
    training, validation = finetuning(collected).figures
    assert len(renderers(training, "Line")) == len(renderers(validation, "Line")) == 3 * 2
    assert "6 runs" in training.caption and "tags & more" in training.title


def test_bars_and_marks_are_the_means_of_tags(made):
    collected = made()
    section = tags(collected)
    (figure,), (table,) = section.figures, section.tables
    found = {}
    for row in (SCRATCH, "vggish-artist_co", PLAYLIST_CO):
        with open(folder_of(collected, "tags", row) / "per_tag.csv", newline="") as stream:
            for line in csv.DictReader(stream):
                found[row, line["class"]] = float(line["average_precision_mean"])
    order = sorted("ab", key=lambda tag: -sum(v for (_, name), v in found.items() if name == tag))
    assert [row[0] for row in table.rows] == order
    (bars,) = renderers(figure, "HBar")
    assert bars.data_source.data["right"].tolist() == pytest.approx(
        [found["vggish-artist_co", tag] for tag in order]
    )
    marks = renderers(figure, "Scatter")
    for mark, row in zip(marks, (SCRATCH, PLAYLIST_CO), strict=True):
        assert mark.data_source.data["x"].tolist() == pytest.approx([found[row, t] for t in order])
    assert table.rows[0][2:] == [
        f"{found[row, order[0]]:.3f}" for row in (SCRATCH, "vggish-artist_co", PLAYLIST_CO)
    ]


def test_histograms_hold_every_triplet_and_agree_with_the_embeddings(made):
    collected = made()
    folder = folder_of(collected, "triplets", PLAYLIST_CO)
    table = read_embeddings(folder / "embeddings.parquet")
    unit = table.vectors / np.linalg.norm(table.vectors, axis=1, keepdims=True)
    row = {track_id: unit[k].astype(float) for k, track_id in enumerate(table.track_ids)}
    oracle = []
    with open(folder / "per_triplet.csv", newline="") as stream:
        for line in csv.DictReader(stream):
            anchor, positive, negative = (row[line[r]] for r in ("anchor", "positive", "negative"))
            oracle.append([anchor @ positive, anchor @ negative])
    oracle = np.array(oracle)
    assert folders.cosines(folder) == pytest.approx(oracle, abs=1e-6)
    assert folders.margins(folder) == pytest.approx(oracle[:, 0] - oracle[:, 1], abs=1e-6)
    figures = similarities(collected).figures
    assert [figure.title for figure in figures] == [
        f"{name}: {what}" for name in ("Artist CO", "Playlist CO") for what in (
            "difference", "cosine")]  # fmt: skip
    for figure in figures:
        counts = [quad.data_source.data["top"] for quad in renderers(figure, "Quad")]
        assert sum(map(sum, counts)) == 40 * (1 + figure.title.endswith("cosine"))
    right = np.mean(oracle[:, 0] > oracle[:, 1])
    assert f"40 triplets, {right:.1%} right" in figures[2].caption
    negative, positive = figures[2].plot.renderers[::-1]
    assert sum(positive.data_source.data["top"]) == round(40 * right)
    assert max(negative.data_source.data["right"]) == 0 == min(positive.data_source.data["left"])


@pytest.mark.slow
def test_maps_are_coloured_by_what_says_most(made, monkeypatch):
    collected = made()
    (section,) = embedding_maps(collected)
    assert [figure.title for figure in section.figures] == ["Artist CO", "Playlist CO"]
    assert [key.text for key in section.keys] == ["high (21)", "low (21)"]
    (points,) = section.figures[1].plot.renderers
    table = read_embeddings(folder_of(collected, "triplets", PLAYLIST_CO) / "embeddings.parquet")
    wanted = [section.keys[int(track_id[1:]) % 2 == 0].colour for track_id in table.track_ids]
    assert points.data_source.data["fill_color"] == wanted
    monkeypatch.setattr(sections, "MOST_TRACKS", 10)
    (section,) = embedding_maps(collected)
    assert "10 tracks" in section.figures[0].caption


@pytest.mark.slow
def test_maps_of_a_collection_that_is_gone_have_one_colour(made, tiny_collection, tmp_path, caplog):
    shutil.copytree(tiny_collection, tmp_path / "copy")
    changes = {str(tiny_collection): str(tmp_path / "copy")}
    collected = made(changes)
    shutil.rmtree(tmp_path / "copy")
    (section,) = embedding_maps(collected)
    assert len(section.figures) == 2 and not section.keys and "one colour" in section.about[0]
    assert caplog.text.count("maps without colours") == 1 and str(tmp_path / "copy") in caplog.text


def test_settings_and_environments_are_those_of_the_run_folders(made):
    collected = made()
    tables = {table.caption: table for table in recipes(collected).tables}
    shared = dict(tables["Pre-training: what all share"].rows)
    assert shared["batch"] == "6" and shared["preset"] == "demo"
    differing = {row[0]: row[1:] for row in tables["Pre-training: what differs"].rows}
    assert differing["pairs"] == ["artist_co", "playlist_co"]
    assert differing["learning_rate"] == ["0.0001", "0.00030000000000000003"]
    assert dict(tables["Triplets, own: what all share"].rows)["cut"] == "no"
    (table,) = environments(collected).tables
    assert table.heads == ["", "5 run folders"]
    rows = dict(table.rows)
    assert rows["python"] == "3.11.test" and rows["tensorflow"] == "2.15.test"
    assert rows["devices"] == "CPU, GPU Pocket" and rows["essentia-tensorflow"] == "–"


@pytest.mark.slow
def test_the_same_cells_give_the_same_bytes(made):
    first = write_report(made()).read_bytes()
    assert write_report(made()).read_bytes() == first


def test_what_is_not_done_is_said_and_left_out(made):
    lost = "pretrain/seed-0/vggish-playlist_co"
    needs = [f"{kind}/own/seed-0/vggish-playlist_co" for kind in ("tags", "triplets")]
    collected = made(without=(lost, *needs))
    cell = next(cell for cell in collected.cells if cell.id == lost)
    collected.state.fail(cell, "no <disk>")
    page = write_report(collected).read_text("utf-8")
    assert f"<code>{lost}</code>: no &lt;disk&gt;" in page
    assert page.count(f"needs {lost}") == 2
    assert "Playlist CO" not in page.partition('id="items"')[0]


def test_a_plan_of_which_nothing_is_done(made, tmp_path):
    plan = made(without=()).plan
    collected = Collected(plan, cells_of(plan), State(tmp_path / "none"))
    page = write_report(collected).read_text("utf-8")
    assert page.count("not done yet") == 3 and "<figure>" not in page and "Table 2" not in page


@pytest.mark.slow
def test_links_lead_to_the_run_folders(made):
    path = write_report(made())
    links = re.findall(r'<a href="(cells/[^"]+)">', path.read_text("utf-8"))
    assert len(links) == 7 and all((path.parent / link).is_dir() for link in links)


PROBE = ("step", "loss", "probe_top1")
READERS = {
    "history.csv": ("pretrain", lambda folder: folders.history(folder, PROBE), "1,2\n"),
    "recipe.json": ("pretrain", folders.recipe, '{"recipe": [1]}'),
    "environment.json": ("pretrain", folders.environment, "[" * 100_000),
    "per_tag.csv": ("tags", folders.per_tag, "class,support,average_precision\na,some,0.5\n"),
    "per_triplet.csv": ("triplets", folders.margins, "line,anchor,positive\n2,a,b\n"),
    "embeddings.parquet": ("triplets", folders.cosines, "PAR1PAR1"),
}


@pytest.mark.parametrize("name", READERS)
def test_every_damage_is_one_message_that_names_the_file(made, name):
    kind, read, other = READERS[name]
    folder = folder_of(made(), kind, PLAYLIST_CO)
    whole = (folder / name).read_bytes()
    read(folder)
    cut = whole[: len(whole) // 2].rstrip(b"\n") + b'"'
    for content in (None, b"", cut, other.encode(), b"\0" * 100, b"\xff\xfe"):
        (folder / name).unlink()
        if content is not None:
            (folder / name).write_bytes(content)
        with pytest.raises(RunError, match=r"remove .* to have it made anew") as raised:
            read(folder)
        assert str(folder / name) in str(raised.value) and "\n" not in str(raised.value)
        (folder / name).touch()


@pytest.mark.parametrize("support", ["nan", "inf", "-Infinity", "1e999"])
def test_a_count_that_is_not_finite_is_no_number(support, tmp_path):
    (tmp_path / "per_tag.csv").write_text(f"class,support,average_precision\na,{support},0.5\n")
    with pytest.raises(RunError, match=rf"line 2: support is '{support}', no number; remove"):
        folders.per_tag(tmp_path)


@pytest.mark.slow
def test_a_page_that_cannot_be_made_leaves_the_one_before(made):
    collected = made()
    path = write_report(collected)
    before = path.read_bytes()
    (folder_of(collected, "tags", PLAYLIST_CO) / "environment.json").write_text("{")
    with pytest.raises(RunError, match=r"environment\.json"):
        write_report(made())
    assert path.read_bytes() == before and not list(path.parent.glob(".report*"))


def test_embeddings_of_other_triplets_are_refused(made):
    collected = made()
    folder = folder_of(collected, "triplets", PLAYLIST_CO)
    text = (folder / "per_triplet.csv").read_text().replace('"t00"', '"t99"')
    (folder / "per_triplet.csv").write_text(text)
    with pytest.raises(RunError, match=r"has no 't99' of .*per_triplet\.csv"):
        write_report(collected)
