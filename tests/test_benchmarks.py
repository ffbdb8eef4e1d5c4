"""Every benchmark runs and prints its table; its figures are nobody's business here."""

import ast
import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parent.parent / "benchmarks"
TINY_STEP = ["--width", "0.05", "--batch", "4", "--steps", "2", "--rounds", "2"]
SMALL = {
    "front_end": ["--seconds", "4", "--rounds", "2"],
    "index": ["--tracks", "70", "--small", "10", "--windows", "20", "--rounds", "1"],
    "windows": ["--tracks", "16", "--batch", "8", "--batches", "3", "--rounds", "1"],
    "pairs": ["--shares", "0.002"],
    "playlists": ["--slices", "2", "--playlists", "20", "--many", "10", "--rounds", "1"],
    "records": ["--files", "4", "--many", "6", "--rounds", "1", "--workers", "1"],
    "essentia_package": [
        "--width", "0.05", "--only", "^vggish .* musicnn", "--steps", "1", "--windows", "4",
        "--rounds", "1",
    ],
    "search": ["--tracks", "400", "--dim", "8", "--queries", "20", "--rounds", "1"],
    "embed": ["--width", "0.05", "--few", "2", "--many", "4", "--rounds", "1", "--workers", "1"],
    "gpu": ["--backbones", "vggish", "--width", "0.05", "--batch", "4", "--matrix", "64"],
    "remote": ["--tracks", "8", "--batch", "4", "--batches", "3", "--rounds", "1"],
    "micro_batch": [*TINY_STEP, "--micro-batch", "2"],
    "train_step": [
        "--backbones", "vggish", "--width", "0.05", "--batch", "4", "--batches", "8",
        "--largest-whole", "4", "--micro-batch", "2", "--rounds", "1", "--matrix", "64",
    ],
}  # fmt: skip


def test_all_are_known_here():
    found = {path.stem for path in BENCHMARKS.glob("[!_]*.py")}
    others = {"artist_retrieval", "demo_proof", "order_causes", "pair_styles", "triplets"}
    assert found == {*SMALL, *others}


def test_what_they_import_is_there():
    """Some take too long to be run here, and imports inside functions are no one else's."""
    for path in BENCHMARKS.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.ImportFrom) and node.module.startswith("playlist_pretrain"):
                module = importlib.import_module(node.module)
                for alias in node.names:
                    there = hasattr(module, alias.name)
                    if not there and hasattr(module, "__path__"):
                        there = importlib.util.find_spec(f"{node.module}.{alias.name}")
                    assert there, f"{path.name}: {alias.name} of {node.module}"


@pytest.mark.long
@pytest.mark.parametrize("name", list(SMALL))
def test_prints_a_table(name, shared_data):
    if name in ("records", "embed"):
        shared_data("pop909")  # skips where the recordings are not
    done = subprocess.run(
        [sys.executable, str(BENCHMARKS / f"{name}.py"), *SMALL[name]],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    assert sum(line.startswith("|") for line in done.stdout.splitlines()) >= 4
