"""What a training step costs: ``fit`` beside a bare step, beside the arithmetic, at every batch.

python benchmarks/train_step.py [--backbones vggish,resnet50] [--width 1.0]
    [--precisions float32,mixed_bfloat16] [--batch 16] [--batches 8,16,32,64,128,384]
    [--batch-precisions float32] [--largest-whole N] [--micro-batch 16] [--rounds 3]
python benchmarks/train_step.py --backbones vggish --batches ""     (only --batch: quick)

Every row is a process of its own, so its memory is its own. It makes the model and the input of
``pretrain.py`` (preset paper, a collection of random mels) and fits it with the callbacks that look
at every step; epochs' ends (checkpoints, probe) are not in it. In turn with that:

* at ``--batch`` a bare step: one tf.function on constant windows with forward pass, NT-Xent,
  gradients and Adam, and nothing else;
* a product of two large matrices in the row's precision, for the operations a second that can be
  reached here. The share of this limit counts the operations of convolutions and dense layers,
  forward once and backward twice that; slices run forward twice, and only once is counted.

Batches that do not fit 12 GB go in slices of ``--micro-batch``; those of more than 64 pairs are
timed once.
"""

import argparse
import multiprocessing
import os
import statistics
import sys
import tempfile
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from _fit import Case, Fit, bare_steps, products, settled
from _steps import in_turn, peak_memory, ratio, step_operations
from _table import print_table
from windows import make_collection

LARGEST_WHOLE = {"vggish": 128, "resnet50": 64}
LARGEST_OFTEN = 64


def measure(case: Case) -> tuple[str, ...]:
    """A row of the table; to be called in a process of its own."""
    model, data = settled(case)
    peak = 0.0
    with tempfile.TemporaryDirectory() as folder:
        fit = Fit(case, model, data, Path(folder))

        def fit_and_look(round_):
            nonlocal peak
            seconds = fit(round_)
            if not (round_ and case.bare):  # by then the peak may be that of the bare step
                peak = peak_memory()
            return seconds

        jobs = {"fit": fit_and_look, "product": products(case)}
        if case.bare:
            jobs["bare"] = bare_steps(model, fit)
        seconds = in_turn(jobs, case.rounds)
    reached = [case.products * 2 * case.matrix**3 / 1e9 / took for took in seconds["product"]]
    needed = step_operations(model, case.batch) / 1e9
    # Both of one round: what else the machine does slows both.
    shares = [
        case.steps * needed / took / rate
        for took, rate in zip(seconds["fit"], reached, strict=True)
    ]
    step = statistics.median(seconds["fit"]) / case.steps
    return (
        f"{case.backbone}, {case.precision}",
        str(case.batch),
        str(case.micro_batch or "whole"),
        f"{1 / step:.3f}",
        f"{2 * case.batch / step:.1f}",
        f"{1000 * step / case.batch:.1f}",
        f"{case.steps / statistics.median(seconds['bare']):.3f}" if case.bare else "",
        f"{ratio(seconds['fit'], seconds['bare']):.3f}" if case.bare else "",
        f"{needed:,.0f}",
        f"{statistics.median(reached):.0f}",
        f"{statistics.median(shares):.2f}",
        f"{peak:.1f}",
    )


HEADER = (
    "", "pairs", "slices", "steps/s", "windows/s", "ms a pair", "bare steps/s", "time / bare",
    "GFLOP a step", "matmul GFLOP/s", "of that", "peak GB",
)  # fmt: skip


def cases_of(options, collection: Path):
    """The rows: every precision at ``--batch``, the batches in ``--batch-precisions``."""
    for backbone in options.backbones:
        for precision in dict.fromkeys(options.precisions + options.batch_precisions):
            batches = set(options.batches if precision in options.batch_precisions else [])
            batches |= {options.batch} if precision in options.precisions else set()
            for batch in sorted(batches):
                whole = batch <= (options.largest_whole or LARGEST_WHOLE.get(backbone, 0))
                yield Case(
                    collection=collection,
                    backbone=backbone,
                    width=options.width,
                    precision=precision,
                    batch=batch,
                    micro_batch=None if whole else options.micro_batch,
                    steps=max(1, options.pairs_a_round // batch),
                    rounds=options.rounds if batch <= LARGEST_OFTEN else 1,
                    bare=whole and batch == options.batch,
                    matrix=options.matrix,
                )


def main():
    """Measure row by row and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])

    def words(text: str) -> list[str]:
        return [word for word in text.split(",") if word]

    def numbers(text: str) -> list[int]:
        return [int(word) for word in words(text)]

    parser.add_argument("--backbones", type=words, default="vggish,resnet50")
    parser.add_argument("--width", type=float, default=1.0, help="of VGGish")
    parser.add_argument("--precisions", type=words, default="float32,mixed_bfloat16")
    parser.add_argument("--batch", type=int, default=16, help="pairs beside a bare step")
    parser.add_argument("--batches", type=numbers, default="8,16,32,64,128,384")
    parser.add_argument("--batch-precisions", type=words, default="float32")
    parser.add_argument("--largest-whole", type=int, help=f"pairs in one piece {LARGEST_WHOLE}")
    parser.add_argument("--micro-batch", type=int, default=16)
    parser.add_argument("--pairs-a-round", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--matrix", type=int, default=2048, help="rows of the large matrices")
    options = parser.parse_args()
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    with tempfile.TemporaryDirectory() as folder:
        collection = make_grouped(Path(folder), 2 * max(*options.batches, options.batch, 40))
        alone = {"mp_context": multiprocessing.get_context("spawn"), "max_tasks_per_child": 1}
        with ProcessPoolExecutor(1, **alone) as process:
            rows = []
            for case in cases_of(options, collection):
                rows.append(process.submit(measure, case).result())
                print(*rows[-1], sep="  ", file=sys.stderr, flush=True)
    print_table(
        f"Training steps, VGGish width {options.width}, medians of {options.rounds} rounds "
        f"(one above {LARGEST_OFTEN} pairs)",
        HEADER,
        rows,
    )


def make_grouped(folder: Path, tracks: int, playlists=None) -> Path:
    """Collection of random tracks of 30 s, with ``playlists`` [each ten tracks are one]."""
    from playlist_pretrain.playlists.groups import TrackGroups, groups_path

    collection = make_collection(folder, tracks)
    if playlists is None:
        playlists = [range(first, min(first + 10, tracks)) for first in range(0, tracks, 10)]
    groups = TrackGroups.from_lists(
        "playlists",
        playlists,
        tracks=tracks,
        collection_key=collection.content_key,
    )
    groups.save(groups_path(folder, groups.name))
    return folder


if __name__ == "__main__":
    main()
