"""The JSON that describes a package; for Essentia with the fields of its own models."""

from __future__ import annotations

import datetime
import functools
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import metadata, resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

from playlist_pretrain.errors import ModelError

if TYPE_CHECKING:
    from playlist_pretrain.export.essentia_code import EssentiaAlgorithm

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
