"""Packages for Essentia: a frozen graph, its description, and code that is run there.

A SavedModel of this TensorFlow does not load in Essentia, whose own TensorFlow is older and drops
the session that holds the variables. A frozen graph does, whether as a ``.pb`` or inside a
SavedModel; both have the same nodes here, so that one description fits both. Essentia runs in a
process of its own (:mod:`.essentia_check`).
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from playlist_pretrain.audio.decode import decode
from playlist_pretrain.audio.front_end import PRESETS, FrontEnd
from playlist_pretrain.errors import AudioError, FrontEndError, ModelError, printable
from playlist_pretrain.export import essentia_check
from playlist_pretrain.export.package import (
    CARD,
    EMBEDDINGS,
    FILES_LIMIT,
    INPUT,
    WINDOWS_LIMIT,
    Compared,
    Job,
    Written,
    answers,
    check_description,
    compare,
    cut,
    describe,
    run_apart,
    waveform_means,
    write_synthetic,
    write_wav,
)
from playlist_pretrain.files import atomic_write, load_arrays, write_json
from playlist_pretrain.models.saved_model import tensorflow_warnings_off
from playlist_pretrain.stack import with_constants

if TYPE_CHECKING:
    import tensorflow as tf

    from playlist_pretrain.audio.front_end import ImportedFrontEnd

WHERE = "in Essentia"
SAVED_MODEL, CODE = "saved_model", "predict.py"
BATCHES = (1, 7, 64)
CLIP_SECONDS = 2
SECONDS = 20
"""Of the file that is made where none is given, at least."""
LARGEST_GRAPH = 2**31 - 2**24
"""Bytes of weights: the format of graphs ends at 2 GiB, and there is more in one than weights."""
ALGORITHMS = {
    "musicnn": ("TensorflowPredictMusiCNN", "TensorflowInputMusiCNN"),
    "vggish-essentia": ("TensorflowPredictVGGish", "TensorflowInputVGGish"),
}
"""Preset to Essentia's algorithm for whole files, and for the log-mel of one frame."""
_NEAR = {"taper", "framing", "mel_precision", "hop_length", "resample_quality"}
"""Constants in which an algorithm may differ from a front end; the check measures how much."""

