"""What benchmarks of training steps share: their loop, their memory and their arithmetic."""

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

BACKWARD = 2
"""Passes forward that a pass backward is worth: a product each for input and weights."""


def in_turn(jobs: Mapping[str, Callable[[int], float | None]], rounds: int) -> dict[str, list]:
    """Seconds of every job in every round; a round before the first one traces and is not counted.

    A job is given the number of the round, and may answer with seconds of its own clock. The
    order turns with the round, so that a machine that slows down is fair to all.
    """
    seconds = {name: [] for name in jobs}
    for round_ in range(rounds + 1):
        turned = list(jobs.items())
        turn = round_ % len(turned)
        for name, job in turned[turn:] + turned[:turn]:
            started = time.perf_counter()
            own = job(round_)
            took = time.perf_counter() - started if own is None else own
            if round_:
                seconds[name].append(took)
    return seconds


def ratio(times: Sequence[float], base: Sequence[float]) -> float:
    """Median over the rounds of one job's time by another's."""
    return statistics.median(a / b for a, b in zip(times, base, strict=True))


def peak_memory() -> float:
    """GB that this process had in memory at most so far."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return int(status.partition("VmHWM:")[2].split()[0]) / 1e6


def forward_operations(model) -> int:
    """Multiplications and additions of convolutions and dense layers for one window.

    All else (activations, pooling, normalisation) is less than a hundredth of them.
    """
    import tensorflow as tf

    total = 0
    for layer in model.layers:
        if isinstance(layer, tf.keras.layers.Conv2D):
            _, height, width, _ = layer.output.shape
            total += 2 * height * width * layer.kernel.shape.num_elements()
        elif isinstance(layer, tf.keras.layers.Dense):
            total += 2 * layer.kernel.shape.num_elements()
    return total


def step_operations(model, pairs: int) -> int:
    """Operations that a step of a contrastive model on pairs of windows cannot do without.

    Forward and backward once: the second pass forward of gradient caching is not among them, nor
    is the loss.
    """
    forward = forward_operations(model.backbone) + forward_operations(model.projector)
    return 2 * pairs * (1 + BACKWARD) * forward
