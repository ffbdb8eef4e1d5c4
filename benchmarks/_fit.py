"""What train_step.py times: ``fit``, a bare step, and the matrix products that limit both."""

from dataclasses import dataclass
from pathlib import Path

PRODUCTS, PAIRS_A_PRODUCT = 4, 8
TAU = 0.1


@dataclass(frozen=True)
class Case:
    """A row: what is trained and how."""

    collection: Path
    backbone: str
    width: float
    precision: str
    batch: int
    micro_batch: int | None
    steps: int
    rounds: int
    bare: bool
    matrix: int

    @property
    def products(self) -> int:
        """Matrix products a round: a long step is not to be judged by one moment of the machine."""
        return max(PRODUCTS, self.batch // PAIRS_A_PRODUCT)


def settled(case: Case):
    """The model of a case and its data, made as ``pretrain.py`` makes them."""
    from playlist_pretrain.training.pretrain import build_model
    from playlist_pretrain.training.pretrain_data import settle
    from playlist_pretrain.training.recipes import PretrainRecipe

    recipe = PretrainRecipe(
        collection=str(case.collection),
        preset="paper",
        backbone=case.backbone,
        width=case.width if case.backbone == "vggish" else None,
        precision=case.precision,
        batch=case.batch,
        micro_batch=case.micro_batch,
        probe_share=0.0,
    )
    recipe, data = settle(recipe)
    return build_model(recipe, data), data


class Fit:
    """``fit`` as the trainer calls it; rows are those of ``history.csv``."""

    def __init__(self, case: Case, model, data, folder: Path):
        from playlist_pretrain.runs import Run
        from playlist_pretrain.training.engine import Engine, KerasHistory
        from playlist_pretrain.training.pretrain import COLUMNS, check_finite

        self.case, self.model, self.data = case, model, data
        self.table = Engine(
            model,
            Run(folder),
            COLUMNS,
            steps_per_epoch=case.steps,
            epochs=case.rounds + 1,
            windows=2 * case.batch,
            check=lambda epoch, logs: check_finite(model, data),
            checkpoint_epochs=case.rounds + 2,
        )
        self.table.restore_checkpoint(folder)
        self.table.start_progress()
        self.callbacks = [KerasHistory(), self.table]

    def windows(self, round_: int):
        from playlist_pretrain.pairs.dataset import step_dataset

        steps = self.case.steps
        first = round_ * steps
        data = self.data
        return step_dataset(data.reader, data.stream, seed=0, first=first, last=first + steps)

    def __call__(self, round_: int) -> float:
        self.model.fit(
            self.windows(round_),
            initial_epoch=round_,
            epochs=round_ + 1,
            steps_per_epoch=self.case.steps,
            callbacks=self.callbacks,
            verbose=0,
        )
        return self.table.rows[-1]["seconds"]


def bare_steps(model, fit: Fit):
    """As many steps as a round of ``fit`` has, written by hand."""
    import tensorflow as tf

    x, y = next(iter(fit.windows(0)))
    windows = tf.cast(tf.concat([x, y], 0), tf.float32)
    pairs = fit.case.batch
    optimizer = tf.keras.optimizers.Adam(1e-5)
    partner = tf.concat([tf.range(pairs, 2 * pairs), tf.range(pairs)], 0)

    @tf.function
    def step():
        with tf.GradientTape() as tape:
            z = tf.math.l2_normalize(tf.cast(model(windows, training=True), tf.float32), 1)
            logits = tf.matmul(z, z, transpose_b=True) / TAU - 1e9 * tf.eye(2 * pairs)
            loss = tf.reduce_mean(
                tf.nn.sparse_softmax_cross_entropy_with_logits(labels=partner, logits=logits)
            )
        gradients = tape.gradient(loss, model.trainable_variables)
        optimizer.apply_gradients(zip(gradients, model.trainable_variables, strict=True))
        return loss

    def steps(round_):
        for _ in range(fit.case.steps):
            loss = step()
        loss.numpy()

    return steps


def products(case: Case):
    """Products of two large matrices."""
    import tensorflow as tf

    dtype = case.precision.removeprefix("mixed_")
    a, b = (tf.cast(tf.random.normal((case.matrix, case.matrix)), dtype) for _ in range(2))

    @tf.function
    def product():
        return tf.matmul(a, b)

    def several(round_):
        for _ in range(case.products):
            result = product()
        tf.cast(result[0, 0], tf.float32).numpy()

    return several
