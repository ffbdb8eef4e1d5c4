"""What all recipes have: they are frozen dataclasses, saved with a run and read again."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Self

from playlist_pretrain.errors import RecipeError


class Recipe:
    """Settings of a run.

    Attributes
    ----------
    not_decisive : tuple of str
        Settings that another call of a run may change: they do not decide its weights beyond
        rounding. What the files that they name hold does, and is compared by key.
    """

    not_decisive: ClassVar[tuple[str, ...]] = ()

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Read ``recipe.json``.

        Raises
        ------
        RecipeError
            If it is not JSON or does not have exactly the fields of a recipe.
        """
        try:
            content = json.loads(Path(path).read_text(encoding="utf-8"))
            fields = content["recipe"]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise RecipeError(f"{path}: not a recipe: {error}") from error
        known = {field.name for field in dataclasses.fields(cls)}  # type: ignore[arg-type]
        if set(fields) != known:
            odd = ", ".join(sorted(set(fields) ^ known))
            raise RecipeError(f"{path}: written by another version; fields that differ: {odd}")
        return cls(**fields)

    @classmethod
    def of_command(cls, command: Self) -> Self:
        """The settings of a command, without those that only say where and how loudly to run."""
        names = [field.name for field in dataclasses.fields(cls)]  # type: ignore[arg-type]
        return cls(**{name: getattr(command, name) for name in names})


def option(field: str) -> str:
    """Name of a field on the command line: ``learning_rate`` → ``--learning-rate``."""
    return "--" + field.replace("_", "-")


def check_choices(recipe: Any, choices: Mapping[str, Sequence[str]]) -> None:
    """Refuse a setting that is none of its choices.

    Raises
    ------
    RecipeError
        With the option and the value.
    """
    for name, values in choices.items():
        if getattr(recipe, name) not in values:
            raise RecipeError(f"{option(name)} {getattr(recipe, name)}: one of {', '.join(values)}")


def check_at_least(recipe: Any, smallest: int, *names: str) -> None:
    """Refuse numbers below ``smallest``; None stands for a setting that is settled later.

    Raises
    ------
    RecipeError
        With the option and the value.
    """
    for name in names:
        value = getattr(recipe, name)
        if value is not None and value < smallest:
            raise RecipeError(f"{option(name)} {value}: must be at least {smallest}")


def check_above_zero(recipe: Any, *names: str) -> None:
    """Refuse numbers that are not above 0 or not finite; None is settled later.

    Raises
    ------
    RecipeError
        With the option and the value.
    """
    for name in names:
        value = getattr(recipe, name)
        if value is not None and not 0 < value < float("inf"):
            raise RecipeError(f"{option(name)} {value}: must be above 0")
