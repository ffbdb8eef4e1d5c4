"""Nearest tracks among many by an inverted file of FAISS (extra ``faiss``), ranked exactly.

Unit vectors are cut into lists by k-means; a query looks into the lists whose centres are nearest
to it (Sivic & Zisserman 2003; Johnson, Douze & Jégou, arXiv 1702.08734). What it finds there is
ranked as in exact search, so that only a track in a list that was not looked into can be missed.
HNSW finds more where tracks hardly cluster, but takes several times as long to build
(``benchmarks/search.py``).
"""

from __future__ import annotations

import logging
import struct
import time
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from playlist_pretrain.errors import EmbeddingsError, needs
from playlist_pretrain.evaluation.neighbours import Search, unit_vectors
from playlist_pretrain.files import (
    atomic_write,
    check_writable,
    content_key,
    load_json,
    whole,
    write_json,
)

FORMAT = 1
LISTS_FACTOR = 4
"""Default number of lists, in square roots of the number of tracks."""
POINTS_A_LIST = 64
"""Most vectors a list that k-means is trained on."""
MORE = 16
"""Candidates beyond the k, so that of equally near ones the lower row is among them."""
TRIED = 100
"""Tracks by which the recall of an index is estimated."""

logger = logging.getLogger(__name__)


class FaissSearch(Search):
    """Search in an inverted file; made by :meth:`build` or :func:`cached_search`.

    ``index`` (faiss.IndexIVFFlat) is of the unit vectors of ``embeddings`` [tracks, dim]; a query
    looks into ``probes`` lists: with more than there are the search is exact.
    """

    def __init__(self, embeddings: np.ndarray, index: Any, probes: int = 64):
        super().__init__(embeddings)
        _check(probes=probes)
        self.index, self.probes = index, probes

    @classmethod
    def build(
        cls, embeddings: np.ndarray, *, lists: int | None = None, probes: int = 64, seed: int = 0
    ) -> FaissSearch:
        """Cut embeddings [tracks, dim] into lists; equal ones give equal lists on one machine.

        ``lists`` defaults to 4 √tracks; ``seed`` is that of the k-means.

        Raises EmbeddingsError as :func:`~playlist_pretrain.evaluation.neighbours.nearest` for
        embeddings, or FAISS is not installed.
        """
        faiss = _faiss()
        vectors = unit_vectors(embeddings, "float32")
        tracks, dim = vectors.shape
        if not tracks:
            raise EmbeddingsError("no embeddings: there is nothing to index")
        lists = _lists(lists, tracks, seed)
        index = faiss.IndexIVFFlat(faiss.IndexFlatIP(dim), dim, lists, faiss.METRIC_INNER_PRODUCT)
        index.cp.seed = seed
        index.cp.min_points_per_centroid = 1  # else FAISS warns, of what does no harm here
        index.cp.max_points_per_centroid = POINTS_A_LIST
        index.cp.spherical = True
        index.train(vectors)
        index.add(vectors)
        return cls(embeddings, index, probes)

    def recall(self, k: int = 10, queries: int = TRIED, seed: int = 0) -> float:
        """Estimate the share of the ``k`` nearest others that is found, from tracks drawn by lot.

        ``k`` and ``queries`` are lowered to what there is.
        """
        queries = min(queries, len(self))
        drawn = np.random.default_rng(seed).choice(len(self), queries, replace=False)
        k = min(k, len(self) - 1)
        exact = FaissSearch(self.embeddings, self.index, self.index.nlist).of_tracks(k, drawn)
        pairs = zip(self.of_tracks(k, drawn).rows, exact.rows, strict=True)
        return float(np.mean([np.isin(found, expected).mean() for found, expected in pairs]))

    def _candidates(self, units: np.ndarray, k: int, left_out: np.ndarray) -> Iterator[np.ndarray]:
        wanted = min(len(self), k + left_out.shape[1] + MORE)
        found = self._look(units, wanted, self.probes)
        for unit, near, out in zip(units, found, left_out, strict=True):
            near, probes = _kept(near, out), self.probes
            while len(near) < k:  # its lists hold fewer
                probes *= 2
                near = _kept(self._look(unit[np.newaxis], wanted, probes)[0], out)
            yield near

    def _look(self, units: np.ndarray, wanted: int, probes: int) -> np.ndarray:
        parameters = _faiss().SearchParametersIVF(nprobe=min(probes, self.index.nlist))
        return self.index.search(units.astype(np.float32), wanted, params=parameters)[1]


def _check(**settings: int | None) -> None:
    for name, value in settings.items():
        least = 0 if name == "seed" else 1
        if value is not None and not least <= value < 2**31:
            raise EmbeddingsError(f"{name} {value}: must be {least} to {2**31 - 1}")


def _lists(lists: int | None, tracks: int, seed: int) -> int:
    _check(lists=lists, seed=seed)
    return min(tracks, round(LISTS_FACTOR * tracks**0.5) if lists is None else lists)


