"""Progress of a training: a bar on a terminal, a line now and then elsewhere."""

import contextlib
import io
import re

import pytest
import tensorflow as tf

from playlist_pretrain.messages import show_messages
from playlist_pretrain.runs import Run
from playlist_pretrain.training.engine import Engine


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture
def engine(tmp_path):
    """Callable: an engine at step 3 of 8, of one epoch."""

    def make(steps=8, done=3):
        made = Engine(
            tf.keras.Sequential([tf.keras.Input([1])]), Run(tmp_path), (), steps_per_epoch=steps,
            epochs=1, windows=1, check=lambda epoch, logs: None,
        )  # fmt: skip
        made.done = done
        return made

    return make


def shown(engine, *, quiet=False):
    """Text that a terminal gets after one more step."""
    show_messages(quiet=quiet)
    with contextlib.redirect_stderr(Terminal()) as terminal:
        engine.start_progress()
        engine.done, engine.logs = engine.done + 1, {"loss": 1.5}
        engine.show_progress()
        engine.bar.refresh()  # by itself it is drawn only after two seconds
    return terminal.getvalue()


def test_a_bar_on_a_terminal_unless_quiet(engine, capsys):
    assert "4/8" in shown(engine())
    assert shown(engine(), quiet=True) == capsys.readouterr().out == ""


def test_a_line_at_the_end_where_there_is_no_terminal(engine, capsys):
    show_messages()
    trained = engine(steps=2, done=0)
    trained.start_progress()
    for step in (1, 2):
        trained.done, trained.logs = step, {"loss": 1.5}
        trained.show_progress()
    (line,) = capsys.readouterr().out.splitlines()
    assert re.fullmatch(r"step 2/2  loss 1\.5000  [\d.]+ steps/s  0:00 left", line)
