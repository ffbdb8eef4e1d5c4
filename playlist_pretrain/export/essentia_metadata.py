"""The JSON that describes a package, with the fields of https://essentia.upf.edu/models/."""

from __future__ import annotations

import datetime
import functools
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import metadata, resources
from pathlib import Path
from typing import Any, Protocol

from playlist_pretrain.errors import ModelError

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


class MadeBy(Protocol):
    """How the log-mels of a package are made and what runs it, as far as a description says."""

    name: str
    mel: str
    sample_rate: int
    frame_length: int
    hop_length: int


def describe(
    name: str,
    window: tuple[int, int],
    made_by: MadeBy,
    outputs: Mapping[str, tuple[str, int]],
    classes: Sequence[str],
    about: ModelInfo,
    model_types: Sequence[str] = ("frozen_model", "SavedModel"),
) -> dict[str, Any]:
    """The description of a package.

    Parameters
    ----------
    name : str
        Of the package.
    window : (int, int)
        Frames and bands.
    made_by : MadeBy
        What makes its log-mels, and what runs it.
    outputs : mapping of str to (str, int)
        Node to the op that gives its values, and to their number for a window.
    classes : sequence of str
        Of a tagger, in the order of its activations.
    about : ModelInfo
    model_types : sequence of str
        Forms that the package has.

    Raises
    ------
    ModelError
        If it is not what the models of Essentia have: names the field.
    """
    frames, bands = window
    takes = (
        f"Takes {frames} frames of {bands} bands of {made_by.mel} "
        f"(frames of {made_by.frame_length} samples, one every {made_by.hop_length})."
    )
    description = {
        "name": name,
        "type": "auto-tagging" if classes else "embedding extractor",
        "link": about.link,
        "version": about.version,
        "description": " ".join(part for part in (about.description.strip(), takes) if part),
        "author": about.author,
        "email": about.email,
        "release_date": about.release_date,
        "framework": "tensorflow",
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
            "inputs": [{"name": INPUT, "type": "float", "shape": [frames, bands]}],
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
        "inference": {"sample_rate": made_by.sample_rate, "algorithm": made_by.name},
    }
    check_description(description, name)
    return description


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
