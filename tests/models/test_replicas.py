"""Several replicas take the step that one would, whatever the objective."""

import pytest
from processes import end, start

CODE = """
from unittest import mock
import numpy as np, tensorflow as tf
from playlist_pretrain.audio.front_end import front_end
from playlist_pretrain.models.contrastive import ContrastiveModel, vector_tower
from playlist_pretrain.models.nt_xent import NTXent
from playlist_pretrain.models.layers import projector
from playlist_pretrain.models.vggish import vggish
from playlist_pretrain.models.views import MixedViews

cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
rng = np.random.default_rng(0)
x, y, a, b = rng.normal(size=(4, 8, 16, 8)).astype(np.float32)
rows = rng.integers(0, 20, 8).astype(np.int32)
table = rng.normal(size=(20, 12)).astype(np.float32)
left_out = rng.random((16, 16)) < 0.3

def trained(strategy, micro_batch, kind, loss):
    with strategy.scope():
        towers = vggish(frames=16, bands=8, width=0.05), projector(128, hidden=16, output=8)
        settings = {
            "joint": {"kinds": ("window", "window"), "weights": (1.0, 3.0)},
            "views": {"views": MixedViews(front_end("vggish"), seed=3)},
        }.get(kind, {})
        if kind == "vector":
            own = projector(12, hidden=16, output=8, name="y_projector", seed=2)
            settings = {"y_tower": vector_tower(table, own)}
        model = ContrastiveModel(*towers, **settings, micro_batch=micro_batch)
        model.compile(tf.keras.optimizers.SGD(0.1), loss=NTXent(0.5, **loss))
    size = 8 // strategy.num_replicas_in_sync

    def part(context):
        own = slice(*(size * (context.replica_id_in_sync_group + i) for i in range(2)))
        one, other = (x[own], y[own], left_out), (a[own], b[own], left_out.T)
        return {"plain": one[:2], "masked": one, "joint": (one, other), "views": one[:1],
                "vector": (x[own], rows[own])}[kind]

    shares = strategy.experimental_distribute_values_from_function(
        lambda context: tf.nest.map_structure(tf.constant, part(context))
    )
    step = tf.function(lambda data: strategy.run(model.train_step, (data,)))
    for _ in range(2):
        logs = step(shares)
    values = {name: strategy.reduce("MEAN", value, None).numpy() for name, value in logs.items()}
    return values, [variable.numpy() for variable in model.trainable_variables]

# One for all models: a second one would use the keys of the first for other shapes.
both = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
other = {"learnable": True, "hard_negatives": 0.5}
for kind, loss, slices in [
    ("plain", {}, (None, 2)), ("masked", other, (None, 2)), ("joint", other, (2,)),
    ("views", {}, (None,)), ("vector", {}, (2,)),
]:
    alone = trained(tf.distribute.get_strategy(), None, kind, loss)
    for micro_batch in slices:
        two = trained(both, micro_batch, kind, loss)
        for name, value in alone[0].items():
            np.testing.assert_allclose(two[0][name], value, rtol=1e-5, err_msg=kind)
        for one, other_one in zip(alone[1], two[1], strict=True):
            np.testing.assert_allclose(other_one, one, atol=1e-6, err_msg=kind)
    if kind == "plain":  # without the negatives of the other replica it is another step
        local = dict.fromkeys(("gathered", "own_share"), lambda tensor: tensor)
        with mock.patch.multiple("playlist_pretrain.models.contrastive", **local):
            apart = trained(both, None, kind, loss)
        assert abs(apart[0]["loss"] - alone[0]["loss"]) > 1e-2 * alone[0]["loss"]
"""


@pytest.mark.long
def test_two_replicas_take_the_step_of_one():
    end(start(["-c", CODE]))
