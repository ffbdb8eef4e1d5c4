"""Models as packages for TensorFlow Lite: converted, and run there before they appear.

Only operations that every TensorFlow Lite has: none of a user's own, none of TensorFlow's (Flex).
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from playlist_pretrain.errors import ModelError
from playlist_pretrain.export.card import model_card
from playlist_pretrain.export.description import (
    ModelInfo,
    common_fields,
)
from playlist_pretrain.export.parity import Compared
from playlist_pretrain.export.prepared import named_model
from playlist_pretrain.export.saved_model import SavedBackbone, SavedTagger
from playlist_pretrain.export.staging import staged
from playlist_pretrain.export.tflite_run import check, convert, usage
from playlist_pretrain.files import atomic_write, write_json

CODE, CARD = "predict.py", "README.md"
LARGEST_MODEL = 2**31 - 2**24
"""Bytes of weights: the format ends at 2 GiB, and there is more in a file than weights."""


@dataclass(frozen=True)
class TfliteFiles:
    """A package on disk.

    Attributes
    ----------
    folder : Path
        What holds the rest.
    model, description, script, card : Path
        ``NAME.tflite``, ``NAME.json``, ``predict.py`` and ``README.md``.
    compared : tuple of Compared
        How near it is to the model, also in ``NAME-parity.json``.
    lines : tuple of str
        The same, for people.
    code : str
        Python that uses it, what is in ``script``: ``predict(model, windows)`` gives arrays
        [windows, size] by output.
    """

    folder: Path
    model: Path
    description: Path
    script: Path
    card: Path
    compared: tuple[Compared, ...]
    lines: tuple[str, ...]
    code: str


def export_tflite(
    saved: SavedBackbone | SavedTagger,
    name: str,
    out: str | Path,
    about: ModelInfo,
    *,
    overwrite: bool = False,
) -> TfliteFiles:
    """Write the package ``out/name`` and run it in TensorFlow Lite, whole or not at all.

    The model takes log-mels, ``melspectrogram`` float32 [batch, frames, bands] of any batch, and
    answers with ``embeddings`` and, where it is a tagger, ``activations``. The constants of its
    front end, which is not part of it, are in the description.

    Parameters
    ----------
    saved : SavedBackbone or SavedTagger
    name : str
        Of the package.
    out : str or Path
        Folder of packages, created when missing.
    about : ModelInfo
        What its description says beside what the model says.
    overwrite : bool
        Replace a package that is there.

    Raises
    ------
    ModelError
        A name that is refused, or taken; more than 2 GB of weights; an operation that TensorFlow
        Lite has not; or it differs there by more than 1e-4 of the standard deviation of the
        embeddings, or by 1e-3 in an activation.
    FrontEndError
        The model takes another number of bands than its front end makes.
    """
    front_end = saved.front_end
    model = named_model(saved, name, out, front_end)
    out, (frames, bands), outputs = Path(out), model.input_shape[1:], model.output
    if (size := 4 * model.count_params()) > LARGEST_MODEL:
        raise ModelError(
            f"{saved.path}: weights of {size / 1e9:.1f} GB; a .tflite file holds 2 GB at most"
        )
    file = f"{name}.tflite"
    code = usage((frames, bands), file, list(outputs))
    with staged(out, name, overwrite=overwrite) as (package, _):
        with atomic_write(package / file) as stream:
            stream.write(convert(model, saved.path))
        compared = check(model, package / file, code, front_end.silence)
        if far := [str(one) for one in compared if not one.passes]:
            raise ModelError(
                f"{name}: not the same in TensorFlow Lite, so nothing was exported: "
                f"{'; '.join(far)}"
            )
        takes = f"Takes {frames} frames of {bands} bands of the front end {front_end.name!r}."
        shapes = {node: (_layer(tensor), tensor.shape[-1]) for node, tensor in outputs.items()}
        description = {
            **common_fields(
                name,
                (frames, bands),
                takes,
                shapes,
                getattr(saved, "classes", ()),
                about,
                framework="tensorflow-lite",
                model_types=("tflite",),
            ),
            "front_end": front_end.to_dict(),
        }
        write_json(package / f"{name}.json", description)
        report: dict[str, Any] = {"tensorflow": metadata.version("tensorflow")}
        report["compared"] = [asdict(one) for one in compared]
        write_json(package / f"{name}-parity.json", report)
        lines = [f"run in TensorFlow Lite, of TensorFlow {report['tensorflow']}:"]
        lines += [f"  {one}" for one in compared]
        with atomic_write(package / CODE, "w") as stream:
            stream.write(code)
        with atomic_write(package / CARD) as stream:
            card = model_card(description, about, code, lines)
            stream.write(card.encode("utf-8", "backslashreplace"))
    folder = out / name
    return TfliteFiles(
        folder=folder,
        model=folder / file,
        description=folder / f"{name}.json",
        script=folder / CODE,
        card=folder / CARD,
        compared=compared,
        lines=tuple(lines),
        code=code,
    )


def _layer(tensor: Any) -> str:
    """Kind of the layer that gives a symbolic tensor its values."""
    return type(tensor.node.layer).__name__
