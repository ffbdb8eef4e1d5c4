"""Every notebook runs from top to bottom, and shows what it says.

Its kernel has this package with ``train`` and ``page``, and nothing more.
"""

import json
import os
import re
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

NOTEBOOKS = Path(__file__).parent.parent / "notebooks"
SLOW_AND_FAST = "fast = False", "fast = True"


@pytest.fixture(scope="module")
def run(tmp_path_factory, only):
    """Callable: name → the notebook after its run, what its cells printed, and its folder.

    A notebook runs once for all tests, in an empty folder, and with ``fast`` where it has that.
    """
    done = {}
    kernels = tmp_path_factory.mktemp("jupyter")
    here = only("playlist_pretrain[page,train]", "ipykernel")
    (kernels / "kernels" / "only").mkdir(parents=True)
    words = [here, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
    about = {"argv": words, "display_name": "only", "language": "python"}
    (kernels / "kernels" / "only" / "kernel.json").write_text(json.dumps(about))

    def run(name):
        if name not in done:
            folder = tmp_path_factory.mktemp(Path(name).stem)
            notebook = nbformat.read(NOTEBOOKS / name, as_version=4)
            for cell in notebook.cells:
                cell.source = cell.source.replace(*SLOW_AND_FAST)
            where = {"metadata": {"path": folder}}
            client = NotebookClient(notebook, timeout=300, resources=where, kernel_name="only")
            # As in a user's shell: nothing is chosen yet, and the kernel shows what libraries write
            # to descriptor 2, which it does not under pytest.
            unset = "TF_CPP_MIN_LOG_LEVEL", "TF_USE_LEGACY_KERAS", "PYTEST_CURRENT_TEST"
            environment = {k: v for k, v in os.environ.items() if k not in unset}
            with pytest.MonkeyPatch.context() as patch:
                patch.setenv("JUPYTER_PATH", str(kernels))
                client.execute(env={**environment, "PYTHONPATH": str(NOTEBOOKS.parent)})
            printed = {"stdout": "", "stderr": ""}
            for cell in notebook.cells:
                for output in cell.get("outputs", []):
                    if output.output_type == "stream":
                        printed[output.name] += output.text
            # Progress bars write there too, and Essentia what it loads.
            lines = re.split(r"[\r\n]+", printed["stderr"])
            assert not [s for s in lines if s and "it/s" not in s and "[   INFO   ]" not in s]
            done[name] = notebook, printed["stdout"], folder
        return done[name]

    return run


@pytest.mark.parametrize("path", sorted(NOTEBOOKS.glob("*.ipynb")), ids=lambda path: path.stem)
def test_was_saved_without_outputs_and_names_no_machine(path):
    saved = nbformat.read(path, as_version=4)
    nbformat.validate(saved)
    code = [cell for cell in saved.cells if cell.cell_type == "code"]
    assert not any(cell.outputs or cell.execution_count for cell in code)
    assert not re.search(r"/(home|root|tmp|work|Users|mnt)/|[A-Z]:\\", path.read_text("utf-8"))
    for link in re.findall(r"\]\(([\w.]+)\)", path.read_text("utf-8")):
        assert (NOTEBOOKS / link).is_file(), link


@pytest.mark.long
@pytest.mark.parametrize("path", sorted(NOTEBOOKS.glob("*.ipynb")), ids=lambda path: path.stem)
def test_runs(path, run):
    run(path.name)


@pytest.mark.long
def test_an_own_backbone_learns_its_own_pairs_in_ten_lines(run):
    notebook, printed, folder = run("own_backbone.ipynb")
    training = next(cell.source for cell in notebook.cells if "model.fit" in cell.source)
    assert len(training.splitlines()) <= 10
    first, last, chance = map(float, re.findall(r"[\d.]+\d", printed))
    assert last < first and last < 0.5 * chance
    assert (folder / "own_backbone.keras").exists()


@pytest.mark.long
def test_the_first_hour_ends_with_a_model_that_knows_more_than_spectra(run):
    notebook, printed, folder = run("first_hour.ipynb")
    assert any(SLOW_AND_FAST[1] in cell.source for cell in notebook.cells)
    mean_of_mel, model = map(float, re.findall(r"([\d.]+)% of 500 triplets right", printed))
    assert model > mean_of_mel + 5
    (share,) = re.findall(r"(\d+)% of the nearest five are of the same style", printed)
    assert int(share) > 100 / 6 + 5
    assert (folder / "runs" / "first_hour_fast" / "saved_model").is_dir()


@pytest.mark.long
def test_own_music_becomes_a_model_that_finds_a_file_again(run):
    _, printed, folder = run("own_music.ipynb")
    assert "48 tracks" in printed and re.search(r"matched +48 +100", printed)
    file, track = re.search(r"^(\S+) is nearest to (\S+)$", printed, re.M).groups()
    assert track.endswith("/" + file.removesuffix(".flac"))
    assert (folder / "my_music" / track).with_suffix(".flac").exists()


@pytest.mark.long
def test_essentia_gives_what_keras_gives(run):
    _, printed, folder = run("essentia.ipynb")
    assert float(re.search(r"difference is (\S+) standard", printed)[1]) < 1e-3
    assert float(re.search(r"cosine between the two: (\S+)", printed)[1]) > 0.999999
    assert (folder / "exports" / "essentia" / "mine-1" / "mine-1.pb").is_file()
