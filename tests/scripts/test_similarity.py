"""The command as a user runs it: against a loop by hand, what is lacking, what is refused."""

import csv
import json
import os
from pathlib import Path

import numpy as np
import pytest
import soundfile

from playlist_pretrain.audio.front_end import IMPORTED, PRESETS
from playlist_pretrain.cli import similarity as similarity_run
from playlist_pretrain.evaluation.triplets import triplet_accuracy
from playlist_pretrain.models.saved_model import save_backbone
from playlist_pretrain.models.track_outputs import track_means
from playlist_pretrain.models.vggish import vggish
from playlist_pretrain.tasks.triplets import read_triplets

RATE = 16000
HEADER = (
    "anchor_id,anchor_start_seconds,song1_id,song1_start_seconds,song2_id,song2_start_seconds,"
    "song1_vote,song2_vote"
)
NAMES = "abcdefgh"


@pytest.fixture(scope="module")
def other_model(tmp_path_factory):
    """A backbone that takes another front end."""
    folder = tmp_path_factory.mktemp("models") / "vggish" / "saved_model"
    save_backbone(vggish(frames=32, bands=64, width=0.05, seed=4), PRESETS["vggish"], folder)
    return folder


@pytest.fixture
def waves(rng):
    """Noises of a few seconds, each through a filter of its own."""
    noise = rng.normal(scale=0.1, size=(len(NAMES), 2 * RATE))
    tones = np.sin(np.outer(rng.uniform(0.02, 2, len(NAMES)), np.arange(2 * RATE)))
    return dict(zip(NAMES, (0.3 * tones + noise).astype(np.float32), strict=True))


@pytest.fixture
def previews(tmp_path, waves):
    (tmp_path / "previews").mkdir()
    for name, samples in waves.items():
        soundfile.write(tmp_path / "previews" / f"{name}.wav", samples, RATE, subtype="FLOAT")
    return tmp_path / "previews"


@pytest.fixture
def triplets(rng):
    """(anchor, positive, negative, votes), each clip a name and a start."""

    def clip(name):
        return name, float(rng.choice([0.0, 0.5, 0.8125]))

    drawn = [[clip(n) for n in rng.choice(list(NAMES), 3, replace=False)] for _ in range(12)]
    return [(*clips, (3 + k % 3, k % 3)) for k, clips in enumerate(drawn)]


@pytest.fixture
def table(tmp_path, triplets):
    """The triplets as dim-sim has them, in every second of which song 2 is the positive."""
    lines = [HEADER]
    for k, (anchor, positive, negative, votes) in enumerate(triplets):
        songs = [positive, negative] if k % 2 else [negative, positive]
        counts = votes if k % 2 else votes[::-1]
        cells = [*anchor, *songs[0], *songs[1], *counts]
        lines.append(",".join(map(str, cells)))
    path = tmp_path / "dim sim.csv"
    path.write_text("\n".join(lines))
    return path


def run(capsys, *words):
    code = similarity_run.main(list(map(str, words)))
    out, err = capsys.readouterr()
    assert "Traceback" not in err
    return code, out, err


def refused(capsys, *words):
    """The message."""
    code, _, err = run(capsys, *words)
    assert code == 1
    return err


def read(folder):
    """Results, rows of the table of models, rows of the table of triplets."""
    results = json.loads((folder / "results.json").read_text("utf-8"))
    tables = []
    for name in ("results.csv", "per_triplet.csv"):
        with open(folder / name, encoding="utf-8", newline="") as stream:
            tables.append(list(csv.DictReader(stream, strict=True)))
    return results, *tables


