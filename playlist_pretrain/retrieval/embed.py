"""Embeddings of audio files, waveforms and collections: track by track, and as a table on disk.

A table that is being made has a hidden folder beside it, ``.FILE.parts``, with ``part-00000.npz``
…, the embeddings of some successive tracks each and the settings they are made with. An
interrupted run goes on after them; the folder is removed when the table is there.
"""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import logging
import os
import shutil
import time
from collections.abc import Callable, Container, Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np

from playlist_pretrain.audio.silence import QUIET
from playlist_pretrain.audio.windows import SHORT, mean_over_windows
from playlist_pretrain.errors import (
    AudioError,
    CollectionError,
    EmbeddingsError,
    FrontEndError,
    RecipeError,
    printable,
)
from playlist_pretrain.files import (
    atomic_write,
    check_writable,
    content_key,
    folder_lock,
    read_arrays,
    whole,
    write_arrays,
)
from playlist_pretrain.messages import progress
from playlist_pretrain.models import ESSENTIA
from playlist_pretrain.models.track_outputs import BATCH, batch_function, track_outputs
from playlist_pretrain.records.collection import Collection, opened
from playlist_pretrain.records.report import KEPT, Note, other_kinds, write_report
from playlist_pretrain.records.sources import TrackSource, excerpt_seconds, find_audio, storable
from playlist_pretrain.records.track_windows import (
    FileWindows,
    TrackWindows,
    windows_of_collection,
    windows_of_files,
)
from playlist_pretrain.retrieval.embedding_table import (
    DTYPES,
    Overview,
    as_stored,
    embedding_writer,
    overview,
    read_embeddings,
)
from playlist_pretrain.retrieval.projector import check_projector, write_projector
from playlist_pretrain.storage import refuse_remote
from playlist_pretrain.training.recipes import check_at_least, check_choices

if TYPE_CHECKING:
    from playlist_pretrain.models.load import LoadedModel

logger = logging.getLogger(__name__)

FORMAT = 1
"""That of the parts."""
PART_TRACKS = 256
ENDING = ".parquet"
MOST_SHOWN = 3
"""Tracks that the error names when none has an embedding."""
CHOICES: dict[str, Sequence[str]] = {
    "per": ("track", "window"),
    "dtype": DTYPES,
    "short": SHORT,
    "strategy": ("one_device", "mirrored"),
    "precision": ("float32", "mixed_bfloat16", "mixed_float16"),
}


@dataclass(frozen=True, eq=False)
class Source:
    """Tracks to be embedded: ``windows(first)`` yields those of the tracks from ``first`` on.

    ``notes`` are on files whose name cannot be stored; ``about`` is kept in the table; ``facts()``
    is all that the windows depend on but the front end, so that a change ends a resume.
    """

    ids: Sequence[str]
    windows: Callable[[int], Iterator[TrackWindows]]
    dtype: str = "float32"
    paths: Sequence[str] | None = None
    notes: list[Note] = field(default_factory=list)
    about: Mapping[str, Any] = field(default_factory=dict)
    facts: Callable[[], dict[str, Any]] = dict


