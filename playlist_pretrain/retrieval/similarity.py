"""Judge models by triplets: is the anchor nearer to the positive than to the negative?

A folder of results has ``results.md``, ``results.csv``, ``results.json``, ``per_triplet.csv`` and,
where clips cannot be had, ``missing.tsv``.
"""

from __future__ import annotations

import logging
import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np

from playlist_pretrain.audio.front_end import front_end as front_end_named
from playlist_pretrain.audio.streams import LONGEST_WHOLE
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
from playlist_pretrain.evaluation.paper_tables import markdown_table
from playlist_pretrain.evaluation.triplets import (
    RESAMPLES,
    PairedDifference,
    TripletResult,
    agreement_bins,
    paired_difference,
    triplet_accuracy,
)
from playlist_pretrain.files import TableWriter, atomic_write, write_json
from playlist_pretrain.messages import option
from playlist_pretrain.models import MEAN_OF_MEL, SCRATCH
from playlist_pretrain.models.load import Untrained, label_of, load_embedder
from playlist_pretrain.records.collection import Collection, opened
from playlist_pretrain.retrieval.clips import (
    ClipMels,
    audio_of_clips,
    clips_of_audio,
    clips_of_collection,
)
from playlist_pretrain.retrieval.embedding_table import embedding_writer
from playlist_pretrain.storage import is_remote, refuse_remote
from playlist_pretrain.tasks.triplets import CITATION, ROLES, START, Triplets, read_triplets
from playlist_pretrain.training.recipes import check_above_zero, check_at_least, check_choices
from playlist_pretrain.version import __version__

if TYPE_CHECKING:
    from collections.abc import Callable

    from playlist_pretrain.audio.front_end import FrontEnd
    from playlist_pretrain.models.load import LoadedModel

logger = logging.getLogger(__name__)

UNTRAINED = (SCRATCH, MEAN_OF_MEL)
TRIPLETS = "triplets.csv"
SECONDS = 3.0
MARKDOWN, TABLE, JSON, PER_TRIPLET = "results.md", "results.csv", "results.json", "per_triplet.csv"
NAMES = (MARKDOWN, TABLE, JSON, PER_TRIPLET)
MISSING, EMBEDDINGS = "missing.tsv", "embeddings.parquet"
MISSING_NOW = "missing.new.tsv"
"""List of clips that cannot be had, while the results that are there are of another call."""
MOST_SHOWN = 3
"""Clips that a message names when some cannot be had."""
COLUMNS = (
    "model", "path", "front_end", "frames", "triplets", "accuracy", "accuracy_low",
    "accuracy_high", "ties", "difference", "centred_difference", "short_clips", "against_first",
    "against_first_low", "against_first_high", "only_it_right", "only_first_right", "p_value",
)  # fmt: skip


