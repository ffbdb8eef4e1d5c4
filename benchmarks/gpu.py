"""Rate of pre-training on a GPU, beside that of its matrix products, and of ``embed``.

python benchmarks/gpu.py [--backbones vggish,resnet50] [--batch 384] [--steps 20]

For whoever has a GPU, in less than ten minutes. Without one it runs small, on the CPU, and says so.

Every row is a process of its own: the function behind ``pretrain.py`` (preset paper) trains three
epochs of ``--steps`` on a collection of random mels, and the faster of the last two counts, as the
first one traces and compiles. In the same process products of two large matrices in the row's
precision give the operations a second that this device reaches; the share of them counts the
operations of convolutions and dense layers, forward once and backward twice that. A batch that does
not fit the memory is trained in slices (``--micro-batch``). Where there are two GPUs, two replicas
share a batch of the same size. Rows of ``embed``: a second ``Model.embed`` of the collection.
"""

import argparse
import csv
import dataclasses
import logging
import multiprocessing
import os
import re
import statistics
import sys
import tempfile
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
from _fit import Case, products, settled
from _steps import in_turn, peak_memory, step_operations
from _table import print_table
from train_step import make_grouped

EPOCHS = 3
GROUP = 10
SLICES = 8
SLICED = ("does not fit",)
"""In place of a row: it is to be trained in ``SLICES`` slices."""
HEADER = (
    "", "precision", "replicas", "pairs", "slices", "steps/s", "windows/s", "matmul TFLOP/s",
    "of that", "peak GB",
)  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Row:
    """A run to measure: its case, compilation by XLA, number of devices and folder."""

    case: Case
    xla: bool
    replicas: int
    out: Path


def device_names() -> list[str]:
    """Names of the GPUs; to be called in a process of its own, as TensorFlow keeps them."""
    import tensorflow as tf

    gpus = tf.config.list_physical_devices("GPU")
    return [tf.config.experimental.get_device_details(gpu).get("device_name", "?") for gpu in gpus]


def versions() -> str:
    """TensorFlow and the CUDA that it was built for."""
    import tensorflow as tf

    cuda = tf.sysconfig.get_build_info().get("cuda_version")
    return f"TensorFlow {tf.__version__}" + (f", CUDA {cuda}" if cuda else "")


def memory() -> float:
    """GB in use at most so far, of the first GPU or else of this process."""
    import tensorflow as tf

    if tf.config.list_physical_devices("GPU"):
        return tf.config.experimental.get_memory_info("GPU:0")["peak"] / 1e9
    return peak_memory()


def train(row: Row) -> tuple[str, ...]:
    """Train, and return the row of the table; to be called in a process of its own."""
    from playlist_pretrain.errors import RunError
    from playlist_pretrain.training.pretrain import pretrain

    case = row.case
    settings = {"strategy": "mirrored", "replicas": row.replicas} if row.replicas > 1 else {}
    try:
        run = pretrain(
            collection=case.collection,
            out=row.out,
            overwrite=True,
            preset="paper",
            backbone=case.backbone,
            width=case.width if case.backbone == "vggish" else None,
            batch=case.batch,
            micro_batch=case.micro_batch,
            epochs=EPOCHS,
            precision=case.precision,
            xla=row.xla,
            probe_share=0.0,
            **settings,
        )
    except RunError as error:
        if not re.search("out of memory|OOM", str(error), re.IGNORECASE):
            raise
        # Batch normalisation over several replicas cannot go slice by slice.
        if case.micro_batch is None and row.replicas == 1:
            return SLICED
        return (*_begin(row), "out of memory", *[""] * 4)
    peak = memory()
    with open(run.path / "history.csv", newline="") as stream:
        epochs = list(csv.DictReader(stream))
    rate = max(float(epoch["windows_per_second"]) for epoch in epochs[1:])
    took = statistics.median(in_turn({"product": products(case)}, 3)["product"])
    reached = case.products * 2 * case.matrix**3 / 1e12 / took * row.replicas
    model, _ = settled(case)
    needed = step_operations(model, case.batch) / 1e12
    steps = rate / (2 * case.batch)
    return (
        *_begin(row),
        f"{steps:.2f}",
        f"{rate:,.0f}",
        f"{reached:.2f}",
        f"{steps * needed / reached:.2f}",
        f"{peak:.1f}",
    )


