"""Packages of models for other programs: what all targets share.

A package is a folder with the model, ``NAME.json`` (a description with the fields that Essentia's
models have), ``NAME-parity.json`` (the report of its check), ``README.md`` (the model card) and
code that uses it. It is run in the other program before it appears, and appears whole or not at
all. What differs between targets is in :mod:`.essentia` and :mod:`.serving`.
"""

from __future__ import annotations

import contextlib
import datetime
import functools
import io
import json
import math
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from importlib import resources
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np

from playlist_pretrain.audio.windows import cut_windows
from playlist_pretrain.errors import ModelError
from playlist_pretrain.files import atomic_write, folder_lock, write_json
from playlist_pretrain.models.load import LoadedModel
from playlist_pretrain.runs import whole_folder

if TYPE_CHECKING:
    import tensorflow as tf

    from playlist_pretrain.audio.front_end import FrontEnd

INPUT, EMBEDDINGS, ACTIVATIONS = "melspectrogram", "embeddings", "activations"
"""Names of input and outputs in every package; the last one is a tagger's."""
WINDOWS_LIMIT, FILES_LIMIT = 1e-4, 1e-3
"""Largest differences of embeddings that pass, in their standard deviations."""
ACTIVATIONS_LIMIT = 1e-3
"""Of activations, 0 to 1, on windows and on files: where a head adds up large values, a small
difference of the sum is a larger one of the probability."""
SMALLEST_STD = 1e-6
"""Of embeddings; where all are equal, any difference would be infinitely large."""
BATCH = 32
CARD = "README.md"
PAPER = (
    "Alonso-Jiménez, P., Favory, X., Foroughmand, H., Bourdalas, G., Serra, X., Lidy, T., & "
    "Bogdanov, D. (2023). Pre-training strategies using contrastive learning and playlist "
    "information for music classification and similarity. ICASSP 2023. arXiv:2304.12257"
)


@dataclass(frozen=True)
class ModelInfo:
    """Facts about a model that are not in its graph.

    ``dataset`` is the training data, ``metrics`` are measured on it; ``licence`` and ``recipe``
    (settings of the run) are for the card only. A sentence on the input follows ``description``.
    """

    description: str = ""
    author: str = ""
    email: str = ""
    link: str = ""
    version: str = "1"
    release_date: str = field(default_factory=lambda: datetime.date.today().isoformat())
    citation: str = PAPER
    dataset: str = ""
    dataset_citation: str = ""
    dataset_size: str = ""
    metrics: Mapping[str, float] = field(default_factory=dict)
    licence: str = ""
    recipe: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Job:
    """One export.

    ``front_end`` is that of the package, not always that of the model; ``audio`` a file to check
    the package on.
    """

    loaded: LoadedModel
    name: str
    about: ModelInfo
    front_end: FrontEnd
    audio: str | Path | None = None

    @functools.cached_property
    def model(self) -> tf.keras.Model:
        """The model in float32, ``[batch, frames, bands] →`` outputs by their names."""
        import tensorflow as tf

        from playlist_pretrain.models.layers import plain_float32
        from playlist_pretrain.models.tagger import outputs_of

        model = plain_float32(self.loaded.model)
        return tf.keras.Model(model.inputs, outputs_of(model, tagger=bool(self.loaded.classes)))

    def random_windows(self, count: int) -> np.ndarray:
        """Draw windows [count, frames, bands] to try a model on, the same at every call."""
        shape = (count, self.loaded.frames, self.front_end.bands)
        random = np.random.default_rng(0).uniform(0, 5, shape)
        return (random + self.front_end.silence).astype(np.float32)


@dataclass(frozen=True)
class Package:
    """An exported package.

    ``description`` is ``NAME.json``, ``compared`` and ``report`` (lines for people) say how near
    it is to the model, ``code`` how it is used, ``summary`` tells its files and the next commands.
    """

    folder: Path
    description: dict[str, Any] = field(repr=False)
    compared: tuple[Compared, ...] = field(repr=False)
    report: tuple[str, ...]
    code: str = field(repr=False)
    summary: tuple[str, ...]


