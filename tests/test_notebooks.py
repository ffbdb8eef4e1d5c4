"""Every notebook runs from top to bottom, and shows what it says."""

import re
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

NOTEBOOKS = Path(__file__).parent.parent / "notebooks"


@pytest.fixture
def run(tmp_path):
    """Callable: name → the notebook after its run, and what its cells printed."""

    def run(name):
        notebook = nbformat.read(NOTEBOOKS / name, as_version=4)
        client = NotebookClient(notebook, timeout=300, resources={"metadata": {"path": tmp_path}})
        client.execute()
        printed = "".join(
            output.get("text", "")
            for cell in notebook.cells
            if cell.cell_type == "code"
            for output in cell.outputs
            if output.get("name") == "stdout"
        )
        return notebook, printed

    return run


@pytest.mark.slow
@pytest.mark.parametrize("path", sorted(NOTEBOOKS.glob("*.ipynb")), ids=lambda path: path.stem)
def test_runs_and_was_saved_without_its_outputs(path, run):
    saved = nbformat.read(path, as_version=4)
    assert not any(cell.get("outputs") for cell in saved.cells)
    run(path.name)


@pytest.mark.slow
def test_an_own_backbone_learns_its_own_pairs_in_ten_lines(run, tmp_path):
    notebook, printed = run("own_backbone.ipynb")
    training = next(cell.source for cell in notebook.cells if "model.fit" in cell.source)
    assert len(training.splitlines()) <= 10
    first, last, chance = map(float, re.findall(r"[\d.]+\d", printed))
    assert last < first and last < 0.5 * chance
    assert (tmp_path / "own_backbone.keras").exists()
