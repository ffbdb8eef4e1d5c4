"""What is shown while a run trains."""

import contextlib
import io
import re

from playlist_pretrain.training.callbacks import COLUMNS, Progress


class Terminal(io.StringIO):
    def isatty(self):
        return True


def shown_after_an_epoch(logs, quiet=False):
    """What a terminal got."""
    with contextlib.redirect_stderr(Terminal()) as terminal:
        bar = Progress(steps=8, done=3, quiet=quiet)
        bar.on_train_batch_end(0, logs)
        bar.on_epoch_end(0, logs)
        bar._bar.refresh()  # by itself it is drawn only after two seconds
    return terminal.getvalue()


def test_the_bar_shows_the_loss_and_the_probe_and_nothing_else(monkeypatch):
    monkeypatch.setenv("COLUMNS", "400")
    shown = shown_after_an_epoch({name: number + 0.25 for number, name in enumerate(COLUMNS)})
    assert "4/8" in shown
    values = dict(re.findall(r"(\w+)=([\d.]+)", shown))
    probe = {name for name in COLUMNS if name.startswith("probe_")}
    assert len(probe) == 5 and values.keys() == {"loss"} | probe
    assert all(float(value) == COLUMNS.index(name) + 0.25 for name, value in values.items())


def test_an_epoch_without_a_probe_shows_its_loss():
    shown = shown_after_an_epoch({"loss": 3.14159, "gradient_norm": 1.0})
    assert re.findall(r"(\w+)=([\d.]+)", shown) == [("loss", "3.1416")]


def test_no_bar_when_quiet(capsys):
    assert shown_after_an_epoch({"loss": 1.0}, quiet=True) == capsys.readouterr().out == ""


def test_a_line_at_the_end_where_there_is_no_terminal(capsys):
    bar = Progress(steps=2, done=0, quiet=False)
    for step in range(2):
        bar.on_train_batch_end(step, {"loss": 1.5, "gradient_norm": 9.0})
    (line,) = capsys.readouterr().out.splitlines()
    assert re.fullmatch(r"step 2/2  loss 1\.5000  [\d.]+ steps/s  0:00 left", line)
