"""Disk of cells before they are made, against models that are."""

import pytest

from playlist_pretrain.experiments import estimate as disk
from playlist_pretrain.experiments.cells import cells_of
from playlist_pretrain.experiments.plan import read_plan
from playlist_pretrain.models.layers import projector
from playlist_pretrain.models.resnet50 import resnet50
from playlist_pretrain.models.vggish import vggish

WINDOW = {"frames": 16, "bands": 64}
"""Of the tiny plan."""


def parameters(model):
    """Of a model and of what is trained on top of it."""
    return model.count_params() + projector(model.output_shape[-1]).count_params()


@pytest.mark.parametrize(("model", "width"), [("vggish", 0.05), ("resnet50", None)])
def test_weights_are_those_of_the_models(model, width):
    made = vggish(**WINDOW, width=width) if width else resnet50(**WINDOW)
    assert disk._count(model, width, *WINDOW.values()) == (parameters(made), made.output_shape[-1])


def test_what_each_kind_keeps(write_plan):
    cells = {cell.id: cell for cell in cells_of(read_plan(write_plan()))}
    weights = parameters(vggish(**WINDOW, width=0.05))

    def of(id):
        return disk.bytes_of(cells[id], cells)

    trained = of("pretrain/seed-0/vggish-playlist_co")
    assert trained == disk.GRAPH_BYTES + 4 * weights * 7
    runs = 2 * (disk.GRAPH_BYTES + 4 * weights)
    assert of("tags/own/seed-0/vggish-playlist_co") == of("tags/own/seed-0/vggish-scratch") == runs
    assert of("triplets/own/seed-0/vggish-playlist_co") == 4 * 128 * 3 * 41


def test_disk_of_a_done_cell_is_about_what_was_thought(write_plan, tmp_path):
    from playlist_pretrain.experiments.cell_run import run_cell
    from playlist_pretrain.experiments.cells import State

    cells = {cell.id: cell for cell in cells_of(read_plan(write_plan()))}
    cell, state = cells["pretrain/seed-0/vggish-playlist_co"], State(tmp_path / "out")
    run_cell(cell, state)
    assert state.done(cell)["bytes"] == pytest.approx(disk.bytes_of(cell, cells), rel=0.1)
