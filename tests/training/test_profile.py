"""``--profile``: the steps of the profile, in every way in which a call can end."""

import os
import signal

import numpy as np
import pytest

from playlist_pretrain.models.load import load_backbone
from playlist_pretrain.runs import Run
from playlist_pretrain.training import callbacks, pretrain

PER_EPOCH = 3


class Stop(Exception):
    """Raised in place of a power cut."""


@pytest.fixture
def call(arguments, tmp_path):
    """Callable: a call of so many epochs in a folder; returns its run."""

    def of(epochs, *more, out="run", code=0):
        own = [word for word in arguments if word != "--quiet"]
        own[own.index("--epochs") + 1] = str(epochs)
        own[own.index("--out") + 1] = str(tmp_path / out)
        assert pretrain.main([*own, *more]) == code
        return Run(tmp_path / out)

    return of


def steps_in(run):
    """Steps that the only profile of a run has, as Keras has marked them."""
    from tensorflow.tsl.profiler.protobuf.xplane_pb2 import XSpace

    (path,) = run.tensorboard.glob("plugins/profile/*/*.xplane.pb")
    found = []
    for plane in XSpace.FromString(path.read_bytes()).planes:
        names = {key: kind.name for key, kind in plane.stat_metadata.items()}
        for event in (event for line in plane.lines for event in line.events):
            if plane.event_metadata[event.metadata_id].name == "train":
                where = {names[stat.metadata_id]: stat.int64_value for stat in event.stats}
                found.append(PER_EPOCH * where["epoch_num"] + where["step_num"])
    return sorted(found)


def after(step, do, monkeypatch):
    """Do something when a call has done so many steps."""
    count = callbacks.Checkpoints.on_train_batch_end

    def counted(self, batch, logs=None):
        count(self, batch, logs)
        if self._done == step:
            do()

    monkeypatch.setattr(callbacks.Checkpoints, "on_train_batch_end", counted)


def stop():
    raise Stop


@pytest.mark.parametrize(
    ("epochs", "steps"),
    [
        pytest.param(8, range(10, 20), id="within an epoch", marks=pytest.mark.slow),
        pytest.param(5, range(5, 15), id="fewer than twenty steps", marks=pytest.mark.slow),
        pytest.param(3, range(9), id="fewer than ten steps", marks=pytest.mark.slow),
    ],
)
def test_ten_steps_are_profiled_and_change_nothing(call, capsys, epochs, steps):
    with_profile = call(epochs, "--profile")
    lines = capsys.readouterr().out.splitlines()
    told = [line for line in lines if line.startswith("profile")]
    where = with_profile.tensorboard
    assert told == [
        f"profile of {len(steps)} steps: {where}/plugins/profile; to see it: "
        f"tensorboard --logdir {where}"
    ]
    assert steps_in(with_profile) == list(steps)
    without = call(epochs, out="without")
    assert not (without.tensorboard / "plugins").exists()
    for run in (with_profile, without):
        assert "profile" not in (run.path / "recipe.json").read_text()
    for left, right in zip(
        *(load_backbone(run.saved_model).model.get_weights() for run in (with_profile, without)),
        strict=True,
    ):
        np.testing.assert_array_equal(left, right)


@pytest.mark.slow
def test_a_call_that_goes_on_profiles_steps_of_its_own(call, monkeypatch):
    with monkeypatch.context() as patch:
        after(4, stop, patch)
        with pytest.raises(Stop):
            call(8, "--checkpoint-steps", "2")
    run = call(8, "--checkpoint-steps", "2", "--profile")
    assert steps_in(run) == list(range(14, 24))


@pytest.mark.slow
def test_a_profile_over_the_rest_of_an_epoch_and_the_next(call, monkeypatch):
    with monkeypatch.context() as patch:
        after(4, stop, patch)
        with pytest.raises(Stop):
            call(4, "--checkpoint-steps", "2")
    # The rest of an epoch is a fit of its own, which counts its steps from 0.
    assert len(steps_in(call(4, "--checkpoint-steps", "2", "--profile"))) == 12 - 4


@pytest.mark.slow
def test_an_error_in_the_middle_leaves_what_there_is(call, monkeypatch, tmp_path):
    after(13, stop, monkeypatch)
    with pytest.raises(Stop):
        call(8, "--profile")
    assert steps_in(Run(tmp_path / "run")) == [10, 11, 12]
    with pytest.raises(Stop):  # nothing is still being profiled
        call(8, "--profile", out="other")
    assert steps_in(Run(tmp_path / "other")) == [10, 11, 12]


@pytest.mark.slow
def test_sigterm_in_the_middle_leaves_what_there_is(call, monkeypatch, capsys):
    after(12, lambda: os.kill(os.getpid(), signal.SIGTERM), monkeypatch)
    run = call(8, "--profile")
    told = capsys.readouterr().out
    assert "profile of 2 steps: " in told and "stopped by SIGTERM after step 12" in told
    assert steps_in(run) == [10, 11]
    assert not run.finished


@pytest.mark.slow
def test_a_call_without_steps_says_so(call, capsys):
    run = call(3)
    for _ in range(2):
        capsys.readouterr()
        call(3, "--profile")
        assert "no step is left to profile" in capsys.readouterr().out
        assert not (run.tensorboard / "plugins").exists()
        (run.path / "summary.json").unlink()
