"""Settings of the tables that are made from groups, and of the groups they are made from."""

from __future__ import annotations

from dataclasses import dataclass

from playlist_pretrain.errors import RecipeError

LONGEST_SENTENCE = 10_000
"""Words that gensim takes of a sentence; it drops the rest without a word."""
MOST_WORKERS = 1000
"""Far more threads than gensim can feed, far fewer than a system refuses."""


@dataclass(frozen=True)
class TableSettings:
    """Settings of the tables of ``playlist_tco`` and ``playlist_w2v``."""

    max_group_length: int = 1000
    """longer groups are left out of the tables of playlist_tco and playlist_w2v, whose cost grows
    with the square of the length; playlist_w2v takes 10,000 at most"""
    w2v_size: int = 128
    """playlist_w2v: size of the vectors"""
    w2v_window: int | None = None
    """playlist_w2v: window in tracks [the longest group]"""
    w2v_sample: float = 1e-3
    """playlist_w2v: gensim's sample: more frequent tracks are dropped at random; 0 for never"""
    w2v_workers: int = 1
    """playlist_w2v: threads; only 1 gives equal vectors each time"""
    exclude: str | None = None
    """file of track ids (one a line, or a table with a column track_id) to keep out of training"""
    probe_share: float = 0.05
    """share of the tracks kept out of training for the retrieval probe, as pairs of one group;
    raised to a tenth where that makes fewer than 50 pairs, never more than 500 pairs; 0 for none"""

    def check(self, *, word2vec: bool = False) -> None:
        """Refuse values that cannot work; ``word2vec`` tells that Word2Vec will read them.

        Raises RecipeError: with the option and the value.
        """
        length = self.max_group_length
        if length < 2:
            raise RecipeError(f"--max-group-length {length}: must be at least 2")
        if word2vec and length > LONGEST_SENTENCE:
            raise RecipeError(
                f"--max-group-length {length}: must be at most {LONGEST_SENTENCE:,} for Word2Vec, "
                "the longest sentence that gensim takes whole"
            )
        for name in ("w2v_size", "w2v_window", "w2v_workers"):
            value, option = getattr(self, name), "--" + name.replace("_", "-")
            if value is not None and value < 1:
                raise RecipeError(f"{option} {value}: must be at least 1")
        if self.w2v_workers > MOST_WORKERS:
            raise RecipeError(f"--w2v-workers {self.w2v_workers}: must be at most {MOST_WORKERS:,}")
        for name in ("w2v_sample", "probe_share"):
            value, option = getattr(self, name), "--" + name.replace("_", "-")
            if not 0 <= value < 1:
                raise RecipeError(f"{option} {value}: must be from 0 up to below 1")
