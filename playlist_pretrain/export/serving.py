"""Models as folders that TensorFlow Serving serves: written, and asked before they appear."""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from playlist_pretrain.errors import ModelError
from playlist_pretrain.export.card import model_card
from playlist_pretrain.export.description import (
    ModelInfo,
    common_fields,
)
from playlist_pretrain.export.prepared import named_model
from playlist_pretrain.export.saved_model import (
    SavedBackbone,
    SavedTagger,
    about_model,
    save_backbone,
    save_tagger,
)
from playlist_pretrain.export.serving_code import (
    BATCHING,
    docker_line,
    grpc_client,
    rest_client,
)
from playlist_pretrain.export.serving_parity import check_served, write_requests
from playlist_pretrain.export.staging import staged
from playlist_pretrain.files import atomic_write, write_json

if TYPE_CHECKING:
    from playlist_pretrain.export.parity import Compared

WARM_UP = Path("assets.extra") / "tf_serving_warmup_requests"
REST, GRPC, BATCHING_FILE, CARD = "rest_client.py", "grpc_client.py", "batching.config", "README.md"
_VERSION = re.compile(r"[1-9][0-9]{0,17}")


@dataclass(frozen=True)
class ServingFiles:
    """A package on disk.

    Attributes
    ----------
    folder : Path
        What holds the rest, named as the model is served.
    saved_model : Path
        The folder of its version: a number.
    compared : tuple of Compared
        How near its answers are to the model's, also in ``NAME-parity.json``.
    command : str
        That serves it, in the folder of packages.
    """

    folder: Path
    saved_model: Path
    compared: tuple[Compared, ...]
    command: str

    @property
    def lines(self) -> list[str]:
        """The check, for people."""
        return _lines(self.compared)


def export_serving(
    saved: SavedBackbone | SavedTagger,
    name: str,
    out: str | Path,
    about: ModelInfo,
    *,
    overwrite: bool = False,
) -> ServingFiles:
    """Write the folder ``out/name`` that TensorFlow Serving serves, whole or not at all.

    It holds ``VERSION/``, the SavedModel with its warm-up requests (what a server answers before
    it takes any others), a configuration of batching, clients for REST and gRPC, a description, a
    card and the report of the check. Before it appears, a process without this package loads the
    SavedModel as the server does and answers the protocol's messages for every signature.

    Parameters
    ----------
    saved : SavedBackbone or SavedTagger
    name : str
        Of the model.
    out : str or Path
        Folder of packages, created when missing.
    about : ModelInfo
        Its ``version`` is that of the model on the server.
    overwrite : bool
        Replace a package that is there, with all versions in it.

    Raises
    ------
    ModelError
        A name that is refused, or taken; a version that is no whole number; other classes than
        the model's, or answers that differ by more than 1e-4 (windows) or 1e-3 (files) of the
        standard deviation of the embeddings, or by 1e-3 in an activation.
    FrontEndError
        The model takes another number of bands than its front end makes.
    """
    if not _VERSION.fullmatch(about.version):
        raise ModelError(
            f"--model-version {about.version!r}: a server has whole numbers, 1 or more, and serves "
            "the largest"
        )
    front_end = saved.front_end
    model = named_model(saved, name, out, front_end)
    out, (frames, bands), outputs = Path(out), model.input_shape[1:], model.output
    with staged(out, name, overwrite=overwrite) as (package, scratch):
        folder = package / about.version
        _save(saved, folder)
        signatures = _signatures(folder)
        requests, compared = check_served(
            folder,
            name,
            model,
            front_end,
            signatures,
            getattr(saved, "classes", ()),
            scratch,
        )
        if far := [str(one) for one in compared if not one.passes]:
            raise ModelError(
                f"{name}: not the same when served, so nothing was exported: {'; '.join(far)}"
            )
        write_requests(folder / WARM_UP, requests)
        description = {
            **common_fields(
                name,
                (frames, bands),
                f"Takes {frames} frames of {bands} bands of the front end {front_end.name!r}.",
                {node: ("", tensor.shape[-1]) for node, tensor in outputs.items()},
                getattr(saved, "classes", ()),
                about,
                model_types=("SavedModel",),
            ),
            "signatures": sorted(signatures),
            "front_end": front_end.to_dict(),
        }
        write_json(package / f"{name}.json", description)
        write_json(package / f"{name}-parity.json", {"compared": [asdict(one) for one in compared]})
        sent = "wav_bytes" if "wav_bytes" in signatures else "serving_default"
        texts = {
            REST: rest_client(name, sent),
            GRPC: grpc_client(name, sent),
            BATCHING_FILE: BATCHING,
        }
        for file, text in texts.items():
            with atomic_write(package / file, "w") as stream:
                stream.write(text)
        with atomic_write(package / CARD) as stream:
            code = f"# {docker_line(name)}\n{texts[REST]}"
            card = model_card(description, about, code, _lines(compared))
            stream.write(card.encode("utf-8", "backslashreplace"))
    return ServingFiles(out / name, out / name / about.version, compared, docker_line(name))


def _save(saved: SavedBackbone | SavedTagger, folder: Path) -> None:
    """Anew, not a copy: signatures of this version, whatever version trained the model."""
    known: dict[str, Any] = about_model(saved.path)
    if isinstance(saved, SavedTagger):
        save_tagger(saved.model, saved.classes, saved.front_end, folder, known)
    else:
        save_backbone(saved.model, saved.front_end, folder, known)


def _signatures(folder: Path) -> set[str]:
    from tensorflow.core.protobuf.saved_model_pb2 import SavedModel

    (graph,) = SavedModel.FromString((folder / "saved_model.pb").read_bytes()).meta_graphs
    return set(graph.signature_def) - {"__saved_model_init_op"}  # asked by nobody


def _lines(compared: tuple[Compared, ...]) -> list[str]:
    from importlib.metadata import version

    head = f"asked in TensorFlow {version('tensorflow')} by the messages of TensorFlow Serving:"
    return [head, *(f"  {one}" for one in compared)]
