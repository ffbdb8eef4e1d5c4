"""Packages that appear whole or not at all, and never in the place of something else.

What every package is made of: a model in float32 whose outputs have names.

What the check of a package measures, and how it is told.

The model's own side of a comparison: windows of a file, and what the model gives them.

The JSON that describes a package; for Essentia with the fields of its own models.

The model card: what a package is, how it is used, what it was made of and how it was checked.

Models as frozen graphs with plain names, which older versions of TensorFlow load too.
"""

from __future__ import annotations

import contextlib
import datetime
import functools
import json
import math
import os
import re
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from importlib import metadata, resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from playlist_pretrain.errors import FrontEndError, ModelError
from playlist_pretrain.files import atomic_write, folder_lock
from playlist_pretrain.models.load import LoadedModel
from playlist_pretrain.storage import refuse_remote

if TYPE_CHECKING:
    import tensorflow as tf

    from playlist_pretrain.audio.front_end import FrontEnd
    from playlist_pretrain.export.essentia_code import EssentiaAlgorithm


def check_place(final: Path, *, overwrite: bool) -> None:
    """Refuse a place that is taken; what is no package is never replaced."""
    if not os.path.lexists(final):
        return
    if final.is_symlink() or not (final / f"{final.name}.json").is_file():
        raise ModelError(f"{final}: is there already and is no package; take another --name")
    if not overwrite:
        raise ModelError(f"{final}: is there already; --overwrite replaces it")


@contextlib.contextmanager
def staged(out: Path, name: str, *, overwrite: bool) -> Iterator[tuple[Path, Path]]:
    """Two empty folders, the first of which becomes ``out/name`` if nothing goes wrong."""
    final, replaced = out / name, out / f".{name}.replaced.tmp"
    staging = out / f".{name}.tmp"
    made = [folder for folder in (out, *out.parents) if not folder.exists()]
    try:
        with folder_lock(out, f"{final}: exported", f".{name}.lock", ModelError):
            try:
                if replaced.exists() and not final.exists():  # killed between the two renames
                    os.replace(replaced, final)
                check_place(final, overwrite=overwrite)
                shutil.rmtree(staging, ignore_errors=True)
                shutil.rmtree(replaced, ignore_errors=True)
                package = staging / "package"
                package.mkdir(parents=True)
                # A name of its own: the check of an export that was killed may still be running.
                yield package, Path(tempfile.mkdtemp(prefix="check-", dir=staging))
                if os.path.lexists(final):
                    os.replace(final, replaced)
                os.replace(package, final)
                shutil.rmtree(replaced, ignore_errors=True)
            finally:
                shutil.rmtree(staging, ignore_errors=True)
                (out / f".{name}.lock").unlink(missing_ok=True)
    except BaseException:
        with contextlib.suppress(OSError):
            for folder in made:
                folder.rmdir()
        raise


_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


def check_name(name: str) -> None:
    """Refuse a name that could not be that of a file everywhere.

    Raises
    ------
    ModelError
    """
    if not _NAME.fullmatch(name):
        raise ModelError(
            f"--name {name!r}: letters, digits and . _ - (the first a letter or digit), at most 100"
        )


def named_model(
    saved: LoadedModel, name: str, out: str | Path, front_end: FrontEnd
) -> tf.keras.Model:
    """The model of a package ``out/name``, ``[batch, frames, bands] →`` its outputs by their names.

    Parameters
    ----------
    saved : LoadedModel
    name, out : str, str or Path
        Are checked only.
    front_end : FrontEnd
        That makes its log-mels there.

    Raises
    ------
    ModelError
        A name that is refused, or a folder that is not on this machine.
    FrontEndError
        The model takes another number of bands than the front end makes.
    """
    import tensorflow as tf

    from playlist_pretrain.models.layers import plain_float32
    from playlist_pretrain.models.tagger import outputs_of

    check_name(name)
    refuse_remote(out, "export to a folder here, then copy it", ModelError)
    model = plain_float32(saved.model)
    bands = model.input_shape[-1]
    if bands != front_end.bands:
        raise FrontEndError(
            f"{saved.path}: takes {bands} bands, {front_end.name!r} makes {front_end.bands}"
        )
    return tf.keras.Model(model.inputs, outputs_of(model, tagger=bool(saved.classes)))


