"""The demo's collections, built once for all tests."""

import shutil

import pytest

from playlist_pretrain.demo.world import PARTS
from playlist_pretrain.records.collection import Collection


@pytest.fixture(scope="session")
def built(demo_collections):
    """Folder of the demo's collections, and the two collections; to be read only."""
    return demo_collections, [Collection.open(demo_collections / part) for part in PARTS]


@pytest.fixture
def copied(demo_collections, tmp_path):
    """The same folder as a copy that a test may write into."""
    return shutil.copytree(demo_collections, tmp_path / "tfrecords")
