"""Registry: names in order, unknown names refused with those there are."""

import pytest

from playlist_pretrain.errors import RecipeError
from playlist_pretrain.registry import Registry


def test_registry():
    registry = Registry("fruit", RecipeError)
    registry.register("pear", 1)
    registry.register("apple", 2)
    assert list(registry) == ["pear", "apple"]
    assert registry.get("apple") == 2
    with pytest.raises(RecipeError, match="unknown fruit 'plum'; there are: pear, apple"):
        registry.get("plum")
    with pytest.raises(ValueError, match="'pear' is registered already"):
        registry.register("pear", 3)