def by_hand(net, front_end, waves, triplets, seconds):
    """Distance to the negative less that to the positive, clip by clip."""

    def embedding(clip):
        name, start = clip
        samples = waves[name][round(start * RATE) : round(start * RATE) + round(seconds * RATE)]
        mel = front_end.log_mel(samples).numpy().astype(np.float16).astype(np.float32)
        frames = net.input_shape[1]
        mel = np.tile(mel, (-(-frames // len(mel)), 1)) if len(mel) < frames else mel
        windows = [mel[i * frames : (i + 1) * frames] for i in range(len(mel) // frames)]
        return np.mean([net(window[None]).numpy()[0] for window in windows], axis=0)

    def distance(one, other):
        a, b = embedding(one).astype(np.float64), embedding(other).astype(np.float64)
        return 1 - a @ b / np.sqrt(a @ a) / np.sqrt(b @ b)

    return [distance(a, n) - distance(a, p) for a, p, n, _ in triplets]


@pytest.mark.slow
def test_equals_a_loop_by_hand(
    saved_models, other_model, previews, table, waves, triplets, tmp_path, capsys, in_process
):
    mine, tags = (saved_models / name / "saved_model" for name in ("mine", "tags"))
    out = tmp_path / "out"
    code, text, err = run(
        capsys, "--model", mine, other_model, tags, "mean-of-mel", "--front-end", "paper",
        "--frames", 40, "--triplets", table, "--audio", previews, "--seconds", 0.9, "--out", out,
    )  # fmt: skip
    assert (code, err) == (0, "")
    results, rows, per_triplet = read(out)
    nets = [
        (vggish(frames=64, bands=96, width=0.05, seed=3), PRESETS["paper"]),
        (vggish(frames=32, bands=64, width=0.05, seed=4), PRESETS["vggish"]),
    ]
    for number, (net, front_end) in enumerate(nets):
        margins = by_hand(net, front_end, waves, triplets, 0.9)
        found, row = results["models"][number], rows[number]
        right = [float(margin > 0) for margin in margins]
        assert found["right"] == right and found["accuracy"] == pytest.approx(np.mean(right))
        assert found["difference"] == pytest.approx(np.mean(margins), abs=1e-5)
        label = found["model"]
        column = [float(line[f"margin {label}"]) for line in per_triplet]
        np.testing.assert_allclose(column, margins, atol=1e-5)
        assert [float(line[f"right {label}"]) for line in per_triplet] == right
        assert float(row["accuracy"]) == found["accuracy"]
        assert found["accuracy_low"] <= found["accuracy"] <= found["accuracy_high"]
    assert [one["model"] for one in results["models"]] == ["mine", "vggish", "tags", "mean-of-mel"]
    assert [one["frames"] for one in results["models"]] == [64, 32, 64, 40]
    first, _, same, _ = results["models"]
    assert same["right"] == first["right"] and same["p_value"] == 1 and same["against_first"] == 0
    assert results["models"][1]["against_first"] == pytest.approx(
        results["models"][1]["accuracy"] - first["accuracy"]
    )
    assert results["excerpt_seconds"] == 0.9 and results["triplets"]["used"] == 12
    line = per_triplet[0]
    assert (line["line"], line["anchor"], line["agreement"]) == ("2", triplets[0][0][0], "1.0")
    shares = np.array([votes[0] / sum(votes) for *_, votes in triplets])
    inside = [(shares >= low) & (shares < low + 0.1) for low in (0.7, 0.8)]
    inside = [mask for mask in (*inside, shares >= 0.9) if mask.any()]
    for part, mask in zip(results["agreement"], inside, strict=True):
        expected = [np.mean(np.array(one["right"])[mask]) for one in results["models"]]
        assert part["triplets"] == mask.sum() and part["accuracy"] == pytest.approx(expected)
    shown = (out / "results.md").read_text("utf-8")
    assert shown.strip() in text
    assert f"| mine | {first['accuracy']:.3f} [" in shown
    assert "mean-of-mel: each band is standardised by the statistics of the clips" in text
    assert text.splitlines()[-1].startswith("next: python scripts/finetune.py --model ")


@pytest.mark.slow
def test_cut_files_give_what_whole_ones_do(
    saved_models, previews, table, waves, triplets, tmp_path, capsys, in_process
):
    (tmp_path / "cut").mkdir()
    for name, start in {clip for *clips, _ in triplets for clip in clips}:
        samples = waves[name][round(start * RATE) :][:RATE]
        start = f"{start:g}"
        soundfile.write(tmp_path / "cut" / f"{name}_{start}.wav", samples, RATE, subtype="FLOAT")
    words = ["--model", saved_models / "mine" / "saved_model", "--triplets", table]
    whole, cut = tmp_path / "whole", tmp_path / "was cut"
    more = ["--audio", previews, "--seconds", 1]
    assert run(capsys, *words, *more, "--out", whole, "--quiet") == (0, "", "")
    more = ["--audio", tmp_path / "cut", "--cut"]
    assert run(capsys, *words, *more, "--out", cut, "--quiet") == (0, "", "")
    assert (whole / "per_triplet.csv").read_bytes() == (cut / "per_triplet.csv").read_bytes()
    found = [read(folder)[0] for folder in (whole, cut)]
    assert [one["excerpt_seconds"] for one in found] == [1.0, None]
    assert found[0]["models"] == found[1]["models"]


def listed(folder):
    """Track ids of the list of missing clips."""
    with open(folder / "missing.tsv", encoding="utf-8", newline="") as stream:
        return [line["track_id"] for line in csv.DictReader(stream, delimiter="\t")]


@pytest.mark.slow
def test_clips_that_are_lacking(
    saved_models, previews, table, triplets, tmp_path, capsys, in_process
):
    (previews / "a.wav").unlink()
    (previews / "b.wav").write_bytes(b"RIFF of nothing")
    words = [
        "--model", saved_models / "mine" / "saved_model", "--triplets", table, "--audio", previews,
        "--seconds", 0.9, "--out", tmp_path / "out",
    ]  # fmt: skip
    code, out, err = run(capsys, *words)
    first = next(k for k, (*clips, _) in enumerate(triplets, 2) if any(n == "a" for n, _ in clips))
    left = [t for t in triplets if "a" not in {n for n, _ in t[:3]}]
    assert code == 1 and f"and so {12 - len(left)} of 12 triplets" in err
    assert f"\n  line {first}: 'a' at " in err and "no audio file named 'a'" in err
    assert err.endswith("--partial goes on without these triplets\n")
    clips_of_a = {clip for *clips, _ in triplets for clip in clips if clip[0] == "a"}
    assert listed(tmp_path / "out") == ["a"] * len(clips_of_a)
    code, out, err = run(capsys, *words, "--partial")
    assert (code, err) == (0, "") and out.count("WARNING: ") == 2
    gone = {"a", "b"}
    left = [t for t in triplets if not gone & {n for n, _ in t[:3]}]
    assert 0 < len(left) < 12
    assert f"{len(left)} triplets of 12, {12 - len(left)} left out (--partial)" in out
    results, _, per_triplet = read(tmp_path / "out")
    assert results["triplets"]["in_table"] == 12 and results["triplets"]["used"] == len(left)
    assert [line["positive"] for line in per_triplet] == [t[1][0] for t in left]
    assert set(listed(tmp_path / "out")) == gone
    for path in previews.iterdir():
        path.write_bytes(b"")
    err = refused(capsys, *words, "--partial", "--overwrite", "--quiet")
    assert "and so 12 of 12 triplets" in err and "--partial" not in err
    assert f"(see {tmp_path / 'out' / 'missing.new.tsv'})" in err
    assert read(tmp_path / "out")[0] == results  # as before, with its list
    assert set(listed(tmp_path / "out")) == gone


@pytest.fixture
def collection(make_collection, tmp_path):
    ids = [f"{name}/ö" for name in NAMES]
    made = make_collection(tmp_path / "mine", [200, 30, 300, 128, 64, 90, 70, 65], ids=ids)
    rows = [(0, 1, 2), (3, 4, 5), (5, 6, 7), (1, 0, 4), (2, 6, 0)]
    lines = ["anchor,positive,negative", *(",".join(ids[k] for k in row) for row in rows)]
    (made.path / "triplets.csv").write_text("\n".join(lines), encoding="utf-8")
    return made


@pytest.mark.slow
def test_whole_tracks_of_a_collection(saved_models, collection, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    words = ["--model", saved_models / "mine" / "saved_model", "--collection", collection.path]
    code, out, err = run(capsys, *words)
    assert (code, err) == (0, "")
    net = vggish(frames=64, bands=96, width=0.05, seed=3)
    vectors = track_means(net, collection)
    table = read_triplets(collection.path / "triplets.csv")
    rows = collection.rows(clip.track_id for clip in table.clips)[table.rows]
    expected = triplet_accuracy(vectors, rows)
    folder = Path("runs") / "mine-similarity-mine"
    (found,) = read(folder)[0]["models"]
    assert read(folder)[0]["source"]["key"] == collection.content_key
    for name in ("accuracy", "difference", "centred_difference", "ties"):
        assert found[name] == pytest.approx(getattr(expected, name), abs=1e-5)
    assert found["short_clips"] == 1 and "| 1 of 8 |" in out
    assert "next: the same command with scratch mean-of-mel after --model" in out
    err = refused(capsys, *words)
    assert f"{folder}: holds results; --overwrite replaces them" in err
    assert run(capsys, *words, "--overwrite", "--quiet", "--short", "pad") == (0, "", "")
    assert read(folder)[0]["models"][0]["difference"] != found["difference"]
    (folder / "mine.txt").touch()
    err = refused(capsys, *words, "--overwrite")
    assert f"{folder}: holds 'mine.txt', so it is no folder of such results" in err


@pytest.mark.slow
def test_models_that_do_not_fit(other_model, collection, previews, table, capsys, tmp_path):
    out = ["--out", tmp_path / "out"]
    on_collection = ["--collection", collection.path, *out]
    err = refused(capsys, "--model", other_model, *on_collection)
    assert "(front end 'vggish') and collection mine (front end 'paper') do" in err
    net = vggish(frames=64, bands=48, width=0.05)
    save_backbone(net, IMPORTED["melon"], tmp_path / "melon")
    words = ["--triplets", table, "--audio", previews, *out]
    err = refused(capsys, "--model", tmp_path / "melon", *words)
    assert "its front end 'melon' takes no waveforms" in err
    net = vggish(frames=64, bands=96, width=0.05)
    net.weights[-1].assign(net.weights[-1] * np.nan)
    save_backbone(net, PRESETS["paper"], tmp_path / "broken")
    err = refused(capsys, "--model", tmp_path / "broken", *on_collection)
    assert "broken: its embedding of 'a/ö' is not finite" in err
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_models_that_know_nothing_depend_on_the_seed_alone(collection, tmp_path, capsys):
    words = ["--model", "mean-of-mel", "scratch", "--collection", collection.path, "--frames", 64,
             "--width", 0.05, "--out", tmp_path / "out", "--overwrite"]  # fmt: skip
    found = []
    for seed in (0, 1, 0):
        code, out, err = run(capsys, *words, "--seed", seed)
        assert (code, err) == (0, "")
        found.append(read(tmp_path / "out")[0])
    assert "scratch: each band is standardised by the statistics of collection mine" in out
    assert found[0] == found[2] and found[0]["models"][1]["key"] != found[1]["models"][1]["key"]


def test_the_demo_is_what_it_works_on(collection, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tfrecords").mkdir()
    os.rename(collection.path, tmp_path / "tfrecords" / "demo-eval")
    monkeypatch.setattr(similarity_run, "ready_demo", lambda: tmp_path / "demo")
    code, out, err = run(capsys, "--model", "mean-of-mel")
    assert (code, err) == (0, "") and "demo-eval: 5 triplets" in out
    assert (tmp_path / "runs" / "demo-eval-similarity-mean-of-mel" / "results.json").exists()


@pytest.mark.parametrize(("words", "message"), [
    (["--model", "nowhere", "--short", "skip"], "--short skip: one of repeat, pad"),
    (["--model", "nowhere", "--seconds", "1e308"], "--seconds 1e+308: at most 5400"),
    (["--model", "nowhere", "--seed", "-1"], "--seed -1: must be from 0"),
    (["--model", "x", "y", "x"], "--model x: named twice"),
    (["--model", "x", "--audio", "a"], "--audio: needs --triplets"),
    (["--model", "x", "--audio", "a", "--collection", "c"], "--audio and --collection"),
    (["--model", "x", "--cut"], "--cut: only with --audio"),
    (["--model", "x", "--audio", "a", "--triplets", "t", "--cut", "--seconds", "3"],
     "--seconds 3.0: only for files that are not --cut"),
    (["--model", "scratch", "--front-end", "paper"], "--front-end paper: only with --audio"),
    (["--model", "x", "--frames", "64"], "--frames 64: only for --model scratch mean-of-mel"),
    (["--model", "mean-of-mel", "--width", "0.5"], "--width 0.5: only for --model scratch"),
    (["--model", "scratch", "--backbone", "resnet50", "--width", "1"], "only for --backbone"),
    (["--model", "x", "--audio", "a", "--triplets", "t", "--out", "s3://b/x"], "s3://b/x"),
])  # fmt: skip
def test_mistakes_are_one_message(words, message, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, out, err = run(capsys, *words)
    assert (code, out) == (1, "") and message in err and err.count("\n") == 1
    assert os.listdir(tmp_path) == []


@pytest.mark.slow
def test_what_the_table_shows_to_be_a_mistake(saved_models, collection, capsys, tmp_path):
    words = ["--model", saved_models / "mine" / "saved_model", "--collection", collection.path,
             "--out", tmp_path / "out"]  # fmt: skip
    err = refused(capsys, *words, "--seconds", 3)
    assert "triplets.csv: has no starts, so --seconds cuts nothing out" in err
    (collection.path / "triplets.csv").write_text("anchor,positive,negative\na,b,c\n")
    err = refused(capsys, *words, "--partial")
    assert "line 2: 'a': not in mine" in err and "1 of 1 triplets" in err
    (collection.path / "triplets.csv").unlink()
    err = refused(capsys, *words)
    assert "no triplets.csv that can be read; --triplets FILE" in err
