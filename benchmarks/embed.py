"""Audio files to embeddings: embed.py beside Essentia, decoding alone and the model alone.

python benchmarks/embed.py [--width 1.0] [--few 60] [--many 240] [--essentia-few 4]
    [--essentia-many 16] [--rounds 3]

Makes ogg and mp3 files of 30 s from the real recordings of ``--data`` (folder pop909), and VGGish
for the front end ``musicnn``, trained for a step so that no weight is what it was, and its package
for Essentia. Times whole commands in turn, from the shell to their end:

* ``embed.py --audio``;
* Essentia's ``MonoLoader`` and ``TensorflowPredictMusiCNN`` with the same frozen model, which is
  loaded once, one file after the other, without overlap of windows, and the mean over them. It
  makes a session anew for every file, so it has fewer of them;
* the same worker processes decoding the same files and doing nothing with them: a limit.

Each has ``--few`` files and ``--many``: what the others add, over the time they add, is the rate
without the start. The other limit is what the model alone takes for as many windows from memory.
Embeddings of the two are compared on the way.
"""

import argparse
import os
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
from _audio_files import cut, link, recordings
from _commands import run
from _steps import in_turn
from _table import print_table

ROOT = Path(__file__).resolve().parents[1]
SCRIPT = ROOT / "scripts" / "embed.py"
NAME = "vggish backbone musicnn"


def export(folder, width):
    """Train, save and export the model."""
    from _trained import export_trained

    export_trained(NAME, width, 1, folder)


def essentia_alone(audio, graph, out):
    """What a user of Essentia writes: every file, one after the other."""
    import essentia

    essentia.log.infoActive = essentia.log.warningActive = False
    from essentia.standard import MonoLoader, TensorflowPredictMusiCNN

    from playlist_pretrain.audio.front_end import PRESETS
    from playlist_pretrain.export.package import EMBEDDINGS, INPUT

    frames = PRESETS["musicnn"].window_frames
    model = TensorflowPredictMusiCNN(
        graphFilename=graph, input=INPUT, output=EMBEDDINGS, patchSize=frames, patchHopSize=frames
    )
    means = []
    for path in sorted(Path(audio).rglob("*.*"), key=lambda path: str(path.with_suffix(""))):
        waveform = MonoLoader(filename=str(path), sampleRate=16000, resampleQuality=4)()
        means.append(model(waveform).mean(axis=0))
    np.save(out, np.stack(means))


def decode_alone(audio, workers):
    """One limit, as a command of its own."""
    from playlist_pretrain.audio.decode import AudioLoader
    from playlist_pretrain.records.sources import find_audio
    from playlist_pretrain.records.workers import decode_files

    tracks = find_audio(audio).tracks
    for _, found in decode_files(tracks, audio, Length(AudioLoader(excerpt=None)), workers):
        assert not isinstance(found, str), found


class Length:
    """Decodes a file and keeps its length, so that nothing travels between processes."""

    def __init__(self, load):
        self._load = load

    def __call__(self, path):
        """Seconds of the file."""
        return self._load(path).source_seconds


def model_alone(saved_model, batch, out):
    """The other limit: windows a second of the model, warm, from memory."""
    from playlist_pretrain.models.load import load_embedder
    from playlist_pretrain.models.track_outputs import batch_function

    embedder = load_embedder(saved_model)
    function = batch_function(embedder.model, batch)
    shape = (batch, embedder.frames, embedder.front_end.bands)
    windows = np.random.default_rng(0).uniform(0, 5, shape).astype(np.float32)
    function(windows)
    began = time.perf_counter()
    rounds = 0
    while rounds < 4 or time.perf_counter() - began < 5:
        function(windows)
        rounds += 1
    np.save(out, rounds * batch / (time.perf_counter() - began))


