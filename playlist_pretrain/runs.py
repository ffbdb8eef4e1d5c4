"""Run folders: what a run leaves behind, and when a folder may be used again."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import platform
import shutil
import subprocess
from collections.abc import Collection, Iterator, Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

from playlist_pretrain.errors import RunError, first_line
from playlist_pretrain.files import write_json
from playlist_pretrain.messages import as_given
from playlist_pretrain.storage import refuse_remote
from playlist_pretrain.training.recipes import option
from playlist_pretrain.version import __version__

RECIPE = "recipe.json"
ENVIRONMENT = "environment.json"
SUMMARY = "summary.json"
PACKAGES = ("tensorflow", "keras", "keras-cv", "numpy", "numba", "essentia-tensorflow")


def what_decides(recipe: Any, facts: Mapping[str, Any]) -> str:
    """What decides the result of a run, as text: equal where the results are."""
    given = dataclasses.asdict(recipe).items()
    settings = {name: value for name, value in given if name not in recipe.not_decisive}
    return json.dumps({"recipe": settings, "inputs": dict(facts)}, sort_keys=True)


class Run:
    """A folder under ``runs/`` (``docs/formats.md`` says what is in it).

    Parameters
    ----------
    path : str or Path
        The folder; it need not exist.

    Raises
    ------
    RunError
        For a URL: checkpoints and logs are written again and again.
    """

    def __init__(self, path: str | Path):
        refuse_remote(path, "train there, then copy what is to be kept", RunError)
        self.path = Path(path)
        self.checkpoints = self.path / "checkpoints"
        self.figures = self.path / "figures"
        self.tensorboard = self.path / "tensorboard"
        self.history = self.path / "history.csv"
        self.saved_model = self.path / "saved_model"

    @property
    def finished(self) -> bool:
        """Whether training, export and its check are done (the summary is written last)."""
        return (self.path / SUMMARY).exists() and (self.saved_model / "saved_model.pb").exists()

    @property
    def contents(self) -> list[Path]:
        """What a run writes, but for its recipe."""
        folders = [self.saved_model, self.checkpoints, self.figures, self.tensorboard]
        return [*folders, self.history]

    @property
    def summary(self) -> dict[str, Any]:
        """Results of a finished run."""
        file = self.path / SUMMARY
        try:
            return json.loads(file.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise RunError(f"{file}: damaged: {error}; remove it to have it made anew") from error

    def claim(self, recipe: Any, facts: Mapping[str, Any], *, overwrite: bool = False) -> bool:
        """Take the folder for a recipe: make it, or go on with it when the recipe is the same.

        Parameters
        ----------
        recipe : dataclass
            Settings of the run.
        facts : mapping
            What else decides the result (content keys of the inputs).
        overwrite : bool
            Start over instead of going on.

        Returns
        -------
        bool
            Whether there is something to go on with.

        Raises
        ------
        RunError
            If the folder holds another run (the message lists what differs) or is not a run
            folder at all.
        """
        self.check()
        recipe_file = self.path / RECIPE
        wanted = json.loads(json.dumps({"recipe": dataclasses.asdict(recipe), "inputs": facts}))
        if recipe_file.exists() and not overwrite:
            self._refuse_other(wanted, recipe.not_decisive)
            self._describe_environment()
            return True
        if recipe_file.exists():
            self._clear()
        self.path.mkdir(parents=True, exist_ok=True)
        write_json(recipe_file, {"version": __version__, "command": as_given(), **wanted})
        self._describe_environment()
        return False

    def _describe_environment(self) -> None:
        if not (self.path / ENVIRONMENT).exists():
            write_json(self.path / ENVIRONMENT, environment())

    def check(self) -> None:
        """Refuse a path that is neither free nor a run folder; touches nothing.

        Raises
        ------
        RunError
            If it is a file, or a folder with something else in it.
        """
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

    def _read_recipe(self) -> dict[str, dict]:
        file = self.path / RECIPE
        try:
            content = json.loads(file.read_text(encoding="utf-8"))
            return {part: dict(content[part]) for part in ("recipe", "inputs")}
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise RunError(
                f"{file}: not the recipe of a run ({error}); choose another --out"
            ) from error

    def _refuse_other(self, wanted: Mapping[str, Any], free: Collection[str]) -> None:
        found = self._read_recipe()
        odd = found["recipe"].keys() ^ wanted["recipe"].keys()
        if odd:
            raise RunError(
                f"{self.path / RECIPE}: written by another version; fields that differ: "
                f"{', '.join(sorted(odd))}; choose another --out, or --overwrite to start over"
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
                f"{self.path}: holds a run with another recipe ({'; '.join(differing)}); "
                "choose another --out, or --overwrite to start over"
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


def unfinished(model: Path) -> str | None:
    """Why a run has no model yet, and what goes on with it; None where there is no such run.

    Parameters
    ----------
    model : Path
        Run folder, or the folder of a model in it, that is no SavedModel.
    """
    for folder in (model, *model.parents[:2]):  # a fine-tuning has a folder for each of its runs
        if (folder / RECIPE).exists():
            break
    else:
        return None
    if (folder / SUMMARY).exists():
        return None
    try:
        command = json.loads((folder / RECIPE).read_text(encoding="utf-8"))["command"]
    except (OSError, ValueError, KeyError, TypeError):  # of another version, or damaged
        command = None
    given = f": {command}" if isinstance(command, str) else ""
    return f"the run {folder} is not finished; its command, given again, goes on{given}"


@contextlib.contextmanager
def tensorflow_errors(run: Run) -> Iterator[None]:
    """Turn what stops TensorFlow (a full disk, too little memory) into one message."""
    import tensorflow as tf

    try:
        yield
    except tf.errors.OpError as error:
        raise RunError(
            f"{run.path}: TensorFlow had to stop: {first_line(error)}; when that is mended, the "
            "same command goes on from the last checkpoint"
        ) from error


def environment() -> dict[str, Any]:
    """Versions, devices and git commit a run was made with."""
    import tensorflow as tf

    versions = {}
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
    here = Path(__file__).parent

    def git(*arguments: str) -> str:
        return subprocess.run(
            ["git", "-C", str(here), *arguments],
            capture_output=True, text=True, check=True, timeout=10,
        ).stdout.strip()  # fmt: skip

    try:
        git("ls-files", "--error-unmatch", __file__)  # a package installed inside another checkout
        changed = git("status", "--porcelain", "--untracked-files=no")
        return git("rev-parse", "HEAD") + ("+" if changed else "")
    except (OSError, subprocess.SubprocessError):
        return None
