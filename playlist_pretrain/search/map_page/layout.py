"""Tracks on a plane: near to each other where their embeddings point the same way."""

from __future__ import annotations

import numpy as np

from playlist_pretrain.evaluation.neighbours import unit_vectors

MOST_TSNE = 20_000
"""Tracks that t-SNE lays out in two minutes of one core (119 s for 128 dimensions)."""
_FEWEST_TSNE = 8  # fewer have no neighbourhoods that principal components would not show


def plane_coordinates(embeddings: np.ndarray, seed: int = 0) -> tuple[np.ndarray, str]:
    """Two coordinates of each track, and how they came about.

    From 8 to :data:`MOST_TSNE` tracks by t-SNE (van der Maaten & Hinton 2008, JMLR 9) on vectors
    of length 1, where the squared Euclidean distance is twice the cosine distance; it starts from
    the first two principal components, which keeps the large picture (Kobak & Berens 2019, Nature
    Communications 10). Fewer or more tracks: those components themselves.

    Parameters
    ----------
    embeddings : np.ndarray float [tracks, dim]
    seed : int
        The same one gives the same coordinates on the same machine, however many cores it has.

    Returns
    -------
    coordinates : np.ndarray float32 [tracks, 2]
    method : str
        For people: the name of the method with its settings.

    Raises
    ------
    EmbeddingsError
        As :func:`~playlist_pretrain.evaluation.neighbours.nearest`.
    """
    from sklearn.manifold import TSNE
    from threadpoolctl import threadpool_limits

    vectors = unit_vectors(embeddings)
    with threadpool_limits(1):  # sums of several threads end in other last bits each time
        start, share = _principal_components(vectors, seed)
        tracks = len(vectors)
        if not _FEWEST_TSNE <= tracks <= MOST_TSNE:
            return start, f"principal components 1 and 2 ({share:.0%} of the variance)"
        spread = start[:, 0].std()
        if spread:
            start = start / spread * 1e-4
        else:  # all the same: no direction to begin with
            start = np.random.default_rng(seed).normal(0, 1e-4, (tracks, 2)).astype(np.float32)
        perplexity = min(30.0, (tracks - 1) / 3)
        method = TSNE(perplexity=perplexity, init=start, random_state=seed, n_jobs=1)
        coordinates = method.fit_transform(vectors.astype(np.float32))
    return coordinates, f"t-SNE (perplexity {perplexity:.3g}, seed {seed})"


def _principal_components(vectors: np.ndarray, seed: int) -> tuple[np.ndarray, float]:
    from sklearn.decomposition import PCA

    coordinates = np.zeros((len(vectors), 2), np.float32)
    parts = min(2, len(vectors) - 1, vectors.shape[1])
    centred = vectors - vectors.mean(axis=0)
    if parts < 1 or np.abs(centred).max() < 1e-12:  # PCA would divide by no variance
        return coordinates, 1.0
    method = PCA(parts, random_state=seed)
    coordinates[:, :parts] = method.fit_transform(centred)
    return coordinates, float(method.explained_variance_ratio_.sum())
