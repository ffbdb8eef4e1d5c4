"""Fine-tuning on real recordings, from audio files to a table of tags."""

import csv
import json

import pytest
import tensorflow as tf

from playlist_pretrain.cli import finetune
from playlist_pretrain.cli import make_tfrecords as make

SPLIT_OF_FOLD = {"1": "train", "2": "test", "3": "validation"}


@pytest.mark.slow
def test_labelled_recordings_from_files_to_a_table_of_tags(shared_data, tmp_path, capsys):
    esc10 = shared_data("esc10")
    collection, run = tmp_path / "esc10", tmp_path / "run"
    audio = ["--audio", str(esc10 / "audio"), "--out", str(collection), "--quiet"]
    assert make.main(audio) == 0
    with (
        open(esc10 / "labels.csv", newline="") as labels,
        open(tmp_path / "tags.csv", "w", newline="") as tags,
    ):
        table = csv.writer(tags)
        table.writerow(["track_id", "split", "tags"])
        for row in csv.DictReader(labels):
            table.writerow([row["track_id"], SPLIT_OF_FOLD[row["fold"]], row["tag"]])
    assert finetune.main([
        "--collection", str(collection), "--tags", str(tmp_path / "tags.csv"), "--out", str(run),
        "--preset", "demo", "--width", "0.1", "--runs", "1", "--epochs", "12",
        "--predict", str(esc10 / "audio" / "1-100032-A.ogg"),
    ]) == 0  # fmt: skip
    with open(run / "per_tag.csv", newline="") as stream:
        rows = {row["class"]: row for row in csv.DictReader(stream)}
    assert len(rows) == 10 and all(row["support"] == "8" for row in rows.values())
    summary = json.loads((run / "summary.json").read_text())
    assert summary["tracks"]["test"] == {"used": 80, "of": 80}
    assert summary["roc_auc"]["mean"] > 0.7  # chance is 0.5
    (line,) = (run / "predictions" / "predictions.jsonl").read_text().splitlines()
    assert set(json.loads(line)["tags"]) == set(rows)
    model = tf.saved_model.load(str(run / "run-1" / "saved_model"))
    names = model.signatures["class_names"]()["class_names"].numpy()
    assert {name.decode() for name in names} == set(rows)
    told = capsys.readouterr().out
    assert "tagging" in told and "1 files tagged" in told