def audio_source(
    audio: str | Path | Sequence[str | Path], load: FileWindows, workers: int | None = None
) -> Source:
    """Find audio files; reads none of them.

    Parameters
    ----------
    audio
        A folder as :func:`.find_audio` reads it; a file, whose id is its name without the
        extension; or a list of files, whose ids are the paths as given without the extension.
    workers
        Processes that decode [one for each core].

    Raises
    ------
    FrontEndError, AudioError, TrackError
        The front end takes no waveforms; no audio; two files with one id.
    """
    front_end = load.front_end
    if not front_end.takes_waveforms:
        raise FrontEndError(
            f"front end {front_end.name!r} of the model takes no waveforms, its mels are made "
            "elsewhere: it needs a collection of them, not audio files"
        )
    if not isinstance(audio, str | os.PathLike):
        names = [os.fspath(path) for path in audio]
        folder, found = Path(), [TrackSource(os.path.splitext(name)[0], name) for name in names]
    elif Path(audio).is_file():
        folder, found = Path(audio).parent, [TrackSource(Path(audio).stem, Path(audio).name)]
    else:
        folder, content = Path(audio), find_audio(audio)
        found = content.tracks
        if content.other_files:
            logger.info(f"{folder}: {other_kinds(content.other_files)} left alone")
    tracks, notes = storable(found)

    def facts() -> dict[str, Any]:
        lines = []
        for track in tracks:
            try:
                status = os.stat(folder / track.source)
                state = f"{status.st_size} {status.st_mtime_ns}"
            except OSError:
                state = "none"  # reading it will say why
            lines += [os.fsencode(track.source), state.encode()]
        excerpt = {"excerpt": load.excerpt} if load.excerpt else {}
        return {"files": len(found), "files_key": content_key(*lines), **excerpt}

    return Source(
        [track.track_id for track in tracks],
        lambda first: windows_of_files(tracks[first:], folder, load, workers),
        paths=[_as_text(track.source) for track in tracks],
        notes=notes,
        about={"audio": _as_text(os.path.abspath(folder)), "excerpt": load.excerpt or "full"},
        facts=facts,
    )


def _as_text(name: str) -> str:
    return name.encode("utf-8", "backslashreplace").decode()


def collection_source(collection: Collection, frames: int, short: str = "repeat") -> Source:
    """Tracks of a collection, in the order of its rows; raises CollectionError if it is empty."""
    if not len(collection):
        raise CollectionError(f"{collection.path}: no tracks in it")
    rows = np.arange(len(collection))
    key = collection.content_key
    return Source(
        collection.track_ids,
        lambda first: windows_of_collection(collection, frames, short, rows[first:]),
        dtype="float16",
        about={
            "collection": str(collection.path),
            "collection_key": key,
            **excerpt_of_collection(collection),
        },
        facts=lambda: {"collection_key": key},
    )


def excerpt_of_collection(collection: Collection) -> dict[str, float | str]:
    """Seconds of each audio file that a collection is of, or ``full``, as ``excerpt``; or nothing.

    There is nothing where it was not made of audio files, or does not say.
    """
    loader = collection.source.get("loader")
    if not isinstance(loader, dict) or loader.get("name") != "AudioLoader":
        return {}
    try:
        return {"excerpt": excerpt_seconds(loader.get("excerpt")) or "full"}
    except (RecipeError, TypeError):
        return {}


@dataclass(frozen=True, eq=False)
class Embedded:
    """Embeddings of one track: ``vectors`` float32 [n, dim] and the seconds at which they start.

    There are none, but a ``note``, of a track that is left out; a track that is silent, or nearly,
    has both. ``seconds`` of audio.
    """

    track_id: str
    path: str
    vectors: np.ndarray
    starts: np.ndarray
    seconds: float
    note: Note | None


def embedded_tracks(
    function: Callable[[np.ndarray], np.ndarray],
    source: Source,
    window_seconds: float,
    *,
    per: str = "track",
    batch: int = BATCH,
    first: int = 0,
    desc: str = "embedding",
) -> Generator[Embedded, None, None]:
    """Embed the tracks of a source from position ``first`` on, in their order.

    ``function`` is that of :func:`.batch_function`; windows begin every ``window_seconds``; of a
    track there is the mean over its windows, or one vector ``per`` window. ``first`` is a multiple
    of :data:`PART_TRACKS`, so that the numbers do not depend on it.
    """
    outputs = track_outputs(function, source.windows(first), batch=batch, flush_every=PART_TRACKS)
    bar = progress(total=len(source.ids), initial=first, desc=desc, unit=" tracks")
    with bar, contextlib.closing(outputs):
        for position, (track, vectors) in enumerate(outputs, first):
            track_id = source.ids[position]
            path = source.paths[position] if source.paths is not None else ""
            starts = track.start + np.arange(len(vectors)) * window_seconds
            if per == "track" and len(vectors):
                vectors = mean_over_windows(vectors, np.array([len(vectors)]))
            note = None
            if track.status:
                note = Note(track_id, path, track.status, track.reason)
            elif track.sound < QUIET:
                reason = f"{track.sound:.1%} of it has sound: no neighbour of other tracks"
                note = Note(track_id, path, "quiet", reason)
            yield Embedded(track_id, path, vectors, starts[: len(vectors)], track.seconds, note)
            bar.update()


