"""Progress of a training: the engine's steps and the loss in the lines of all progress."""

import re

import pytest
import tensorflow as tf

from playlist_pretrain import messages
from playlist_pretrain.messages import show_messages
from playlist_pretrain.runs import Run
from playlist_pretrain.training.engine import Engine


@pytest.mark.parametrize("quiet", [False, True])
def test_a_line_every_half_minute_and_at_the_end(tmp_path, capsys, monkeypatch, quiet):
    show_messages(quiet=quiet)
    now = 100.0
    monkeypatch.setattr(messages.time, "monotonic", lambda: now)
    engine = Engine(
        tf.keras.Sequential([tf.keras.Input([1])]), Run(tmp_path), (), steps_per_epoch=4,
        epochs=1, windows=1, check=lambda epoch, logs: None,
    )  # fmt: skip
    engine.start_progress()
    for engine.done in (1, 2, 3, 4):
        now += 20
        engine.logs = {"loss": 1.5 / engine.done}
        engine.show_progress()
    lines = capsys.readouterr().out.splitlines()
    assert lines == ([] if quiet else [
        "training: 2 of 4 steps, loss 0.7500, 0.05 a second, 0:40 left",
        "the 2 steps that are left will take about 40 s, at 0 windows/s",
        "training: 4 of 4 steps, loss 0.3750, 0.05 a second, 0:00 left",
    ])  # fmt: skip


def test_a_short_training_has_its_last_line(tmp_path, capsys):
    show_messages()
    engine = Engine(
        tf.keras.Sequential([tf.keras.Input([1])]), Run(tmp_path), (), steps_per_epoch=1,
        epochs=1, windows=1, check=lambda epoch, logs: None,
    )  # fmt: skip
    engine.start_progress()
    engine.done, engine.logs = 1, {"loss": 1.5}
    engine.show_progress()
    (line,) = capsys.readouterr().out.splitlines()
    assert re.fullmatch(r"training: 1 of 1 steps, loss 1\.5000, [\d.,]+ a second, 0:00 left", line)
