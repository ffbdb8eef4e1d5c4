"""Melon Playlist Dataset: the one public collection of playlists and mels.

Format: ``arena_mel_{0..39}.tar`` with ``{id // 1000}/{id}.npy``, or the same unpacked. An array is
float32 [48 bands, frames], in dB, 1,876 frames for 30 s: 16 kHz, frames of 512 every 256 samples,
the first of them centred on the first sample. A track id is the song's id as text, as
``playlists.readers.melon`` has it.
Provenance: Ferraro et al., ICASSP 2021, https://mtg.github.io/melon-playlist-dataset/ (names and
ids). Orientation and frames are what public programs that read it expect; whether the dB are of
power is not documented, and taken so.
"""

from __future__ import annotations

from pathlib import PurePosixPath

from playlist_pretrain.audio.imported import IMPORTED
from playlist_pretrain.errors import MelError
from playlist_pretrain.records.mel_sources.source import MelSource

DAMAGED = (range(225_000, 226_000), range(227_000, 228_000), range(229_000, 231_000),
           range(276_000, 277_000))  # fmt: skip
"""Ids of the songs whose files are known to be damaged as distributed."""


class MelonMels(MelSource):
    """Mels of the Melon Playlist Dataset; see the module."""

    name = "melon"
    about = "Melon Playlist Dataset: arena_mel_*.tar or what is in them; a track's id is its song's"
    named = "{id // 1000}/{id}.npy"
    front_end = IMPORTED["melon"]
    orientation = "bands×frames"
    unit = "db"

    def track_id(self, path: PurePosixPath) -> str:
        """The song's id; MelError for names of other kinds."""
        number = int(path.stem) if path.stem.isascii() and path.stem.isdigit() else -1
        folder = path.parent.name
        if str(number) != path.stem or folder != str(number // 1000):
            raise MelError(f"its name is not of the kind {self.named}")
        return path.stem

    def left_out(self, track_id: str) -> str | None:
        """Known damage."""
        known = any(int(track_id) in ids for ids in DAMAGED)
        return "known to be damaged as distributed" if known else None
