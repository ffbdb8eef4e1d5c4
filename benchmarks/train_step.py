"""How close ``fit`` on the real pipeline comes to a bare training step on constant data.

python benchmarks/train_step.py [--width 1.0] [--batch 16] [--steps 6] [--rounds 5]
"""

import argparse
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
from _table import print_table

FRAMES, BANDS, TRACKS, TRACK_FRAMES = 256, 96, 200, 2554


def make_collection(folder: Path):
    """Collection of noise with tracks of 30 s, and one group a ten tracks."""
    from playlist_pretrain.audio.front_end import front_end
    from playlist_pretrain.playlists.groups import TrackGroups
    from playlist_pretrain.records.collection import Collection
    from playlist_pretrain.records.writer import ShardWriter, write_collection

    generator = np.random.default_rng(0)
    with ShardWriter(folder / "mel-00000.tfrecord", BANDS) as shard:
        for track in range(TRACKS):
            mel = generator.gamma(2, 0.5, (TRACK_FRAMES, BANDS)).astype(np.float16)
            shard.add(f"track-{track}", mel, 0.0, 30.0)
    write_collection(folder, front_end("paper"), [shard.part], {})
    collection = Collection.open(folder)
    groups = TrackGroups.from_lists(
        "playlists",
        [range(first, first + 10) for first in range(0, TRACKS, 10)],
        tracks=TRACKS,
        collection_key=collection.content_key,
    )
    return collection, groups


def main():
    """Time both in turn and print one table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--width", type=float, default=1.0)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--steps", type=int, default=6)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()

    import tensorflow as tf

    from playlist_pretrain.models.contrastive import ContrastiveModel
    from playlist_pretrain.models.nt_xent import nt_xent
    from playlist_pretrain.models.projector import projector
    from playlist_pretrain.models.vggish import vggish
    from playlist_pretrain.pairs.co_occurrence import PlaylistCoOccurrence
    from playlist_pretrain.pairs.dataset import PairStream, pair_dataset
    from playlist_pretrain.records.windows import WindowReader

    with tempfile.TemporaryDirectory() as folder:
        collection, groups = make_collection(Path(folder))
        reader = WindowReader(collection, FRAMES)
        pairing = PlaylistCoOccurrence(groups, 0)
        stream = PairStream.plan(pairing, options.batch, 1000)

        def windows(round_):
            first = round_ * options.steps
            return pair_dataset(reader, stream, seed=0, first=first, last=first + options.steps)

        statistics_ = {"mean": collection.band_mean, "std": collection.band_std}
        backbone = vggish(frames=FRAMES, bands=BANDS, width=options.width, **statistics_)
        model = ContrastiveModel(backbone, projector(backbone.output_shape[-1]))
        model.compile(tf.keras.optimizers.Adam(1e-5))
        optimizer = tf.keras.optimizers.Adam(1e-5)
        x, y = (tf.cast(side, tf.float32) for side in next(iter(windows(0))))

        @tf.function
        def bare_step():
            with tf.GradientTape() as tape:
                z_x, z_y = tf.split(model(tf.concat([x, y], 0), training=True), 2)
                loss = tf.reduce_mean(nt_xent(z_x, z_y))
            gradients = tape.gradient(loss, model.trainable_variables)
            optimizer.apply_gradients(zip(gradients, model.trainable_variables, strict=True))
            return loss

        def bare(round_):
            for _ in range(options.steps):
                loss = bare_step()
            loss.numpy()

        def fit(round_):
            model.fit(windows(round_), steps_per_epoch=options.steps, epochs=1, verbose=0)

        jobs = {
            "GradientTape step, constant data (limit)": bare,
            "fit, window pipeline": fit,
        }
        seconds = {name: [] for name in jobs}
        for round_ in range(options.rounds + 1):  # the first one traces
            # The order turns with the round, so that a machine that slows down is fair to both.
            turned = list(jobs.items())
            turned = turned[round_ % 2 :] + turned[: round_ % 2]
            for name, job in turned:
                started = time.perf_counter()
                job(round_)
                if round_:
                    seconds[name].append(time.perf_counter() - started)
        limit = next(iter(seconds.values()))
        print_table(
            f"VGGish width {options.width}, {options.batch} pairs, medians of {options.rounds} "
            f"rounds of {options.steps} steps",
            ("", "windows/s", "time / limit"),
            [
                (
                    name,
                    f"{2 * options.batch * options.steps / statistics.median(times):,.0f}",
                    f"{statistics.median(t / b for t, b in zip(times, limit, strict=True)):.3f}",
                )
                for name, times in seconds.items()
            ],
        )


if __name__ == "__main__":
    main()