WINDOWS_LIMIT, FILES_LIMIT = 1e-4, 1e-3
"""Largest differences of embeddings that pass, in their standard deviations."""
ACTIVATIONS_LIMIT = 1e-3
"""Of activations, 0 to 1, on windows and on files: where a head adds up large values, a small
difference of the sum is a larger one of the probability."""
SMALLEST_STD = 1e-6
"""Of embeddings; where all are equal, any difference would be infinitely large."""


@dataclass(frozen=True)
class Compared:
    """One output in Essentia beside the same of the model.

    Attributes
    ----------
    what : str
        What was given.
    output : str
        Node.
    windows, expected : int
        Windows of the answer in Essentia, and of the model's.
    difference : float
        The largest over the windows that both have, in standard deviations of the embeddings; of
        activations, which are 0 to 1, as it is.
    limit : float
    """

    what: str
    output: str
    windows: int
    expected: int
    difference: float
    limit: float

    @property
    def passes(self) -> bool:
        """Whether it is as near as it has to be; NaN is not."""
        return self.windows == self.expected and self.difference <= self.limit

    def __str__(self) -> str:
        unit = "" if self.output == ACTIVATIONS else " of their standard deviation"
        count = f"{self.windows} window" + "s" * (self.windows != 1)
        if self.windows != self.expected:
            count += f" in Essentia and {self.expected} here"
        return (
            f"{self.what}: {self.output} of {count}, largest difference "
            f"{self.difference:.1e}{unit} (at most {self.limit:.0e})"
        )


@dataclass(frozen=True)
class Parity:
    """What :func:`check_in_essentia` found.

    Attributes
    ----------
    essentia : str
        Version.
    algorithm : str
        That ran the model on files.
    compared : tuple of Compared
    front_end_distance : float or None
        How far the front end that the model was trained with is from the one that Essentia has:
        the largest difference of embeddings of the whole file, in their standard deviations.
    """

    essentia: str
    algorithm: str
    compared: tuple[Compared, ...]
    front_end_distance: float | None = None

    def to_dict(self) -> dict[str, Any]:
        """Ready for JSON."""
        return asdict(self)

    @property
    def lines(self) -> list[str]:
        """For people."""
        lines = [f"run in Essentia {self.essentia}, files by {self.algorithm}:"]
        lines += [f"  {one}" for one in self.compared]
        if self.front_end_distance is not None:
            lines.append(
                "  the front end it was trained with moves embeddings of the same windows by up to "
                f"{self.front_end_distance:.2g} of their standard deviation"
            )
        return lines


def compare(
    what: str,
    output: str,
    there: np.ndarray,
    here: np.ndarray,
    limit: float,
    spread: np.ndarray | None = None,
) -> Compared:
    """Compare answers [windows, size]; the standard deviation is that of ``spread``, or of ours."""
    common = min(len(there), len(here))
    difference = float(np.abs(there[:common] - here[:common]).max()) if common else math.inf
    if output == ACTIVATIONS:
        limit = ACTIVATIONS_LIMIT
    else:
        difference /= max(float((here if spread is None else spread).std()), SMALLEST_STD)
    return Compared(what, output, len(there), len(here), difference, limit)


def why_it_ended(done: subprocess.CompletedProcess[str]) -> str:
    """The last line that a process which failed has said, and the signal that ended it."""
    said = done.stderr.strip().splitlines()
    reason = said[-1] if said else "it says nothing"
    if done.returncode < 0:
        reason = f"it ended with {signal.Signals(-done.returncode).name}; {reason}"
    return reason


_AT_ONCE = 32


