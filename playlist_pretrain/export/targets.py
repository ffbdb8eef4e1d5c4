"""Export of a model for one or several other programs."""

from __future__ import annotations

import dataclasses
import datetime
import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from playlist_pretrain.audio.front_end import PRESETS
from playlist_pretrain.errors import FrontEndError, ModelError, RecipeError
from playlist_pretrain.evaluation.bootstrap import METRICS
from playlist_pretrain.export import essentia, serving
from playlist_pretrain.export.package import (
    Job,
    ModelInfo,
    Package,
    check_place,
    write_package,
)
from playlist_pretrain.files import half_there, together
from playlist_pretrain.models.load import LoadedModel, load_model
from playlist_pretrain.runs import Run
from playlist_pretrain.storage import refuse_remote

if TYPE_CHECKING:
    from playlist_pretrain.audio.front_end import FrontEnd

TARGETS = {"serving": serving, "essentia": essentia}
"""Name of a target to its module (see :func:`.write_package`), in the order in which they are
made: a refusal of the quick ones need not wait."""


def export(model: str | Path | LoadedModel, target: str, name: str, **settings: Any) -> Package:
    """Export a model as a package for another program (``essentia``, ``serving``), checked there.

    >>> package = export("runs/mine/saved_model", "essentia", "mine-1", author="A. Person")
    >>> package.folder  # exports/essentia/mine-1

    Arguments are those of :func:`export_all`, for one target.
    """
    return export_all(model, [target], name, **settings)[0]


def export_all(
    model: str | Path | LoadedModel,
    targets: Sequence[str],
    name: str,
    *,
    out: str | Path = "exports",
    audio: str | Path | None = None,
    front_end: str | None = None,
    trust_model: bool = False,
    overwrite: bool = False,
    **about: Any,
) -> list[Package]:
    """Export a model for several programs; each package appears whole or not at all.

    Parameters
    ----------
    model : str, Path or LoadedModel
        A ``saved_model`` of a run.
    targets : sequence of str
        Of :data:`TARGETS`.
    name : str
        Of the packages: letters, digits and . _ -
    out : str or Path
        Folder in which ``TARGET/NAME/`` is made.
    audio : str or Path, optional
        File to check the package for Essentia on, longer than a window [20 s that are made up].
    front_end : str, optional
        ``vggish-essentia``, for Essentia and a model trained with ``vggish``, whose log-mels
        Essentia does not make; how far embeddings move is measured.
    trust_model : bool
        See :func:`~playlist_pretrain.models.load.load_model`.
    overwrite : bool
        Replace packages that are there.
    **about
        Fields of :class:`~playlist_pretrain.export.package.ModelInfo`; where the model's run
        knows dataset, citation, metrics and recipe, these are the default.

    Raises
    ------
    ModelError, FrontEndError, AudioError, RecipeError
        For an argument that is wrong, a model that cannot be loaded, or a package that does not run
        as the model does; where several are made, before the first one if possible.
    """
    targets = [target.strip() for target in targets]
    for target in targets:
        if target not in TARGETS:
            raise RecipeError(f"--target {','.join(targets)}: there is {', '.join(TARGETS)}")
        if targets.count(target) > 1:
            raise RecipeError(f"--target {','.join(targets)}: {target!r} twice")
    for option, value in {"--audio": audio, "--front-end": front_end}.items():
        if value is not None and "essentia" not in targets:
            raise RecipeError(f"{option} is for --target essentia, not for {','.join(targets)}")
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}", name):
        raise ModelError(
            f"--name {name!r}: letters, digits and . _ - (the first a letter or digit), at most 100"
        )
    refuse_remote(out, "export to a folder here, then copy it", ModelError)
    loaded = model if isinstance(model, LoadedModel) else load_model(model, trust=trust_model)
    info, used = model_info(loaded, **about), loaded.front_end
    replaced = used if front_end is None else _replacement(loaded, front_end)
    jobs = {
        target: Job(loaded, name, info, replaced, audio)
        if target == "essentia"
        else Job(loaded, name, info, used)
        for target in TARGETS
        if target in targets
    }
    bands = loaded.model.input_shape[-1]
    places = [Path(out) / target / name for target in jobs]
    half = half_there(places)
    for target, job in jobs.items():
        if bands != job.front_end.bands:
            raise FrontEndError(
                f"{loaded.path}: takes {bands} bands, {job.front_end.name!r} makes "
                f"{job.front_end.bands}"
            )
        TARGETS[target].check(job)
        check_place(Path(out) / target / name, overwrite=overwrite or half)
    with together(places, overwrite=overwrite):
        return [
            write_package(TARGETS[target], job, Path(out) / target, overwrite=overwrite or half)
            for target, job in jobs.items()
        ]


def model_info(loaded: LoadedModel, **about: Any) -> ModelInfo:
    """Combine given facts about a model with those that it and its run know."""
    if (date := about.get("release_date")) is not None:
        try:
            datetime.date.fromisoformat(date)
        except ValueError:
            raise RecipeError(f"--release-date {date!r}: not YYYY-MM-DD") from None
    recipe = loaded.about.get("recipe")
    known = {
        "dataset": loaded.about.get("collection"),
        "dataset_citation": loaded.about.get("citation"),
        "recipe": recipe if isinstance(recipe, dict) else None,
        "metrics": _metrics(loaded),
    }
    given = {field: value for field, value in about.items() if value}
    return ModelInfo(**{field: value for field, value in known.items() if value} | given)


def _metrics(loaded: LoadedModel) -> dict[str, float]:
    """Return the test metrics of the run that a tagger lies in."""
    run = Run(loaded.path.parent) if loaded.path is not None else None
    if run is None or not run.finished:
        return {}
    found = {name: run.summary.get(name) for name in METRICS}
    # A split without positives of any class has measured nothing.
    return {name: x for name, x in found.items() if isinstance(x, float) and math.isfinite(x)}


def _replacement(loaded: LoadedModel, name: str) -> FrontEnd:
    """Return the front end that takes the place of the model's."""
    own = loaded.front_end
    if name == own.name:
        return own
    if (own.name, name) != ("vggish", "vggish-essentia"):
        raise FrontEndError(
            f"--front-end {name}: only vggish-essentia takes the place of another, of "
            f"vggish; {loaded.path} was trained with {own.name!r}"
        )
    return dataclasses.replace(PRESETS[name], resample_quality=own.resample_quality)