def similarity(
    models: str | Sequence[str],
    triplets: str | Path | None = None,
    *,
    audio: str | Path | None = None,
    collection: str | Path | Collection | Callable[[], Path] | None = None,
    cut: bool = False,
    seconds: float | None = None,
    short: str = "repeat",
    partial: bool = False,
    front_end: str | None = None,
    backbone: str | None = None,
    width: float | None = None,
    frames: int | None = None,
    seed: int = 0,
    trust_model: bool = False,
    out: str | Path | None = None,
    overwrite: bool = False,
) -> Outcome:
    """Judge models by triplets of tracks or excerpts, in cosine distance of mean embeddings.

    Parameters
    ----------
    models : str or sequence of str
        See :func:`.load_embedder`; the others are compared with the first.
    triplets : str or Path, optional
        Table as :func:`.read_triplets` reads it; default ``triplets.csv`` of the collection.
    audio, collection
        Where clips are read, one of the two: a folder of audio files, each named by its id; or a
        collection, its path, or a function that returns the path once the settings are checked.
    cut, seconds, short, partial
        Whether the audio files are the excerpts already; length of an excerpt [3]; what fills the
        window of a shorter clip, "repeat" or "pad"; whether triplets of which a clip cannot be had
        are left out.
    front_end, backbone, width, frames, seed
        Of ``scratch``, some of ``mean-of-mel``; the seed of the intervals too.
    trust_model : bool
        See :func:`.load_model`.
    out, overwrite
        Folder for the results [none are written]; whether it may hold results.

    Raises
    ------
    PlaylistPretrainError
        With the option, file, line or clip that has to be mended.
    """
    names = (models,) if isinstance(models, str) else tuple(models)
    _check(SimpleNamespace(**locals()), names)
    folder = None if out is None else _checked_folder(out, overwrite=overwrite)
    tracks = None if collection is None else opened(collection)
    if tracks is None:
        name = os.path.basename(os.path.abspath(audio))
        source = {"kind": "audio", "path": str(audio), "name": name, "cut": cut}
    else:
        name = tracks.name
        source = {
            "kind": "collection", "path": str(tracks.path), "key": tracks.content_key,
            "name": name, "cut": False,
        }  # fmt: skip
    asked = read_triplets(triplets or _own_triplets(tracks))
    if seconds is not None and not asked.has_starts:
        raise TableError(f"{asked.path}: has no starts, so --seconds cuts nothing out")
    logger.info(f"{asked.path}: {len(asked):,} triplets of {len(asked.clips):,} clips")
    embedders = {
        name: _trained(name, tracks, trust_model) for name in names if name not in UNTRAINED
    }
    with tempfile.TemporaryDirectory(prefix="clips-") as temporary:
        if tracks is None:
            ends = [embedder.front_end for embedder in embedders.values()]
            if any(name in UNTRAINED for name in names):
                ends.append(_untrained_front_end(names, front_end, ends))
            different = [
                end for k, end in enumerate(ends) if not any(end.same_as(o) for o in ends[:k])
            ]
            files, lacking = audio_of_clips(asked, audio, cut=cut)
            used = _with_clips(asked, lacking, folder, partial, AudioError)
            mels, unreadable = clips_of_audio(
                used, audio, files, different, temporary, seconds=seconds or SECONDS, cut=cut
            )
            if unreadable:
                used = _with_clips(asked, lacking | unreadable, folder, partial, AudioError)
        else:
            own, lacking = clips_of_collection(asked, tracks, seconds or SECONDS)
            used = _with_clips(asked, lacking, folder, partial, CollectionError)
            mels, ends = [own], [own.front_end]
        judged, named = [], used.named
        rows = np.searchsorted(named, used.rows)
        for name, label in zip(names, labels_of(names, backbone), strict=True):
            if name in UNTRAINED:
                own = _by(ends[-1], mels)
                whose = "the clips" if tracks is None else f"collection {tracks.name}"
                logger.info(f"{name}: each band is standardised by the statistics of {whose}")
                settings = Untrained(
                    own.front_end, own.mean, own.std, backbone=backbone or "vggish",
                    width=width or 1.0, frames=frames or own.front_end.window_frames, seed=seed,
                )  # fmt: skip
                embedders[name] = load_embedder(name, settings)
            model = embedders[name]
            own = _by(model.front_end, mels)
            embeddings = own.embed(model, named, short)
            bad = ~np.isfinite(embeddings).all(axis=1)
            if bad.any():
                clip = asked.clips[named[np.argmax(bad)]]
                raise ModelError(f"--model {name}: its embedding of {clip} is not finite")
            judged.append(
                Judged(
                    label, name, model.key, model.front_end.name, model.frames,
                    short_clips=int((own.frames[named] < model.frames).sum()),
                    result=triplet_accuracy(embeddings, rows, seed), embeddings=embeddings,
                )
            )  # fmt: skip
    outcome = Outcome(
        asked=asked,
        used=used,
        source=source,
        seconds=(seconds or SECONDS) if asked.has_starts and not cut else None,
        short=short,
        seed=seed,
        models=judged,
    )
    for line in outcome.lines():
        logger.info("%s", line)
    if folder is not None:
        outcome.write(folder)
        logger.info("results: %s: %s", folder, ", ".join(NAMES))
    return outcome


