"""Log-mels a second on one core: Essentia's frame loop, our two, and bare FFT and product in SciPy.

python benchmarks/front_end.py [--seconds 120] [--rounds 9]

Every way runs pinned to the same core, once a round, in turn, ours in one process and Essentia in
another, since its TensorFlow does not go with ours; the table shows medians as seconds of audio per
second. "bare" is what no implementation can leave out: windowed
frames that lie ready in memory, float32 rfft, power, product with the filters, logarithm.
"""

import argparse
import multiprocessing
import os
import statistics
import time
from concurrent.futures import ProcessPoolExecutor
from functools import partial

for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ[variable] = "1"  # which NumPy's libraries read when they are loaded
import numpy as np  # noqa: E402
from _table import print_table  # noqa: E402

CHUNK = 512


def essentia_loop(front_end, waveform):
    """Frames cut and handed to ``TensorflowInput…`` one by one, as Essentia's examples do.

    Log-mel and the seconds it took.
    """
    import essentia

    essentia.log.infoActive = False
    import essentia.standard as algorithms

    model = "VGGish" if front_end.spectrum == "magnitude" else "MusiCNN"
    mel_of_frame = getattr(algorithms, f"TensorflowInput{model}")()
    return timed(
        lambda waveform: np.array(
            [
                mel_of_frame(frame)
                for frame in algorithms.FrameGenerator(
                    waveform, frameSize=front_end.frame_length, hopSize=front_end.hop_length
                )
            ]
        ),
        waveform,
    )


def timed(function, argument):
    """Result of a function, and the seconds it took."""
    start = time.perf_counter()
    return function(argument), time.perf_counter() - start


def bare_scipy(front_end, waveform):
    """Callable without framing or padding; the frames are cut before the clock starts."""
    import scipy.fft

    from playlist_pretrain.audio.filters import front_end_filters, front_end_taper

    window, filters = front_end_taper(front_end), front_end_filters(front_end)
    views = np.lib.stride_tricks.sliding_window_view(waveform, front_end.frame_length)
    frames = views[:: front_end.hop_length] * window

    def log_mel(_):
        mels = []
        for start in range(0, len(frames), CHUNK):
            spectrum = scipy.fft.rfft(frames[start : start + CHUNK], front_end.fft_length)
            power = spectrum.real**2 + spectrum.imag**2
            if front_end.spectrum == "magnitude":
                power = np.sqrt(power)
            mels.append(np.log(front_end.log_offset + front_end.log_scale * (power @ filters)))
        return np.concatenate(mels)

    return log_mel


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=int, default=120, help="length of the waveform")
    parser.add_argument("--rounds", type=int, default=9, help="times each way is timed")
    options = parser.parse_args()

    core = max(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {core})
    os.environ["CUDA_VISIBLE_DEVICES"] = "-1"
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    from playlist_pretrain.audio.front_end import PRESETS
    from playlist_pretrain.audio.numpy_log_mel import NumpyLogMel

    other = ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn"))

    def apart(*call):
        return other.submit(*call).result()

    ours = ("graph", "numpy")
    waveform = np.random.default_rng(0).normal(0, 0.1, options.seconds * 16000).astype(np.float32)
    rows = []
    for name in ("paper", "musicnn", "vggish-essentia"):
        front_end = PRESETS[name]
        tensor = tf.constant(waveform)
        ways = {
            "essentia": partial(apart, essentia_loop, front_end, waveform),
            "graph": partial(timed, lambda x, f=front_end: f.log_mel(x).numpy(), tensor),
            "numpy": partial(timed, NumpyLogMel(front_end), waveform),
            "bare": partial(timed, bare_scipy(front_end, waveform), waveform),
        }
        mels = {way: run()[0] for way, run in ways.items() if way != "bare"}
        taken = {way: [] for way in ways}
        for _ in range(options.rounds):
            for way, run in ways.items():
                taken[way].append(run()[1])
        speed = {way: options.seconds / statistics.median(times) for way, times in taken.items()}
        rows.append(
            (
                name,
                *(f"{speed[way]:,.0f}" for way in ways),
                " / ".join(f"{speed[way] / speed['essentia']:.1f}" for way in ours),
                " / ".join(f"{speed[way] / speed['bare']:.2f}" for way in ours),
                " / ".join(f"{np.abs(mels[way] - mels['essentia']).max():.1e}" for way in ours),
            )
        )
    print_table(
        "Log-mel on one core, seconds of audio per second",
        (
            "front end",
            "Essentia's frame loop",
            "in a graph",
            "in NumPy",
            "bare rfft and product",
            "graph / NumPy by Essentia",
            "graph / NumPy by bare",
            "largest differences to Essentia",
        ),
        rows,
    )


if __name__ == "__main__":
    main()
