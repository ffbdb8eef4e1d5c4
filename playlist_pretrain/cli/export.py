"""The command ``export``: a model as a package that runs elsewhere, and was run there."""

from __future__ import annotations

import dataclasses
import datetime
import math
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from playlist_pretrain.cli import command_line
from playlist_pretrain.errors import AudioError, FrontEndError, ModelError, RecipeError
from playlist_pretrain.runs import Run

if TYPE_CHECKING:
    from playlist_pretrain.audio.front_end import FrontEnd
    from playlist_pretrain.export.package import ModelInfo
    from playlist_pretrain.models.load import LoadedModel

EXAMPLES = """
examples:
  python scripts/export.py --model runs/demo-playlist_co-vggish/saved_model --name demo-vggish
  python scripts/export.py --model runs/mine/run-1/saved_model --name my-tags --audio song.mp3
      --target essentia,serving --author "A. Person" --email a@example.org --licence "CC BY 4.0"
"""
TARGETS = ("serving", "essentia")
"""In the order in which they are made: what the quick ones refuse need not wait."""
METRICS = ("roc_auc", "average_precision")
"""Of a run of finetune.py that go into the description."""


@dataclass
class Export:
    """Write a model as a package that runs elsewhere. For Essentia: a frozen graph, the same as a
    SavedModel, and the description that Essentia's models have, run in the installed Essentia on
    windows and on a file. For TensorFlow Serving: a folder to serve, with warm-up and clients,
    asked by the messages of its protocol. A package appears only if it gives there what the model
    gives here.
    """

    model: str
    """a saved_model of pretrain or finetune"""
    name: str
    """of the package: letters, digits and . _ -"""
    target: str = "essentia"
    """what it is to run in: essentia, serving, or both with commas between"""
    out: str = "exports"
    """folder, in which TARGET/NAME/ is made"""
    audio: str | None = None
    """file to check the package for Essentia on, longer than a window [20 s that are made up]"""
    front_end: str | None = None
    """vggish-essentia, in the package for Essentia: for a model that was trained with vggish, whose
    log-mels Essentia does not make; says how far embeddings move"""
    description: str | None = None
    """what the model is, in a sentence; the kind of its input is added"""
    author: str | None = None
    """of the model"""
    email: str | None = None
    """of the author"""
    link: str | None = None
    """where the model is to be found"""
    model_version: str = "1"
    """of the model; on a server a whole number"""
    release_date: str | None = None
    """YYYY-MM-DD [today]"""
    citation: str | None = None
    """of the model [the paper of the method, arXiv 2304.12257]"""
    dataset: str | None = None
    """that it was trained on [the name of the collection]"""
    dataset_citation: str | None = None
    """of the dataset [that of the task, where it has one]"""
    dataset_size: str | None = None
    """of the dataset, in words"""
    licence: str | None = None
    """of the model, for its card"""
    overwrite: bool = False
    """replace a package that is there"""
    quiet: bool = False
    """print nothing"""

    def say(self, text: str) -> None:
        """Print, unless it is to be quiet."""
        if not self.quiet:
            print(text, flush=True)


def export(options: Export) -> None:
    """Export the model that ``options`` name; what ``scripts/export.py`` does.

    Raises
    ------
    PlaylistPretrainError
        With the option or the file that has to be mended, or why the package does not run.
    """
    targets = _targets(options)
    from playlist_pretrain.export.package import check_name
    from playlist_pretrain.models.load import load_model

    check_name(options.name)
    saved = load_model(options.model)
    about, front_end = _about(options, saved), _front_end(options, saved)
    out = Path(options.out)
    _check_places(options, saved, targets, front_end)
    if "serving" in targets:
        _serving(options, saved, out / "serving", about)
    if "essentia" in targets:
        _essentia(options, saved, out / "essentia", about, front_end)


def _targets(options: Export) -> list[str]:
    targets = [name.strip() for name in options.target.split(",")]
    for name in targets:
        if name not in TARGETS or targets.count(name) > 1:
            raise RecipeError(
                f"--target {options.target}: {name!r} twice"
                if name in TARGETS
                else f"--target {options.target}: there is {', '.join(TARGETS)}"
            )
    only = {"--audio": options.audio, "--front-end": options.front_end}
    for name, value in only.items():
        if value is not None and "essentia" not in targets:
            raise RecipeError(f"{name} is for --target essentia, not for {options.target}")
    return targets


