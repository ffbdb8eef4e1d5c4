"""Fixtures of the tests of building collections."""

import os
import shutil
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))  # spawned processes look for the loader here
from build_loaders import PAPER, Tones, sources
from damage import killed

from playlist_pretrain.records.build import make_collection
from playlist_pretrain.records.build_folder import BuildFolder


@pytest.fixture
def make(in_process, tmp_path):
    """Build into ``tmp_path / "out"``; defaults may be replaced."""

    def make(tracks=None, front_end=PAPER, load=None, **options):
        tracks = sources() if tracks is None else tracks
        load = load or Tones()
        return make_collection(tmp_path / "out", tracks, front_end, load, **options)

    return make


@pytest.fixture
def killed_while_moving():
    """Context of a build that is killed after so many steps of moving its files into place."""
    places = [(os, "replace"), (os, "unlink"), (shutil, "rmtree")]
    return lambda step: killed(step, places, begin=(BuildFolder, "move_out"))
