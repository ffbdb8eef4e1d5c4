"""The demo: a synthetic world of songs, artists, playlists, tags and triplets.

:mod:`~playlist_pretrain.demo.world` draws who makes which songs and what people say about them,
:mod:`~playlist_pretrain.demo.songs` writes their notes and renders them, and
:mod:`~playlist_pretrain.demo.build` makes the collections.
"""

from __future__ import annotations

import logging
from pathlib import Path

logger = logging.getLogger(__name__)

DEMO_COLLECTION = Path("tfrecords") / "demo"
"""Collection that every command works on when none is named."""


def ready_demo() -> Path:
    """Make the demo collection when it is missing or was interrupted; return its folder."""
    from playlist_pretrain.demo.build import build_demo

    if not DEMO_COLLECTION.exists():
        logger.info(f"{DEMO_COLLECTION} is missing: making the demo collection")
    build_demo(DEMO_COLLECTION.parent)
    return DEMO_COLLECTION
