"""The wait for input: counted where the reader is slow, not where the step is."""

import time

import numpy as np
import pytest
import tensorflow as tf

from playlist_pretrain.models.contrastive import ContrastiveModel
from playlist_pretrain.models.input_wait import InputWait
from playlist_pretrain.models.layers import projector
from playlist_pretrain.models.vggish import vggish

STEPS, SLOW = 6, 0.05


def made(**options):
    tf.keras.utils.set_random_seed(0)
    backbone = vggish(frames=16, bands=8, width=0.05)
    model = ContrastiveModel(backbone, projector(128, hidden=16, output=8))
    model.compile(tf.keras.optimizers.SGD(0.01), **options)
    return model


@pytest.fixture
def batches(rng):
    x, y = rng.normal(size=(2, STEPS, 4, 16, 8)).astype(np.float16)
    return tf.data.Dataset.from_tensor_slices((x, y))


def slowly(batches):
    def late(x, y):
        return tf.py_function(lambda a, b: (time.sleep(SLOW), a, b)[1:], (x, y), (x.dtype, y.dtype))

    return batches.map(late).map(
        lambda x, y: (tf.ensure_shape(x, [4, 16, 8]), tf.ensure_shape(y, [4, 16, 8]))
    )


@pytest.mark.slow
def test_a_slow_reader_is_waited_for(batches):
    model = made()
    model.fit(batches, verbose=0)
    ready = model.input_wait.seconds
    model.fit(slowly(batches), verbose=0)
    # The reader sleeps in tf.data, which begins with the next batch while a step is running.
    assert model.input_wait.seconds - ready >= 0.5 * STEPS * SLOW


def test_a_device_that_is_still_busy_waits_for_nothing():
    class Busy:
        """A value that the device has not computed yet."""

        def numpy(self):
            time.sleep(SLOW)

    def late():
        for number in range(3):
            time.sleep(3 * SLOW if number == 2 else 0)
            yield number

    wait, batches = InputWait(), late()
    assert wait.next(batches) == 0
    before = wait.seconds
    wait.started({"gradient_norm": Busy()})
    assert wait.next(batches) == 1
    assert wait.seconds == before  # the step is not done, though the host asks
    started = time.monotonic()
    wait.started({"gradient_norm": Busy()})
    assert wait.next(batches) == 2
    waited = wait.seconds - before
    assert 0.5 * SLOW < waited <= time.monotonic() - started - SLOW


@pytest.mark.slow
@pytest.mark.parametrize(
    "options",
    [{"run_eagerly": True}, pytest.param({"steps_per_execution": 2}, marks=pytest.mark.slow)],
    ids=str,
)
def test_the_steps_are_those_of_keras(batches, options):
    ours, keras = made(), made(**options)
    for model in (ours, keras):
        model.fit(batches, epochs=2, verbose=0)
        assert int(model._train_counter) == 2 * STEPS
    for a, b in zip(ours.get_weights(), keras.get_weights(), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)
    assert keras.input_wait.seconds == 0.0 < ours.input_wait.seconds
    for name, value in ours.history.history.items():
        np.testing.assert_allclose(value, keras.history.history[name], rtol=1e-4, atol=1e-6)


def test_an_input_that_ends_early_ends_the_fit(batches):
    model = made()
    model.fit(batches, steps_per_epoch=STEPS + 4, epochs=1, verbose=0)
    assert int(model._train_counter) == STEPS
