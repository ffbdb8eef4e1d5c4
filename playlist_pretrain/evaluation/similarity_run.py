"""The command ``similarity``: how often models agree with people about triplets."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from playlist_pretrain import cli
from playlist_pretrain.audio.decode import LONGEST_WHOLE
from playlist_pretrain.commands import command
from playlist_pretrain.errors import RecipeError, TableError, printable
from playlist_pretrain.evaluation.similarity_files import Results
from playlist_pretrain.evaluation.similarity_inputs import (
    UNTRAINED,
    TripletClips,
    trained,
    untrained,
    untrained_front_end,
)
from playlist_pretrain.evaluation.similarity_outcome import Outcome, Source
from playlist_pretrain.models.starting_points import label_of
from playlist_pretrain.recipes.finetuning import ESSENTIA, SCRATCH
from playlist_pretrain.recipes.recipe import (
    check_above_zero,
    check_at_least,
    check_choices,
    option,
)
from playlist_pretrain.storage import is_remote, location
from playlist_pretrain.tasks.dim_sim import read_triplets

if TYPE_CHECKING:
    from playlist_pretrain.records.collection import Collection

EXAMPLES = """
examples:
  python scripts/similarity.py --model runs/demo-playlist_co-vggish/saved_model mean-of-mel
  python scripts/similarity.py --model runs/mine/saved_model scratch --triplets clean-dim-sim.csv
      --audio previews
  python scripts/similarity.py --model runs/mine/saved_model discogs-effnet-bs64-1.pb
      --triplets triplets.csv --collection tfrecords/mine
