"""A step on several pairings at once, against the steps on each alone."""

import numpy as np
import pytest
import tensorflow as tf

from playlist_pretrain.audio.front_end import front_end
from playlist_pretrain.models.contrastive import ContrastiveModel, vector_tower
from playlist_pretrain.models.layers import projector
from playlist_pretrain.models.nt_xent import NTXent
from playlist_pretrain.models.vggish import vggish
from playlist_pretrain.models.views import MixedViews

PAIRS = 8
KINDS = ("vector", "window", "views", "window")
WEIGHTS = (1.0, 2.0, 3.0, 4.0)


def parts_of():
    """Backbone, projectors and views, the same at every call."""
    backbone = vggish(frames=16, bands=64, width=0.05)
    own = projector(12, hidden=16, output=8, name="y_projector", seed=2)
    table = np.random.default_rng(1).normal(size=(20, 12)).astype(np.float32)
    return (
        (backbone, projector(128, hidden=16, output=8)),
        {"views": MixedViews(front_end("vggish"), seed=3), "y_tower": vector_tower(table, own)},
    )


def compiled(model, learning_rate=0.1):
    model.compile(
        tf.keras.optimizers.SGD(learning_rate), loss=NTXent(0.5, hard_negatives=0.5, learnable=True)
    )
    return model


def joint(micro_batch, learning_rate=0.1):
    towers, others = parts_of()
    settings = {"kinds": KINDS, "weights": WEIGHTS, "micro_batch": micro_batch}
    return compiled(ContrastiveModel(*towers, **settings, **others), learning_rate)


def alone(kind):
    towers, others = parts_of()
    given = {"views": ["views"], "vector": ["y_tower"], "window": []}[kind]
    return compiled(ContrastiveModel(*towers, **{name: others[name] for name in given}))


def values_of(model):
    """Values of all that is trained, by part and number."""
    parts = [part for part in (model.backbone, model.projector, model.y_tower) if part is not None]
    values = {
        (part.name, i): variable.numpy()
        for part in parts
        for i, variable in enumerate(part.trainable_variables)
    }
    return {**values, "log_temperature": model.log_temperature.numpy()}


@pytest.fixture
def data(request, rng):
    """A batch of every pairing."""
    found = []
    for kind in KINDS:
        x, y = rng.normal(1.0, 0.5, (2, PAIRS, 16, 64)).astype(np.float16)
        rows = rng.integers(0, 20, PAIRS).astype(np.int32)
        mask = rng.random((2 * PAIRS, 2 * PAIRS)) < 0.3
        part = {"window": (x, y), "views": (x,), "vector": (x, rows)}[kind]
        found.append(tuple(map(tf.constant, (*part, mask) if request.param else part)))
    return tuple(found)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("data", "micro_batch"),
    [(True, 2), *(pytest.param(*p, marks=pytest.mark.long) for p in ((True, None), (False, 2)))],
    indirect=["data"],
)
def test_a_step_is_that_of_the_weighted_mean_of_all_losses(data, micro_batch):
    model = joint(micro_batch)
    start = values_of(model)
    logs = tf.function(model.train_step)(data)
    total, wanted = 0.0, dict.fromkeys(start, 0.0)
    for kind, weight, part in zip(KINDS, WEIGHTS, data, strict=True):
        one = alone(kind)
        before = values_of(one)
        total += weight / sum(WEIGHTS) * float(one.train_step(part)["loss"])
        for name, value in values_of(one).items():
            wanted[name] += weight / sum(WEIGHTS) * (value - before[name])
    assert float(logs["loss"]) == pytest.approx(total, rel=1e-5)
    assert len(start) == len(model.trainable_variables)
    for name, value in values_of(model).items():
        error = np.linalg.norm(value - start[name] - wanted[name])
        assert error <= 1e-4 * np.linalg.norm(wanted[name]) + 1e-7


@pytest.mark.slow
@pytest.mark.parametrize("data", [True], indirect=True)
def test_inference_has_the_loss_of_training(data):
    model = joint(2, learning_rate=0.0)
    tested = float(tf.function(model.test_step)(data)["loss"])
    model.reset_metrics()
    assert float(tf.function(model.train_step)(data)["loss"]) == pytest.approx(tested, rel=1e-5)


def test_kinds_and_what_they_need_go_together():
    towers, others = parts_of()
    with pytest.raises(ValueError, match="vector"):
        ContrastiveModel(
            *towers, kinds=("window", "window"), weights=(1, 1), y_tower=others["y_tower"]
        )
    with pytest.raises(ValueError, match="views"):
        ContrastiveModel(*towers, kinds=("window", "views"), weights=(1, 1))