@dataclass(frozen=True)
class Written:
    """A model written for a target and run there, before the rest of its package."""

    description: dict[str, Any]
    compared: list[Compared]
    report: str
    """Place where it was run, for people."""
    texts: Mapping[str, str]
    """Content of further files."""
    code: str
    parity: Mapping[str, Any] = field(default_factory=dict)
    """More for ``NAME-parity.json``."""
    distance: float | None = None
    """Largest difference of embeddings by the front end of training, in standard deviations."""
    advice: str = ""
    """End of the message where the check fails."""
    notes: str = ""
    """On what the code takes, for the card."""


def write_package(target: ModuleType, job: Job, out: Path, *, overwrite: bool = False) -> Package:
    """Write the package ``out/NAME`` and run it, whole or not at all.

    ``target`` is :mod:`.essentia` or :mod:`.serving`: its ``check(job)`` refuses at once what
    cannot be, ``write(job, folder, scratch)`` writes the model and runs it, ``summary(folder, job,
    code)`` tells what is there and how to go on, and ``WHERE`` says where it is run. ``out`` is the
    folder of packages, created when missing. Raises ModelError where the name is taken, the model
    does not run there, or it differs by more than the limits above.
    """
    from playlist_pretrain.training.engine import tensorflow_errors

    name = job.name
    with staged(out, name, overwrite=overwrite) as folder:
        again = "the same command makes the package"
        with (
            tempfile.TemporaryDirectory() as scratch,
            tensorflow_errors(out / name, ModelError, again),
        ):
            done = target.write(job, folder, Path(scratch))
        if far := [str(one) for one in done.compared if not one.passes]:
            raise ModelError(
                f"{name}: not the same {target.WHERE}, so nothing was exported: {'; '.join(far)}"
                f"{done.advice}"
            )
        report = [done.report, *(f"  {one}" for one in done.compared)]
        if done.distance is not None:
            report.append(
                "  the front end it was trained with moves embeddings of the same windows by up to "
                f"{done.distance:.2g} of their standard deviation"
            )
        write_json(folder / f"{name}.json", done.description)
        parity = {**done.parity, "compared": [asdict(one) for one in done.compared]}
        write_json(folder / f"{name}-parity.json", parity)
        card = model_card(done.description, job.about, done.code, report, done.notes)
        for file, text in {**done.texts, CARD: card}.items():
            with atomic_write(folder / file) as stream:
                stream.write(text.encode("utf-8", "backslashreplace"))
    place = out / name
    return Package(
        place,
        done.description,
        tuple(done.compared),
        tuple(report),
        done.code,
        tuple(target.summary(place, job, done.code)),
    )


def check_place(final: Path, *, overwrite: bool) -> None:
    """Raise ModelError if a place is taken; only a package is ever replaced."""
    if not os.path.lexists(final):
        return
    if final.is_symlink() or not (final / f"{final.name}.json").is_file():
        raise ModelError(f"{final}: is there already and is no package; take another --name")
    if not overwrite:
        raise ModelError(f"{final}: is there already; --overwrite replaces it")


@contextlib.contextmanager
def staged(out: Path, name: str, *, overwrite: bool) -> Iterator[Path]:
    """Yield an empty folder, which becomes ``out/name`` when the block succeeds."""
    final = out / name
    made = [folder for folder in (out, *out.parents) if not folder.exists()]
    try:
        with folder_lock(out, f"{final}: exported", f".{name}.lock", ModelError):
            try:
                with whole_folder(final) as package:
                    check_place(final, overwrite=overwrite)
                    package.mkdir()
                    yield package
            finally:
                (out / f".{name}.lock").unlink(missing_ok=True)
    except BaseException:
        with contextlib.suppress(OSError):
            for folder in made:
                folder.rmdir()
        raise


