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
def two_steps(tmp_path):
    """Callable: take both steps of an engine."""

    def take():
        engine = Engine(
            tf.keras.Sequential([tf.keras.Input([1])]), Run(tmp_path), (), steps_per_epoch=2,
            epochs=1, windows=1, check=lambda epoch, logs: None,
        )  # fmt: skip
        engine.start_progress()
        for engine.done in (1, 2):
            engine.logs = {"loss": 1.5}
            engine.show_progress()
            engine.bar.refresh()  # by itself it is drawn only after two seconds

    return take


@pytest.mark.parametrize("quiet", [False, True])
def test_a_bar_on_a_terminal_unless_quiet(two_steps, capsys, quiet):
    show_messages(quiet=quiet)
    with contextlib.redirect_stderr(Terminal()) as terminal:
        two_steps()
    assert ("1/2" in terminal.getvalue()) != quiet
    assert capsys.readouterr().out == ""


def test_a_line_at_the_end_where_there_is_no_terminal(two_steps, capsys):
    show_messages()
    two_steps()
    (line,) = capsys.readouterr().out.splitlines()
    assert re.fullmatch(r"step 2/2  loss 1\.5000  [\d.]+ steps/s  0:00 left", line)