def _kept(candidates: np.ndarray, left_out: np.ndarray) -> np.ndarray:
    found = candidates[candidates >= 0]  # FAISS fills up with −1
    return found[~np.isin(found, left_out)]


def index_path(embeddings_path: str | Path) -> Path:
    """Path of the index of a file of embeddings; FAISS reads it too."""
    path = Path(embeddings_path)
    return path.with_name(path.name + ".faiss")


def cached_search(
    embeddings_path: str | Path,
    embeddings: np.ndarray,
    *,
    lists: int | None = None,
    probes: int = 64,
    seed: int = 0,
) -> FaissSearch:
    """Read the index beside a file of embeddings [tracks, dim], or build and keep it.

    An index that is damaged, or of other embeddings or settings, is made again. Raises as
    :meth:`FaissSearch.build`, and OSError where the folder cannot be written to.
    """
    faiss = _faiss()
    path = index_path(embeddings_path)
    about = {
        "format": FORMAT,
        "faiss": faiss.__version__,
        "embeddings_key": content_key(
            repr(embeddings.shape).encode(), np.ascontiguousarray(embeddings).tobytes()
        ),
        "lists": _lists(lists, len(embeddings), seed),
        "seed": seed,
    }
    if path.exists():
        try:
            index = _load(path, about, embeddings.shape)
            logger.info(f"{path}: read")
            return FaissSearch(embeddings, index, probes)
        except EmbeddingsError as error:
            logger.info(f"{error}; made again")
    check_writable(path.parent)
    started = time.monotonic()
    search = FaissSearch.build(embeddings, lists=lists, probes=probes, seed=seed)
    data = faiss.serialize_index(search.index).tobytes()
    with atomic_write(path) as stream:
        stream.write(data)
        # First: an index without its description, or with another's, is not used.
        write_json(_about_path(path), {**about, "content_key": content_key(data)})
    took = time.monotonic() - started
    logger.info(f"{path}: {len(search):,} tracks in {about['lists']:,} lists, made in {took:.1f} s")
    return search


def _about_path(path: Path) -> Path:
    return path.with_name(path.name + ".json")


def _load(path: Path, about: dict[str, Any], shape: tuple[int, ...]) -> Any:
    """The index in ``path``; EmbeddingsError when it is damaged or not what ``about`` says."""
    with whole(path, "index", EmbeddingsError):
        found = load_json(_about_path(path))
        data = path.read_bytes()
        if found.pop("content_key") != content_key(data):
            raise ValueError("not the content that was written")
        if found != about:
            other = sorted(name for name in {*found, *about} if found.get(name) != about.get(name))
            raise EmbeddingsError(f"an index of other {', '.join(other)}")
        return _deserialized(data, shape, about["lists"])


def _deserialized(data: bytes, shape: tuple[int, ...], lists: int) -> Any:
    """The inverted file of ``shape`` in ``data``; an exception of some kind where it is none.

    FAISS believes what a file says: ids beyond the table would be read from beyond its memory, and
    of lists on a disk it opens the file that they name. So all but centres, sizes of lists, ids
    and vectors has to be what :meth:`FaissSearch.build` gives.
    """
    faiss = _faiss()
    tracks, dim = shape

    def head(mark: bytes, vectors: int) -> bytes:
        unused, trained, metric = 1 << 20, 1, faiss.METRIC_INNER_PRODUCT
        return mark + struct.pack("<iqqqBi", dim, vectors, unused, unused, trained, metric)

    begin = head(b"IwFl", tracks) + struct.pack("<QQ", lists, 1) + head(b"IxFI", lists)
    begin += struct.pack("<Q", lists * dim)  # values of the centres, which follow
    between = bytes(9) + b"ilar" + struct.pack("<QQ", lists, 4 * dim)
    if not (data.startswith(begin) and data.startswith(between, len(begin) + 4 * lists * dim)):
        raise ValueError(f"not {lists} lists of {tracks} plain vectors of {dim} values")
    limit = faiss.get_deserialization_vector_byte_limit()
    faiss.set_deserialization_vector_byte_limit(4 * len(data))  # of the whole process
    try:
        index = faiss.deserialize_index(np.frombuffer(data, np.uint8))
    finally:
        faiss.set_deserialization_vector_byte_limit(limit)
    held = index.invlists
    sizes = [held.list_size(i) for i in range(lists)]
    ids = [faiss.rev_swig_ptr(held.get_ids(i), n) for i, n in enumerate(sizes) if n]
    if not np.array_equal(np.sort(np.concatenate(ids)), np.arange(tracks)):
        raise ValueError(f"ids that are not those of {tracks} vectors, each once")
    return index


def _faiss() -> ModuleType:
    try:
        import faiss
    except ImportError as error:
        sentence = needs("--index faiss", "faiss", error)
        raise EmbeddingsError(f"{sentence}, or leave --index out") from error
    return faiss
