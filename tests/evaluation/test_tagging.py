"""Tagging metrics: against scikit-learn, classes left out, intervals, files of scores, tables."""

import csv
import io
import zipfile

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, roc_auc_score

from playlist_pretrain.errors import ScoresError
from playlist_pretrain.evaluation.bootstrap import bootstrap_intervals
from playlist_pretrain.evaluation.scores import load_scores, save_scores
from playlist_pretrain.evaluation.tagging import tagging_metrics, write_per_tag_table

CLASSES = ("rock", "none has it", "jazz, modal", "all have it", "Šlágr", "one has it")


@pytest.fixture
def targets(rng):
    targets = rng.random((60, 6)) < 0.3
    targets[:, 1], targets[:, 3] = False, True
    targets[:, 5] = np.arange(60) == 7
    return targets


@pytest.fixture(params=["distinct", "ties", "constant"])
def scores(request, rng, targets):
    scores = (rng.normal(size=targets.shape) + targets).astype(np.float32)
    return {"distinct": scores, "ties": scores.round(), "constant": 0 * scores}[request.param]


def test_equals_scikit_learn(targets, scores):
    result = tagging_metrics(targets, scores, CLASSES)
    assert result.left_out == ("none has it", "all have it")
    assert result.support.tolist() == targets.sum(axis=0).tolist()
    assert np.isnan(result.roc_auc[[1, 3]]).all() and np.isnan(result.average_precision[3])
    kept = [0, 2, 4, 5]
    there = targets[:, kept], scores[:, kept]
    assert result.macro_roc_auc == pytest.approx(roc_auc_score(*there, average="macro"))
    expected = average_precision_score(*there, average=None)
    np.testing.assert_allclose(result.average_precision[kept], expected)
    assert result.macro_average_precision == pytest.approx(expected.mean())


def test_intervals_are_percentiles_of_materialised_resamples(targets, scores):
    found = bootstrap_intervals(targets, scores, resamples=40, seed=5)
    generator = np.random.default_rng(5)
    means = []
    for _ in range(40):
        drawn = generator.integers(60, size=60)
        result = tagging_metrics(targets[drawn], scores[drawn], CLASSES)
        means.append((result.macro_roc_auc, result.macro_average_precision))
    for name, column in zip(("roc_auc", "average_precision"), np.transpose(means), strict=True):
        assert found[name] == pytest.approx(tuple(np.percentile(column, [2.5, 97.5])))
    assert found == bootstrap_intervals(targets, scores, resamples=40, seed=5)


def spoilt(scores, value):
    scores = scores.copy()
    scores[7, 2] = value
    return scores


@pytest.mark.parametrize(
    ("change", "word"),
    [
        (lambda t, s, c: (t, spoilt(s, np.nan), c), "track 7 for class 'jazz, modal' is nan"),
        (lambda t, s, c: (t, spoilt(s, np.inf), c), r"is inf; 1 of 360 scores are not finite"),
        (lambda t, s, c: (t, s[:, :5], c), r"targets \(60, 6\) and scores \(60, 5\)"),
        (lambda t, s, c: (t[:0], s[:0], c), "at least one of each"),
        (lambda t, s, c: (t, s, c[:5]), "as many columns as classes, 5"),
        (lambda t, s, c: (t, s, (*c[:5], "rock")), "class 'rock' is there more than once"),
        (lambda t, s, c: (t.astype(int), s, c), "targets are int64"),
        (lambda t, s, c: (t, s > 0, c), "scores bool"),
    ],
)
def test_what_cannot_be_measured_is_refused(targets, change, word, tmp_path, rng):
    scores = rng.normal(size=targets.shape)
    changed, scores, classes = change(targets, scores, CLASSES)
    with pytest.raises(ScoresError, match=word):
        tagging_metrics(changed, scores, classes)
    with pytest.raises(ScoresError, match=word):
        save_scores(tmp_path / "s.npz", [str(i) for i in range(60)], changed, scores, classes)
    assert not list(tmp_path.iterdir())
    if classes == CLASSES:
        with pytest.raises(ScoresError):
            bootstrap_intervals(changed, scores)


def test_nothing_to_measure_is_refused(targets, rng):
    targets, scores = targets[:, [1, 3]], rng.normal(size=(60, 2))
    for refused in (lambda: tagging_metrics(targets, scores, "ab"),
                    lambda: bootstrap_intervals(targets, scores)):  # fmt: skip
        with pytest.raises(ScoresError, match=r"none of 2 classes .* among 60"):
            refused()


IDS = [f"ä/{i}" for i in range(60)]


