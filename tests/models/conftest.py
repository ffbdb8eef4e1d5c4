"""A small model as Essentia publishes them."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))  # tests import its maker by name
from essentia_packages import musicnn_like


@pytest.fixture
def package(tmp_path):
    """Nodes named as in ``msd-musicnn-1.pb``."""
    return musicnn_like(tmp_path / "net.pb")
