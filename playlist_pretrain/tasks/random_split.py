"""Splits made at random, whole artists at a time."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence

from playlist_pretrain.tasks.task import SPLITS

TENTHS = {"train": 8, "validation": 1, "test": 1}


def random_splits(artists: Sequence[str], seed: int) -> list[str]:
    """A split for each track such that no artist is in two.

    Artists come in an order that a digest of the seed and their name decides, and each goes as a
    whole to the split that lacks the most tracks. Neither the order of the tracks nor the version
    of any library matters. Shares are 8 : 1 : 1, to within the tracks of two artists.

    Parameters
    ----------
    artists : sequence of str
        Of each track; the track's own id where nothing is known of artists.
    seed : int

    Returns
    -------
    list of str
        In the order of ``artists``.

    Raises
    ------
    ValueError
        For fewer artists than splits.
    """
    sizes = Counter(artists)
    if len(sizes) < len(SPLITS):
        raise ValueError(f"{len(sizes)} for {len(SPLITS)} splits")
    # In tenths of a track, so that equal lacks are equal.
    lack = {split: TENTHS[split] * len(artists) for split in SPLITS}
    split_of: dict[str, str] = {}
    empty = set(SPLITS)
    for artist in sorted(sizes, key=lambda artist: _digest(seed, artist)):
        # The last artists are kept for splits that have none yet.
        few_left = len(sizes) - len(split_of) <= len(empty)
        open_to = [split for split in SPLITS if not few_left or split in empty]
        split = max(open_to, key=lack.__getitem__)
        split_of[artist] = split
        lack[split] -= 10 * sizes[artist]
        empty.discard(split)
    return [split_of[artist] for artist in artists]


def _digest(seed: int, artist: str) -> bytes:
    return hashlib.sha256(f"{seed}\n{artist}".encode("utf-8", "surrogatepass")).digest()