def _check(asked: Any, names: Sequence[str]) -> None:
    check_choices(asked, {"short": ("repeat", "pad")})
    check_above_zero(asked, "seconds", "width")
    check_at_least(asked, 1, "frames")
    if asked.seconds is not None and asked.seconds > LONGEST_WHOLE:
        raise RecipeError(f"--seconds {asked.seconds}: at most {LONGEST_WHOLE}")
    if not 0 <= asked.seed < 2**31:
        raise RecipeError(f"--seed {asked.seed}: must be from 0 to 2^31 − 1")
    if not names:
        raise RecipeError("--model: names nothing; give a saved model")
    if repeated := [name for name in names if names.count(name) > 1]:
        raise RecipeError(f"--model {repeated[0]}: named twice")
    if asked.audio is not None and asked.collection is not None:
        raise RecipeError("--audio and --collection: clips are read from one of them")
    if asked.audio is None and asked.collection is None:
        raise RecipeError("--audio, --collection: give one of them, to read clips from")
    if asked.audio is not None and asked.triplets is None:
        raise RecipeError("--audio: needs --triplets, the table that names the clips")
    untrained = any(name in UNTRAINED for name in names)
    only: dict[str, tuple] = {
        "with --audio": (asked.audio is not None, "cut", "front_end"),
        "for files that are not --cut": (not asked.cut, "seconds"),
        f"for --model {' '.join(UNTRAINED)}": (untrained, "front_end", "frames"),
        f"for --model {SCRATCH}": (SCRATCH in names, "backbone", "width"),
        "for --backbone vggish": (asked.backbone in (None, "vggish"), "width"),
    }
    for what_for, (fits, *options) in only.items():
        for name in options:
            value = getattr(asked, name)
            if not fits and value not in (None, False):
                shown = "" if value is True else f" {value}"
                raise RecipeError(f"{option(name)}{shown}: only {what_for}")


def _own_triplets(collection: Collection) -> Path:
    path = collection.path / TRIPLETS
    if not path.is_file() or is_remote(path):
        raise TableError(
            f"{collection.path}: no {TRIPLETS} that can be read; --triplets FILE names a table"
        )
    return path


def _trained(name: str, collection: Collection | None, trust: bool) -> LoadedModel:
    """Load a model; raise if it does not fit the collection, or audio where there is none."""
    embedder = load_embedder(name, trust=trust)
    if collection is not None:
        embedder.front_end.check_same(
            collection.front_end, f"the model {name}", f"collection {collection.name}"
        )
    elif not embedder.front_end.takes_waveforms:
        raise FrontEndError(
            f"the model {name}: its front end {embedder.front_end.name!r} takes no waveforms, its "
            "mels are made elsewhere: give --collection, not --audio"
        )
    return embedder


def _untrained_front_end(
    names: Sequence[str], asked: str | None, found: Sequence[FrontEnd]
) -> FrontEnd:
    """Front end of scratch and mean-of-mel for audio: the one asked for, or of the other models."""
    if asked is not None:
        return front_end_named(asked)
    found = found or [front_end_named("paper")]
    if not all(found[0].same_as(other) for other in found):
        raise RecipeError(
            f"--model {' '.join(name for name in names if name in UNTRAINED)}: the other models "
            f"have different front ends, {', '.join(sorted({e.name for e in found}))}; choose one "
            "with --front-end"
        )
    return found[0]


def labels_of(names: Sequence[str], backbone: str | None = None) -> list[str]:
    """Labels of models in tables; their whole names where labels do not tell them apart."""
    labels = [label_of(name, backbone) for name in names]
    return [
        printable(name if labels.count(label) > 1 else label)
        for name, label in zip(names, labels, strict=True)
    ]


def _by(front_end: FrontEnd, mels: Sequence[ClipMels]) -> ClipMels:
    return next(own for own in mels if own.front_end.same_as(front_end))