_LOAD = """\
# pip install essentia-tensorflow
import os
import tempfile
import wave

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # no word of GPUs that are not there
import essentia
import numpy as np

essentia.log.infoActive = essentia.log.warningActive = False
from essentia import standard


def load(audio):
    audio = os.path.abspath(audio)
    with open(audio, "rb") as stream:
        head = stream.read(4)
    with tempfile.NamedTemporaryFile(suffix=".wav") as tiny:
        with wave.open(tiny, "wb") as wav:
            wav.setparams((1, 2, 16000, 16, "NONE", ""))
            wav.writeframes(bytes(32))
        tiny.flush()
        # If no file was opened before, one of an unknown codec ends the process.
        loader = standard.MonoLoader(filename=tiny.name)
    try:
        if head == b"RIFX":
            raise RuntimeError("a big-endian wav file")
        loader.configure(filename=audio, sampleRate={rate}, resampleQuality={quality})
        samples = loader()
        if not len(samples):
            raise RuntimeError("no samples")
    except RuntimeError as error:
        reason = " ".join(str(error).split()).rpartition("AudioLoader: ")[2]
        samples = load_other(audio, head, reason.rpartition(", error = ")[2])
    if not np.isfinite(samples).all():
        raise ValueError("holds NaN or infinite samples")
    return samples  # mono, at {rate} Hz


def load_other(audio, head, reason):
    try:
        import soundfile
    except (ImportError, OSError):
        convert = "pip install soundfile, or ffmpeg -i FILE -ac 2 FILE.wav"
        raise ValueError(f"Essentia cannot decode it ({{reason}}): {{convert}}") from None
    try:
        if head.startswith((b"\\xff", b"ID3")):
            raise RuntimeError("mp3, which both decode in the same way")
        with open(audio, "rb") as stream:  # its name means nothing
            channels, rate = soundfile.read(stream, dtype="float32", always_2d=True)
    except RuntimeError:
        raise ValueError(f"no audio that Essentia or libsndfile decodes ({{reason}})") from None
    mono = channels.mean(axis=1)
    if not len(mono):
        raise ValueError("holds no samples")
    resample = standard.Resample(inputSampleRate=rate, outputSampleRate={rate}, quality={quality})
    return mono if rate == {rate} else resample(mono)


"""
_WHOLE = """\
def predict(graph, audio, output="{embeddings}", last="discard"):
    samples = load(audio)
    for last in (last, "repeat"):  # what is shorter than a window is repeated
        model = standard.{name}(
            graphFilename=graph,
            input="{input}",
            output=output,
            patchSize={frames},
            patchHopSize={frames},
            lastPatchMode=last,
        )
        if len(found := model(samples)):
            return found  # [windows, …]
    raise ValueError("too short for one frame")
"""
_BY_FRAME = """\
def predict(graph, audio, output="{embeddings}", last="discard"):
    log_mel = standard.{mel}()
    samples = load(audio)
    frames = standard.FrameGenerator(samples, frameSize={frame_length}, hopSize={hop_length})
    mel = np.array([log_mel(frame) for frame in frames])
    if not len(mel):
        raise ValueError("too short for one frame")
    if len(mel) < {frames} or (last == "repeat" and len(mel) % {frames}):
        rest = mel[len(mel) // {frames} * {frames} :]
        mel = np.concatenate([mel, np.resize(rest, ({frames} - len(rest), {bands}))])
    windows = mel[: len(mel) // {frames} * {frames}].reshape(-1, 1, {frames}, {bands})
    model = standard.{name}(
        graphFilename=graph, inputs=["{input}"], outputs=[output]
    )
    answers = []
    for first in range(0, len(windows), 64):
        pool = essentia.Pool()
        pool.set("{input}", windows[first : first + 64])
        answers += [answer.ravel() for answer in model(pool)[output]]
    return np.array(answers)  # [windows, …]
"""
_MAIN = """\


if __name__ == "__main__":
    import sys
    from pathlib import Path

    if len(sys.argv) != 2:
        sys.exit("usage: predict.py FILE")
    try:
        for output in {outputs}:
            found = predict(str(Path(__file__).with_name("{graph}")), sys.argv[1], output)
            print(output, found.shape, found, sep="\\n")
    except (OSError, RuntimeError, ValueError) as error:
        sys.exit(f"{{sys.argv[1]}}: {{getattr(error, 'strerror', None) or error}}")
"""
NOTES = (
    "It decodes what Essentia's MonoLoader does. Where soundfile is installed too, libsndfile "
    "decodes what that refuses: Opus, W64, big-endian wav, and more than two channels, which are "
    "averaged. Audio that is shorter than a window is repeated until it fills one. A file that is "
    "missing, is no audio or holds NaN ends it with one line and exit code 1. Of files joined of "
    "streams with several rates or numbers of channels, and of files whose headers state another "
    "length than they have, it takes what these libraries take."
)
"""On the code, for the card."""
FORMATS = (
    ("FLAC", "PCM_16", 2, 48000, False),
    ("OGG", "VORBIS", 1, 22050, True),
    ("OGG", "OPUS", 2, 48000, False),
    ("MP3", "MPEG_LAYER_III", 2, 44100, True),
    ("WAV", "PCM_24", 6, 96000, False),
    ("AIFF", "PCM_16", 6, 16000, True),
    ("WAV", "ULAW", 1, 8000, False),
)
"""Files that the code is tried on: format and encoding of libsndfile, channels, rate, whether it
lasts :data:`CLIP_SECONDS`; the others have two windows and a half."""


def algorithm_of(front_end: FrontEnd | ImportedFrontEnd) -> tuple[str, str]:
    """Choose Essentia's algorithm that runs a model of a front end, and that of its log-mels.

    Raises FrontEndError for log-mels that were imported, or made with other constants.
    """
    for preset, (name, mel) in ALGORITHMS.items() if front_end.takes_waveforms else ():
        mine, theirs = front_end.to_dict(), PRESETS[preset].to_dict()
        different = {name for name, value in mine.items() if value != theirs[name]}
        if different - _NEAR - set(FrontEnd._not_compared):
            continue
        if front_end.hop_length != PRESETS[preset].hop_length:
            name = "TensorflowPredict"
        return name, mel
    raise FrontEndError(
        f"front end {front_end.name!r}: no algorithm of Essentia makes its log-mels; there are "
        f"those of {', '.join(mel for _, mel in ALGORITHMS.values())}"
    )


