"""JSON documents that are lists of many things: element by element, with the place of damage."""

from __future__ import annotations

import json
from collections.abc import Iterator
from json import JSONDecodeError, JSONDecoder
from typing import Any

from playlist_pretrain.delimited import RowError
from playlist_pretrain.errors import TableError

NO_JSON = "not JSON, cut off or damaged"
KINDS = {int: "a whole number", list: "a list", str: "text", dict: "an object"}


def elements(
    data: bytes, name: str, key: str | None = None, damage: TableError | None = None
) -> Iterator[Any]:
    """Yield the elements of the one long list of a JSON document, as far as it is whole.

    With ``key`` the document is an object and the list its value of this name; without, it is the
    list. ``name`` is that of the source, for messages; ``damage`` the reason why the data end
    before the document does, raised at their end.

    Raises TableError when what was yielded before is all that is whole; names line and column.
    """
    if damage and not data:
        raise damage
    if not data.strip():
        raise TableError(f"{name}: the file is empty")
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        text = data[: error.start].decode("utf-8")
        damage = damage or TableError(f"{name}: byte {error.start}: not UTF-8")
    text = text.removeprefix("\ufeff")
    scan = _Scan(text, name)
    try:
        yield from scan.elements(key)
    except (TableError, ValueError, RecursionError) as error:
        if damage or isinstance(error, TableError):
            raise damage or error from None
        place = error
        if not isinstance(error, JSONDecodeError):  # whose message ends with line and column
            what = "nested too deeply" if isinstance(error, RecursionError) else "number too long"
            place = JSONDecodeError(what, text, scan.at)
        raise TableError(f"{name}: {NO_JSON}: {place}") from error
    if damage:
        raise damage


class _Scan:
    """A document and a place in it; the standard library's decoder reads what is small."""

    def __init__(self, text: str, name: str):
        self._text, self._name, self.at = text, name, 0
        self._decode = JSONDecoder().raw_decode

    def elements(self, key: str | None) -> Iterator[Any]:
        found = 0
        if key is None:
            if self._peek() != "[":
                raise TableError(f"{self._name}: not a list")
            yield from self._list()
        else:
            if self._peek() != "{":
                raise TableError(f"{self._name}: no list {key!r}, not even an object")
            for _ in self._items("}"):
                own = self._value()
                if self._peek() != ":":
                    raise JSONDecodeError("Expecting ':'", self._text, self.at)
                self.at += 1
                if own == key and self._peek() == "[":
                    found += 1
                    if found > 1:
                        raise TableError(f"{self._name}: two lists {key!r}")
                    yield from self._list()
                else:
                    self._value()
        if self._peek():
            raise JSONDecodeError("Extra data", self._text, self.at)
        if key is not None and not found:
            raise TableError(f"{self._name}: no list {key!r}")

    def _list(self) -> Iterator[Any]:
        for _ in self._items("]"):
            yield self._value()

    def _items(self, end: str) -> Iterator[None]:
        """Pass the opening bracket, stop at each item, and pass the closing bracket ``end``."""
        self.at += 1
        more = self._peek() != end
        while more:
            yield
            more = self._peek() == ","
            self.at += more
        if self._peek() != end:
            raise JSONDecodeError(f"Expecting {end!r}", self._text, self.at)
        self.at += 1

    def _peek(self) -> str:
        text = self._text
        while self.at < len(text) and text[self.at] in " \t\n\r":
            self.at += 1
        return text[self.at : self.at + 1]

    def _value(self) -> Any:
        self._peek()
        value, self.at = self._decode(self._text, self.at)
        return value


def field(holder: Any, key: str, kind: type, where: str) -> Any:
    """Value of a field that has to be there and of one type, or a RowError at ``where``."""
    if type(holder) is not dict:
        raise RowError(f"{where}: not an object", "not an object")
    value = holder.get(key)
    if type(value) is not kind:
        problem = f"{key!r} is not {KINDS[kind]}" if key in holder else f"no {key!r}"
        raise RowError(f"{where}: {problem}", problem)
    return value


def object_of(data: bytes, where: str) -> dict[str, Any]:
    """The one JSON object of a document or a line, or a RowError at ``where``."""
    if not data.strip():
        raise RowError(f"{where}: the file is empty", NO_JSON)
    try:
        content = json.loads(data.decode("utf-8").removeprefix("\ufeff"))
    except UnicodeDecodeError as error:
        raise RowError(f"{where}: byte {error.start}: not UTF-8", "not UTF-8") from error
    except RecursionError:
        raise RowError(f"{where}: JSON nested too deeply", NO_JSON) from None
    except ValueError as error:
        raise RowError(f"{where}: {NO_JSON}: {error}", NO_JSON) from error
    if type(content) is not dict:
        raise RowError(f"{where}: not an object", "not an object")
    return content
