"""``--profile`` leaves a profile of ten steps and changes nothing of the run."""

import pytest

from playlist_pretrain.cli import pretrain
from playlist_pretrain.runs import Run


@pytest.mark.slow
def test_ten_steps_are_profiled_and_change_nothing(
    arguments, run_whole, assert_same, capsys, tmp_path
):
    arguments[arguments.index("--epochs") + 1] = "8"
    out = arguments.index("--out") + 1
    whole = run_whole(*arguments[: out - 1], *arguments[out + 1 :])
    assert pretrain.main([*(a for a in arguments if a != "--quiet"), "--profile"]) == 0
    run = Run(arguments[out])
    assert f"tensorboard --logdir {run.tensorboard}" in capsys.readouterr().out
    assert len(list(run.tensorboard.glob("**/plugins/profile/*/*.xplane.pb"))) == 1
    assert "profile" not in (run.path / "recipe.json").read_text()
    assert_same(run, whole)
