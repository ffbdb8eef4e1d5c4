"""What ``similarity`` reads: its models, and the mels of its clips.

What judging by triplets comes to: its tables, for people and for programs.

The files that judging by triplets leaves.

The command ``similarity``: how often models agree with people about triplets.
"""

from __future__ import annotations

import csv
import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from playlist_pretrain.audio.decode import LONGEST_WHOLE
from playlist_pretrain.cli import command_line
from playlist_pretrain.errors import (
    AudioError,
    CollectionError,
    FrontEndError,
    ModelError,
    RecipeError,
    RunError,
    TableError,
    printable,
)
from playlist_pretrain.evaluation.bootstrap import mean_intervals
from playlist_pretrain.evaluation.triplets import (
    RESAMPLES,
    PairedDifference,
    TripletResult,
    agreement_bins,
    paired_difference,
)
from playlist_pretrain.files import atomic_write, write_json
from playlist_pretrain.messages import command
from playlist_pretrain.models.load import MEAN_OF_MEL, Untrained, label_of, load_embedder
from playlist_pretrain.storage import is_remote, location, refuse_remote
from playlist_pretrain.tasks.triplets import CITATION, ROLES, START, Triplets, read_triplets
from playlist_pretrain.training.recipes import (
    ESSENTIA,
    SCRATCH,
    check_above_zero,
    check_at_least,
    check_choices,
    option,
)
from playlist_pretrain.version import __version__

if TYPE_CHECKING:
    from playlist_pretrain.audio.front_end import FrontEnd
    from playlist_pretrain.models.load import LoadedModel
    from playlist_pretrain.records.collection import Collection
    from playlist_pretrain.retrieval.clips import ClipMels

UNTRAINED = (SCRATCH, MEAN_OF_MEL)
SECONDS = 3.0


class TripletClips:
    """The mels of a command's clips, and the triplets that have all of theirs.

    Parameters
    ----------
    options : Similarity
    triplets : Triplets
        Of the table.
    results : Results
        Gets the list of clips that cannot be had.
    folder : Path
        Empty; to be kept as long as mels are read.

    Attributes
    ----------
    asked, triplets : Triplets
        Of the table, and those of them that have all their clips.
    lacking : dict of int to str
        Clips that cannot be had, and why.
    """

    def __init__(self, options: Similarity, triplets: Triplets, results: Results, folder: Path):
        self.options, self.asked, self.results, self.folder = options, triplets, results, folder
        self.triplets = triplets
        self.lacking: dict[int, str] = {}
        self._mels: list[ClipMels] = []
        self._seconds = options.seconds or SECONDS

    @property
    def excerpt_seconds(self) -> float | None:
        """None where clips are whole tracks or whole files."""
        return self._seconds if self.asked.has_starts and not self.options.cut else None

    def read_collection(self, collection: Collection) -> None:
        """Find the clips in a collection.

        Raises
        ------
        CollectionError
            Some are not there and there is no ``--partial``, or no triplet has all of its clips.
        """
        from playlist_pretrain.retrieval.clips import clips_of_collection

        mels, lacking = clips_of_collection(self.triplets, collection, self.folder, self._seconds)
        self._leave_out(lacking, CollectionError)
        self._mels = [mels]

    def read_audio(self, front_ends: Sequence[FrontEnd]) -> None:
        """Find the clips' files and make their mels, once for each front end that is different.

        Raises
        ------
        AudioError
            As :meth:`read_collection` does.
        """
        from playlist_pretrain.retrieval.clips import audio_of_clips, clips_of_audio

        options = self.options
        files, lacking = audio_of_clips(self.triplets, options.audio, cut=options.cut)
        self._leave_out(lacking, AudioError)
        different: list[FrontEnd] = []
        for front_end in front_ends:
            if not any(front_end.same_as(other) for other in different):
                different.append(front_end)
        mels, lacking = clips_of_audio(
            self.triplets, options.audio, files, different, self.folder,
            seconds=self._seconds, cut=options.cut, quiet=options.quiet,
        )  # fmt: skip
        self._leave_out(lacking, AudioError)
        self._mels = mels

    def mels_of(self, front_end: FrontEnd) -> ClipMels:
        """Mels of a front end that they were made by."""
        return next(m for m in self._mels if m.collection.front_end.same_as(front_end))

    def judge(self, embedder: LoadedModel, name: str, label: str) -> Judged:
        """How a model does, by its name in the command and its label in tables.

        Raises
        ------
        ModelError
            An embedding that is not finite.
        """
        from playlist_pretrain.evaluation.triplets import triplet_accuracy

        mels, named = self.mels_of(embedder.front_end), self.triplets.named
        vectors = mels.embed(embedder, named, short=self.options.short, quiet=self.options.quiet)
        bad = ~np.isfinite(vectors[named]).all(axis=1)
        if bad.any():
            clip = self.triplets.clips[named[np.argmax(bad)]]
            raise ModelError(f"--model {name}: its embedding of {clip} is not finite")
        result = triplet_accuracy(vectors, self.triplets.rows, self.options.seed)
        return Judged(
            label, name, embedder.key, embedder.front_end.name, embedder.frames,
            mels.shorter(named, embedder.frames), result, vectors[named],
        )  # fmt: skip

    def _leave_out(self, lacking: dict[int, str], error: type[Exception]) -> None:
        self.lacking |= lacking
        if not lacking:
            return
        left = self.triplets.without(list(lacking))
        missing = self.results.write_missing(self.asked, self.lacking)
        goes_on = self.options.partial and len(left)
        listed = self.results.path / MISSING if goes_on else self.results.missing
        text = (
            f"{self.asked.path}: {len(self.lacking):,} of {len(self.asked.clips):,} clips cannot "
            f"be had, and so {len(self.asked) - len(left):,} of {len(self.asked):,} triplets "
            f"(see {listed}):{missing}"
        )
        if not self.options.partial:
            raise error(f"{text}\n--partial goes on without these triplets")
        if not len(left):
            raise error(text)
        self.triplets = left
        print(f"WARNING: {printable(text, keep=chr(10))}", flush=True)