def embed(
    model: str,
    out: str | Path,
    *,
    audio: str | Path | None = None,
    collection: str | Path | Collection | Callable[[], Path] | None = None,
    excerpt: float | str | None = None,
    per: str = "track",
    dtype: str = "float32",
    short: str = "repeat",
    centre: bool = False,
    batch: int = BATCH,
    workers: int | None = None,
    precision: str = "float32",
    strategy: str = "one_device",
    replicas: int | None = None,
    projector: str | Path | None = None,
    trust_model: bool = False,
    overwrite: bool = False,
) -> Overview:
    """Write the embeddings of audio files or of a collection as a table; resume an interrupted run.

    ``FILE.npy`` beside the table has the vectors alone, ``FILE_report.tsv`` the tracks that are
    left out. Memory does not grow with the number of tracks.

    Parameters
    ----------
    model : str
        See :func:`.load_embedder`.
    out : str or Path
        ``FILE.parquet``, see :mod:`~playlist_pretrain.retrieval.embedding_table`.
    audio, collection
        One of the two: a folder of audio files or one file; or a collection, its path, or a
        function that returns the path once the settings are checked.
    excerpt : float, "full" or None
        Seconds from the centre of each file of ``audio`` [all of it], see :func:`.decode`.
    per, dtype, short, precision, strategy
        See :data:`CHOICES`.
    centre : bool
        Take the mean of all tracks from the vectors; the table keeps it.
    batch : int
        Windows that go through the model together, of all replicas.
    workers, replicas : int, optional
        Processes that decode audio; devices of the strategy.
    projector : str or Path, optional
        Folder for the files of TensorBoard's projector.
    trust_model : bool
        See :func:`.load_model`.
    overwrite : bool
        Start over, and replace what is there.

    Raises
    ------
    PlaylistPretrainError
        With the option, file or track that has to be mended.
    """
    asked = SimpleNamespace(**locals())  # the parameters: first, before there are other names
    out = _check(asked)
    if projector is not None:
        check_projector(Path(projector), overwrite=overwrite)
    out.parent.mkdir(parents=True, exist_ok=True)
    check_writable(out.parent)
    scope, embedder = _load(asked)
    tracks: Collection | None = None
    if audio is not None:
        seconds = excerpt_seconds(excerpt)
        load = FileWindows(embedder.front_end, embedder.frames, short, seconds)
        source = audio_source(audio, load, workers)
    else:
        tracks = opened(collection)
        embedder.front_end.check_same(
            tracks.front_end, f"the model {model}", f"collection {tracks.name}"
        )
        source = collection_source(tracks, embedder.frames, short)
    settings = {
        "model_key": embedder.key,
        "front_end": embedder.front_end.to_dict(),
        "frames": embedder.frames,
        **{name: getattr(asked, name) for name in ("short", "per", "dtype", "precision")},
    }
    request = {**settings, "batch": batch, **source.facts(), **({"centre": True} if centre else {})}
    about = {"model": model, **settings, **source.about, "request": request}
    parts, vectors, report = _beside(out)
    with folder_lock(parts, f"{out} is being made", error=EmbeddingsError):
        try:
            if overwrite:
                for path in parts.glob("*part-*"):
                    path.unlink()
            if not out.exists() or overwrite:
                _embed_parts(out, embedder, scope, source, about, overwrite=overwrite)
                _write(out, source, about, embedder.dim)
            else:
                _check_finished(out, request)
                if not vectors.exists():
                    there = read_embeddings(out).vectors.astype(dtype)
                    _write_vectors(vectors, [there], len(there))
                logger.info("%s is finished; --overwrite starts over", out)
            shutil.rmtree(parts)
        finally:
            if not any(parts.glob("part-*")):  # nothing to resume
                shutil.rmtree(parts, ignore_errors=True)
    if projector is not None:
        write_projector(Path(projector), read_embeddings(out), tracks)
    found = overview(out)
    logger.info(f"{out}, {vectors}: {found.rows:,} vectors of {found.dim}, {dtype}")
    if silent := len(found.about.get("silent", ())):
        what = "1 track is" if silent == 1 else f"{silent:,} tracks are"
        logger.info(
            f"{what} silent, or nearly: with an embedding, but no neighbour of others: see {report}"
        )
    if left_out := found.about["left_out"]:
        what = "1 track is" if left_out == 1 else f"{left_out:,} tracks are"
        logger.warning(f"{what} left out: see {report}")
    return found


