"""Objectives beyond the paper: whole runs, and runs that go on."""

import re
import shutil

import pytest

from playlist_pretrain.export.saved_model import load_backbone
from playlist_pretrain.models.nt_xent import chance_loss
from playlist_pretrain.runs import Run
from playlist_pretrain.training import callbacks, history, pretrain


class Stop(Exception):
    """Raised in place of a power cut."""


def table_of(run):
    """What a run wrote an epoch, without what the clock says."""
    rows = history.read_history(run.history)
    return [{k: v for k, v in row.items() if "second" not in k} for row in rows]


def resumed_and_whole(arguments, tmp_path, monkeypatch, stop_at):
    """Two runs of one recipe, the first of which was stopped after a step."""
    arguments = [*arguments, "--checkpoint-steps", "2"]
    out = arguments.index("--out") + 1
    whole = [*arguments[:out], str(tmp_path / "whole"), *arguments[out + 1 :]]
    assert pretrain.main(whole) == 0
    steps = callbacks.Checkpoints.on_train_batch_end

    def stop(self, batch, logs=None):
        steps(self, batch, logs)
        if self._done == stop_at:
            raise Stop

    with monkeypatch.context() as patch:
        patch.setattr(callbacks.Checkpoints, "on_train_batch_end", stop)
        with pytest.raises(Stop):
            pretrain.main(arguments)
    assert pretrain.main(arguments) == 0
    return Run(arguments[out]), Run(tmp_path / "whole")


ALL = ["--learnable-temperature", "--hard-negatives", "0.5", "--mask-false-negatives"]


@pytest.mark.parametrize(
    "options",
    [
        [*ALL, "--micro-batch", "3"],
        pytest.param([*ALL, "--pairs", "playlist_w2v"], marks=pytest.mark.slow),
        pytest.param(
            [*ALL, "--pairs", "simclr", "--precision", "mixed_float16", "--xla"],
            marks=pytest.mark.slow,
        ),
    ],
    ids=" ".join,
)
def test_resumes_to_the_same_weights_history_and_model(arguments, tmp_path, monkeypatch, options):
    resumed, whole = resumed_and_whole([*arguments, *options], tmp_path, monkeypatch, 5)
    assert table_of(resumed) == table_of(whole)
    a, b = (load_backbone(run.saved_model).model.get_weights() for run in (resumed, whole))
    assert all((left == right).all() for left, right in zip(a, b, strict=True))


def test_the_temperature_of_every_epoch_is_in_the_history(arguments):
    run = Run(arguments[arguments.index("--out") + 1])
    for options, learned in ([], False), (["--learnable-temperature", "--overwrite"], True):
        assert pretrain.main([*arguments, "--temperature", "0.2", *options]) == 0
        found = [float(row["temperature"]) for row in history.read_history(run.history)]
        assert (len(set(found)) > 1) == learned and found[0] == pytest.approx(0.2, rel=0.05)


def test_a_mask_is_spoken_of_and_lowers_chance(arguments, capsys):
    assert pretrain.main([*(a for a in arguments if a != "--quiet"), "--mask-false-negatives"]) == 0
    told = capsys.readouterr().out
    share = float(re.search(r"([\d.]+)% of the negatives of the first batch", told).group(1))
    assert 0 < share < 100
    run = Run(arguments[arguments.index("--out") + 1])
    assert run.summary["chance_loss"] < chance_loss(6)
    assert run.summary["loss"] < 1.5 * run.summary["chance_loss"]


def test_a_mask_needs_groups(small_world, arguments, tmp_path, capsys):
    world = shutil.copytree(small_world, tmp_path / "world")
    for file in world.glob("groups-*"):
        file.unlink()
    arguments[arguments.index("--collection") + 1] = str(world)
    assert pretrain.main([*arguments, "--pairs", "simclr", "--mask-false-negatives"]) == 1
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "--mask-false-negatives" in error and "no groups 'playlists'" in error
