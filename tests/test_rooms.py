"""Imports go one way: a room knows itself and those before it in docs/design.md, in any line.

Every import statement counts, also inside functions and for type checking, and every string that
is the name of a module, as registries and ``importlib`` take them.
"""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "playlist_pretrain"
TABLE = (ROOT / "docs" / "design.md").read_text("utf-8").partition("## Rooms")[2]
ROOMS = re.findall(r"^\| `(\w+)` \|", TABLE.partition("\n## ")[0], re.M)
"""In the order of the table: single modules first, then folders."""
KNOW_DEMO = {"demo", "experiments", "cli"}


def module_of(path):
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_of(path): path for path in sorted(PACKAGE.rglob("*.py"))}


def known_to(module):
    """``(line, module)`` of whatever a module names of the package."""
    path = MODULES[module]
    package = module if path.stem == "__init__" else module.rpartition(".")[0]
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parts = package.split(".")[: len(package.split(".")) + 1 - node.level]
                base = ".".join([*parts, *filter(None, [node.module])])
            if base.split(".")[0] == "playlist_pretrain":
                for name in node.names:
                    whole = f"{base}.{name.name}"
                    yield node.lineno, whole if whole in MODULES else base
        elif isinstance(node, ast.Import):
            for name in node.names:
                if name.name.split(".")[0] == "playlist_pretrain":
                    yield node.lineno, name.name
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            name = node.value.partition(":")[0]
            if name in MODULES and "." in name:
                yield node.lineno, name


EDGES = {
    module: {(line, to) for line, to in known_to(module) if to != module} for module in MODULES
}


def room_of(module):
    """The first part of its name; what is run as a program is a command."""
    return "cli" if module.endswith(".__main__") else [*module.split("."), ""][1]


def test_every_folder_and_module_is_a_room():
    there = {path.stem for path in PACKAGE.glob("*.py")} - {"__init__", "__main__"}
    there |= {path.parent.name for path in PACKAGE.glob("*/__init__.py")}
    assert set(ROOMS) == there and len(ROOMS) == len(there)


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_knows_only_those_before_it(room):
    allowed = set(ROOMS[: ROOMS.index(room) + 1])
    if room not in KNOW_DEMO:
        allowed -= {"demo"}
    wrong = [
        f"{module}:{line} knows {to}"
        for module in MODULES
        if room_of(module) == room
        for line, to in sorted(EDGES[module])
        if room_of(to) not in allowed
    ]
    assert not wrong, "\n".join(wrong)


def test_no_modules_know_each_other_in_a_circle():
    """Modules that know, or are known to, none of those left are taken away: circles stay."""
    left = {module: {to for _, to in edges} for module, edges in EDGES.items()}
    while True:
        known = set().union(*left.values())
        ends = [module for module in left if module not in known or not left[module] & left.keys()]
        if not ends:
            break
        for module in ends:
            del left[module]
    assert not left, "\n".join(f"{m} -> {sorted(to & left.keys())}" for m, to in left.items())


IMPORT_ESSENTIA = {
    "playlist_pretrain/audio/decode.py",
    "playlist_pretrain/export/essentia_check.py",
    "tests/essentia_reference.py",
    *(f"benchmarks/{name}.py" for name in ("_engines", "embed", "front_end")),
}
"""Files that import Essentia, each to run it in a process of its own."""


def test_essentia_is_imported_in_processes_of_its_own_alone():
    """Its TensorFlow ends a process that has another one."""
    folders = [PACKAGE, ROOT / "tests", ROOT / "benchmarks", ROOT / "scripts"]
    found = set()
    for path in sorted(path for folder in folders for path in folder.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            imported = []
            if isinstance(node, ast.Import):
                imported = [name.name for name in node.names]
            elif isinstance(node, ast.ImportFrom) and not node.level:
                imported = [node.module]
            elif isinstance(node, ast.Call) and "import_module" in ast.unparse(node.func):
                imported = [ast.unparse(node.args[0]).lstrip("f").strip("\"'")]
            if any(name.split(".")[0] == "essentia" for name in imported):
                where = str(path.relative_to(ROOT))
                assert node.col_offset, f"{where}:{node.lineno} is run by whoever imports it"
                found.add(where)
    assert found == IMPORT_ESSENTIA
