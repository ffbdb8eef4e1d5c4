"""The folder ``.build`` in which a collection is made.

Everything is made in ``<collection>/.build`` and moved out at the very end, so a finished
collection stays whole until its successor is ready, and a build that was killed goes on where
it stopped.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
from pathlib import Path

from playlist_pretrain.errors import CollectionError
from playlist_pretrain.files import folder_lock
from playlist_pretrain.records import schema
from playlist_pretrain.records.plan import Plan
from playlist_pretrain.records.report import REPORT_FILE

LOCK_FILE = "lock"
_OWN_FILES = re.compile(r"mel-\d{5,}\.tfrecord|index-\d+\.npz")


class BuildFolder:
    """``<out>/.build``; see the module.

    Parameters
    ----------
    out : Path
        The collection's folder.

    Raises
    ------
    CollectionError
        ``out`` holds things and is not a collection.
    """

    def __init__(self, out: Path):
        self.out, self.path = out, out / ".build"
        if not out.exists():
            return
        if not out.is_dir():
            raise CollectionError(f"{out} is a file; a collection is a folder")
        held = sorted(os.listdir(out))
        if held and held != [".build"] and not self._is_ours():
            raise CollectionError(
                f"{out} is not a collection and not empty (it holds {held[0]!r}); choose another "
                "--out, or empty it yourself"
            )

    def _is_ours(self) -> bool:
        if (self.path / "plan.json").is_file():
            return True
        try:
            document = json.loads((self.out / schema.COLLECTION_FILE).read_text("utf-8"))
        except OSError:
            return False
        except ValueError:  # damaged: what lies beside it tells
            return any(map(_OWN_FILES.fullmatch, os.listdir(self.out)))
        return isinstance(document, dict) and document.get("type") == schema.TYPE

    @property
    def finished(self) -> bool:
        """Whether ``out`` holds a finished collection, new or old."""
        return (self.out / schema.COLLECTION_FILE).exists()

    def locked(self) -> contextlib.AbstractContextManager[None]:
        """Make the folder and keep other processes out of it.

        Raises
        ------
        CollectionError
            On entering, when another process has it.
        """
        return folder_lock(self.path, f"{self.out} is being built", LOCK_FILE, CollectionError)

    def prepare(self, plan: Plan, overwrite: bool) -> None:
        """Keep what an unfinished build with the same plan left; begin anew otherwise.

        Raises
        ------
        CollectionError
            An unfinished build with another plan, and no ``overwrite``.
        """
        if (self.path / "plan.json").exists():
            differences = plan.differences_from_build(self.path)
            if not differences:
                self.remove_temporaries()
                return
            if not overwrite:
                raise CollectionError(
                    f"{self.out} holds an unfinished build that differs: {'; '.join(differences)}. "
                    "Give the same settings to finish it, or --overwrite to begin anew"
                )
        self._clear()
        plan.save(self.path)

    def remove_temporaries(self, shard: str = "") -> None:
        """Remove half-written files, all or those of one shard."""
        for path in self.path.glob(f".{shard}*.tmp"):
            path.unlink(missing_ok=True)

    def move_out(self) -> None:
        """Put the finished collection in the place of the old one; may be called again.

        ``collection.json`` goes first if old and comes last if new, so at no time does it name
        a file that is not whole.
        """
        document = json.loads((self.path / schema.COLLECTION_FILE).read_text("utf-8"))
        (self.out / schema.COLLECTION_FILE).unlink(missing_ok=True)
        names = [shard["file"] for shard in document["shards"]] + [document["index"]["file"]]
        for name in [*names, REPORT_FILE]:
            if (self.path / name).exists():
                os.replace(self.path / name, self.out / name)
        for path in self.out.iterdir():
            if _OWN_FILES.fullmatch(path.name) and path.name not in names:
                path.unlink()
        os.replace(self.path / schema.COLLECTION_FILE, self.out / schema.COLLECTION_FILE)
        self.remove()

    def discard(self) -> None:
        """Remove the build, and the collection's folder if nothing else is in it."""
        self.remove()
        with contextlib.suppress(OSError):
            self.out.rmdir()

    def remove(self) -> None:
        """Remove the folder; the plan goes first, since without it nothing else counts."""
        (self.path / "plan.json").unlink(missing_ok=True)
        shutil.rmtree(self.path)

    def remove_leftover(self, plan: Plan) -> None:
        """Remove what a build with this plan left when it was killed after its last step."""
        if not self.path.is_dir():
            return
        unfinished = (self.path / "plan.json").exists()
        if not (unfinished and plan.differences_from_build(self.path)):
            with contextlib.suppress(CollectionError), self.locked():
                self.remove()

    def _clear(self) -> None:
        (self.path / "plan.json").unlink(missing_ok=True)
        for path in self.path.iterdir():
            if path.name != LOCK_FILE:
                path.unlink()