def trained(name: str, collection: Collection | None) -> LoadedModel:
    """Load a saved model or a package; refuse one that does not fit the collection, if any.

    Raises
    ------
    ModelError
        It cannot be loaded.
    FrontEndError
        The collection was made by another front end, or there is none, but audio files, and the
        model's front end takes no waveforms.
    """
    embedder = load_embedder(name)
    if collection is None and not embedder.front_end.takes_waveforms:
        raise FrontEndError(
            f"the model {name}: its front end {embedder.front_end.name!r} takes no waveforms, its "
            "mels are made elsewhere: give --collection, not --audio"
        )
    if collection is not None:
        embedder.front_end.check_same(
            collection.front_end, f"the model {name}", f"collection {collection.name}"
        )
    return embedder


def untrained_front_end(options: Similarity, embedders: dict[str, LoadedModel]) -> list[FrontEnd]:
    """That of scratch and mean-of-mel where clips are audio; nothing when there is neither.

    Raises
    ------
    FrontEndError
        An unknown one is asked for.
    RecipeError
        The trained models have several, and none is asked for.
    """
    from playlist_pretrain.audio.front_end import front_end

    if not any(name in UNTRAINED for name in options.model):
        return []
    if options.front_end is not None:
        return [front_end(options.front_end)]
    found = [embedder.front_end for embedder in embedders.values()] or [front_end("paper")]
    if not all(found[0].same_as(other) for other in found):
        raise RecipeError(
            f"--model {' '.join(n for n in options.model if n in UNTRAINED)}: the other models "
            f"have different front ends, {', '.join(sorted({e.name for e in found}))}; choose one "
            "with --front-end"
        )
    return found[:1]


def untrained(
    name: str, options: Similarity, mels: ClipMels, collection: Collection | None
) -> LoadedModel:
    """Make scratch or mean-of-mel, by the statistics of the collection or else of the clips.

    Raises
    ------
    RecipeError
        For an unknown backbone.
    """
    statistics = mels.collection if collection is None else collection
    whose = "the clips" if collection is None else f"collection {collection.name}"
    options.say(f"{name}: each band is standardised by the statistics of {whose}")
    front_end = statistics.front_end
    made_from = Untrained(
        front_end,
        statistics.band_mean,
        statistics.band_std,
        backbone=options.backbone or "vggish",
        width=options.width,
        frames=options.frames or front_end.window_frames,
        seed=options.seed,
    )
    return load_embedder(name, made_from)


