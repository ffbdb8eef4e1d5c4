"""Models as packages that Essentia runs: written, and run there before they appear.

A SavedModel of this TensorFlow does not load in Essentia, whose own TensorFlow is older and drops
the session that holds the variables. A frozen graph does, whether as a ``.pb`` or inside a
SavedModel; both have the same nodes here, so that one description fits both.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from playlist_pretrain.audio.front_end import PRESETS, FrontEnd
from playlist_pretrain.errors import ModelError
from playlist_pretrain.export.card import model_card
from playlist_pretrain.export.description import (
    INPUT,
    ModelInfo,
    describe,
)
from playlist_pretrain.export.essentia_code import essentia_algorithm
from playlist_pretrain.export.essentia_parity import check_in_essentia
from playlist_pretrain.export.parity import Parity
from playlist_pretrain.export.prepared import named_model
from playlist_pretrain.export.saved_model import SavedBackbone, SavedTagger
from playlist_pretrain.export.staging import staged
from playlist_pretrain.files import atomic_write, write_json

SAVED_MODEL, CODE, CARD = "saved_model", "predict.py", "README.md"
LARGEST_GRAPH = 2**31 - 2**24
"""Bytes of weights: the format of graphs ends at 2 GiB, and there is more in one than weights."""


@dataclass(frozen=True)
class EssentiaFiles:
    """A package on disk.

    Attributes
    ----------
    folder : Path
        What holds the rest.
    graph, saved_model, description, script, card : Path
        ``NAME.pb``, ``saved_model/``, ``NAME.json``, ``predict.py`` and ``README.md``.
    parity : Parity
        How near it is to the model, also in ``NAME-parity.json``.
    code : str
        Python that uses it, what is in ``script``; see
        :meth:`~playlist_pretrain.export.essentia_code.EssentiaAlgorithm.code`.
    """

    folder: Path
    graph: Path
    saved_model: Path
    description: Path
    script: Path
    card: Path
    parity: Parity
    code: str


def export_essentia(
    saved: SavedBackbone | SavedTagger,
    name: str,
    out: str | Path,
    about: ModelInfo,
    *,
    audio: str | Path | None = None,
    front_end: FrontEnd | None = None,
    overwrite: bool = False,
) -> EssentiaFiles:
    """Write the package ``out/name`` and run it in the installed Essentia, whole or not at all.

    Parameters
    ----------
    saved : SavedBackbone or SavedTagger
    name : str
        Of the package.
    out : str or Path
        Folder of packages, created when missing.
    about : ModelInfo
        What its description says beside what the model says.
    audio : str or Path, optional
        File to check it on; one is made when none is given.
    front_end : FrontEnd, optional
        Takes the place of the model's own, for weights that were trained on other log-mels than
        those that Essentia makes; how far the two are from each other is measured.
    overwrite : bool
        Replace a package that is there.

    Raises
    ------
    ModelError
        A name that is refused, or taken; more than 2 GB of weights; Essentia cannot run the
        package; or it differs there by more than 1e-4 (windows) or 1e-3 (files) of the standard
        deviation of the embeddings, or by 1e-3 in an activation.
    FrontEndError
        No algorithm of Essentia makes the model's log-mels.
    AudioError
        ``audio`` cannot be used.
    """
    from playlist_pretrain.export.freeze import (
        frozen_graph,
        op_of,
        write_frozen_saved_model,
        write_graph,
    )

    used = front_end or saved.front_end
    algorithm = essentia_algorithm(used)
    model = named_model(saved, name, out, used)
    out, (frames, bands), outputs = Path(out), model.input_shape[1:], model.output
    if (size := 4 * model.count_params()) > LARGEST_GRAPH:
        raise ModelError(
            f"{saved.path}: weights of {size / 1e9:.1f} GB; a frozen graph holds 2 GB at most"
        )
    with staged(out, name, overwrite=overwrite) as (package, scratch), _quiet():
        definition = frozen_graph(model.inputs[0], outputs, INPUT)
        shapes = {node: (op_of(definition, node), outputs[node].shape[-1]) for node in outputs}
        classes = getattr(saved, "classes", ())
        description = describe(name, (frames, bands), algorithm, shapes, classes, about)
        graphs = {"graphFilename": package / f"{name}.pb", "savedModel": package / SAVED_MODEL}
        write_graph(definition, graphs["graphFilename"])
        write_frozen_saved_model(definition, INPUT, list(outputs), graphs["savedModel"])
        write_json(package / f"{name}.json", description)
        code = algorithm.code(frames, f"{name}.pb", list(outputs))
        parity = check_in_essentia(
            graphs,
            description,
            code,
            model,
            used,
            scratch,
            audio=audio,
            trained_with=saved.front_end if front_end else None,
        )
        _refuse(parity, name, used)
        with atomic_write(package / CODE, "w") as stream:
            stream.write(code)
        with atomic_write(package / CARD) as stream:
            card = model_card(description, about, code, parity.lines)
            stream.write(card.encode("utf-8", "backslashreplace"))
        write_json(package / f"{name}-parity.json", parity.to_dict())
    folder = out / name
    return EssentiaFiles(
        folder=folder,
        graph=folder / f"{name}.pb",
        saved_model=folder / SAVED_MODEL,
        description=folder / f"{name}.json",
        script=folder / CODE,
        card=folder / CARD,
        parity=parity,
        code=code,
    )


def _refuse(parity: Parity, name: str, used: FrontEnd) -> None:
    far = [str(one) for one in parity.compared if not one.passes]
    if not far:
        return
    advice = ""
    if used.taper == PRESETS["vggish"].taper:
        advice = (
            f"; the front end {used.name!r} is not that of Essentia: --front-end vggish-essentia "
            "exports the model for the latter, and measures the distance"
        )
    raise ModelError(
        f"{name}: not the same in Essentia {parity.essentia} ({parity.algorithm}), so nothing was "
        f"exported: {'; '.join(far)}{advice}"
    )


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """No warnings of TensorFlow's that the API of its first version is old: Essentia needs it."""
    import tensorflow as tf

    logger = tf.get_logger()
    level = logger.level
    logger.setLevel("ERROR")
    try:
        yield
    finally:
        logger.setLevel(level)
