"""Run folders: what a run leaves behind, and when its folder may be used again.

A folder holds the settings that made it and, written last, a summary: with the summary it is
finished, without it the same settings go on, and other settings are refused with what differs.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import platform
import re
import shlex
import shutil
import subprocess
from collections.abc import Collection, Iterator, Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

from playlist_pretrain.errors import RunError
from playlist_pretrain.files import load_json, named, whole, write_json
from playlist_pretrain.messages import as_given, option
from playlist_pretrain.storage import refuse_remote
from playlist_pretrain.version import __version__

RECIPE = "recipe.json"
ENVIRONMENT = "environment.json"
SUMMARY = "summary.json"
PACKAGES = ("keras", "tf-keras", "keras-cv", "numpy", "numba", "essentia-tensorflow")


def what_decides(recipe: Any, facts: Mapping[str, Any]) -> str:
    """Return what decides the result of a run as text, equal where the results are."""
    given = dataclasses.asdict(recipe).items()
    settings = {name: value for name, value in given if name not in recipe.not_decisive}
    return json.dumps({"recipe": settings, "inputs": dict(facts)}, sort_keys=True)


class Run:
    """A folder under ``runs/``, which need not exist (``docs/formats.md`` says what is in it).

    A URL is refused with RunError: checkpoints and logs are written again and again.
    """

    def __init__(self, path: str | Path):
        refuse_remote(path, "train there, then copy what is to be kept", RunError)
        self.path = Path(path)
        self.checkpoints = self.path / "checkpoints"
        self.figures = self.path / "figures"
        self.tensorboard = self.path / "tensorboard"
        self.history = self.path / "history.csv"
        self.saved_model = self.path / "saved_model"

    def __repr__(self) -> str:
        state = "not finished"
        if self.finished:
            numbers = {name: v for name, v in self.summary.items() if isinstance(v, int | float)}
            state = ", ".join(f"{name} {value:.4g}" for name, value in numbers.items())
        return f"{type(self).__name__}({str(self.path)!r}: {state or 'finished'})"

    @property
    def finished(self) -> bool:
        """Whether training, export and its check are done (the summary is written last)."""
        return (self.path / SUMMARY).exists() and (self.saved_model / "saved_model.pb").exists()

    @property
    def contents(self) -> list[Path]:
        """Files and folders that a run writes, without its recipe."""
        folders = [self.saved_model, self.checkpoints, self.figures, self.tensorboard]
        return [*folders, self.history]

    @property
    def summary(self) -> dict[str, Any]:
        """Results of a finished run."""
        with self.whole_summary():
            return load_json(self.path / SUMMARY)

    def whole_summary(self) -> contextlib.AbstractContextManager[None]:
        """Turn any error of the block, which takes the summary apart, into a RunError."""
        mend = "; remove it to have it made anew"
        return whole(self.path / SUMMARY, "summary", RunError, mend)

    def claim(self, recipe: Any, facts: Mapping[str, Any], *, overwrite: bool = False) -> bool:
        """Take the folder for a recipe: make it, or go on with it when the recipe is the same.

        Settings that the recipe calls ``not_decisive`` may differ; ``facts`` (content keys of the
        inputs) may not. Returns whether there is something to go on with, which there is not with
        ``overwrite``. Raises RunError if the folder holds another run (the message lists what
        differs), an unfinished run of another version, or is no run folder at all.
        """
        self.check()
        file = self.path / RECIPE
        wanted = json.loads(json.dumps({"recipe": dataclasses.asdict(recipe), "inputs": facts}))
        going_on = file.exists() and not overwrite
        if going_on:
            self._refuse_other(wanted, recipe.not_decisive)
        else:
            if file.exists():
                self._clear()
            write_json(file, {"version": __version__, "command": as_given(), **wanted})
        if not (self.path / ENVIRONMENT).exists():
            write_json(self.path / ENVIRONMENT, environment())
        return going_on

    def check(self) -> None:
        """Raise RunError for a path that is neither free nor a run folder; touches nothing."""
        if not self.path.exists():
            return
        if not self.path.is_dir():
            raise RunError(f"{self.path}: is a file, not a run folder; choose another --out")
        if (self.path / RECIPE).exists():
            self._read_recipe()
        # Hidden files are ours: the lock, and what a kill in the middle of writing left.
        elif any(not entry.name.startswith(".") for entry in self.path.iterdir()):
            raise RunError(
                f"{self.path}: not empty and not a run folder (no {RECIPE}); choose another --out"
            )

    def with_saved(self, given: Any, kinds: Mapping[str, type]) -> Any:
        """Fill the open settings of a recipe with those of the run in the folder, if there is one.

        So that what ``--preset auto`` has settled once is not settled anew, on other devices or by
        another version's rule. ``kinds`` are names and types of the settings that a preset fills
        in; another preset than that of the run fills in its own, and another model takes nothing
        over: :meth:`claim` refuses it. Returns the recipe.
        """
        if not (self.path / RECIPE).exists():
            return given
        saved = self._read_recipe()["recipe"]
        model = getattr(given, "model", None)
        if given.preset not in ("auto", saved.get("preset")) or (
            model is not None and list(model) != saved.get("model")
        ):
            return given
        filled = {name: saved.get(name) for name in kinds if getattr(given, name) is None}
        filled = {name: value for name, value in filled.items() if value is not None}
        with whole(self.path / RECIPE, "recipe of a run", RunError, "; choose another --out"):
            for name, value in filled.items():
                kind = kinds[name]
                if type(value) is not kind and (kind, type(value)) != (float, int):
                    raise ValueError(f"{name} {value!r}")
        return dataclasses.replace(given, **filled)

    def _read_recipe(self) -> dict[str, Any]:
        file = self.path / RECIPE
        with whole(file, "recipe of a run", RunError, "; choose another --out"):
            content = load_json(file)
            parts = {part: dict(content[part]) for part in ("recipe", "inputs")}
            return {**parts, "version": content.get("version")}

    def _refuse_other(self, wanted: Mapping[str, Any], free: Collection[str]) -> None:
        found = self._read_recipe()
        mend = "choose another --out, or --overwrite to start over"
        odd = (found["recipe"].keys() ^ wanted["recipe"].keys()) - set(free)
        if odd:
            raise RunError(
                f"{self.path / RECIPE}: written by another version; fields that differ: "
                f"{', '.join(sorted(odd))}; {mend}"
            )
        differing = [
            f"{option(name) if part == 'recipe' else name}: {found[part].get(name)} there, "
            f"{wanted[part].get(name)} now"
            for part in ("recipe", "inputs")
            for name in sorted(found[part].keys() | wanted[part].keys())
            if found[part].get(name) != wanted[part].get(name)
            and not (part == "recipe" and name in free)
        ]
        if differing:
            raise RunError(
                f"{self.path}: holds a run with another recipe ({'; '.join(differing)}); {mend}"
            )
        if found["version"] != __version__ and not self.finished:
            raise RunError(
                f"{self.path}: was begun by version {found['version']}, and this version, "
                f"{__version__}, does not go on with it; {mend}"
            )

    def _clear(self) -> None:
        """Remove what a run writes, nothing else; the recipe goes last, so a crash leaves a run."""
        (self.path / SUMMARY).unlink(missing_ok=True)
        last = [self.path / ENVIRONMENT, self.path / RECIPE]
        for path in [*self.contents, *self.path.glob(".*.tmp"), *last]:
            shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)

    def drop_checkpoints(self) -> None:
        """Remove the checkpoints of a finished run: gigabytes that nothing needs any more."""
        if self.checkpoints.exists():
            shutil.rmtree(self.checkpoints)

    def finish(self, summary: Mapping[str, Any]) -> None:
        """Write the summary, which marks the run as finished."""
        write_json(self.path / SUMMARY, summary)


@contextlib.contextmanager
def whole_folder(path: Path) -> Iterator[Path]:
    """Write a folder under a temporary name and rename it to ``path`` when the block succeeds.

    Yields the temporary folder, ``.NAME.tmp`` beside ``path``, which does not exist yet. A folder
    that was at ``path`` is replaced; a kill between the two renames leaves it as
    ``.NAME.replaced.tmp``, and the next call puts it back.
    """
    temporary = path.with_name(f".{path.name}.tmp")
    replaced = path.with_name(f".{path.name}.replaced.tmp")

    def tidy() -> None:
        if replaced.exists() and not path.exists():
            os.replace(replaced, path)
        for folder in (temporary, replaced):
            shutil.rmtree(folder, ignore_errors=True)

    tidy()
    try:
        with named(path, temporary):
            yield temporary
        if path.exists():
            os.replace(path, replaced)
        os.replace(temporary, path)
    finally:
        tidy()


def unfinished(model: Path) -> str | None:
    """Say why a run has no model yet, and how to go on with it; None where there is no such run.

    ``model`` is the run folder, or the folder of a model in it.
    """
    for folder in (model, *model.parents[:2]):  # a fine-tuning has a folder for each of its runs
        if (folder / RECIPE).exists():
            break
    else:
        return None
    if (folder / SUMMARY).exists():
        return None
    try:
        command = load_json(folder / RECIPE).get("command")
    except (OSError, ValueError):  # damaged
        command = None
    given = f": {command}" if isinstance(command, str) and _is_ours(command) else ""
    return f"the run {folder} is not finished; its command, given again, goes on{given}"


def _is_ours(command: str) -> bool:
    """True for a line that is one of our commands, in which a shell finds no other."""
    try:
        words = shlex.split(command)
    except ValueError:
        return False
    ours = r"(python scripts/\w+\.py|(python -m )?playlist[_-]pretrain \w+)( .*)?"
    return shlex.join(words) == command and re.fullmatch(ours, command, re.DOTALL) is not None


def environment() -> dict[str, Any]:
    """Describe versions, devices and git commit, for ``environment.json``."""
    import tensorflow as tf

    versions: dict[str, str | None] = {"tensorflow": tf.__version__}
    for package in PACKAGES:
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            versions[package] = None
    return {
        "playlist_pretrain": __version__,
        "git_commit": _git_commit(),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "packages": versions,
        "devices": [
            {"type": device.device_type, **tf.config.experimental.get_device_details(device)}
            if device.device_type == "GPU"
            else {"type": device.device_type}
            for device in tf.config.list_physical_devices()
        ],
    }


def _git_commit() -> str | None:
    """Commit of the checkout the package runs from, with '+' when files differ; None elsewhere."""

    def git(*arguments: str) -> str:
        return subprocess.run(
            ["git", "-C", str(Path(__file__).parent), *arguments],
            capture_output=True, text=True, check=True, timeout=10,
        ).stdout.strip()  # fmt: skip

    try:
        git("ls-files", "--error-unmatch", __file__)  # a package installed inside another checkout
        changed = git("status", "--porcelain", "--untracked-files=no")
        return git("rev-parse", "HEAD") + ("+" if changed else "")
    except (OSError, subprocess.SubprocessError):
        return None
