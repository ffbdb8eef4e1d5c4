"""A process of trials: a step, and more, on some replicas; asked by ``test_replicas.py``.

A line of standard input is a trial, answered by a line when its file is written:

{"out": "OUT.npz", "sides": "window", "replicas": 2, "backbone": "vggish", "fit": 30,
"micro_batch": 2, "policy": "float32", "local": true}

With ``TF_CONFIG`` in the environment the process is one worker of several, of one replica each;
else it has trials of one replica and of one other number. ``fit`` adds so many steps, thirty at
most, to the loss and the gradient of one. ``local`` leaves out the gathering of negatives, to see
that the trial notices.
"""

import contextlib
import functools
import gc
import json
import os
import sys
from unittest import mock

import numpy as np
import tensorflow as tf

from playlist_pretrain.audio.front_end import front_end
from playlist_pretrain.models.contrastive import ContrastiveModel, vector_tower
from playlist_pretrain.models.layers import precision, projector
from playlist_pretrain.models.nt_xent import NTXent, total
from playlist_pretrain.models.resnet50 import resnet50
from playlist_pretrain.models.vggish import vggish
from playlist_pretrain.models.views import MixedViews
from playlist_pretrain.training.strategy import logical_cpus, share_of

PAIRS, FRAMES, BANDS, STEPS = 8, 16, 64, 30


# One for all trials: a second one would use the keys of the first for other shapes.
@functools.cache
def strategy_of(count):
    if "TF_CONFIG" in os.environ:
        return tf.distribute.MultiWorkerMirroredStrategy()
    names = logical_cpus(count)
    if count == 1:
        return tf.distribute.OneDeviceStrategy(names[0])
    return tf.distribute.MirroredStrategy(names)


def model_of(backbone, sides, micro_batch):
    if backbone == "vggish":
        tower = vggish(frames=FRAMES, bands=BANDS, width=0.1)
    else:
        tower = resnet50(frames=FRAMES, bands=BANDS)
    other = {}
    if sides == "views":
        other["views"] = MixedViews(front_end("vggish"), seed=3)
    if sides == "vector":
        table = np.random.default_rng(1).normal(size=(20, 12)).astype(np.float32)
        other["y_tower"] = vector_tower(
            table, projector(12, hidden=16, output=8, name="y_projector", seed=2)
        )
    head = projector(tower.output_shape[-1], hidden=16, output=8)
    if tf.keras.mixed_precision.global_policy().name == "float64":  # the package's is float32
        head = tf.keras.models.clone_model(
            head, clone_function=lambda one: type(one)(**{**one.get_config(), "dtype": "float64"})
        )
    model = ContrastiveModel(tower, head, micro_batch=micro_batch, **other)
    model.compile(tf.keras.optimizers.Adam(1e-3), loss=NTXent(0.1))
    return model


def batches_of(sides):
    generator = np.random.default_rng(5)
    # The same pairs at every step, in other noise: without something to learn, thirty steps
    # of Adam make any rounding large.
    spectra = generator.normal(0.0, 1.0, (PAIRS, 1, BANDS))
    shape = (STEPS, PAIRS, FRAMES, BANDS)
    x, y = ((spectra + generator.normal(0.0, 0.1, shape)).astype(np.float16) for _ in range(2))
    rows = generator.integers(0, 20, (STEPS, PAIRS)).astype(np.int32)
    return {"window": (x, y), "views": (x,), "vector": (x, rows)}[sides]


def dataset_of(sides, context):
    share = share_of(context)

    def parts(array):
        cut = array.reshape(STEPS, share.parts, PAIRS // share.parts, *array.shape[2:])
        return cut[:, share.first : share.last].reshape(-1, *cut.shape[2:])

    tensors = tuple(map(parts, batches_of(sides)))
    return tf.data.Dataset.from_tensor_slices(tensors if len(tensors) > 1 else tensors[0])


def trial(out, sides, replicas=1, backbone="vggish", fit=0, micro_batch=None,
          policy="float32", local=False):  # fmt: skip
    tf.keras.backend.clear_session()
    gc.collect()  # of the model before
    tf.keras.utils.set_random_seed(1)
    strategy = strategy_of(replicas)
    with strategy.scope(), precision(policy):
        model = model_of(backbone, sides, micro_batch)
        if fit:
            model.optimizer.build(model.trainable_variables)
    alone = dict.fromkeys(("gathered", "own_share"), lambda tensor: tensor)
    patch = mock.patch.multiple("playlist_pretrain.models.nt_xent", **alone)
    with patch if local else contextlib.nullcontext():
        found = outcome(model, strategy, sides, fit)
    arrays = {f"{name}-{i:03d}": a for name, list_ in found.items() for i, a in enumerate(list_)}
    np.savez(out, **arrays)


def outcome(model, strategy, sides, fit):
    dataset = strategy.distribute_datasets_from_function(lambda c: dataset_of(sides, c))

    @tf.function
    def look(data):
        loss, gradients, _ = model._gradients(*model._batch(data))
        if model._scales_loss:
            gradients = model.optimizer.get_unscaled_gradients(gradients)
        return loss, total(gradients)

    def weights():
        towers = [model.backbone, model.projector, *([model.y_tower] if model.y_tower else [])]
        return [weight for tower in towers for weight in tower.get_weights()]

    before, all_before = weights(), model.get_weights()
    loss, gradients = strategy.run(look, (next(iter(dataset)),))
    first = [strategy.experimental_local_results(one)[0].numpy() for one in (loss, *gradients)]
    if fit:
        model.set_weights(all_before)  # the look moved the statistics of batch normalisation
        model.fit(dataset, steps_per_epoch=fit, verbose=0)
    return {"first": first, "before": before, "after": weights()}


def main():
    tf.config.experimental.enable_op_determinism()
    if "TF_CONFIG" not in os.environ:
        logical_cpus(4)
    for line in sys.stdin:
        trial(**json.loads(line))
        print(line, end="", flush=True)


if __name__ == "__main__":
    main()
