"""Compiled loops: what happens when the compiled code cannot be kept."""

import numba
import numpy as np

from playlist_pretrain.kernels import compiled


def test_without_a_folder_for_compiled_code(monkeypatch):
    real, asked = numba.njit, []

    def njit(*functions, **settings):
        if functions:  # Numba compiles some of its own meanwhile
            return real(*functions, **settings)
        asked.append(settings)
        if settings.get("cache"):
            raise RuntimeError("cannot cache function: no locator available")
        return real(**settings)

    monkeypatch.setattr(numba, "njit", njit)

    @compiled
    def double(values):
        return values * 2

    assert double(np.arange(3)).tolist() == [0, 2, 4]
    assert double(np.arange(2)).tolist() == [0, 2]
    assert [settings.get("cache", False) for settings in asked] == [True, False]
