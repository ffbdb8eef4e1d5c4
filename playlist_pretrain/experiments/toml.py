"""TOML into frozen dataclasses: what is unknown, missing or of another type is refused."""

from __future__ import annotations

import dataclasses
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar, cast, get_type_hints

import msgspec

from playlist_pretrain.errors import PlanError

Table = TypeVar("Table")


def load(path: str | Path) -> dict[str, Any]:
    """Content of a TOML file.

    Raises
    ------
    PlanError
        If it cannot be read, or is no TOML.
    """
    try:
        return tomllib.loads(Path(path).read_text("utf-8"))
    except OSError as error:
        raise PlanError(f"{path}: cannot be read: {error.strerror or error}") from error
    except ValueError as error:  # not UTF-8, or not TOML: the parser names line and column
        raise PlanError(f"{path}: not TOML: {error}") from error


def read_table(cls: type[Table], content: Mapping[str, Any], where: str, **more: Any) -> Table:
    """A dataclass from a table of TOML.

    Parameters
    ----------
    cls : type
        Its fields are the keys; those without a default have to be there.
    content : mapping
        The table.
    where : str
        File and table, for messages.
    **more
        Fields that are no keys.

    Raises
    ------
    PlanError
        With file, table and key.
    """
    if not isinstance(content, Mapping):
        raise PlanError(f"{where}: {content!r} is no table")
    fields = {
        field.name: field for field in dataclasses.fields(cast(Any, cls)) if field.name not in more
    }
    values = typed(cls, content, where, fields)
    for name, field in fields.items():
        needed = (
            field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
        )
        if needed and name not in content:
            raise PlanError(f"{where}: no key {name!r}")
    return cls(**values, **more)


def typed(
    cls: type,
    content: Mapping[str, Any],
    where: str,
    fields: Mapping[str, dataclasses.Field] | None = None,
) -> dict[str, Any]:
    """The keys of a table, which have to be ``fields`` of ``cls``, and their values.

    Raises
    ------
    PlanError
        For another key, or a value of another type.
    """
    hints = get_type_hints(cls)
    names = [field.name for field in dataclasses.fields(cls)] if fields is None else list(fields)
    values = {}
    for key, value in content.items():
        if key not in names:
            raise PlanError(f"{where}: unknown key {key!r}; there are: {', '.join(names)}")
        try:
            values[key] = msgspec.convert(value, hints[key], strict=True)
        except msgspec.ValidationError as error:
            raise PlanError(f"{where}: {key} = {value!r}: {error}") from error
    return values
