"""Packages that appear whole or not at all, and never in the place of something else."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from playlist_pretrain.errors import ModelError
from playlist_pretrain.files import folder_lock


def check_place(final: Path, *, overwrite: bool) -> None:
    """Refuse a place that is taken; what is no package is never replaced."""
    if not os.path.lexists(final):
        return
    if final.is_symlink() or not (final / f"{final.name}.json").is_file():
        raise ModelError(f"{final}: is there already and is no package; take another --name")
    if not overwrite:
        raise ModelError(f"{final}: is there already; --overwrite replaces it")


@contextlib.contextmanager
def staged(out: Path, name: str, *, overwrite: bool) -> Iterator[tuple[Path, Path]]:
    """Two empty folders, the first of which becomes ``out/name`` if nothing goes wrong."""
    final, replaced = out / name, out / f".{name}.replaced.tmp"
    staging = out / f".{name}.tmp"
    made = [folder for folder in (out, *out.parents) if not folder.exists()]
    try:
        with folder_lock(out, f"{final}: exported", f".{name}.lock", ModelError):
            try:
                if replaced.exists() and not final.exists():  # killed between the two renames
                    os.replace(replaced, final)
                check_place(final, overwrite=overwrite)
                shutil.rmtree(staging, ignore_errors=True)
                shutil.rmtree(replaced, ignore_errors=True)
                package = staging / "package"
                package.mkdir(parents=True)
                # A name of its own: the check of an export that was killed may still be running.
                yield package, Path(tempfile.mkdtemp(prefix="check-", dir=staging))
                if os.path.lexists(final):
                    os.replace(final, replaced)
                os.replace(package, final)
                shutil.rmtree(replaced, ignore_errors=True)
            finally:
                shutil.rmtree(staging, ignore_errors=True)
                (out / f".{name}.lock").unlink(missing_ok=True)
    except BaseException:
        with contextlib.suppress(OSError):
            for folder in made:
                folder.rmdir()
        raise