def predict_code(front_end: FrontEnd, frames: int, graph: str, outputs: Sequence[str]) -> str:
    """Write Python that defines ``predict(graph, audio, output, last)`` for windows of ``frames``.

    ``last`` says what becomes of the frames after the last whole window, ``"discard"`` or
    ``"repeat"``; audio shorter than a window is repeated whatever it says. The answer is an array
    [windows, size of the output]. As a script it prints the outputs that
    ``graph``, a file beside it, has for a file of audio.
    """
    name, mel = algorithm_of(front_end)
    code = _LOAD + (_BY_FRAME if name == "TensorflowPredict" else _WHOLE) + _MAIN
    return code.format(
        **front_end.to_dict()
        | {
            "rate": front_end.sample_rate,
            "quality": front_end.resample_quality,
            "name": name,
            "mel": mel,
            "frames": frames,
            "input": INPUT,
            "embeddings": EMBEDDINGS,
            "graph": graph,
            "outputs": json.dumps(list(outputs)),
        }
    )


def check(job: Job) -> None:
    """Raise if no algorithm fits the front end, the audio is missing or the model too large."""
    algorithm_of(job.front_end)
    if job.audio is not None and not Path(job.audio).is_file():
        raise AudioError(f"{job.audio}: cannot be opened: no such file")
    if (size := 4 * job.loaded.model.count_params()) > LARGEST_GRAPH:
        raise ModelError(
            f"{job.loaded.path}: weights of {size / 1e9:.1f} GB; a frozen graph holds 2 GB at most"
        )


