"""Packages of trained models in Essentia: how near to the model, how large, how fast.

python benchmarks/essentia_package.py [--width 1.0] [--only REGEX] [--steps 3] [--rounds 2]
python benchmarks/essentia_package.py --width 0.25 --only "vggish .* musicnn"     (quick)

VGGish and ResNet50, as backbone and as tagger, for the front ends of the paper and of MusiCNN, and
VGGish as AudioSet has it, exported with Essentia's front end in the place of its own (how far that
moves embeddings stands in the table). Each is trained for a few steps on windows of made-up sound,
until no weight is what it was at first, and exported as ``scripts/export.py`` does it; differences
are those of the check that stands before a package.
Then one process has the ``.pb`` in Essentia and one has the SavedModel as a tf.function, which take
turns with the same 64 windows. Loading is timed once, libraries imported, the file in cache.
"""

import argparse
import multiprocessing
import os
import re
import statistics
import sys
import tempfile
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from _engines import load_in_essentia, load_in_tensorflow, windows_in_turn
from _steps import in_turn, ratio
from _table import print_table
from _trained import NAMES, export_trained

from playlist_pretrain.errors import ModelError

HEADER = (
    "", "windows, std", "file, std", "activations", "moved, std", "same count", "JSON valid",
    ".pb MB", "SavedModel MB", "load s", "load s, TF", "windows/s", "windows/s, TF", "time / TF",
)  # fmt: skip


def measure(name: str, options: argparse.Namespace, folder: Path) -> tuple[str, ...]:
    """A row of the table; training, Essentia and TensorFlow are a process each."""
    with process() as training:
        exported = training.submit(
            export_trained, name, options.width, options.steps, folder
        ).result()
    with process() as essentia, process() as tensorflow:
        loaded = essentia.submit(load_in_essentia, exported.graph, exported.outputs).result()
        loaded_here = tensorflow.submit(load_in_tensorflow, exported.saved_model).result()

        def turn_of(engine: ProcessPoolExecutor):
            return lambda round_: engine.submit(
                windows_in_turn, exported.frames, exported.bands, options.windows
            ).result()

        jobs = {"essentia": turn_of(essentia), "tensorflow": turn_of(tensorflow)}
        seconds = in_turn(jobs, options.rounds)
    rates = {engine: options.windows / statistics.median(seconds[engine]) for engine in jobs}
    return (
        name,
        f"{exported.windows:.1e}",
        f"{exported.file:.1e}",
        "" if exported.activations is None else f"{exported.activations:.1e}",
        "" if exported.moved is None else f"{exported.moved:.2f}",
        yes_or_no(exported.same_count),
        yes_or_no(exported.valid),
        f"{exported.graph_size / 1e6:.1f}",
        f"{exported.saved_model_size / 1e6:.1f}",
        f"{loaded:.2f}",
        f"{loaded_here:.2f}",
        f"{rates['essentia']:.1f}",
        f"{rates['tensorflow']:.1f}",
        f"{ratio(seconds['essentia'], seconds['tensorflow']):.2f}",
    )


def yes_or_no(truth: bool) -> str:
    """For a cell."""
    return "yes" if truth else "no"


def process() -> ProcessPoolExecutor:
    """One that has nothing of another in memory."""
    return ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn"))


def main():
    """Measure model by model and print one table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--width", type=float, default=1.0, help="of VGGish")
    parser.add_argument("--only", type=re.compile, default="", help="of these: " + "; ".join(NAMES))
    parser.add_argument("--steps", type=int, default=3, help="of the optimizer")
    parser.add_argument("--windows", type=int, default=64, help="of a batch")
    parser.add_argument("--rounds", type=int, default=2)
    options = parser.parse_args()
    # The processes inherit them.
    os.environ["CUDA_VISIBLE_DEVICES"] = "-1"
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
    rows, refused = [], 0
    for name in filter(options.only.search, NAMES):
        with tempfile.TemporaryDirectory() as folder:
            try:
                rows.append(measure(name, options, Path(folder)))
            except ModelError as error:
                rows.append((name, "refused", *[""] * (len(HEADER) - 2)))
                print(error, file=sys.stderr)
                refused += 1
        print(*rows[-1], sep="  ", file=sys.stderr, flush=True)
    print_table(
        f"Packages in Essentia, VGGish width {options.width}, trained for {options.steps} steps; "
        f"batches of {options.windows} windows, medians of {options.rounds} rounds",
        HEADER,
        rows,
    )
    return 1 if refused else 0


if __name__ == "__main__":
    raise SystemExit(main())