def _with_clips(
    asked: Triplets,
    lacking: Mapping[int, str],
    folder: Path | None,
    partial: bool,
    error: type[Exception],
) -> Triplets:
    """Leave out the triplets of clips that cannot be had; raise ``error`` unless some may be."""
    if not lacking:
        return asked
    rows, shown = [], []
    for position in sorted(lacking):
        clip, reason = asked.clips[position], printable(lacking[position])
        named = (asked.rows == position).any(axis=1)
        line = asked.lines[np.argmax(named)]
        rows.append((line, clip.track_id, clip.start, int(named.sum()), reason))
        shown.append(f"\n  line {line}: {printable(str(clip))}: {reason}")
    left, where = asked.without(list(lacking)), ""
    if folder is not None:
        with atomic_write(_missing(folder), "w") as stream:
            table = TableWriter(stream, "\t")
            table.writerow(("line", "track_id", "start_seconds", "triplets", "reason"))
            table.writerows(rows)
        where = f" (see {folder / MISSING if partial and len(left) else _missing(folder)})"
    more = f"\n  … and {len(shown) - MOST_SHOWN:,} more" if len(shown) > MOST_SHOWN else ""
    text = (
        f"{asked.path}: {len(lacking):,} of {len(asked.clips):,} clips cannot be had, and so "
        f"{len(asked) - len(left):,} of {len(asked):,} triplets{where}:"
        f"{''.join(shown[:MOST_SHOWN])}{more}"
    )
    if not partial:
        raise error(f"{text}\n--partial goes on without these triplets")
    if not len(left):
        raise error(text)
    logger.warning("%s", text)
    return left


def _checked_folder(out: str | Path, *, overwrite: bool) -> Path:
    refuse_remote(out, "judge there, then copy the results", RunError)
    path = Path(out)
    if not path.exists():
        return path
    if not path.is_dir():
        raise RunError(f"{path}: is a file; choose another --out")
    there = {entry.name for entry in path.iterdir() if not entry.name.startswith(".")}
    if others := sorted(there - {*NAMES, MISSING, MISSING_NOW, EMBEDDINGS}):
        raise RunError(
            f"{path}: holds {others[0]!r}, so it is no folder of such results; choose another --out"
        )
    if JSON in there and not overwrite:
        raise RunError(f"{path}: holds results; --overwrite replaces them, or choose another --out")
    return path


def _missing(folder: Path) -> Path:
    """List of clips that cannot be had; results that are there keep their own."""
    return folder / (MISSING_NOW if (folder / JSON).exists() else MISSING)


@dataclass(frozen=True, eq=False)
class Judged:
    """Result of one model: its label in tables, its name as given, and what it came to.

    ``embeddings``, float32 [clips named, dim], are of the clips that the triplets name, in their
    order; ``short_clips`` of them have fewer frames than a window, which was filled up.
    """

    label: str
    path: str
    key: str
    front_end: str
    frames: int
    short_clips: int
    result: TripletResult
    embeddings: np.ndarray


