"""Music embedding models learned from playlists.

The names below are the package for notebooks; each is imported when it is first asked for, so that
``import playlist_pretrain`` is light.

>>> import playlist_pretrain as pp
>>> model = pp.load("runs/mine/saved_model")
>>> embeddings = model.embed(["a.mp3", "b.flac"])
"""

from __future__ import annotations

from playlist_pretrain.stack import prepare_tensorflow
from playlist_pretrain.version import __version__

prepare_tensorflow()

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from playlist_pretrain.audio.decode import load_audio
    from playlist_pretrain.audio.numpy_log_mel import log_mel
    from playlist_pretrain.evaluation.neighbours import nearest
    from playlist_pretrain.export.targets import export as export_model
    from playlist_pretrain.models import backbone
    from playlist_pretrain.models.contrastive import ContrastiveModel
    from playlist_pretrain.models.nt_xent import NTXent
    from playlist_pretrain.pairs import pairing
    from playlist_pretrain.pairs.dataset import pair_dataset
    from playlist_pretrain.playlists.match import match_playlists
    from playlist_pretrain.records.build import build_collection
    from playlist_pretrain.records.collection import Collection
    from playlist_pretrain.retrieval.embedding_table import read_embeddings
    from playlist_pretrain.retrieval.model import load
    from playlist_pretrain.retrieval.search import search
    from playlist_pretrain.retrieval.similarity import similarity
    from playlist_pretrain.training.finetune import finetune
    from playlist_pretrain.training.pretrain import pretrain

__all__ = [
    "Collection",
    "ContrastiveModel",
    "NTXent",
    "__version__",
    "backbone",
    "build_collection",
    "export_model",
    "finetune",
    "load",
    "load_audio",
    "log_mel",
    "match_playlists",
    "nearest",
    "pair_dataset",
    "pairing",
    "pretrain",
    "read_embeddings",
    "search",
    "similarity",
]

_MODULES = {
    "Collection": "records.collection",
    "ContrastiveModel": "models.contrastive",
    "NTXent": "models.nt_xent",
    "backbone": "models",
    "build_collection": "records.build",
    "export_model": "export.targets:export",
    "finetune": "training.finetune",
    "load": "retrieval.model",
    "load_audio": "audio.decode",
    "log_mel": "audio.numpy_log_mel",
    "match_playlists": "playlists.match",
    "nearest": "evaluation.neighbours",
    "pair_dataset": "pairs.dataset",
    "pairing": "pairs",
    "pretrain": "training.pretrain",
    "read_embeddings": "retrieval.embedding_table",
    "search": "retrieval.search",
    "similarity": "retrieval.similarity",
}
"""Name → module that it is imported from, and after a colon its name there if it is another."""


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import importlib

    module, _, attribute = _MODULES[name].partition(":")
    value = getattr(importlib.import_module(f"{__name__}.{module}"), attribute or name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
