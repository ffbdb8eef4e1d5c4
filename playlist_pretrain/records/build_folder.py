"""The folder ``.build`` in which a collection is made.

Everything is made in ``<collection>/.build`` and moved out at the very end, so a finished
collection stays whole until its successor is ready, and a build that was killed goes on where
it stopped.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from pathlib import Path

from playlist_pretrain.errors import CollectionError
from playlist_pretrain.files import folder_lock
from playlist_pretrain.records import schema
from playlist_pretrain.records.description import own_files
from playlist_pretrain.records.listing import generation, sources_name
from playlist_pretrain.records.plan import Plan
from playlist_pretrain.records.report import REPORT_FILE
from playlist_pretrain.storage import refuse_remote

LOCK_FILE = "lock"


class BuildFolder:
    """``<out>/.build``; see the module.

    Parameters
    ----------
    out : Path
        The collection's folder.

    Raises
    ------
    CollectionError
        ``out`` holds things and is not a collection, or is a URL.
    """

    def __init__(self, out: Path):
        refuse_remote(out, "build there, then copy it: aws s3 cp --recursive DIR s3://BUCKET/DIR")
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
            return bool(own_files(self.out))
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

        Files of an addition have names of their own, and ``collection.json`` is replaced when
        they are there: at every moment the collection is either the old or the new one. Files of
        another build have the names of the old one's, so ``collection.json`` goes first and comes
        last: at no time does it name a file that is not whole.
        """
        document = json.loads((self.path / schema.COLLECTION_FILE).read_text("utf-8"))
        if "addition_to" not in self._plan():
            (self.out / schema.COLLECTION_FILE).unlink(missing_ok=True)
        for name in [*_names(document), REPORT_FILE]:
            if (self.path / name).exists():
                os.replace(self.path / name, self.out / name)
        os.replace(self.path / schema.COLLECTION_FILE, self.out / schema.COLLECTION_FILE)
        self._remove_replaced()
        self.remove()

    def _remove_replaced(self) -> None:
        """Remove what earlier states of the collection left, and only its own files."""
        document = json.loads((self.out / schema.COLLECTION_FILE).read_text("utf-8"))
        names = _names(document)
        for name in sorted(set(own_files(self.out)).difference(names)):
            (self.out / name).unlink()

    def _plan(self) -> dict:
        try:
            plan = json.loads((self.path / "plan.json").read_text("utf-8"))
        except (OSError, ValueError):
            return {}
        return plan if isinstance(plan, dict) else {}

    def unfinished_addition(self) -> list[str] | None:
        """Listing of an addition that was begun, None when there is none."""
        if "addition_to" not in self._plan():
            return None
        try:
            return (self.path / "listing.jsonl").read_text("ascii").splitlines(keepends=True)
        except (OSError, ValueError):
            return []

    def discard(self) -> None:
        """Remove the build, and the collection's folder if nothing else is in it."""
        self.remove()
        with contextlib.suppress(OSError):
            self.out.rmdir()

    def remove(self) -> None:
        """Remove the folder; the plan goes first, since without it nothing else counts."""
        (self.path / "plan.json").unlink(missing_ok=True)
        shutil.rmtree(self.path)

    def clean_up(self, plan: Plan, content_key: str) -> None:
        """Finish what was killed in its last steps; ``out`` holds a finished collection.

        Parameters
        ----------
        plan : Plan
            Of the call: a build with this plan has nothing left to do.
        content_key : str
            Of the collection.
        """
        if not self.path.is_dir():
            return
        with contextlib.suppress(CollectionError), self.locked():
            there = self._plan().get("addition_to")
            if there == content_key:
                if (self.path / schema.COLLECTION_FILE).exists():
                    self.move_out()
            elif there is not None or not (
                (self.path / "plan.json").exists() and plan.differences_from_build(self.path)
            ):
                self._remove_replaced()
                self.remove()

    def _clear(self) -> None:
        (self.path / "plan.json").unlink(missing_ok=True)
        for path in self.path.iterdir():
            if path.name != LOCK_FILE:
                path.unlink()


def _names(document: dict) -> list[str]:
    """Files of the collection that ``collection.json`` describes, without that."""
    shards = [shard["file"] for shard in document["shards"]]
    return [*shards, document["index"]["file"], sources_name(generation(document))]