@dataclass(frozen=True)
class Compared:
    """One output in the other program beside the same of the model.

    ``windows`` are those of the answer there, ``expected`` of the model's; ``difference`` is the
    largest over those that both have, in standard deviations of the embeddings (of activations,
    which are 0 to 1, as it is).
    """

    what: str
    output: str
    windows: int
    expected: int
    difference: float
    limit: float

    @property
    def passes(self) -> bool:
        """True if the difference is within the limit; NaN is not."""
        return self.windows == self.expected and self.difference <= self.limit

    def __str__(self) -> str:
        unit = "" if self.output == ACTIVATIONS else " of their standard deviation"
        count = f"{self.windows} window" + "s" * (self.windows != 1)
        if self.windows != self.expected:
            count += f" there and {self.expected} here"
        return (
            f"{self.what}: {self.output} of {count}, largest difference "
            f"{self.difference:.1e}{unit} (at most {self.limit:.0e})"
        )


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


def run_apart(script: str, *arguments: str | Path, failure: str) -> None:
    """Run a Python file in a process of its own, without a GPU.

    Raises ModelError: ``failure``, the last line of its standard error, the signal that ended it.
    """
    done = subprocess.run(
        [sys.executable, "-P", script, *map(str, arguments)],
        env={**os.environ, "CUDA_VISIBLE_DEVICES": "-1"},
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
    )
    if done.returncode:
        said = done.stderr.strip().splitlines()
        reason = said[-1] if said else "it says nothing"
        if done.returncode < 0:
            reason = f"it ended with {signal.Signals(-done.returncode).name}; {reason}"
        raise ModelError(f"{failure}: {reason}")


def cut(
    front_end: FrontEnd, waveform: np.ndarray, frames: int, *, repeat: bool = False
) -> np.ndarray:
    """Cut the log-mel of a waveform into windows [any, frames, bands].

    The frames after the last whole window are left out, or repeated until they fill one; so is a
    log-mel that is shorter than a window.
    """
    mel = front_end.log_mel(waveform).numpy()
    windows = cut_windows(mel, frames)
    rest = mel[len(windows) * frames :]
    return np.concatenate([windows, cut_windows(rest, frames)]) if repeat else windows


def write_wav(path: Path, waveform: np.ndarray, rate: int, subtype: str) -> None:
    """Write a WAV file; an OSError where that is not possible, as of every other file."""
    import soundfile

    content = io.BytesIO()
    soundfile.write(content, waveform, rate, subtype=subtype, format="WAV")
    with atomic_write(path) as stream:
        stream.write(content.getbuffer())


def write_synthetic(path: Path, seconds: float) -> None:
    """Write two channels of chords and noise at 44.1 kHz, to try a model on."""
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
    write_wav(path, np.clip(sound, -1, 1), rate, "PCM_16")


def answers(model: tf.keras.Model, windows: np.ndarray) -> dict[str, np.ndarray]:
    """Run a model with named outputs on windows, on the CPU: arrays [windows, size] by name."""
    import tensorflow as tf

    # The other programs have no GPU either, and some multiply in fewer bits than a float32 has.
    with tf.device("/CPU:0"):
        parts = [
            model(windows[first : first + BATCH], training=False)
            for first in range(0, len(windows), BATCH)
        ]
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def waveform_means(
    model: tf.keras.Model, front_end: FrontEnd, waveform: np.ndarray
) -> dict[str, np.ndarray]:
    """Compute the answer of the signature ``waveform``, [1, size] for each output."""
    import tensorflow as tf

    from playlist_pretrain.models.signatures import waveform_mean

    def mean(output):
        single = tf.keras.Model(model.inputs, output)
        given = tf.constant(waveform[np.newaxis])
        # As a graph, the loop over windows does not go through Python.
        return tf.function(lambda: waveform_mean(single, front_end, given), autograph=False)()

    with tf.device("/CPU:0"):
        return {name: mean(output).numpy() for name, output in model.output.items()}


