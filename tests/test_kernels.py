"""Compiled loops where the compiled code cannot be kept."""

import numpy as np
from numba.core import caching

from playlist_pretrain.kernels import compiled


def test_without_a_folder_for_compiled_code(monkeypatch):
    monkeypatch.setattr(caching.CacheImpl, "_locator_classes", [])

    @compiled
    def double(values):
        return values * 2

    assert double(np.arange(3)).tolist() == [0, 2, 4]
    assert double(np.arange(2)).tolist() == [0, 2]
