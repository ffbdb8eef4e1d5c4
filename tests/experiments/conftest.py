"""Cells that were never made."""

import json

import pytest


@pytest.fixture
def pretend_done():
    """Callable: leave what a finished cell leaves, with these results."""

    def leave(state, cell, results, counts=None):
        folder = state.folder(cell)
        folder.mkdir(parents=True)
        name = "results.json" if cell.kind == "triplets" else "summary.json"
        (folder / name).write_text(json.dumps(results))
        state.finish(cell, 12.0, resumed=False, counts=counts or {})

    return leave