def _check_places(
    options: Export, saved: LoadedModel, targets: list[str], front_end: FrontEnd | None
) -> None:
    """Refuse before the first package what would be refused before the last."""
    from playlist_pretrain.export.essentia_code import essentia_algorithm
    from playlist_pretrain.export.package import check_place
    from playlist_pretrain.storage import refuse_remote

    refuse_remote(options.out, "export to a folder here, then copy it", ModelError)
    for target in targets:
        check_place(Path(options.out) / target / options.name, overwrite=options.overwrite)
    if "essentia" in targets:
        essentia_algorithm(front_end or saved.front_end)
        if options.audio and not Path(options.audio).is_file():
            raise AudioError(f"{options.audio}: cannot be opened: no such file")


def _essentia(
    options: Export, saved: LoadedModel, out: Path, about: ModelInfo, front_end: FrontEnd | None
) -> None:
    from playlist_pretrain.export.essentia import export_essentia

    files = export_essentia(
        saved,
        options.name,
        out,
        about,
        audio=options.audio,
        front_end=front_end,
        overwrite=options.overwrite,
    )
    for line in files.parity.lines:
        options.say(line)
    options.say(
        f"{files.folder}: {files.graph.name}, the same graph as a SavedModel in "
        f"{files.saved_model.name}/, {files.description.name}, {files.card.name}, and "
        f"{files.script.name}, the code that was run:\n"
    )
    options.say(files.code)
    options.say(f"next: python {shlex.quote(str(files.folder / files.script.name))} FILE")


def _serving(options: Export, saved: LoadedModel, out: Path, about: ModelInfo) -> None:
    from playlist_pretrain.export.serving import GRPC, REST, export_serving

    files = export_serving(saved, options.name, out, about, overwrite=options.overwrite)
    for line in files.lines:
        options.say(line)
    options.say(
        f"{files.folder}: the SavedModel with its warm-up requests in {files.saved_model.name}/, "
        f"and {', '.join(sorted({p.name for p in files.folder.iterdir() if p.is_file()}))}"
    )
    options.say(f"next: cd {shlex.quote(str(out))} && {files.command}")
    options.say(f"then: python {shlex.quote(str(files.folder / REST))} FILE (or {GRPC})")


def _about(options: Export, saved: LoadedModel) -> ModelInfo:
    from playlist_pretrain.export.package import ModelInfo

    known = saved.about
    if options.release_date is not None:
        try:
            datetime.date.fromisoformat(options.release_date)
        except ValueError:
            raise RecipeError(f"--release-date {options.release_date!r}: not YYYY-MM-DD") from None
    recipe = known.get("recipe")
    given: dict[str, Any] = {
        "description": options.description,
        "author": options.author,
        "email": options.email,
        "link": options.link,
        "release_date": options.release_date,
        "citation": options.citation,
        "dataset": options.dataset or known.get("collection"),
        "dataset_citation": options.dataset_citation or known.get("citation"),
        "dataset_size": options.dataset_size,
        "licence": options.licence,
        "recipe": recipe if isinstance(recipe, dict) else None,
    }
    return ModelInfo(
        version=options.model_version,
        metrics=_metrics(saved),
        **{name: value for name, value in given.items() if value},
    )


def _metrics(saved: LoadedModel) -> dict[str, float]:
    """What the run that a tagger lies in has measured on its test tracks."""
    run = Run(saved.path.parent)
    if not run.finished:
        return {}
    summary = run.summary
    found = {name: summary.get(name) for name in METRICS}
    # A split without positives of any class has measured nothing.
    return {name: x for name, x in found.items() if isinstance(x, float) and math.isfinite(x)}


def _front_end(options: Export, saved: LoadedModel) -> FrontEnd | None:
    """The one that takes the place of the model's."""
    from playlist_pretrain.audio.front_end import PRESETS

    if options.front_end is None or options.front_end == saved.front_end.name:
        return None
    if (saved.front_end.name, options.front_end) != ("vggish", "vggish-essentia"):
        raise FrontEndError(
            f"--front-end {options.front_end}: only vggish-essentia takes the place of another, of "
            f"vggish; {options.model} was trained with {saved.front_end.name!r}"
        )
    quality = saved.front_end.resample_quality
    return dataclasses.replace(PRESETS[options.front_end], resample_quality=quality)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; the exit code."""
    return command_line.run(Export, export, prog="export.py", epilog=EXAMPLES, argv=argv)
