"""Rounding to float16 is NumPy's, to the bit."""

import numpy as np
import pytest

from playlist_pretrain.audio.half import round_to_half


def rounded(values):
    out = np.full(values.shape, np.nan, np.float16)
    round_to_half(values, out, np.empty(values.shape, np.uint32))
    return out


def check(values):
    with np.errstate(over="ignore"):
        expected = values.astype(np.float16)
    np.testing.assert_array_equal(rounded(values).view(np.uint16), expected.view(np.uint16))


def test_every_half_its_neighbours_and_what_lies_between():
    halves = np.arange(0x0400, 0x7C00, dtype=np.uint16).view(np.float16).astype(np.float32)
    middle = (halves[1:] + halves[:-1]) / 2  # exact in float32
    bits = np.concatenate([halves, middle]).view(np.uint32)
    for step in (-1, 0, 1):
        values = (bits + np.uint32(step % (1 << 32))).view(np.float32)
        check(values[values >= 2.0**-14])


@pytest.mark.parametrize(
    "value",
    [0.0, -0.0, -1.5, 2.0**-24, 2.0**-25, 6e-5, 1e-30, 65504, 65519, 65520, 1e9, np.inf, np.nan],
)
def test_one_value_of_another_kind(value, rng):
    values = rng.uniform(0.1, 5, (7, 5)).astype(np.float32)
    values[3, 2] = value
    check(values)


def test_any_bits(rng):
    bits = rng.integers(0, 1 << 32, 100_000, dtype=np.uint32)
    check(bits[~np.isnan(bits.view(np.float32))].view(np.float32))


@pytest.mark.parametrize("shape", [(0, 3), (1, 1), (256, 96)])
def test_shapes(shape, rng):
    check(rng.uniform(0, 5, shape).astype(np.float32))