def _begin(row: Row) -> tuple[str, ...]:
    case = row.case
    return (
        case.backbone,
        case.precision.removeprefix("mixed_") + ", XLA" * row.xla,
        str(row.replicas),
        str(case.batch),
        str(case.micro_batch or "whole"),
    )


def embedding(row: Row) -> tuple[str, ...]:
    """Embed the collection with the model of a row; to be called in a process of its own."""
    from playlist_pretrain.records.collection import Collection
    from playlist_pretrain.retrieval.model import load

    model, collection = load(row.out / "saved_model"), Collection.open(row.case.collection)

    def again(_):
        model.embed(collection, per="window")

    took = min(in_turn({"embed": again}, 2)["embed"])
    windows = int(np.sum(collection.frames // model.frames))
    name = f"embed, {row.case.backbone}"
    return (name, "float32", "1", *[""] * 3, f"{windows / took:,.0f}", "", "", f"{memory():.1f}")


def make_data(folder: Path, batch: int, steps: int) -> None:
    """Collection of random tracks, with playlists enough for the steps of an epoch."""
    generator, tracks = np.random.default_rng(0), max(2 * batch, 2 * GROUP)
    wanted = 2 * batch * steps // GROUP + GROUP  # two tracks of a playlist make one pair
    make_grouped(
        folder, tracks, [generator.choice(tracks, GROUP, replace=False) for _ in range(wanted)]
    )


def rows_of(options, folder: Path, replicas: list[int]):
    """The rows: both precisions, with XLA where one replica trains."""
    for backbone in options.backbones:
        for count in replicas:
            for precision in ("float32", "mixed_bfloat16"):
                for xla in (False, True) if count == 1 else (False,):
                    case = Case(
                        collection=folder / "collection",
                        backbone=backbone,
                        width=options.width,
                        precision=precision,
                        batch=options.batch,
                        micro_batch=None,
                        steps=options.steps,
                        rounds=EPOCHS,
                        bare=False,
                        matrix=options.matrix,
                    )
                    yield Row(case, xla, count, folder / f"{backbone}-{precision}-{count}-{xla}")


def main():
    """Measure row by row and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--backbones", type=lambda text: text.split(","), default="vggish,resnet50")
    parser.add_argument("--width", type=float, help="of VGGish [1.0, on a CPU 0.1]")
    parser.add_argument("--batch", type=int, help="pairs of a step [384, on a CPU 4]")
    parser.add_argument("--steps", type=int, help="of an epoch [20, on a CPU 2]")
    parser.add_argument("--matrix", type=int, help="rows of the large matrices [8192, CPU 1024]")
    options = parser.parse_args()
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    logging.getLogger("playlist_pretrain").setLevel(logging.ERROR)
    alone = {"mp_context": multiprocessing.get_context("spawn"), "max_tasks_per_child": 1}
    with tempfile.TemporaryDirectory() as temporary, ProcessPoolExecutor(1, **alone) as process:
        gpus = process.submit(device_names).result()
        small = {"width": 0.1, "batch": 4, "steps": 2, "matrix": 1024}
        full = {"width": 1.0, "batch": 384, "steps": 20, "matrix": 8192}
        for name, value in (full if gpus else small).items():
            if getattr(options, name) is None:
                setattr(options, name, value)
        where = f"{len(gpus)} × {gpus[0]}" if gpus else "no GPU: small, on the CPU"
        title = f"{where}, {process.submit(versions).result()}, VGGish width {options.width}"
        print(title, file=sys.stderr)
        folder = Path(temporary)
        (folder / "collection").mkdir()
        make_data(folder / "collection", options.batch, options.steps)
        rows = []

        def show(cells):
            rows.append(cells)
            print(*cells, sep="  ", file=sys.stderr, flush=True)

        for row in rows_of(options, folder, [1, 2] if len(gpus) > 1 else [1]):
            cells = process.submit(train, row).result()
            if cells == SLICED:
                case = dataclasses.replace(row.case, micro_batch=max(1, options.batch // SLICES))
                cells = process.submit(train, dataclasses.replace(row, case=case)).result()
            show(cells)
            first = (row.case.precision, row.xla, row.replicas) == ("float32", False, 1)
            if first and (row.out / "saved_model").is_dir():
                show(process.submit(embedding, row).result())
    print_table(title, HEADER, rows)


if __name__ == "__main__":
    main()
