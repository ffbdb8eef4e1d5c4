"""Every registered reader keeps its contract, and each clause of it finds who does not."""

import dataclasses

import pytest

from playlist_pretrain.errors import TableError
from playlist_pretrain.playlists.readers import READERS
from playlist_pretrain.playlists.readers.table import TableReader
from playlist_pretrain.testing import ContractError, check_reader

GROUPS = [("7", ["a", "b"]), ("8", ["b", "ü/c"]), ("9", ["x", "a", "a"])]


@pytest.mark.parametrize("name", list(READERS))
def test_registered_readers(name, tmp_path, write_example):
    check_reader(READERS.get(name), *write_example(name, tmp_path, GROUPS))


def groups_through(change):
    return lambda self, *given: map(change, TableReader.read(self, *given))


def swallows(self, sources, request):
    try:
        yield from TableReader.read(self, sources, request)
    except TableError:
        return


def crashes(self, sources, request):
    try:
        yield from TableReader.read(self, sources, request)
    except TableError:
        raise ValueError("no") from None


def tells_nothing(self, sources, request):
    return TableReader.read(self, sources, dataclasses.replace(request, advance=lambda size: None))


BROKEN = {
    "name": ({"name": "two words"}, "name: text without blanks"),
    "kinds": ({"kinds": ()}, "kinds: a tuple of at least one"),
    "sniffs all": ({"sniff": lambda self, path: True}, "sniff: nothing is not recognised"),
    "not streaming": (
        {"read": lambda self, *given: list(TableReader.read(self, *given))}, "read: streams",
    ),
    "odd id": ({"read": groups_through(lambda group: ("g", ["\udcff"]))}, "ids: valid Unicode"),
    "other tracks": (
        {"read": groups_through(lambda group: ("7", ["a"]))}, "read: the example holds",
    ),
    "tells nothing": ({"read": tells_nothing}, "advance: is told .* bytes in all, not 0"),
    "swallows damage": ({"read": swallows}, "raises TableError, but nothing"),
    "raises another error": ({"read": crashes}, "raises TableError, not ValueError"),
}  # fmt: skip


@pytest.mark.parametrize("case", BROKEN)
def test_broken_readers(case, tmp_path, write_example):
    changes, clause = BROKEN[case]
    broken = type("Broken", (TableReader,), changes)()
    with pytest.raises(ContractError, match=clause):
        check_reader(broken, *write_example("table", tmp_path, GROUPS))
