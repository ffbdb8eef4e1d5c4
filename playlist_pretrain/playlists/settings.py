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
    """What decides the tables of ``playlist_tco`` and ``playlist_w2v``."""

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
    """share of the groups kept out of training for the retrieval probe, 0 for none"""

    def check(self, *, word2vec: bool = False) -> None:
        """Refuse values that cannot work.

        Parameters
        ----------
        word2vec : bool
            Whether Word2Vec is going to read them.

        Raises
        ------
        RecipeError
            With the option and the value.
        """
        if self.max_group_length < 2:
            raise RecipeError(f"--max-group-length {self.max_group_length}: must be at least 2")
        if word2vec and self.max_group_length > LONGEST_SENTENCE:
            raise RecipeError(
                f"--max-group-length {self.max_group_length}: must be at most "
                f"{LONGEST_SENTENCE:,} for Word2Vec, the longest sentence that gensim takes whole"
            )
        for option, value in (
            ("--w2v-size", self.w2v_size),
            ("--w2v-window", self.w2v_window),
            ("--w2v-workers", self.w2v_workers),
        ):
            if value is not None and value < 1:
                raise RecipeError(f"{option} {value}: must be at least 1")
        if self.w2v_workers > MOST_WORKERS:
            raise RecipeError(f"--w2v-workers {self.w2v_workers}: must be at most {MOST_WORKERS:,}")
        if not 0 <= self.w2v_sample < 1:
            raise RecipeError(f"--w2v-sample {self.w2v_sample}: must be from 0 up to below 1")
        if not 0 <= self.probe_share < 1:
            raise RecipeError(f"--probe-share {self.probe_share}: must be from 0 up to below 1")
