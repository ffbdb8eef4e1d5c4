"""Nearest tracks among many by an inverted file of FAISS (extra ``faiss``), ranked exactly.

Unit vectors are cut into lists by k-means; a query looks into the lists whose centres are nearest
to it (Sivic & Zisserman 2003; Johnson, Douze & Jégou, arXiv 1702.08734). What it finds there is
ranked by the similarities of exact search, so that only a track in a list that was not looked into
can be missed, and similarities are the same to the last bit. HNSW finds more where tracks hardly
cluster, but takes several times as long to build (``benchmarks/search.py``).
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from playlist_pretrain.errors import EmbeddingsError, first_line
from playlist_pretrain.evaluation.neighbours import (
    Neighbours,
    checked_queries,
    checked_vectors,
    ranked,
    unit_vectors,
)
from playlist_pretrain.files import atomic_write, check_writable, content_key, write_json

FORMAT = 1
LISTS_FACTOR = 4
"""Times the square root of the tracks: lists, where the user does not say."""
POINTS_A_LIST = 64
"""At most, that k-means is trained on."""
MORE = 16
"""Candidates beyond the k, so that of equally near ones the lower row is among them."""
QUERIES_AT_ONCE = 1024
TRIED = 100
"""Tracks that tell how much an index finds."""


@dataclass(frozen=True)
class IndexSettings:
    """How an index is made and asked.

    Attributes
    ----------
    lists : int or None
        That the vectors are cut into; None for 4 √tracks.
    probes : int
        Lists that a query looks into; may be more than there are, which is exact then.
    seed : int
        Of the k-means.
    """

    lists: int | None = None
    probes: int = 64
    seed: int = 0

    def __post_init__(self):
        for name, least in (("lists", 1), ("probes", 1), ("seed", 0)):
            value = getattr(self, name)
            if value is not None and not least <= value < 2**31:
                raise EmbeddingsError(f"{name} {value}: {least} to {2**31 - 1}")

    def lists_of(self, tracks: int) -> int:
        """Lists of an index of so many tracks."""
        wanted = round(LISTS_FACTOR * tracks**0.5) if self.lists is None else self.lists
        return min(tracks, wanted)


class FaissSearch:
    """Search in an inverted file; answers as ``neighbours.ExactSearch`` does.

    Made by :meth:`build` or :func:`cached_search`.

    Attributes
    ----------
    index : faiss.IndexIVFFlat
        Of the unit vectors, with their rows as ids.
    settings : IndexSettings
    """

    def __init__(self, embeddings: np.ndarray, index: Any, settings: IndexSettings):
        self._embeddings = embeddings
        self.index, self.settings = index, settings

    @classmethod
    def build(cls, embeddings: np.ndarray, settings: IndexSettings) -> FaissSearch:
        """Cut embeddings [tracks, dim] into lists; equal ones give equal lists on one machine.

        Raises
        ------
        EmbeddingsError
            As :func:`~playlist_pretrain.evaluation.neighbours.nearest` for embeddings, or FAISS is
            not installed.
        """
        faiss = _faiss()
        vectors = unit_vectors(embeddings, "float32")
        tracks, dim = vectors.shape
        if not tracks:
            raise EmbeddingsError("no embeddings: there is nothing to index")
        lists = settings.lists_of(tracks)
        index = faiss.IndexIVFFlat(faiss.IndexFlatIP(dim), dim, lists, faiss.METRIC_INNER_PRODUCT)
        index.cp.seed = settings.seed
        index.cp.min_points_per_centroid = 1  # else it warns, of what does no harm here
        index.cp.max_points_per_centroid = POINTS_A_LIST
        index.cp.spherical = True
        index.train(vectors)
        index.add(vectors)
        return cls(embeddings, index, settings)

    def __len__(self) -> int:
        return len(self._embeddings)

    def of_tracks(
        self,
        k: int,
        queries: Sequence[int] | np.ndarray | None = None,
        advance: Callable[[int], object] = lambda queries: None,
    ) -> Neighbours:
        """The ``k`` nearest others of some tracks; see ``neighbours.ExactSearch.of_tracks``."""
        asked = checked_queries(len(self), k, queries)
        parts = []
        for first in range(0, len(asked), QUERIES_AT_ONCE):
            rows = asked[first : first + QUERIES_AT_ONCE]
            parts.append(self._search(unit_vectors(self._embeddings[rows]), k, rows[:, np.newaxis]))
            advance(len(rows))
        rows, similarities = zip(*parts, strict=True) if parts else ([], [])
        shape = (len(asked), k)
        return Neighbours(
            asked,
            np.reshape(np.concatenate([np.empty((0, k), np.int64), *rows]), shape),
            np.reshape(np.concatenate([np.empty((0, k)), *similarities]), shape),
            len(self),
        )

    def of_vectors(
        self, vectors: np.ndarray, k: int, left_out: Sequence[int] | np.ndarray = ()
    ) -> tuple[np.ndarray, np.ndarray]:
        """The ``k`` nearest to some vectors; see ``neighbours.ExactSearch.of_vectors``."""
        shape = (len(self), self.index.d)
        units, left_out = checked_vectors(shape, vectors, k, left_out)
        return self._search(units, k, np.broadcast_to(left_out, (len(units), len(left_out))))

    def recall(self, k: int = 10, queries: int = TRIED) -> float:
        """Share of the ``k`` nearest others that is found, of tracks drawn by the seed.

        Compared with every list; ``k`` and ``queries`` as far as there are so many tracks.
        """
        generator = np.random.default_rng(self.settings.seed)
        asked = generator.choice(len(self), min(queries, len(self)), replace=False)
        k = min(k, len(self) - 1)
        every = replace(self.settings, probes=self.index.nlist)
        exact = FaissSearch(self._embeddings, self.index, every).of_tracks(k, asked)
        pairs = zip(self.of_tracks(k, asked).rows, exact.rows, strict=True)
        return float(np.mean([np.isin(found, expected).mean() for found, expected in pairs]))

    def _search(
        self, units: np.ndarray, k: int, left_out: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """For unit vectors [queries, dim], without some rows [queries, any] of each."""
        wanted = min(len(self), k + left_out.shape[1] + MORE)
        candidates = self._candidates(units, wanted, self.settings.probes)
        rows, similarities = np.empty((len(units), k), np.int64), np.empty((len(units), k))
        for place, unit in enumerate(units):
            near, probes = self._kept(candidates[place], left_out[place]), self.settings.probes
            while len(near) < k:  # its lists hold fewer
                probes *= 2
                more = self._candidates(unit[np.newaxis], wanted, probes)
                near = self._kept(more[0], left_out[place])
            found = ranked(unit_vectors(self._embeddings[near]), near, unit, k)
            rows[place], similarities[place] = found
        return rows, similarities

    def _candidates(self, units: np.ndarray, wanted: int, probes: int) -> np.ndarray:
        faiss = _faiss()
        parameters = faiss.SearchParametersIVF(nprobe=min(probes, self.index.nlist))
        return self.index.search(units.astype(np.float32), wanted, params=parameters)[1]

    @staticmethod
    def _kept(candidates: np.ndarray, left_out: np.ndarray) -> np.ndarray:
        found = candidates[candidates >= 0]  # FAISS fills up with −1
        return found[~np.isin(found, left_out)]


def index_path(embeddings_path: str | Path) -> Path:
    """Where the index of a file of embeddings is kept; FAISS reads it too."""
    path = Path(embeddings_path)
    return path.with_name(path.name + ".faiss")


def cached_search(
    embeddings_path: str | Path,
    embeddings: np.ndarray,
    settings: IndexSettings,
    say: Callable[[str], object] = lambda text: None,
) -> FaissSearch:
    """Read the index beside a file of embeddings, or build and keep it.

    An index that is damaged, or of other embeddings or settings, is made again.

    Parameters
    ----------
    embeddings_path : str or Path
    embeddings : np.ndarray float32 [tracks, dim]
    settings : IndexSettings
    say : callable
        Told which of the two it was.

    Raises
    ------
    EmbeddingsError
        As :meth:`FaissSearch.build`.
    OSError
        The folder cannot be written to.
    """
    faiss = _faiss()
    path = index_path(embeddings_path)
    about = {
        "format": FORMAT,
        "faiss": faiss.__version__,
        "embeddings_key": content_key(
            repr(embeddings.shape).encode(), np.ascontiguousarray(embeddings).tobytes()
        ),
        "lists": settings.lists_of(len(embeddings)),
        "seed": settings.seed,
    }
    if path.exists():
        try:
            index = _load(path, about, embeddings.shape)
            say(f"{path}: read")
            return FaissSearch(embeddings, index, settings)
        except EmbeddingsError as error:
            say(f"{error}; made again")
    check_writable(path.parent)
    started = time.monotonic()
    search = FaissSearch.build(embeddings, settings)
    data = faiss.serialize_index(search.index).tobytes()
    with atomic_write(path) as stream:
        stream.write(data)
        # First: an index without its description, or with another's, is not used.
        write_json(_about_path(path), {**about, "content_key": content_key(data)})
    say(
        f"{path}: {len(embeddings):,} tracks in {about['lists']:,} lists, made in "
        f"{time.monotonic() - started:.1f} s"
    )
    return search


def _about_path(path: Path) -> Path:
    return path.with_name(path.name + ".json")


def _load(path: Path, about: dict[str, Any], shape: tuple[int, ...]) -> Any:
    """The index in ``path``, when it is whole and what ``about`` says; EmbeddingsError else."""
    try:
        found = json.loads(_about_path(path).read_text("utf-8"))
        data = path.read_bytes()
        if found.pop("content_key") != content_key(data):
            raise ValueError("not the content that was written")
        if found != about:
            other = sorted(name for name in {*found, *about} if found.get(name) != about.get(name))
            raise EmbeddingsError(f"{path}: an index of other {', '.join(other)}")
        index = _faiss().deserialize_index(np.frombuffer(data, np.uint8))
        if (index.ntotal, index.d, index.nlist) != (*shape, about["lists"]):
            raise ValueError(f"{index.ntotal} vectors of {index.d} values")
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RuntimeError) as error:
        raise EmbeddingsError(f"{path}: not a whole index ({first_line(error)})") from error
    return index


def _faiss() -> ModuleType:
    try:
        import faiss
    except ImportError as error:
        raise EmbeddingsError(
            f"--index faiss: FAISS cannot be imported ({first_line(error)}); install it with "
            "pip install -c constraints.txt -e '.[faiss]', or leave --index out"
        ) from error
    return faiss
