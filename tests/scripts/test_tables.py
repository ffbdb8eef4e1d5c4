"""The command: one process and two shards come to the same tables."""

import json
import re

import processes
import pytest
from processes import ROOT

from playlist_pretrain.cli import tables as command
from playlist_pretrain.experiments.cells import State, cells_of
from playlist_pretrain.experiments.plan import read_plan

FILES = ("tables.md", "tables.csv", "tables.tex", "tables.json")


def start(*arguments):
    return processes.start([ROOT / "scripts" / "tables.py", *arguments])


def end(process):
    return processes.end(process)[0][0]


def tables(out):
    return {name: (out / name).read_bytes() for name in FILES}


@pytest.mark.long
def test_shards_end_with_the_tables_of_one(write_plan, tmp_path):
    plan = write_plan()
    whole, shards = tmp_path / "whole", tmp_path / "shards"
    said = end(start("--plan", plan, "--out", whole))
    assert "## Table 3" in said and "[7/7]" in said
    report = (whole / "report.html").read_bytes()
    assert report.count(b"<figure>") == 2 + 2 + 1 + 3 + 2
    again = end(start("--plan", plan, "--out", whole))
    assert "7 of 7 cells are done already" in again
    assert (whole / "report.html").read_bytes() == report

    parts = [start("--plan", plan, "--out", shards, "--shard", f"{k}/2") for k in (1, 2)]
    for part in parts:
        end(part)
    assert tables(shards) == tables(whole) and (shards / "report.html").exists()
    done = [json.loads(file.read_text()) for file in shards.glob("state/**/done.json")]
    assert len(done) == 7 and not any(one["resumed"] for one in done)  # none was made twice


@pytest.mark.slow
def test_a_failed_cell_is_told_at_the_end_and_the_rest_is_there(write_plan, tmp_path, capsys):
    # One cell cannot be: 25 steps are no whole number of epochs of 2. The rest is cheap.
    path = write_plan({
        "batch = 6": "batch = 10", "steps = 24": "steps = 25", ', "playlist_co"]': "]",
        '["scratch"]': '["mean-of-mel"]', '[tags.own]\ntitle = "tags & more"': "[triplets.more]",
    })  # fmt: skip
    assert command.main(["--plan", str(path), "--out", str(tmp_path / "out")]) == 1
    said = capsys.readouterr()
    assert "steps are no whole number of epochs" in said.err
    assert "needs pretrain/" in said.err and "Traceback" not in said.err
    page = (tmp_path / "out" / "tables.md").read_text()
    assert "Mean of mel" in page and "## Not done" in page
    report = (tmp_path / "out" / "report.html").read_text("utf-8")
    assert "steps are no whole number of epochs" in report and "needs pretrain/" in report


def test_dry_run_lists_cells_and_makes_nothing(write_plan, tmp_path, capsys):
    out = tmp_path / "out"
    arguments = ["--plan", str(write_plan()), "--out", str(out), "--dry-run"]
    assert command.main(arguments) == 0
    first, *cells, after = capsys.readouterr().out.splitlines()
    assert first == "7 cells, 7 to do, 0 done"
    assert len(cells) == 7 and after.startswith("next: ")
    assert all(re.fullmatch(r"\S+  to do", cell) for cell in cells)
    assert not out.exists()
    state, (one, other, *_) = State(out), cells_of(read_plan(write_plan()))
    state.folder(one).mkdir(parents=True)
    state.finish(one, 90.0, resumed=False, counts={})
    state.fail(other, "no disk")
    assert command.main(arguments) == 0
    said = capsys.readouterr().out
    assert said.startswith("7 cells, 6 to do, 1 done")
    assert f"{one.id}  done, 2 min" in said and f"{other.id}  failed: no disk; to do" in said


def test_dry_run_of_the_papers_plan_needs_none_of_its_files(tmp_path, capsys):
    plan = ROOT / "experiments" / "paper.toml"
    assert command.main(["--plan", str(plan), "--out", str(tmp_path), "--dry-run"]) == 0
    assert "triplets/dim-sim/seed-0/resnet50-simclr  to do" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--shard", "3/2"], "--shard 3/2"),
        (["--workers", "0"], "--workers 0"),
        (["--out", __file__], "is a file"),
    ],
)
def test_what_cannot_be_is_refused(write_plan, arguments, words, capsys, tmp_path):
    given = ["--plan", str(write_plan()), *arguments]
    if "--out" not in arguments:
        given += ["--out", str(tmp_path / "out")]
    assert command.main(given) == 1
    said = capsys.readouterr()
    assert words in said.err and "Traceback" not in said.err
    assert not (tmp_path / "out").exists()


def test_a_plan_that_has_changed_is_refused_before_anything_is_made(write_plan, tmp_path, capsys):
    state = State(tmp_path / "out")
    last = cells_of(read_plan(write_plan()))[-1]
    state.folder(last).mkdir(parents=True)
    state.finish(last, 1.0, resumed=False, counts={})
    changed = write_plan({"[triplets.own]": "[triplets.own]\npartial = true"})
    assert command.main(["--plan", str(changed), "--out", str(state.out)]) == 1
    assert "partial: False there, True now" in capsys.readouterr().err
    assert not list(state.out.glob("**/log.txt"))