@dataclass(frozen=True)
class Source:
    """Where clips were read from.

    Attributes
    ----------
    kind : {"audio", "collection"}
    path : str
    name : str
        Of the folder.
    cut : bool
        Whether audio files were excerpts already.
    """

    kind: str
    path: str
    name: str
    cut: bool


@dataclass(frozen=True, eq=False)
class Judged:
    """A model and how it did.

    Attributes
    ----------
    label, path : str
        For tables, and as it was given.
    key : str
        Changes when its weights do.
    front_end : str
        Name of that.
    frames : int
        Of a window.
    short_clips : int
        Clips that have fewer frames: their window was filled up.
    result : TripletResult
    embeddings : np.ndarray float32 [clips named, dim]
        Of the clips that the triplets name, in their order.
    """

    label: str
    path: str
    key: str
    front_end: str
    frames: int
    short_clips: int
    result: TripletResult
    embeddings: np.ndarray


@dataclass(frozen=True, eq=False)
class Outcome:
    """Several models on the same triplets.

    Attributes
    ----------
    asked, used : Triplets
        Of the table, and those of them that have all their clips.
    source : Source
    seconds : float or None
        Length of an excerpt; None for whole tracks and whole files.
    short : str
        What filled the window of a short clip.
    seed : int
        Of the intervals.
    models : sequence of Judged
        Others are compared with the first.
    """

    asked: Triplets
    used: Triplets
    source: Source
    seconds: float | None
    short: str
    seed: int
    models: Sequence[Judged]

    @cached_property
    def against_first(self) -> list[PairedDifference]:
        """The second model and those after it less the first."""
        first, *others = self.models
        return [paired_difference(one.result, first.result, self.seed) for one in others]

    @cached_property
    def bins(self) -> list[dict[str, Any]]:
        """Accuracy and 95 % interval of each model on triplets of a like agreement."""
        if self.used.agreement is None:
            return []
        right = np.stack([one.result.right for one in self.models], axis=1)
        return [
            {
                "agreement": name,
                "triplets": int(inside.sum()),
                "accuracy": right[inside].mean(axis=0).tolist(),
                "interval": mean_intervals(right[inside], resamples=RESAMPLES, seed=self.seed),
            }
            for name, inside in agreement_bins(self.used.agreement)
        ]

    def lines(self) -> Iterator[str]:
        """Markdown: accuracy and differences of all models, then comparisons, then agreement."""
        used, asked = len(self.used), len(self.asked)
        of = "" if used == asked else f" of {asked:,}, {asked - used:,} left out (--partial)"
        yield f"{self.source.name}: {used:,} triplets{of}"
        yield ""
        yield "| model | accuracy [95 %] | ties | difference | centred | short clips |"
        yield "|---|---|---|---|---|---|"
        for one in self.models:
            r = one.result
            yield (
                f"| {_cell(one.label)} | {_interval(r.accuracy, r.interval)} | {r.ties} | "
                f"{r.difference:.4f} | {r.centred_difference:.4f} | {one.short_clips} of "
                f"{len(self.used.named)} |"
            )
        if self.against_first:
            first = _cell(self.models[0].label)
            yield ""
            yield f"| less {first} | difference [95 %] | only it right | only {first} | McNemar p |"
            yield "|---|---|---|---|---|"
            for one, apart in zip(self.models[1:], self.against_first, strict=True):
                yield (
                    f"| {_cell(one.label)} | {_interval(apart.difference, apart.interval)} | "
                    f"{apart.first} | {apart.second} | {apart.p_value:.2g} |"
                )
        if self.bins:
            labels = " | ".join(_cell(one.label) for one in self.models)
            yield ""
            yield f"| agreement | triplets | {labels} |"
            yield "|---|---|" + "---|" * len(self.models)
            for part in self.bins:
                cells = map(_interval, part["accuracy"], part["interval"])
                yield f"| {part['agreement']} | {part['triplets']} | {' | '.join(cells)} |"

    def document(self) -> dict[str, Any]:
        """Everything, ready for JSON; ``right`` is in the order of the triplets used."""
        return {
            "version": __version__,
            "triplets": {
                "file": str(self.asked.path),
                "key": self.asked.key,
                "in_table": len(self.asked),
                "used": len(self.used),
                "clips": len(self.used.named),
                "citation": CITATION if self.asked.dim_sim else "",
            },
            "source": asdict(self.source),
            "excerpt_seconds": self.seconds,
            "short": self.short,
            "seed": self.seed,
            "resamples": RESAMPLES,
            "models": [
                {
                    **row,
                    "key": one.key,
                    "right": one.result.right.tolist(),
                }
                for one, row in zip(self.models, self.rows, strict=True)
            ],
            "agreement": self.bins,
            "lines": self.used.lines.tolist(),
        }

    def _row(self, number: int) -> dict[str, Any]:
        one, result = self.models[number], self.models[number].result
        row = {
            "model": one.label,
            "path": one.path,
            "front_end": one.front_end,
            "frames": one.frames,
            "triplets": len(self.used),
            "accuracy": result.accuracy,
            "accuracy_low": result.interval[0],
            "accuracy_high": result.interval[1],
            "ties": result.ties,
            "difference": result.difference,
            "centred_difference": result.centred_difference,
            "short_clips": one.short_clips,
        }
        if number:
            apart = self.against_first[number - 1]
            row |= {
                "against_first": apart.difference,
                "against_first_low": apart.interval[0],
                "against_first_high": apart.interval[1],
                "only_it_right": apart.first,
                "only_first_right": apart.second,
                "p_value": apart.p_value,
            }
        return row

    @property
    def rows(self) -> list[dict[str, Any]]:
        """A row a model, for a table."""
        return [self._row(number) for number in range(len(self.models))]


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def _interval(value: float, interval: Sequence[float]) -> str:
    return f"{value:.3f} [{interval[0]:.3f}, {interval[1]:.3f}]"