def cut(
    front_end: FrontEnd, waveform: np.ndarray, frames: int, *, repeat: bool = False
) -> np.ndarray:
    """Windows [any, frames, bands] of a waveform's log-mel, one after the other.

    The frames after the last whole one are left out, or repeated until they fill a window.
    """
    mel = front_end.log_mel(waveform).numpy()
    rest = len(mel) % frames
    if repeat and rest:
        filled = np.resize(mel[-rest:], (frames - rest, front_end.bands))
        mel = np.concatenate([mel, filled])
    return mel[: len(mel) // frames * frames].reshape(-1, frames, front_end.bands)


def write_synthetic(path: Path, seconds: float) -> None:
    """Write two channels of chords and noise at 44.1 kHz: something to try a model on."""
    import soundfile

    rng = np.random.default_rng(0)
    rate, note = 44100, 22050
    time = np.arange(note) / rate
    notes = []
    for _ in range(int(seconds * rate / note) + 1):
        pitches = rng.uniform(80, 3000, (5, 1))
        tones = np.sin(2 * np.pi * pitches * time) * np.exp(-rng.uniform(0, 8, (5, 1)) * time)
        notes.append(tones.sum(0) * rng.uniform(0.01, 0.15))
    sound = np.concatenate(notes)[: int(seconds * rate), np.newaxis] * [1, 0.6]
    sound = sound + rng.normal(scale=0.005, size=sound.shape)
    soundfile.write(path, np.clip(sound, -1, 1), rate, subtype="PCM_16")


def answers(model: tf.keras.Model, windows: np.ndarray) -> dict[str, np.ndarray]:
    """Outputs [windows, size] of a model by their names."""
    parts = [
        model(windows[first : first + _AT_ONCE], training=False)
        for first in range(0, len(windows), _AT_ONCE)
    ]
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def waveform_means(
    model: tf.keras.Model, front_end: FrontEnd, waveform: np.ndarray
) -> dict[str, np.ndarray]:
    """What the signature ``waveform`` answers, [1, size] for each output."""
    import tensorflow as tf

    from playlist_pretrain.models.signatures import waveform_mean

    def mean(output):
        single = tf.keras.Model(model.inputs, output)
        given = tf.constant(waveform[np.newaxis])
        # As a graph, the loop over windows does not go through Python.
        return tf.function(lambda: waveform_mean(single, front_end, given), autograph=False)()

    return {name: mean(output).numpy() for name, output in model.output.items()}


INPUT, EMBEDDINGS, ACTIVATIONS = "melspectrogram", "embeddings", "activations"
"""Nodes of every package; the last one is a tagger's."""
PAPER = (
    "Alonso-Jiménez, P., Favory, X., Foroughmand, H., Bourdalas, G., Serra, X., Lidy, T., & "
    "Bogdanov, D. (2023). Pre-training strategies using contrastive learning and playlist "
    "information for music classification and similarity. ICASSP 2023. arXiv:2304.12257"
)


def _today() -> str:
    return datetime.date.today().isoformat()


@dataclass(frozen=True)
class ModelInfo:
    """What a description says that a model does not know of itself.

    Attributes
    ----------
    description : str
        What the model is; what it takes and gives is said after it.
    author, email, link, version : str
    release_date : str
        ``YYYY-MM-DD``.
    citation : str
        Of the model.
    dataset, dataset_citation, dataset_size : str
        What it was trained on.
    metrics : mapping of str to float
        How good it is there.
    licence : str
        Of the model; it and the recipe are for the card, the description has no field for them.
    recipe : mapping of str to any
        Settings of the run.
    """

    description: str = ""
    author: str = ""
    email: str = ""
    link: str = ""
    version: str = "1"
    release_date: str = field(default_factory=_today)
    citation: str = PAPER
    dataset: str = ""
    dataset_citation: str = ""
    dataset_size: str = ""
    metrics: Mapping[str, float] = field(default_factory=dict)
    licence: str = ""
    recipe: Mapping[str, Any] = field(default_factory=dict)


def describe(
    name: str,
    window: tuple[int, int],
    algorithm: EssentiaAlgorithm,
    outputs: Mapping[str, tuple[str, int]],
    classes: Sequence[str],
    about: ModelInfo,
) -> dict[str, Any]:
    """The description of a package.

    Parameters
    ----------
    name : str
        Of the package.
    window : (int, int)
        Frames and bands.
    algorithm : EssentiaAlgorithm
        What makes its log-mels in Essentia.
    outputs : mapping of str to (str, int)
        Node to the op that gives its values, and to their number for a window.
    classes : sequence of str
        Of a tagger, in the order of its activations.
    about : ModelInfo

    Raises
    ------
    ModelError
        If it is not what the models of Essentia have: names the field.
    """
    takes = (
        f"Takes {window[0]} frames of {window[1]} bands of {algorithm.mel} "
        f"(frames of {algorithm.frame_length} samples, one every {algorithm.hop_length})."
    )
    description = {
        **common_fields(name, window, takes, outputs, classes, about),
        "inference": {"sample_rate": algorithm.sample_rate, "algorithm": algorithm.name},
    }
    check_description(description, name)
    return description


def common_fields(
    name: str,
    window: tuple[int, int],
    takes: str,
    outputs: Mapping[str, tuple[str, int]],
    classes: Sequence[str],
    about: ModelInfo,
    *,
    framework: str = "tensorflow",
    model_types: Sequence[str] = ("frozen_model", "SavedModel"),
) -> dict[str, Any]:
    """What a description says of a package whatever it is to run in; what :func:`model_card` shows.

    Parameters
    ----------
    takes : str
        A sentence on the input.
    framework : str
        That runs it.
    model_types : sequence of str
        Its files.
    name, window, outputs, classes, about
        As in :func:`describe`.
    """
    return {
        "name": name,
        "type": "auto-tagging" if classes else "embedding extractor",
        "link": about.link,
        "version": about.version,
        "description": " ".join(part for part in (about.description.strip(), takes) if part),
        "author": about.author,
        "email": about.email,
        "release_date": about.release_date,
        "framework": framework,
        "framework_version": metadata.version("tensorflow"),
        "classes": list(classes),
        "model_types": list(model_types),
        "dataset": {
            "name": about.dataset,
            "citation": about.dataset_citation,
            "size": about.dataset_size,
            "metrics": dict(about.metrics),
        },
        "schema": {
            "inputs": [{"name": INPUT, "type": "float", "shape": list(window)}],
            "outputs": [
                {
                    "name": node,
                    "type": "float",
                    "shape": [1, size],
                    "op": op,
                    "description": text,
                    "output_purpose": purpose,
                }
                for node, (op, size), text, purpose in _purposes(outputs)
            ],
        },
        "citation": about.citation,
    }


def _purposes(
    outputs: Mapping[str, tuple[str, int]],
) -> Iterator[tuple[str, tuple[str, int], str, str]]:
    if ACTIVATIONS in outputs:  # Essentia's models have the predictions first
        yield ACTIVATIONS, outputs[ACTIVATIONS], "of each class, from 0 to 1", "predictions"
    yield EMBEDDINGS, outputs[EMBEDDINGS], "of a window", "embeddings"


def check_description(description: Any, where: str | Path) -> None:
    """Compare a description with the schema ``essentia_schema.json`` beside this module.

    Raises
    ------
    ModelError
        Names ``where``, the field and what is wrong with it.
    """
    # The first one in the order of the fields, not whichever the library meets first.
    for error in sorted(_validator().iter_errors(description), key=lambda error: str(error.path)):
        named = ".".join(map(str, error.absolute_path)) or "the whole"
        raise ModelError(f"{where}: description: {named}: {error.message}")


@functools.cache
def _validator() -> Any:
    import jsonschema

    text = resources.files(__package__).joinpath("essentia_schema.json").read_text("utf-8")
    kind = jsonschema.Draft202012Validator
    return kind(json.loads(text), format_checker=kind.FORMAT_CHECKER)


def model_card(
    description: Mapping[str, Any],
    about: ModelInfo,
    code: str,
    checked: Sequence[str],
) -> str:
    """Markdown for people.

    Parameters
    ----------
    description : mapping
        The JSON of the package.
    about : ModelInfo
        Gives the licence and the recipe, which the JSON has no field for.
    code : str
        How it is used.
    checked : sequence of str
        Lines of the report of its check.
    """
    inputs, outputs = description["schema"]["inputs"], description["schema"]["outputs"]
    dataset = description["dataset"]
    parts = [
        f"# {description['name']}",
        _line(description["description"]),
        _table(
            ("", ""),
            [
                ("author", _who(description)),
                ("version", f"{description['version']} of {description['release_date']}"),
                ("licence", about.licence or "not stated"),
                ("link", description["link"]),
                ("citation", description["citation"]),
                ("framework", f"{description['framework']} {description['framework_version']}"),
            ],
        ),
        "## Input and outputs",
        _table(
            ("node", "float32", "", "made by"),
            [
                *((one["name"], _shape(one["shape"]), "input", "") for one in inputs),
                *(
                    (one["name"], _shape(one["shape"][1:]), one["description"], one["op"])
                    for one in outputs
                ),
            ],
        ),
    ]
    if description["classes"]:
        parts.append("Classes: " + ", ".join(map(_line, description["classes"])))
    parts += ["## Use", f"```python\n{code}```"]
    training = [
        ("dataset", dataset["name"]),
        ("its size", dataset["size"]),
        ("its citation", dataset["citation"]),
        *((name, f"{value:.4f}") for name, value in dataset["metrics"].items()),
        *about.recipe.items(),
    ]
    if table := _table(("", ""), training):
        parts += ["## Training", table]
    head, *lines = checked
    parts += ["## Check", _line(head), "\n".join(f"- {_line(line)}" for line in lines)]
    return "\n\n".join(part for part in parts if part) + "\n"


def _who(description: Mapping[str, Any]) -> str:
    author, email = description["author"], description["email"]
    return f"{author} <{email}>" if author and email else author or email


def _line(text: Any) -> str:
    """Any text as one line that Markdown shows as it is, not as a sign of its own."""
    for sign in "\\`|<>*_[]#":
        text = str(text).replace(sign, f"\\{sign}")
    return " ".join(text.split())


def _table(head: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """Rows whose second cell says something; empty text where there is none."""
    shown = [row for row in rows if row[1] not in ("", None)]
    lines = [" | ".join(map(_line, row)) for row in [head, ["---"] * len(head), *shown]]
    return "\n".join(f"| {line} |" for line in lines) if shown else ""


def _shape(sides: Sequence[int]) -> str:
    return " × ".join(["any", *map(str, sides)])


def frozen_graph(
    inputs: tf.Tensor, outputs: Mapping[str, tf.Tensor], name: str
) -> tf.compat.v1.GraphDef:
    """The graph from an input to some tensors of a functional Keras model, its weights inside.

    Parameters
    ----------
    inputs : tf.Tensor
        Symbolic input of a model, float32 [batch, frames, bands]; any batch.
    outputs : mapping of str to tf.Tensor
        Symbolic tensors of the model.
    name : str
        Of the input's node.

    Returns
    -------
    GraphDef
        Nodes ``name`` and those of ``outputs`` are among its nodes.
    """
    import tensorflow as tf
    from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

    from playlist_pretrain.models.frozen import without_placeholders

    v1 = tf.compat.v1
    model = tf.keras.Model(inputs, list(outputs.values()))
    spec = tf.TensorSpec([None, *inputs.shape[1:]], tf.float32, name)
    function = tf.function(
        lambda windows: tf.nest.flatten(model(windows, training=False)),
        input_signature=[spec],
        autograph=False,
    )
    frozen = convert_variables_to_constants_v2(function.get_concrete_function())
    definition = without_placeholders(frozen.graph.as_graph_def())
    for node in definition.node:
        node.device = ""
    with tf.Graph().as_default() as graph:
        windows = v1.placeholder(tf.float32, spec.shape, name)
        answers = tf.graph_util.import_graph_def(
            definition,
            {frozen.inputs[0].name: windows},
            [answer.name for answer in frozen.outputs],
            name="model",
        )
        for output, answer in zip(outputs, answers, strict=True):
            tf.identity(answer, output)
    return graph.as_graph_def()


def op_of(definition: tf.compat.v1.GraphDef, name: str) -> str:
    """Op that gives a node its values: the first one before it that does more than pass them on."""
    nodes = {node.name: node for node in definition.node}
    node = nodes[name]
    while node.op == "Identity":
        node = nodes[node.input[0].split(":")[0]]
    return node.op


def write_graph(definition: tf.compat.v1.GraphDef, path: Path) -> None:
    """Write a ``.pb``, whole or not at all."""
    with atomic_write(path) as stream:
        stream.write(definition.SerializeToString())


def write_frozen_saved_model(
    definition: tf.compat.v1.GraphDef, inputs: str, outputs: list[str], folder: Path
) -> None:
    """Write a graph as a SavedModel with the same nodes, tag ``serve`` and one signature.

    Parameters
    ----------
    definition : GraphDef
        From :func:`frozen_graph`.
    inputs : str
        Node of the input.
    outputs : list of str
        Nodes of the outputs.
    folder : Path
        Of the SavedModel; it must not exist.
    """
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
