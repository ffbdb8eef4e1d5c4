"""The demo's collections, built once."""

import shutil

import pytest

from playlist_pretrain.demo.build import build_demo


@pytest.fixture(scope="session")
def built(tmp_path_factory):
    root = tmp_path_factory.mktemp("built") / "tfrecords"
    return root, build_demo(root, 0)


@pytest.fixture
def copied(built, tmp_path):
    shutil.copytree(built[0], tmp_path / "tfrecords")
    return tmp_path / "tfrecords"