def measure(folder, options):
    """Seconds of each command by name and number of files, and the model's rate."""
    model, graph = folder / "trained", folder / "packages" / "essentia" / "package" / "package.pb"
    both = {"ours": (options.few, options.many), "theirs": counts_of_essentia(options)}
    audio = {n: folder / f"audio-{n}" for counts in both.values() for n in counts}
    seconds, number = {}, iter(range(1000))

    def ours(files, precision="float32"):
        out = folder / f"embed-{next(number)}.parquet"
        words = ["--model", model, "--audio", audio[files], "--out", out, "--quiet"]
        return run(SCRIPT, *words, "--workers", options.workers, "--precision", precision)[0]

    def bfloat16(files):
        return ours(files, "mixed_bfloat16")

    def theirs(files):
        own = [
            "--essentia",
            graph,
            "--audio",
            audio[files],
            "--out",
            folder / f"essentia-{files}.npy",
        ]
        return run(__file__, *own)[0]

    def decoding(files):
        return run(__file__, "--decode", "--audio", audio[files], "--workers", options.workers)[0]

    jobs = {
        "embed.py": (ours, both["ours"]),
        "embed.py --precision mixed_bfloat16": (bfloat16, both["ours"]),
        "Essentia, file by file": (theirs, both["theirs"]),
        "decoding alone": (decoding, both["ours"]),
    }
    for step in (0, 1):
        wanted = {
            name: lambda _, job=job, files=counts[step]: job(files)
            for name, (job, counts) in jobs.items()
        }
        for name, took in in_turn(wanted, options.rounds).items():
            seconds.setdefault(name, {})[jobs[name][1][step]] = took
    run(__file__, "--model", model, "--batch", 64, "--out", folder / "rate.npy")
    found = np.load(folder / "embed-0.npy")
    other = np.load(folder / f"essentia-{both['theirs'][0]}.npy")
    found = found[: len(other)]
    difference = float(np.abs(found - other).max() / found.std(axis=0).max())
    return seconds, float(np.load(folder / "rate.npy")), difference


def counts_of_essentia(options):
    """Few and many files, but no more than the others have."""
    return min(options.essentia_few, options.few), min(options.essentia_many, options.many)


def minutes_of(folder):
    """Minutes of audio in the files of a folder."""
    import soundfile

    return sum(soundfile.info(path).duration for path in folder.rglob("*.*")) / 60


def main():
    """Make the files and the model, measure, print one table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, help="folder of recordings [../shared/data]")
    parser.add_argument("--width", type=float, default=1.0, help="of VGGish")
    parser.add_argument("--few", type=int, default=60)
    parser.add_argument("--many", type=int, default=240)
    parser.add_argument("--essentia-few", type=int, default=4)
    parser.add_argument("--essentia-many", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--workers", type=int, default=len(os.sched_getaffinity(0)))
    for hidden in ("--audio", "--essentia", "--model", "--out"):
        parser.add_argument(hidden, help=argparse.SUPPRESS)
    parser.add_argument("--batch", type=int, default=64, help=argparse.SUPPRESS)
    parser.add_argument("--decode", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--export", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    os.environ["CUDA_VISIBLE_DEVICES"] = "-1"  # the processes inherit them
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
    if options.export:
        return export(options.export, options.width)
    if options.essentia:
        return essentia_alone(options.audio, options.essentia, options.out)
    if options.decode:
        return decode_alone(options.audio, options.workers)
    if options.model:
        return model_alone(options.model, options.batch, options.out)
    sources = recordings(options.data, "pop909")
    if not sources:
        return None
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        files = cut(sources, folder / "files", min(options.many, 2 * len(sources)))
        minutes = {
            count: minutes_of(link(files, folder / f"audio-{count}", count))
            for count in {options.few, options.many, *counts_of_essentia(options)}
        }
        run(__file__, "--export", folder, "--width", options.width)
        seconds, rate, difference = measure(folder, options)
    show(options, minutes, seconds, rate, difference)
    return None


def show(options, minutes, seconds, rate, difference):
    """Print the table."""
    from playlist_pretrain.audio.front_end import PRESETS

    front_end = PRESETS["musicnn"]
    window = front_end.window_frames * front_end.hop_length / front_end.sample_rate
    base = None
    rows = []
    for name, of_counts in seconds.items():
        (few, first), (many, last) = sorted(
            (files, statistics.median(times)) for files, times in of_counts.items()
        )
        whole = 60 * minutes[many] / last
        later = 60 * (minutes[many] - minutes[few]) / (last - first)
        rows.append((name, f"{few} / {many}", first, last, whole, later))
        if name.startswith("Essentia"):
            base = whole, later
    shown = [
        (name, files, f"{first:.1f} / {last:.1f}", f"{whole:,.0f}", f"{whole / base[0]:.2f}",
         f"{later:,.0f}", f"{later / base[1]:.2f}")
        for name, files, first, last, whole, later in rows
    ]  # fmt: skip
    alone = rate * window
    shown.append(("the model alone", "", "", "", "", f"{alone:,.0f}", f"{alone / base[1]:.2f}"))
    print_table(
        f"VGGish, width {options.width}, {options.workers} workers; medians of {options.rounds} "
        f"rounds; largest difference of embeddings {difference:.1e} standard deviations",
        ("seconds of audio a second", "files", "took, s", "with start", "of Essentia's", "without",
         "of Essentia's"),
        shown,
    )  # fmt: skip


if __name__ == "__main__":
    main()
