"""Every registered reader keeps its contract, and each clause of it finds who does not."""

import pytest

from playlist_pretrain.errors import TableError
from playlist_pretrain.playlists.readers import READERS, Request
from playlist_pretrain.playlists.readers.source import sources_in
from playlist_pretrain.testing import ContractError, check_reader

GROUPS = [("7", ["a", "b"]), ("8", ["b", "ü/c"]), ("9", ["x", "a", "a"])]


@pytest.mark.parametrize("name", list(READERS))
def test_registered_readers(name, tmp_path, write_example):
    check_reader(READERS.get(name), *write_example(name, tmp_path, GROUPS))


def is_lines(path):
    return path.suffix == ".lines"


class Lines:
    """A line is a group: ``id: track track …`` and a full stop."""

    name = "lines"
    description = "text, a line a group"
    kinds = ("playlists",)
    options = frozenset()

    def sniff(self, path):
        return any(source.path.suffix == ".lines" for source in sources_in(path, is_lines))

    def sources(self, path):
        found = sources_in(path, is_lines)
        if not found:
            raise TableError(f"{path}: no .lines in this folder or zip file")
        return found

    def read(self, sources, request):
        for source in sources:
            try:
                for number, line in enumerate(self.lines(source, request)):
                    yield self.group(line, f"{source.name}: line {number + 1}")
            except TableError as error:
                request.damaged(error)

    def lines(self, source, request):
        content, damage = source.read_far(request.advance)
        *lines, rest = content.split(b"\n")
        yield from lines
        if damage or rest:
            raise damage or TableError(f"{source.name}: ends within a line")

    def group(self, line, where):
        try:
            text = line.decode()
        except UnicodeDecodeError:
            raise TableError(f"{where}: not UTF-8") from None
        group, _, tracks = text.partition(": ")
        if not tracks.endswith(".") or "\0" in text:
            raise TableError(f"{where}: not of the kind 'id: track track.'")
        return group, tracks[:-1].split()


@pytest.fixture(params=["file", "folder"])
def example(request, tmp_path):
    lines = [f"{group}: {' '.join(tracks)}.\n" for group, tracks in GROUPS]
    if request.param == "file":
        (tmp_path / "all.lines").write_text("".join(lines), "utf-8")
        return tmp_path / "all.lines"
    (tmp_path / "folder").mkdir()
    for number, line in enumerate(lines):
        (tmp_path / "folder" / f"{number}.lines").write_text(line, "utf-8")
    return tmp_path / "folder"


def test_a_reader_of_ones_own(example):
    check_reader(Lines(), example, GROUPS)
    check_reader(Lines(), example, GROUPS, Request("playlists"))


def first_damage_only(self, sources, request):
    for source in sources:
        for line in self.lines(source, request):
            yield self.group(line, source.name)


def swallows(self, sources, request):
    try:
        yield from Lines.read(self, sources, request)
    except TableError:
        return


def crashes(self, source, request):
    for line in source.read(request.advance).decode().splitlines():
        line.index(":")
        yield line.encode()


BROKEN = {
    "name": ({"name": "two words"}, "name: text without blanks"),
    "sniffs all": ({"sniff": lambda self, path: True}, "sniff: nothing is not recognised"),
    "not streaming": (
        {"read": lambda self, *given: list(Lines.read(self, *given))}, "read: streams",
    ),
    "odd id": ({"group": lambda self, *given: ("g", ["\udcff"])}, "ids: valid Unicode"),
    "other tracks": ({"group": lambda self, *given: ("7", ["a"])}, "read: the example holds"),
    "tells nothing": (
        {"read": lambda self, sources, request: Lines.read(
            self, sources, Request(damaged=request.damaged))},
        "advance: is told .* bytes in all, not 0",
    ),
    "swallows damage": ({"read": swallows}, "zero bytes: raises TableError, but nothing"),
    "raises another error": ({"lines": crashes}, "zero bytes: raises TableError, not ValueError"),
    "does not go on": ({"read": first_damage_only}, "zero bytes: request.damaged is told"),
}  # fmt: skip


@pytest.mark.parametrize("case", BROKEN)
def test_broken_readers(case, example):
    changes, clause = BROKEN[case]
    broken = type("Broken", (Lines,), changes)()
    with pytest.raises(ContractError, match=clause):
        check_reader(broken, example, GROUPS)
