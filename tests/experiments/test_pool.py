"""Cells in processes: failures, cells that others work on, and what depends on them."""

import threading
import time

import pytest

from playlist_pretrain.experiments.cells import Cell, State
from playlist_pretrain.experiments.pool import run_cells
from playlist_pretrain.files import folder_lock


def cell(name, needs=(), **options):
    """A cell that is refused before anything heavy is imported."""
    spec = {"verb": "similarity", "model": "mean-of-mel", "options": {"short": "never", **options}}
    return Cell(name, "triplets", spec, needs=needs)


@pytest.fixture
def run(tmp_path, caplog):
    """Callable: run cells; the state, and what was said."""

    def through(cells, workers=2, state=None):
        state = state or State(tmp_path / "out")
        caplog.set_level("INFO", "playlist_pretrain")
        caplog.clear()
        run_cells(cells, state, workers=workers, threads=1)
        return state, caplog.messages

    return through


def done(state, one):
    state.folder(one).mkdir(parents=True, exist_ok=True)
    state.finish(one, 1.0, resumed=False, counts={})


def test_a_failure_is_recorded_does_not_stop_the_rest_and_is_tried_again(run):
    cells = [cell("a"), cell("b", needs=("a",)), cell("c", needs=("b",)), cell("d", seconds=-1)]
    state, said = run(cells)
    assert "--short never" in state.failed(cells[0])
    assert state.failed(cells[3]) is not None
    assert state.failed(cells[1]) is None and not (state.notes(cells[1]) / "log.txt").exists()
    assert "b: not done, it needs a" in said and "c: not done, it needs b" in said
    assert "--short never" in (state.notes(cells[0]) / "log.txt").read_text()
    state.fail(cells[0], "before")
    run(cells[:1], state=state)
    assert "--short never" in state.failed(cells[0])


def test_a_process_that_dies_is_a_failure_too(run):
    odd = Cell("odd", "tags", {"verb": "no such verb", "options": {}})
    state, said = run([odd])
    assert "ended with exit code 1" in state.failed(odd) and "log.txt" in state.failed(odd)
    assert any("FAILED" in text for text in said)


def test_what_is_done_is_not_done_again(run, tmp_path):
    one = cell("a")
    state = State(tmp_path / "out")
    done(state, one)
    _, said = run([one], state=state)
    assert said == ["1 of 1 cells are done already"]
    assert not (state.notes(one) / "log.txt").exists()


@pytest.mark.slow
def test_a_cell_that_another_process_works_on_is_waited_for(run, tmp_path, caplog):
    one, state = cell("a"), State(tmp_path / "out")
    held = threading.Event()

    def other():
        with folder_lock(state.notes(one), "made elsewhere"):
            held.set()
            while not caplog.messages:
                time.sleep(0.05)
            done(state, one)

    thread = threading.Thread(target=other)
    thread.start()
    held.wait()
    _, said = run([one], workers=1, state=state)
    thread.join()
    assert "another process works on it" in said[0] and "done" in said[-1]
    assert state.failed(one) is None
