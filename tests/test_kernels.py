"""Compiled loops where the compiled code cannot be kept."""

import numpy as np
from numba.core import caching

from playlist_pretrain.kernels import compiled, jit


def test_without_a_folder_for_compiled_code(monkeypatch):
    monkeypatch.setattr(caching.CacheImpl, "_locator_classes", [])

    @compiled
    def double(values):
        return values * 2

    assert double(np.arange(3)).tolist() == [0, 2, 4]
    assert double(np.arange(2)).tolist() == [0, 2]


def test_with_a_full_disk(monkeypatch, tmp_path):
    def full(*arguments):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(caching.IndexDataCacheFile, "save", full)
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path))

    @compiled
    def triple(values):
        return values * 3

    def half(value):
        return value / 2

    assert triple(np.arange(3)).tolist() == [0, 3, 6]
    assert jit(half, "float64(float64)")(3.0) == 1.5