def _check(asked: Any) -> Path:
    if (asked.audio is None) == (asked.collection is None):
        raise RecipeError("--audio, --collection: give one of the two")
    check_choices(asked, CHOICES)
    check_at_least(asked, 1, "batch", "workers", "replicas")
    if asked.replicas is not None and asked.strategy != "mirrored":
        raise RecipeError(f"--replicas is for --strategy mirrored, not for {asked.strategy}")
    if asked.precision != "float32" and asked.model.endswith(ESSENTIA):
        raise RecipeError(f"--precision {asked.precision}: {asked.model} computes in float32")
    if asked.workers is not None and asked.audio is None:
        raise RecipeError("--workers is for --audio")
    if asked.excerpt is not None and asked.audio is None:
        raise RecipeError("--excerpt is for --audio; a collection has the one it was made with")
    refuse_remote(asked.out, "embed to a file here, then copy it", EmbeddingsError)
    out = Path(asked.out)
    if out.suffix != ENDING or out.stem.startswith("."):
        raise EmbeddingsError(f"--out {out}: its name must be FILE{ENDING}")
    if out.is_dir():
        raise EmbeddingsError(f"--out {out}: is a folder")
    return out


def _load(asked: Any) -> tuple[Any, LoadedModel]:
    """The strategy, None for one device, and the model in its scope."""
    from playlist_pretrain.models.layers import precision, under_policy
    from playlist_pretrain.models.load import load_embedder

    strategy, scope = None, contextlib.nullcontext()
    if asked.strategy == "mirrored":
        from playlist_pretrain.training.strategy import check_share, make_strategy

        strategy = make_strategy(asked.strategy, asked.replicas)
        check_share(asked.batch, strategy)
        scope = strategy.scope()
    with scope:
        embedder = load_embedder(asked.model, trust=asked.trust_model)
        if asked.precision != "float32":
            with precision(asked.precision):
                embedder = dataclasses.replace(embedder, model=under_policy(embedder.model))
    return strategy, embedder


def _beside(out: Path) -> tuple[Path, Path, Path]:
    """Folder of parts, file of vectors and report of a table."""
    parts, report = out.with_name(f".{out.name}.parts"), out.with_name(f"{out.stem}_report.tsv")
    return parts, out.with_suffix(".npy"), report


def _part(out: Path, number: int) -> Path:
    return _beside(out)[0] / f"part-{number:05d}.npz"


def _load_parts(out: Path) -> Iterator[dict[str, Any]]:
    """Finished parts, in the order of the tracks; one at a time is in memory."""
    for number in itertools.count():
        path = _part(out, number)
        if not path.exists():
            return
        with whole(path, "part", EmbeddingsError, "; the same command makes it anew"):
            header, arrays = read_arrays(path, FORMAT)
            vectors, starts, counts = (arrays[name] for name in ("vectors", "starts", "counts"))
            kinds = [(array.dtype.kind, array.ndim) for array in (vectors, starts, counts)]
            if kinds != [("f", 2), ("f", 1), ("i", 1)] or not 0 < len(counts) <= PART_TRACKS:
                raise ValueError("arrays of other types")
            if (counts < 0).any() or not len(vectors) == len(starts) == counts.sum():
                raise ValueError("arrays that do not fit together")
            if not (np.isfinite(vectors).all() and np.isfinite(starts).all()):
                raise ValueError("values that are not finite")
            notes = [Note(*note) for note in header["notes"]]
            part = {**arrays, "notes": notes, "request": header["request"]}
        yield part