@dataclass(frozen=True, eq=False, repr=False)
class Outcome:
    """Results of several models on the same triplets; the others are compared with the first.

    Attributes
    ----------
    asked, used : Triplets
        Of the table, and those of them that have all their clips.
    source : mapping
        Of the clips: ``kind`` ("audio" or "collection"), ``path``, ``name`` of the folder, ``key``
        of a collection, and ``cut``, whether audio files were excerpts already.
    seconds : float or None
        Length of an excerpt; None for whole tracks and whole files.
    """

    asked: Triplets
    used: Triplets
    source: Mapping[str, Any]
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
        yield f"{self.source['name']}: {used:,} triplets{of}"
        labels = [one.label for one in self.models]
        results = [one.result for one in self.models]
        heads = ["model", "accuracy [95 %]", "ties", "difference", "centred", "short clips"]
        clips = len(self.used.named)
        rows = [
            [
                one.label, _interval(r.accuracy, r.interval), f"{r.ties}", f"{r.difference:.4f}",
                f"{r.centred_difference:.4f}", f"{one.short_clips} of {clips}",
            ]
            for one, r in zip(self.models, results, strict=True)
        ]  # fmt: skip
        yield from ("", *markdown_table(heads, rows))
        if self.against_first:
            heads = [f"less {labels[0]}", "difference [95 %]", "only it right"]
            rows = [
                [
                    label, _interval(apart.difference, apart.interval), f"{apart.first}",
                    f"{apart.second}", f"{apart.p_value:.2g}",
                ]
                for label, apart in zip(labels[1:], self.against_first, strict=True)
            ]  # fmt: skip
            yield from ("", *markdown_table([*heads, f"only {labels[0]}", "McNemar p"], rows))
        if self.bins:
            rows = [
                [
                    part["agreement"], f"{part['triplets']}",
                    *map(_interval, part["accuracy"], part["interval"]),
                ]
                for part in self.bins
            ]  # fmt: skip
            yield from ("", *markdown_table(["agreement", "triplets", *labels], rows))

    def __repr__(self) -> str:
        return "\n".join(self.lines())

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
            "source": dict(self.source),
            "excerpt_seconds": self.seconds,
            "short": self.short,
            "seed": self.seed,
            "resamples": RESAMPLES,
            "models": [
                {**row, "key": one.key, "right": one.result.right.tolist()}
                for one, row in zip(self.models, self.rows, strict=True)
            ],
            "agreement": self.bins,
            "lines": self.used.lines.tolist(),
        }

    @property
    def rows(self) -> list[dict[str, Any]]:
        """Results of each model by the names of :data:`COLUMNS`; the first lacks the last six."""
        rows = []
        for one, apart in zip(self.models, [None, *self.against_first], strict=True):
            r = one.result
            row: list[Any] = [one.label, one.path, one.front_end, one.frames, len(self.used)]
            row += [r.accuracy, *r.interval, r.ties, r.difference, r.centred_difference]
            row.append(one.short_clips)
            if apart is not None:
                row += [apart.difference, *apart.interval, apart.first, apart.second, apart.p_value]
            rows.append(dict(zip(COLUMNS, row, strict=False)))
        return rows

    def write(self, folder: str | Path) -> None:
        """Write all files, ``results.json`` last; a list of missing clips of these stays."""
        folder = Path(folder)
        missing = _missing(folder)
        (folder / JSON).unlink(missing_ok=True)
        if len(self.used) < len(self.asked) and missing.exists():
            os.replace(missing, folder / MISSING)
        else:
            (folder / MISSING).unlink(missing_ok=True)
        for stale in (MISSING_NOW, EMBEDDINGS):
            (folder / stale).unlink(missing_ok=True)
        with atomic_write(folder / TABLE, "w") as stream:
            table = TableWriter(stream)
            table.writerow(COLUMNS)
            table.writerows([row.get(name) for name in COLUMNS] for row in self.rows)
        with atomic_write(folder / MARKDOWN, "w") as stream:
            stream.write("\n".join([*self.lines(), ""]))
        self._write_per_triplet(folder / PER_TRIPLET)
        write_json(folder / JSON, self.document())

    def _write_per_triplet(self, path: Path) -> None:
        triplets = self.used
        starts = [f"{role}{START}" for role in ROLES] if triplets.has_starts else []
        agreement = [] if triplets.agreement is None else ["agreement"]
        of_models = [f"{what} {one.label}" for one in self.models for what in ("margin", "right")]
        numbers = [a for one in self.models for a in (one.result.margins, one.result.right)]
        with atomic_write(path, "w") as stream:
            table = TableWriter(stream, quote_text=True)
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

    def write_embeddings(self, folder: str | Path) -> None:
        """Write the first model's embeddings of clips, by track and start, for ``search.py``."""
        one, triplets = self.models[0], self.used
        clips = [triplets.clips[position] for position in triplets.named]
        order = sorted(range(len(clips)), key=lambda k: (clips[k].track_id, clips[k].start or 0.0))
        about = {
            "model": one.path,
            "model_key": one.key,
            "frames": one.frames,
            "short": self.short,
            self.source["kind"]: self.source["path"],
        }
        if "key" in self.source:
            about["collection_key"] = self.source["key"]
        starts = [clips[place].start for place in order] if triplets.has_starts else None
        with embedding_writer(
            Path(folder) / EMBEDDINGS, one.embeddings.shape[1], about, windows=triplets.has_starts
        ) as write:
            write([clips[place].track_id for place in order], one.embeddings[order], starts)


def _interval(value: float, interval: Sequence[float]) -> str:
    return f"{value:.3f} [{interval[0]:.3f}, {interval[1]:.3f}]"