def write(job: Job, folder: Path, scratch: Path) -> Written:
    """Write both graphs and run them in the installed Essentia.

    Random windows go through them in batches of 1, 7 and 64. A whole file, two seconds of it
    whose last window is filled up, and noise in every one of :data:`FORMATS` go through the code
    that users get, and are compared window by window with the same files decoded and cut here; the
    mean over the whole file also with the
    answer of the signature ``waveform``. Raises AudioError for a file that cannot be read or is
    shorter than a window, ModelError where Essentia cannot run the package.
    """
    name, front_end, model = job.name, job.front_end, job.model
    outputs, frames, rate = list(model.output), job.loaded.frames, front_end.sample_rate
    quality = front_end.resample_quality
    audio = job.audio
    if audio is None:
        audio = scratch / "synthetic.wav"
        write_synthetic(audio, max(SECONDS, 3 * frames * front_end.hop_length / rate))
    waveform = decode(audio, rate, None, quality).waveform
    whole = cut(front_end, waveform, frames)
    if front_end.frames(waveform.size) < frames:
        raise AudioError(
            f"{audio}: {waveform.size / rate:.1f} s, shorter than a window of {frames} frames; the "
            "check needs a longer file"
        )
    start = max(0, waveform.size - CLIP_SECONDS * rate) // 2
    clip = waveform[start : start + CLIP_SECONDS * rate]
    write_wav(scratch / "clip.wav", clip, rate, "FLOAT")
    others = write_formats(scratch, 2.5 * frames * front_end.hop_length / rate)

    algorithm = algorithm_of(front_end)
    graphs = {"graphFilename": folder / f"{name}.pb", "savedModel": folder / SAVED_MODEL}
    with tensorflow_warnings_off():  # of TensorFlow 1's interface
        definition = frozen_graph(model.inputs[0], model.output, INPUT)
        with atomic_write(graphs["graphFilename"]) as stream:
            stream.write(definition.SerializeToString(deterministic=True))
        write_frozen_saved_model(definition, INPUT, outputs, graphs["savedModel"])
    description = describe(
        job,
        f"Takes {frames} frames of {front_end.bands} bands of {algorithm[1]} "
        f"(frames of {front_end.frame_length} samples, one every {front_end.hop_length}).",
        {output: op_of(definition, output) for output in outputs},
        model_types=["frozen_model", "SavedModel"],
        inference={"sample_rate": rate, "algorithm": algorithm[0]},
    )
    check_description(description, name)
    code = predict_code(front_end, frames, f"{name}.pb", outputs)
    windows = job.random_windows(max(BATCHES))
    files = [(audio, "discard"), (scratch / "clip.wav", "repeat")]
    files += [(path, "discard") for path in others]
    found = run_in_essentia(graphs, outputs, code, files, windows, scratch, name)

    of_windows, of_file = answers(model, windows), answers(model, whole)
    of_clip = answers(model, cut(front_end, clip, frames, repeat=True))
    of_others = [
        answers(model, cut(front_end, decode(path, rate, None, quality).waveform, frames))
        for path in others
    ]
    means = waveform_means(model, front_end, waveform)
    label = printable(Path(audio).name)
    whole_text = f"{label}, {waveform.size / rate:.1f} s"
    clip_text = f"{clip.size / rate:.1f} s of it, the last window filled up"
    compared: list[Compared] = []
    for output in outputs:
        for parameter, path in graphs.items():
            there = np.concatenate([found[f"{parameter} {batch} {output}"] for batch in BATCHES])
            here = np.concatenate([of_windows[output][:batch] for batch in BATCHES])
            text = f"{path.name}, random windows in batches of {', '.join(map(str, BATCHES))}"
            compared.append(compare(text, output, there, here, WINDOWS_LIMIT))
        there, here = found[f"file 1 {output}"], of_clip[output]
        compared.append(compare(clip_text, output, there, here, FILES_LIMIT))
        there, here = found[f"file 0 {output}"], of_file[output]
        compared.insert(-1, compare(whole_text, output, there, here, FILES_LIMIT))
        if len(there):
            there, text = there.mean(0, keepdims=True), f"{label}, the mean of its windows"
            compared.append(compare(text, output, there, means[output], FILES_LIMIT, here))
        for number, (text, own) in enumerate(zip(others.values(), of_others, strict=True), 2):
            there = found[f"file {number} {output}"]
            compared.append(compare(text, output, there, own[output], FILES_LIMIT))
    distance, trained_with = None, job.loaded.front_end
    if trained_with is not front_end and len(other := cut(trained_with, waveform, frames)):
        pair = of_file[EMBEDDINGS], answers(model, other)[EMBEDDINGS]
        distance = compare("", EMBEDDINGS, *pair, 0).difference
    version = metadata.version("essentia-tensorflow")
    advice = (
        f"; the front end {front_end.name!r} is not that of Essentia: --front-end vggish-essentia "
        "exports the model for the latter, and measures the distance"
    )
    return Written(
        description,
        compared,
        f"run in Essentia {version}, files by {algorithm[0]}:",
        {CODE: code},
        code,
        {"essentia": version, "algorithm": algorithm[0], "front_end_distance": distance},
        distance,
        advice if front_end.taper == PRESETS["vggish"].taper else "",
        NOTES,
    )


def write_formats(folder: Path, seconds: float) -> dict[Path, str]:
    """Write noise in every one of :data:`FORMATS`; path and what it is of each."""
    import soundfile

    rng, written = np.random.default_rng(1), {}
    for number, (kind, encoding, channels, rate, short) in enumerate(FORMATS):
        lasts = CLIP_SECONDS if short else max(CLIP_SECONDS, seconds)
        noise = rng.normal(scale=0.1, size=(round(lasts * rate), channels)).clip(-1, 1)
        path = folder / f"format{number}.{kind.lower()}"
        with atomic_write(path) as stream:
            soundfile.write(stream, noise, rate, format=kind, subtype=encoding)
        many = "" if channels == 1 else "s"
        written[path] = f"{kind} {encoding}, {channels} channel{many}, {rate:,} Hz, {lasts:.1f} s"
    return written


def summary(folder: Path, job: Job, code: str) -> list[str]:
    """Tell the files of a package, the code that was run and the next command."""
    return [
        f"{folder}: {job.name}.pb, the same graph as a SavedModel in {SAVED_MODEL}/, "
        f"{job.name}.json, {CARD}, and {CODE}, the code that was run:\n",
        code,
        f"next: python {shlex.quote(str(folder / CODE))} FILE",
    ]