JSON, MARKDOWN, TABLE = "results.json", "results.md", "results.csv"
MISSING_NOW = "missing.new.tsv"
"""List of clips that are lacking, as long as the results that are there are of another call."""
PER_TRIPLET, MISSING, EMBEDDINGS = "per_triplet.csv", "missing.tsv", "embeddings.parquet"
MOST_SHOWN = 3
"""Clips that a message names when some are lacking."""
COLUMNS = (
    "model", "path", "front_end", "frames", "triplets", "accuracy", "accuracy_low",
    "accuracy_high", "ties", "difference", "centred_difference", "short_clips", "against_first",
    "against_first_low", "against_first_high", "only_it_right", "only_first_right", "p_value",
)  # fmt: skip


class Results:
    """The folder for results.

    Parameters
    ----------
    path : str or Path
        It need not exist.

    Raises
    ------
    RunError
        For a URL.
    """

    names = (MARKDOWN, TABLE, JSON, PER_TRIPLET)

    def __init__(self, path: str | Path):
        refuse_remote(path, "judge there, then copy the results", RunError)
        self.path = Path(path)

    def check(self, *, overwrite: bool) -> None:
        """Refuse a folder with results, unless they are to be replaced, or with anything else.

        Raises
        ------
        RunError
        """
        if not self.path.exists():
            return
        if not self.path.is_dir():
            raise RunError(f"{self.path}: is a file; choose another --out")
        there = {entry.name for entry in self.path.iterdir() if not entry.name.startswith(".")}
        if others := sorted(there - {*self.names, MISSING, MISSING_NOW, EMBEDDINGS}):
            raise RunError(
                f"{self.path}: holds {others[0]!r}, so it is no folder of such results; choose "
                "another --out"
            )
        if JSON in there and not overwrite:
            raise RunError(
                f"{self.path}: holds results; --overwrite replaces them, or choose another --out"
            )

    @property
    def missing(self) -> Path:
        """Where clips that cannot be had are listed; results that are there keep their own list."""
        return self.path / (MISSING_NOW if (self.path / JSON).exists() else MISSING)

    def write_missing(self, triplets: Triplets, lacking: Mapping[int, str]) -> str:
        """List clips that cannot be had, in the order of the table; the first few as text."""
        shown = []
        with atomic_write(self.missing, "w") as stream:
            table = csv.writer(stream, delimiter="\t", lineterminator="\n")
            table.writerow(("line", "track_id", "start_seconds", "triplets", "reason"))
            for position in sorted(lacking):
                clip, reason = triplets.clips[position], printable(lacking[position])
                named = (triplets.rows == position).any(axis=1)
                line = triplets.lines[np.argmax(named)]
                table.writerow((line, clip.track_id, clip.start, int(named.sum()), reason))
                shown.append(f"\n  line {line}: {printable(str(clip))}: {reason}")
        more = f"\n  … and {len(shown) - MOST_SHOWN:,} more" if len(shown) > MOST_SHOWN else ""
        return "".join(shown[:MOST_SHOWN]) + more

    def write(self, outcome: Outcome, *, keep_missing: bool) -> None:
        """Write all files, ``results.json`` last; without clips that are lacking, no list of them.

        Raises
        ------
        OSError
        """
        missing = self.missing
        (self.path / JSON).unlink(missing_ok=True)
        if keep_missing:
            os.replace(missing, self.path / MISSING)
        else:
            (self.path / MISSING).unlink(missing_ok=True)
        (self.path / MISSING_NOW).unlink(missing_ok=True)
        (self.path / EMBEDDINGS).unlink(missing_ok=True)
        with atomic_write(self.path / TABLE, "w") as stream:
            table = csv.DictWriter(stream, COLUMNS, lineterminator="\n")
            table.writeheader()
            table.writerows(outcome.rows)
        with atomic_write(self.path / MARKDOWN, "w") as stream:
            stream.write("\n".join([*outcome.lines(), ""]))
        self._write_per_triplet(outcome)
        write_json(self.path / JSON, outcome.document())

    def _write_per_triplet(self, outcome: Outcome) -> None:
        triplets = outcome.used
        starts = [f"{role}{START}" for role in ROLES] if triplets.has_starts else []
        agreement = [] if triplets.agreement is None else ["agreement"]
        of_models = [
            f"{what} {one.label}" for one in outcome.models for what in ("margin", "right")
        ]
        numbers = [a for one in outcome.models for a in (one.result.margins, one.result.right)]
        with atomic_write(self.path / PER_TRIPLET, "w") as stream:
            # All text is quoted: a carriage return is nothing that csv would quote by itself.
            table = csv.writer(stream, lineterminator="\n", quoting=csv.QUOTE_NONNUMERIC)
            table.writerow(["line", *ROLES, *starts, *agreement, *of_models])
            for number, row in enumerate(triplets.rows):
                clips = [triplets.clips[position] for position in row]
                table.writerow(
                    [
                        int(triplets.lines[number]),
                        *(clip.track_id for clip in clips),
                        *(clip.start for clip in clips if starts),
                        *(float(triplets.agreement[number]) for _ in agreement),
                        *(float(column[number]) for column in numbers),
                    ]
                )

    def write_embeddings(self, outcome: Outcome) -> None:
        """Keep the embeddings of the first model's clips: a file that ``search.py`` reads.

        The clips are sorted by track and start.

        Raises
        ------
        OSError
        """
        from playlist_pretrain.retrieval.embedding_table import embedding_writer

        one, triplets, source = outcome.models[0], outcome.used, outcome.source
        clips = [triplets.clips[position] for position in triplets.named]
        order = sorted(range(len(clips)), key=lambda k: (clips[k].track_id, clips[k].start or 0.0))
        about = {
            "model": one.path,
            "model_key": one.key,
            "frames": one.frames,
            "short": outcome.short,
            source.kind: source.path,
        }
        vectors, starts = one.embeddings[order], None
        if triplets.has_starts:
            starts = [clips[place].start for place in order]
        with embedding_writer(
            self.path / EMBEDDINGS, vectors.shape[1], about, windows=triplets.has_starts
        ) as write:
            write([clips[place].track_id for place in order], vectors, starts)


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
    return command_line.run(
        Similarity, similarity, prog="similarity.py", epilog=EXAMPLES, argv=argv
    )
