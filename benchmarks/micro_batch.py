"""What slicing a batch costs in time, and what memory a large batch takes then.

python benchmarks/micro_batch.py [--backbone vggish] [--width 0.25] [--batch 64] [--micro-batch 16]
    [--precision float32] [--steps 2] [--rounds 5]
python benchmarks/micro_batch.py --alone --width 1.0 --batch 384 --micro-batch 16 --rounds 1
"""

import argparse
import statistics

import numpy as np
from _steps import in_turn, peak_memory, ratio
from _table import print_table

FRAMES, BANDS = 256, 96


def make_model(options, micro_batch):
    """Compiled model on windows of the paper's size."""
    import tensorflow as tf

    from playlist_pretrain.models import BACKBONES
    from playlist_pretrain.models.contrastive import ContrastiveModel
    from playlist_pretrain.models.layers import precision, projector

    width = {"width": options.width} if options.backbone == "vggish" else {}
    with precision(options.precision):
        backbone = BACKBONES.get(options.backbone)(frames=FRAMES, bands=BANDS, **width)
        head = projector(backbone.output_shape[-1])
        model = ContrastiveModel(backbone, head, micro_batch=micro_batch)
        model.compile(tf.keras.optimizers.Adam(1e-5))
    return model


def main():
    """Time both in turn and print one table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--backbone", default="vggish")
    parser.add_argument("--width", type=float, default=0.25)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--micro-batch", type=int, default=16)
    parser.add_argument("--precision", default="float32")
    parser.add_argument("--steps", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--alone", action="store_true", help="only the sliced batch")
    options = parser.parse_args()

    generator = np.random.default_rng(0)
    x, y = generator.normal(1, 0.5, (2, options.batch, FRAMES, BANDS)).astype(np.float16)
    jobs = {} if options.alone else {"whole batch": make_model(options, None)}
    jobs[f"slices of {options.micro_batch} pairs"] = make_model(options, options.micro_batch)

    def steps_of(model):
        def steps(round_):
            for _ in range(options.steps):
                model.train_on_batch(x, y)

        return steps

    seconds = in_turn({name: steps_of(model) for name, model in jobs.items()}, options.rounds)
    base = next(iter(seconds.values()))
    print_table(
        f"{options.backbone}, {options.batch} pairs, medians of {options.rounds} rounds; peak "
        f"memory {peak_memory():.1f} GB",
        ("", "seconds a step", "ratio"),
        [
            (
                name,
                f"{statistics.median(times) / options.steps:.2f}",
                f"{ratio(times, base):.3f}",
            )
            for name, times in seconds.items()
        ],
    )


if __name__ == "__main__":
    main()