def describe(job: Job, takes: str, ops: Mapping[str, str], **more: Any) -> dict[str, Any]:
    """Make the description of a package, ``NAME.json``.

    ``takes`` is a sentence on the input, ``ops`` the op that gives each output its values,
    ``more`` are further fields.
    """
    import tensorflow as tf

    about, classes, outputs = job.about, job.loaded.classes, job.model.output
    texts = {
        ACTIVATIONS: ("of each class, from 0 to 1", "predictions"),
        EMBEDDINGS: ("of a window", "embeddings"),
    }
    return {
        "name": job.name,
        "type": "auto-tagging" if classes else "embedding extractor",
        "link": about.link,
        "version": about.version,
        "description": " ".join(part for part in (about.description.strip(), takes) if part),
        "author": about.author,
        "email": about.email,
        "release_date": about.release_date,
        "framework": "tensorflow",
        "framework_version": tf.__version__,
        "classes": list(classes),
        "dataset": {
            "name": about.dataset,
            "citation": about.dataset_citation,
            "size": about.dataset_size,
            "metrics": dict(about.metrics),
        },
        "schema": {
            "inputs": [{"name": INPUT, "type": "float", "shape": list(job.model.input_shape[1:])}],
            "outputs": [
                {
                    "name": name,
                    "type": "float",
                    "shape": [1, outputs[name].shape[-1]],
                    "op": ops.get(name, ""),
                    "description": text,
                    "output_purpose": purpose,
                }
                for name, (text, purpose) in texts.items()
                if name in outputs
            ],
        },
        "citation": about.citation,
        "front_end": job.front_end.to_dict(),
        **more,
    }


def check_description(description: Any, where: str | Path) -> None:
    """Raise ModelError, with the field, where a description breaks ``essentia_schema.json``."""
    import jsonschema

    text = resources.files(__package__).joinpath("essentia_schema.json").read_text("utf-8")
    kind = jsonschema.Draft202012Validator
    validator = kind(json.loads(text), format_checker=kind.FORMAT_CHECKER)
    # The first one in the order of the fields, not whichever the library meets first.
    for error in sorted(validator.iter_errors(description), key=lambda error: str(error.path)):
        named = ".".join(map(str, error.absolute_path)) or "the whole"
        raise ModelError(f"{where}: description: {named}: {error.message}")


def model_card(
    description: Mapping[str, Any],
    about: ModelInfo,
    code: str,
    report: Sequence[str],
    notes: str = "",
) -> str:
    """Write the model card as Markdown, from the JSON, the code and the report of a package."""
    inputs, outputs = description["schema"]["inputs"], description["schema"]["outputs"]
    dataset, author, email = (description[name] for name in ("dataset", "author", "email"))
    facts = [
        ("author", f"{author} <{email}>" if author and email else author or email),
        ("version", f"{description['version']} of {description['release_date']}"),
        ("licence", about.licence or "not stated"),
        ("link", description["link"]),
        ("citation", description["citation"]),
        ("framework", f"{description['framework']} {description['framework_version']}"),
    ]
    nodes = [
        *((one["name"], _shape(one["shape"]), "input", "") for one in inputs),
        *(
            (one["name"], _shape(one["shape"][1:]), one["description"], one["op"])
            for one in outputs
        ),
    ]
    training = [
        ("dataset", dataset["name"]),
        ("its size", dataset["size"]),
        ("its citation", dataset["citation"]),
        *((name, f"{value:.4f}") for name, value in dataset["metrics"].items()),
        *about.recipe.items(),
    ]
    classes, table = description["classes"], _table(("", ""), training)
    head, *lines = report
    parts = [
        f"# {description['name']}",
        _line(description["description"]),
        _table(("", ""), facts),
        "## Input and outputs",
        _table(("node", "float32", "", "made by"), nodes),
        "Classes: " + ", ".join(map(_line, classes)) if classes else "",
        f"## Use\n\n```python\n{code}```",
        notes,
        f"## Training\n\n{table}" if table else "",
        f"## Check\n\n{_line(head)}",
        "\n".join(f"- {_line(line)}" for line in lines),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _line(text: Any) -> str:
    """Write any text as one line that Markdown shows literally."""
    for sign in "\\`|<>*_[]#":
        text = str(text).replace(sign, f"\\{sign}")
    return " ".join(text.split())


def _table(head: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """Format the rows with a second cell; empty text where there is none."""
    shown = [row for row in rows if row[1] not in ("", None)]
    lines = [" | ".join(map(_line, row)) for row in [head, ["---"] * len(head), *shown]]
    return "\n".join(f"| {line} |" for line in lines) if shown else ""


def _shape(sides: Sequence[int]) -> str:
    return " × ".join(["any", *map(str, sides)])