@pytest.mark.parametrize("kind", [np.float32, np.float64])
def test_saved_scores_give_the_numbers_again(targets, scores, kind, tmp_path):
    scores = scores.astype(kind) / 3
    path = tmp_path / "new" / "scores.npz"
    save_scores(path, IDS, targets, scores, CLASSES)
    loaded = load_scores(path)
    assert loaded.track_ids == IDS and loaded.classes == CLASSES
    assert loaded.scores.dtype == kind
    before = tagging_metrics(targets, scores, CLASSES)
    after = tagging_metrics(loaded.targets, loaded.scores, loaded.classes)
    np.testing.assert_array_equal(after.roc_auc, before.roc_auc)
    assert after.macro_average_precision == before.macro_average_precision
    first = path.read_bytes()
    save_scores(path, *loaded)
    assert path.read_bytes() == first


@pytest.mark.parametrize(
    ("ids", "word"),
    [(IDS[:59], "59 track ids for the scores of 60"), ([*IDS[:59], IDS[3]], "'ä/3' is there more")],
)
def test_ids_that_do_not_fit_are_refused(targets, ids, word, tmp_path):
    with pytest.raises(ScoresError, match=word):
        save_scores(tmp_path / "s.npz", ids, targets, targets * 1.0, CLASSES)


def array_bytes(array, **options):
    stream = io.BytesIO()
    np.save(stream, array, **options)
    return stream.getvalue()


def with_entry(name, content):
    """Damage: one entry of the archive replaced."""

    def spoil(path):
        with zipfile.ZipFile(path) as archive:
            entries = {info.filename: archive.read(info) for info in archive.infolist()}
        entries[f"{name}.npy"] = content
        with zipfile.ZipFile(path, "w") as archive:
            for entry, data in entries.items():
                archive.writestr(entry, data)

    return spoil


def with_header(text):
    return with_entry("header", array_bytes(np.frombuffer(text.encode(), np.uint8)))


@pytest.mark.parametrize(
    ("spoil", "word"),
    [
        (lambda path: path.write_bytes(b""), "not a whole file"),
        (lambda path: path.write_bytes(path.read_bytes()[:-300]), "not a whole file"),
        (lambda path: path.unlink(), "No such file"),
        (with_header('{"format": 2, "classes": []}'), "not format 1"),
        (with_header('{"format": 1, "classes": [1, 2, 3, 4, 5, 6]}'), "classes that are not text"),
        (with_header('{"format": 1, "classes": ["a", "b"]}'), "as many columns as classes, 2"),
        (with_entry("targets", array_bytes(np.zeros((60, 5), bool))), r"targets \(60, 5\)"),
        (with_entry("targets", array_bytes(np.full((60, 6), None), allow_pickle=True)), "pickle"),
        (with_entry("scores", array_bytes(np.full((60, 6), np.nan))), "is nan"),
        (with_entry("scores", array_bytes(np.zeros((60, 6), np.int32))), "scores are int32"),
        (with_entry("track_id_ends", array_bytes(np.arange(1, 61))), "ends of the strings"),
    ],
)
def test_damaged_files_of_scores_are_refused_by_name(targets, spoil, word, tmp_path):
    path = tmp_path / "scores.npz"
    save_scores(path, IDS, targets, targets * 1.0, CLASSES)
    spoil(path)
    with pytest.raises(ScoresError, match=word) as refused:
        load_scores(path)
    assert str(path) in str(refused.value)


@pytest.fixture
def runs(targets, rng):
    return [
        tagging_metrics(targets, rng.normal(size=targets.shape) + targets, CLASSES)
        for _ in range(3)
    ]


def test_tables_of_one_run_and_of_several(runs, tmp_path):
    def rows(results):
        write_per_tag_table(tmp_path / "tags.csv", results)
        with open(tmp_path / "tags.csv", encoding="utf-8", newline="") as stream:
            return list(csv.DictReader(stream))

    one = rows(runs[0])
    assert list(one[0]) == ["class", "support", "roc_auc", "average_precision"]
    assert [row["class"] for row in one] == list(CLASSES)
    assert list(one[1].values()) == ["none has it", "0", "", ""]
    assert list(one[3].values()) == ["all have it", "60", "", ""]
    kept = runs[0].average_precision[[0, 2, 4, 5]].tolist()
    assert [float(row["average_precision"]) for row in one if row["roc_auc"]] == kept
    several, values = rows(runs)[0], [result.roc_auc[0] for result in runs]
    assert float(several["roc_auc_mean"]) == pytest.approx(np.mean(values))
    assert float(several["roc_auc_std"]) == pytest.approx(np.std(values, ddof=1))
    assert len(several) == 6


def test_results_that_do_not_belong_together_are_refused(runs, targets, tmp_path):
    others = tagging_metrics(targets[:, :3], targets[:, :3] * 1.0, CLASSES[:3])
    fewer = tagging_metrics(targets[1:], targets[1:] * 1.0, CLASSES)
    for results, word in (
        ([runs[0], others], "different classes"),
        ([runs[0], fewer], r"class '.*' has \d+ tracks in one result and \d+ in another"),
        ([], "no result"),
    ):
        with pytest.raises(ScoresError, match=word):
            write_per_tag_table(tmp_path / "tags.csv", results)
    assert not list(tmp_path.iterdir())