def _usable_parts(out: Path) -> Iterator[dict[str, Any]]:
    """Finished parts up to one that is damaged, or of a version that wrote others."""
    try:
        yield from _load_parts(out)
    except EmbeddingsError as error:
        logger.info("%s", error)


def _embed_parts(
    out: Path,
    embedder: LoadedModel,
    strategy: Any,
    source: Source,
    about: Mapping[str, Any],
    *,
    overwrite: bool,
) -> None:
    """Embed the tracks that no part has, part by part."""
    began, first, request = time.monotonic(), 0, about["request"]
    _, vectors, _ = _beside(out)
    dtype, batch = about["dtype"], request["batch"]
    for part in _usable_parts(out):
        _check_request(part["request"], request, f"{out}: was begun")
        found, first = part["vectors"], first + len(part["counts"])
        if first > len(source.ids) or (found.shape[1], found.dtype) != (embedder.dim, dtype):
            raise EmbeddingsError(f"{out}: its parts are damaged; --overwrite starts over")
    if first:
        logger.info(f"going on after {first:,} of {len(source.ids):,} tracks")
    elif vectors.exists() and not overwrite:
        raise EmbeddingsError(
            f"{vectors}: is there already, without {out}; choose another --out, or --overwrite to "
            "replace it"
        )
    embedded = embedded_tracks(
        batch_function(embedder.model, batch, source.dtype, strategy), source,
        embedder.window_seconds, per=about["per"], batch=batch, first=first,
    )  # fmt: skip
    seconds, stop = 0.0, first
    with contextlib.closing(embedded):
        while part := list(itertools.islice(embedded, PART_TRACKS)):
            kept = [one for one in part if len(one.vectors)]
            ids = [one.track_id for one in kept for _ in one.vectors]
            found = [np.empty((0, embedder.dim), np.float32), *(one.vectors for one in kept)]
            notes = [dataclasses.astuple(one.note) for one in part if one.note]
            write_arrays(
                _part(out, stop // PART_TRACKS),
                {"format": FORMAT, "request": request, "notes": notes},
                vectors=as_stored(np.concatenate(found), dtype, ids, f"{about['model']}: its"),
                starts=np.concatenate([np.empty(0), *(one.starts for one in kept)]),
                counts=np.array([len(one.starts) for one in part], np.int64),
            )
            stop, seconds = stop + len(part), seconds + sum(one.seconds for one in kept)
    took, tracks = max(time.monotonic() - began, 1e-9), stop - first
    logger.info(
        f"{'1 track' if tracks == 1 else f'{tracks:,} tracks'}, {seconds / 60:,.1f} minutes of "
        f"audio in {took:,.1f} s: {tracks / took:,.1f} tracks a second, {seconds / took:,.0f} "
        "times real time"
    )


def _write(out: Path, source: Source, about: Mapping[str, Any], dim: int) -> None:
    """Write the report, the vectors and, last, the table; only the report if all is left out."""
    parts, vectors, report = _beside(out)
    notes, rows = list(source.notes), 0
    for part in _load_parts(out):
        notes += part["notes"]
        rows += len(part["vectors"])
    if notes:
        write_report(report, notes)
    if not rows:
        shutil.rmtree(parts)
        kind, what = AudioError, "audio files"
        if source.paths is None:
            kind, what = CollectionError, "tracks"
        raise kind(
            f"none of {len(notes):,} {what} could be embedded (see {report}):{shown_notes(notes)}"
        )
    if not notes:
        report.unlink(missing_ok=True)
    silent = [note.track_id for note in notes if note.status in KEPT]
    about = {**about, "left_out": len(notes) - len(silent)}
    about |= {"silent": silent} if silent else {}
    mean: np.ndarray | float = 0.0
    if "centre" in about["request"]:
        mean = _mean_of_tracks(out, source, set(silent))
        about["centre"] = mean.tolist()

    def stored(part: Mapping[str, Any]) -> np.ndarray:
        vectors = part["vectors"]
        return (vectors - mean).astype(vectors.dtype) if "centre" in about else vectors

    _write_vectors(vectors, map(stored, _load_parts(out)), rows)
    columns = {"windows": about["per"] == "window", "audio": source.paths is not None}
    with embedding_writer(out, dim, about, dtype=about["dtype"], **columns) as write:
        first = 0
        for part in _load_parts(out):
            tracks = np.repeat(first + np.arange(len(part["counts"])), part["counts"]).tolist()
            write(
                [source.ids[track] for track in tracks],
                stored(part),
                part["starts"] if columns["windows"] else None,
                [source.paths[track] for track in tracks] if source.paths is not None else None,
            )
            first += len(part["counts"])


def _mean_of_tracks(out: Path, source: Source, silent: Container[str]) -> np.ndarray:
    """Mean of all tracks but the silent, float64 [dim], each the mean over its vectors."""
    total, tracks, first = np.zeros(()), 0, 0
    for part in _load_parts(out):
        counts = part["counts"]
        of_part = range(first, first + len(counts))
        sound = np.array([source.ids[track] not in silent for track in of_part], bool)
        first += len(counts)
        means = mean_over_windows(part["vectors"].astype(np.float32), counts[counts > 0])
        means = means[sound[counts > 0]]
        total, tracks = total + means.sum(axis=0, dtype=np.float64), tracks + len(means)
    if tracks < 2:
        raise EmbeddingsError(
            "--centre: one track is its own mean, so nothing would be left of it; leave it out "
            "(tracks that are silent do not count)"
        )
    return total / tracks


def _write_vectors(path: Path, arrays: Iterable[np.ndarray], rows: int) -> None:
    """Write parts of a table one after the other as one ``.npy`` file."""
    with atomic_write(path) as stream:
        for number, array in enumerate(arrays):
            array = np.ascontiguousarray(array, array.dtype.newbyteorder("<"))
            if not number:
                shape = rows, array.shape[1]
                header = {"descr": array.dtype.str, "fortran_order": False, "shape": shape}
                np.lib.format.write_array_header_1_0(stream, header)
            stream.write(array.tobytes())


def shown_notes(notes: Sequence[Note]) -> str:
    """The first few tracks that are left out and why, a line each."""
    lines = [
        f"\n  {printable(note.source or note.track_id)}: {printable(note.reason)}"
        for note in notes[:MOST_SHOWN]
    ]
    more = len(notes) - MOST_SHOWN
    return "".join(lines) + (f"\n  … and {more:,} more" if more > 0 else "")


def _check_finished(out: Path, request: Mapping[str, Any]) -> None:
    mend = "choose another --out, or --overwrite to replace it"
    try:
        there = overview(out).about.get("request")
    except EmbeddingsError as error:
        raise EmbeddingsError(f"{error}; {mend}") from error
    if there is None:
        raise EmbeddingsError(f"{out}: is there already, and is not of embed.py; {mend}")
    _check_request(there, request, f"{out}: was made")


def _check_request(found: Any, request: Mapping[str, Any], what: str) -> None:
    """Raise EmbeddingsError if a table was made, or begun, with other inputs or settings."""
    found = found if isinstance(found, dict) else {}

    def shown(value: Any) -> Any:
        return value.get("name", "another") if isinstance(value, dict) else value

    differing = [
        f"{name}: {shown(found.get(name))} there, {shown(request.get(name))} now"
        for name in sorted(found.keys() | request.keys())
        if found.get(name) != request.get(name)
    ]
    if differing:
        raise EmbeddingsError(
            f"{what} with other inputs or settings ({'; '.join(differing)}); choose another --out, "
            "or --overwrite to start over"
        )