"""
TRIPLETS = "triplets.csv"


@dataclass
class Similarity:
    """Judge models by triplets, as arXiv 2304.12257 does by dim-sim's: a triplet is right when the
    anchor is nearer to the positive than to the negative, in cosine distance between the mean
    embeddings of the clips' windows. Nothing is trained.
    """

    model: tuple[str, ...]
    """what gives embeddings, one or several, the first of which the others are compared with: a
    saved_model, the .pb of a model for Essentia, its .json beside it, scratch for random weights,
    mean-of-mel for the log-mel alone"""
    triplets: str | None = None
    """table with anchor, positive, negative, or with dim-sim's columns [the triplets.csv of the
    collection]"""
    audio: str | None = None
    """folder of audio files, each named by the id of its track"""
    collection: str | None = None
    """folder made by make_tfrecords, or its URL, in place of audio files [tfrecords/demo-eval,
    made when missing]"""
    cut: bool = False
    """--audio: the files are the excerpts already, named ID, or ID_START where the table names a
    track at several starts"""
    seconds: float | None = None
    """length of the excerpt from each start; a table without starts is about whole tracks [3]"""
    short: str = "repeat"
    """what fills the window of a clip that is shorter: repeat or pad"""
    partial: bool = False
    """leave out triplets of which a clip is missing or cannot be read, and count them"""
    front_end: str | None = None
    """scratch and mean-of-mel, with --audio: paper, musicnn, vggish or vggish-essentia [that of
    the other models; paper]"""
    backbone: str | None = None
    """scratch: vggish or resnet50 [vggish]"""
    width: float | None = None
    """scratch: scales the channels of VGGish [1.0]"""
    frames: int | None = None
    """scratch and mean-of-mel: frames of a window [the front end's own]"""
    seed: int = 0
    """of the intervals and of the weights of scratch"""
    out: str | None = None
    """folder for the results [runs/NAME-similarity-MODEL, NAME that of the audio folder or of the
    collection]"""
    overwrite: bool = False
    """replace results that are there"""
    quiet: bool = False
    """no progress and no results, only warnings"""

    def say(self, text: str) -> None:
        """Print, unless it is to be quiet."""
        if not self.quiet:
            print(text, flush=True)

    def check(self) -> None:
        """Refuse what no input can make right.

        Raises
        ------
        RecipeError
            With the option and the value.
        """
        check_choices(self, {"short": ("repeat", "pad")})
        check_above_zero(self, "seconds", "width")
        check_at_least(self, 1, "frames")
        if self.seconds is not None and self.seconds > LONGEST_WHOLE:
            raise RecipeError(f"--seconds {self.seconds}: at most {LONGEST_WHOLE}")
        if not 0 <= self.seed < 2**31:
            raise RecipeError(f"--seed {self.seed}: must be from 0 to 2^31 − 1")
        if not self.model:
            raise RecipeError("--model: names nothing; give a saved model")
        repeated = [name for name in dict.fromkeys(self.model) if self.model.count(name) > 1]
        if repeated:
            raise RecipeError(f"--model {repeated[0]}: named twice")
        if self.audio is not None and self.collection is not None:
            raise RecipeError("--audio and --collection: clips are read from one of them")
        if self.audio is not None and self.triplets is None:
            raise RecipeError("--audio: needs --triplets, the table that names the clips")
        self._refuse("with --audio", self.audio is None, "cut", "front_end")
        self._refuse("for files that are not --cut", self.cut, "seconds")
        untrained = any(name in UNTRAINED for name in self.model)
        names = " ".join(UNTRAINED)
        self._refuse(f"for --model {names}", not untrained, "front_end", "frames")
        self._refuse(f"for --model {SCRATCH}", SCRATCH not in self.model, "backbone", "width")
        self._refuse("for --backbone vggish", self.backbone not in (None, "vggish"), "width")

    def _refuse(self, what_for: str, refused: bool, *names: str) -> None:
        for name in names:
            value = getattr(self, name)
            if refused and value not in (None, False):
                shown = "" if value is True else f" {value}"
                raise RecipeError(f"{option(name)}{shown}: only {what_for}")

    @property
    def labels(self) -> list[str]:
        """Of the models, in tables; their whole names where these alone tell them apart."""
        labels = [label_of(name, self.backbone) for name in self.model]
        whole = zip(self.model, labels, strict=True)
        return [printable(n if labels.count(label) > 1 else label) for n, label in whole]


def similarity(options: Similarity) -> Outcome:
    """Judge the models that ``options`` name; what ``scripts/similarity.py`` does.

    Returns
    -------
    Outcome
        Written to the folder for results, and printed.

    Raises
    ------
    PlaylistPretrainError
        With the option, file, line or clip that has to be mended.
    """
    options.check()
    collection, source = _source(options)
    results = Results(options.out or Path("runs") / _name(options, source))
    results.check(overwrite=options.overwrite)
    triplets = read_triplets(options.triplets or _own_triplets(collection))
    if options.seconds is not None and not triplets.has_starts:
        raise TableError(f"{triplets.path}: has no starts, so --seconds cuts nothing out")
    options.say(f"{triplets.path}: {len(triplets):,} triplets of {len(triplets.clips):,} clips")
    embedders = {name: trained(name, collection) for name in options.model if name not in UNTRAINED}
    with tempfile.TemporaryDirectory(prefix="clips-") as folder:
        reader = TripletClips(options, triplets, results, Path(folder))
        if collection is None:
            end = untrained_front_end(options, embedders)
            reader.read_audio([*(e.front_end for e in embedders.values()), *end])
        else:
            reader.read_collection(collection)
            end = [collection.front_end]
        for name in options.model:
            if name in UNTRAINED:
                embedders[name] = untrained(name, options, reader.mels_of(end[0]), collection)
        judged = [
            reader.judge(embedders[name], name, label)
            for name, label in zip(options.model, options.labels, strict=True)
        ]
    outcome = Outcome(
        asked=triplets,
        used=reader.triplets,
        source=source,
        seconds=reader.excerpt_seconds,
        short=options.short,
        seed=options.seed,
        models=judged,
    )
    results.write(outcome, keep_missing=bool(reader.lacking))
    for line in outcome.lines():
        options.say(line)
    options.say(f"results: {results.path}: {', '.join(results.names)}")
    options.say(f"next: {_next(options, source)}")
    return outcome


def _source(options: Similarity) -> tuple[Collection | None, Source]:
    """The collection, unless clips are audio files, and what there is to say of it."""
    from playlist_pretrain.demo import DEMO_COLLECTION, ready_demo
    from playlist_pretrain.records.collection import Collection

    if options.audio is not None:
        return None, Source(
            "audio", options.audio, os.path.basename(os.path.abspath(options.audio)), options.cut
        )
    if options.collection is None:
        path = ready_demo(options.say, quiet=options.quiet)
        path = path.with_name(f"{DEMO_COLLECTION.name}-eval")
    else:
        path = location(options.collection)
    collection = Collection.open(path)
    return collection, Source("collection", str(path), collection.name, False)


def _own_triplets(collection: Collection) -> Path:
    path = collection.path / TRIPLETS
    if not path.is_file() or is_remote(path):
        raise TableError(
            f"{collection.path}: no {TRIPLETS} that can be read; --triplets FILE names a table"
        )
    return path  # type: ignore[return-value]


def _name(options: Similarity, source: Source) -> str:
    more = f"+{len(options.model) - 1}" if len(options.model) > 1 else ""
    return f"{source.name}-similarity-{label_of(options.model[0], options.backbone)}{more}"


def _next(options: Similarity, source: Source) -> str:
    known = [name for name in options.model if name not in UNTRAINED]
    if not known:
        return "the same command with a --model that was trained, such as runs/NAME/saved_model"
    if len(known) == len(options.model):
        return (
            f"the same command with {' '.join(UNTRAINED)} after --model: what a model that knows "
            "nothing comes to"
        )
    words = ["--model", known[0], *(["--freeze"] if known[0].endswith(ESSENTIA) else [])]
    if source.kind == "collection":
        words += ["--collection", source.path]
    return f"{command('finetune', *words)} judges it by tags"


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; the exit code."""
    return cli.run(Similarity, similarity, prog="similarity.py", epilog=EXAMPLES, argv=argv)
