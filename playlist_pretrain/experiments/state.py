"""What is known of the cells of a plan: folders, and small files that outlive processes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from playlist_pretrain.errors import RunError
from playlist_pretrain.experiments.cells import WORLD, Cell
from playlist_pretrain.files import write_json

NOT_YET = "not done yet"
DONE, FAILED, LOG = "done.json", "failed.json", "log.txt"


class State:
    """A folder of results: ``cells/ID`` are run folders, ``state/ID`` say how they went.

    ``done.json`` holds what decided a cell, its seconds, bytes and counts; ``failed.json`` the
    message of the last failure; ``log.txt`` what the command said.
    """

    def __init__(self, out: str | Path):
        self.out = Path(out)

    def folder(self, cell: Cell | str) -> Path:
        """Run folder of a cell."""
        return self.out / "cells" / (cell if isinstance(cell, str) else cell.id)

    def notes(self, cell: Cell) -> Path:
        """Folder of what is known about a cell."""
        return self.out / "state" / cell.id

    def made(self, cell: Cell) -> Path:
        """Folder of what a cell makes: its run folder, or that of the collections of a world."""
        return Path(cell.spec["options"]["out"]) if cell.kind == WORLD else self.folder(cell)

    def done(self, cell: Cell) -> dict[str, Any] | None:
        """What is known of a cell that is done.

        Raises
        ------
        RunError
            If it was made with other settings than the plan has now, or the file is damaged.
        """
        file = self.notes(cell) / DONE
        found = _read(file)
        if found is None:
            return None
        wanted = json.loads(json.dumps(cell.spec))
        if found.get("spec") != wanted:
            differing = ", ".join(_differing(found.get("spec"), wanted))
            raise RunError(
                f"{self.folder(cell)}: was made with other settings than the plan has now "
                f"({differing}); choose another --out, or remove {self.notes(cell)} and that folder"
            )
        if cell.kind == WORLD:
            there = [self.made(cell) / part for part in ("demo", "demo-eval")]
            if not all((folder / "collection.json").exists() for folder in there):
                return None
        elif not self.folder(cell).is_dir():
            return None
        return found

    def failed(self, cell: Cell) -> str | None:
        """Why a cell failed the last time, if it did."""
        found = _read(self.notes(cell) / FAILED)
        return None if found is None else str(found.get("message"))

    def fail(self, cell: Cell, message: str) -> None:
        """Record a failure."""
        write_json(self.notes(cell) / FAILED, {"message": message})

    def forget_failure(self, cell: Cell) -> None:
        """Before it is tried again."""
        (self.notes(cell) / FAILED).unlink(missing_ok=True)

    def finish(self, cell: Cell, seconds: float, *, resumed: bool, counts: dict[str, Any]) -> None:
        """Record that a cell is done."""
        about = {"spec": cell.spec, "seconds": seconds, "resumed": resumed, "counts": counts}
        write_json(self.notes(cell) / DONE, {**about, "bytes": size_of(self.made(cell))})
        self.forget_failure(cell)


def size_of(folder: Path) -> int:
    """Bytes of all files below a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def _read(file: Path) -> dict[str, Any] | None:
    try:
        found = json.loads(file.read_text("utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise RunError(f"{file}: damaged: {error}; remove it") from error
    if not isinstance(found, dict):
        raise RunError(f"{file}: damaged: no JSON object; remove it")
    return found


def _differing(there: Any, wanted: Any, name: str = "") -> list[str]:
    """Names of what differs, with both values."""
    if isinstance(there, dict) and isinstance(wanted, dict):
        keys = sorted(there.keys() | wanted.keys())
        return [text for key in keys for text in _differing(there.get(key), wanted.get(key), key)]
    return [] if there == wanted else [f"{name}: {there} there, {wanted} now"]
