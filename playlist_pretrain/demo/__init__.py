"""The demo: a synthetic world of songs, artists, playlists, tags and triplets.

:mod:`~playlist_pretrain.demo.world` draws who makes which songs,
:mod:`~playlist_pretrain.demo.songs` writes their notes, :mod:`~playlist_pretrain.demo.songs`
renders them, :mod:`~playlist_pretrain.demo.world` knows what people say about them, and
:mod:`~playlist_pretrain.demo.build` makes the collections.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

DEMO_COLLECTION = Path("tfrecords") / "demo"
"""What every command works on when no collection is named."""


def ready_demo(say: Callable[[str], object], *, quiet: bool) -> Path:
    """Folder of the demo collection, which is made when it is missing or was interrupted."""
    from playlist_pretrain.demo.build import build_demo

    if not DEMO_COLLECTION.exists():
        say(f"{DEMO_COLLECTION} is missing: making the demo collection")
    build_demo(DEMO_COLLECTION.parent, quiet=quiet)
    return DEMO_COLLECTION
