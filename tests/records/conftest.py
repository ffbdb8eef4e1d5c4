"""Fixtures of the tests of building collections."""

import contextlib
import os
import shutil
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))  # spawned processes look for the loader here
from build_loaders import PAPER, Tones, sources

from playlist_pretrain.records import build_folder
from playlist_pretrain.records.build import make_collection


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

    class Killed(BaseException):
        pass

    @contextlib.contextmanager
    def killed(step):
        left = [-1]

        def dying(function):
            def call(*args, **options):
                if left[0] == 0:
                    raise Killed
                left[0] -= 1
                return function(*args, **options)

            return call

        original = build_folder.BuildFolder.move_out

        def move_out(self):
            left[0] = step
            original(self)

        with pytest.MonkeyPatch.context() as patch:
            for name in ("replace", "unlink"):
                patch.setattr(build_folder.os, name, dying(getattr(os, name)))
            patch.setattr(build_folder.shutil, "rmtree", dying(shutil.rmtree))
            patch.setattr(build_folder.BuildFolder, "move_out", move_out)
            with pytest.raises(Killed):
                yield

    return killed