def run_in_essentia(
    graphs: Mapping[str, str | Path],
    outputs: Sequence[str],
    code: str,
    files: Sequence[tuple[str | Path, str]],
    windows: np.ndarray,
    folder: Path,
    name: str,
    *,
    input_: str = INPUT,
) -> dict[str, np.ndarray]:
    """Run a package in Essentia, in a process of its own.

    ``graphs`` leads from ``graphFilename`` and ``savedModel`` (parameters of Essentia's algorithms)
    to paths, ``outputs`` and ``input_`` are nodes. ``windows`` [windows, frames, bands] go through
    every graph, in :data:`BATCHES` up to their number; ``files`` (audio, what becomes of its last
    frames) go through ``code``, Python that defines ``predict(graph, audio, output, last)``.
    ``folder`` is one to work in, ``name`` for messages. Returns answers [windows, size] by
    ``PARAMETER BATCH OUTPUT`` and ``file NUMBER OUTPUT``; raises ModelError where Essentia
    refuses, or crashes.
    """
    request = {
        "graphs": {parameter: str(Path(path).absolute()) for parameter, path in graphs.items()},
        "input": input_,
        "outputs": list(outputs),
        "batches": [batch for batch in BATCHES if batch <= len(windows)],
        "code": code,
        "files": [(str(Path(audio).absolute()), last) for audio, last in files],
    }
    write_json(folder / "request.json", request)
    with atomic_write(folder / "windows.npy") as stream:
        np.save(stream, windows)
    run_apart(essentia_check.__file__, folder, failure=f"{name}: Essentia cannot run it")
    return load_arrays(folder / "answers.npz")


def frozen_graph(
    inputs: tf.Tensor, outputs: Mapping[str, tf.Tensor], name: str
) -> tf.compat.v1.GraphDef:
    """Freeze the graph from an input to some tensors of a functional Keras model.

    ``inputs`` is the symbolic input, float32 [batch, frames, bands], ``outputs`` are symbolic
    tensors. The graph has the weights inside and nodes ``name`` (the input) and those of
    ``outputs``, for any batch.
    """
    import tensorflow as tf

    from playlist_pretrain.models.frozen import without_placeholders

    model = tf.keras.Model(inputs, list(outputs.values()))
    spec = tf.TensorSpec([None, *inputs.shape[1:]], tf.float32, name)
    function = tf.function(
        lambda windows: tf.nest.flatten(model(windows, training=False)),
        input_signature=[spec],
        autograph=False,
    )
    constant = with_constants(function.get_concrete_function())
    definition = without_placeholders(constant.graph.as_graph_def())
    for node in definition.node:
        node.device = ""
    with tf.Graph().as_default() as graph:
        windows = tf.compat.v1.placeholder(tf.float32, spec.shape, name)
        feeds, names = {constant.inputs[0].name: windows}, [one.name for one in constant.outputs]
        found = tf.graph_util.import_graph_def(definition, feeds, names, name="model")
        for output, answer in zip(outputs, found, strict=True):
            tf.identity(answer, output)
    return graph.as_graph_def()


def op_of(definition: tf.compat.v1.GraphDef, name: str) -> str:
    """Return the op that gives a node its values, behind any identities."""
    nodes = {node.name: node for node in definition.node}
    node = nodes[name]
    while node.op == "Identity":
        node = nodes[node.input[0].split(":")[0]]
    return node.op


def write_frozen_saved_model(
    definition: tf.compat.v1.GraphDef, inputs: str, outputs: Sequence[str], folder: Path
) -> None:
    """Write a frozen graph as a SavedModel with the same nodes, tag ``serve`` and one signature."""
    import tensorflow as tf

    v1 = tf.compat.v1
    with tf.Graph().as_default() as graph, v1.Session(graph=graph) as session:
        tf.graph_util.import_graph_def(definition, name="")
        signature = v1.saved_model.predict_signature_def(
            {inputs: graph.get_tensor_by_name(f"{inputs}:0")},
            {name: graph.get_tensor_by_name(f"{name}:0") for name in outputs},
        )
        builder = v1.saved_model.Builder(str(folder))
        builder.add_meta_graph_and_variables(
            session,
            [tf.saved_model.SERVING],
            {tf.saved_model.DEFAULT_SERVING_SIGNATURE_DEF_KEY: signature},
        )
        builder.save()
