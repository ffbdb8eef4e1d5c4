"""The command ``embed``: what a model makes of every track, as a file."""

from __future__ import annotations

import dataclasses
import shlex
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from playlist_pretrain.cli import command_line
from playlist_pretrain.errors import EmbeddingsError, RecipeError, printable
from playlist_pretrain.files import check_writable
from playlist_pretrain.messages import command
from playlist_pretrain.models import ESSENTIA
from playlist_pretrain.retrieval.embedding_table import DTYPES, overview
from playlist_pretrain.storage import location, refuse_remote

if TYPE_CHECKING:
    from playlist_pretrain.models.load import LoadedModel
    from playlist_pretrain.retrieval.embed import EmbeddingParts, EmbeddingRun, Source

EXAMPLES = """
examples:
  python scripts/embed.py --model runs/demo-playlist_co-vggish/saved_model --out demo.parquet
  python scripts/embed.py --model runs/mine/saved_model --audio ~/music --out mine.parquet
  python scripts/embed.py --model runs/mine/saved_model --collection tfrecords/mine
      --per window --dtype float16 --out windows.parquet --projector projector
"""
ENDING = ".parquet"
REQUESTED = ("short", "per", "dtype", "precision", "batch")
"""Options that decide the numbers."""
CHOICES = {
    "per": ("track", "window"),
    "dtype": DTYPES,
    "short": ("repeat", "pad", "skip"),
    "strategy": ("one_device", "mirrored"),
    "precision": ("float32", "mixed_bfloat16", "mixed_float16"),
}


@dataclass(frozen=True)
class Embed:
    """Write what a model makes of every track: one vector a track, the mean over its
    non-overlapping windows, or one a window. Rows are in the order of the collection, or of the
    ids of audio files. The same command goes on where it was interrupted.
    """

    model: str
    """saved_model of a run (of a tagger, the embedding before its head), or the .pb of a model for
    Essentia"""
    out: str
    """FILE.parquet; the vectors alone are written to FILE.npy beside it"""
    audio: str | None = None
    """folder of audio files, or one file: whole files are decoded, nothing else is written"""
    collection: str | None = None
    """instead of --audio, its folder or URL [tfrecords/demo, made when missing]"""
    per: str = "track"
    """one vector a track or a window"""
    dtype: str = "float32"
    """of the vectors: float32 or float16"""
    short: str = "repeat"
    """tracks shorter than a window: repeat, pad (with silence) or skip"""
    batch: int = 64
    """windows that go through the model together, of all replicas"""
    workers: int | None = None
    """processes that decode --audio [one for each core]"""
    precision: str = "float32"
    """that the model computes in: float32; mixed_bfloat16 or mixed_float16 are faster where the
    machine has them, and move embeddings by some percent of their spread"""
    strategy: str = "one_device"
    """one_device or mirrored: the GPUs of this machine share each batch"""
    replicas: int | None = None
    """GPUs that --strategy mirrored uses; without any GPU, parts of the CPU, for trials [all]"""
    projector: str | None = None
    """folder for vectors.tsv, metadata.tsv and projector_config.pbtxt: the embeddings for
    TensorBoard's projector"""
    overwrite: bool = False
    """start over, and replace what is there"""
    quiet: bool = False
    """no progress and no results, only warnings"""

    def check(self) -> None:
        """Refuse what cannot work, before anything is loaded.

        Raises
        ------
        RecipeError, EmbeddingsError
            With the option and its value.
        """
        if self.audio is not None and self.collection is not None:
            raise RecipeError("--audio, --collection: give one of the two")
        for name, choices in CHOICES.items():
            if getattr(self, name) not in choices:
                there = ", ".join(choices)
                raise RecipeError(f"--{name} {getattr(self, name)}: there is {there}")
        for name in ("batch", "workers", "replicas"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise RecipeError(f"--{name} {value}: must be at least 1")
        if self.replicas is not None and self.strategy != "mirrored":
            raise RecipeError(f"--replicas is for --strategy mirrored, not for {self.strategy}")
        if self.precision != "float32" and self.model.endswith(ESSENTIA):
            raise RecipeError(f"--precision {self.precision}: {self.model} computes in float32")
        if self.workers is not None and self.audio is None:
            raise RecipeError("--workers is for --audio")
        refuse_remote(self.out, "embed to a file here, then copy it", EmbeddingsError)
        out = Path(self.out)
        if out.suffix != ENDING or out.stem.startswith("."):
            raise EmbeddingsError(f"--out {self.out}: its name must be FILE{ENDING}")
        if out.is_dir():
            raise EmbeddingsError(f"--out {self.out}: is a folder")


def embed(options: Embed) -> Path:
    """Write the embeddings that ``options`` describe; what ``scripts/embed.py`` does.

    Returns
    -------
    Path
        The table; see :mod:`~playlist_pretrain.retrieval.embedding_table`.

    Raises
    ------
    PlaylistPretrainError
        With the option, file or track that has to be mended.
    """
    options.check()
    out = Path(options.out)
    if options.projector is not None:
        from playlist_pretrain.retrieval.projector import check_projector

        check_projector(Path(options.projector), overwrite=options.overwrite)
    out.parent.mkdir(parents=True, exist_ok=True)
    check_writable(out.parent)
    from playlist_pretrain.retrieval.embed import EmbeddingParts, EmbeddingRun, check_request

    def say(text: str) -> None:
        if not options.quiet:
            print(printable(text), flush=True)

    strategy, embedder = _model(options)
    source = _source(options, embedder, say)
    request = {
        "model_key": embedder.key,
        "front_end": embedder.front_end.to_dict(),
        "frames": embedder.frames,
        **{name: getattr(options, name) for name in REQUESTED},
        **source.facts,
    }
    run = EmbeddingRun(embedder, strategy, source, _about(options, source, request), out)
    parts = EmbeddingParts(out)
    with parts.claimed(request, overwrite=options.overwrite):
        if out.exists() and not options.overwrite:
            check_request(_request_of(out), request, f"{out}: was made")
            run.mend()
            say(f"{out} is finished; --overwrite starts over")
        else:
            began = time.monotonic()
            if parts.last is None and not options.overwrite and run.vectors.exists():
                raise EmbeddingsError(
                    f"{run.vectors}: is there already, without {out}; choose another --out, or "
                    "--overwrite to replace it"
                )
            _go_on(parts, source, say)
            made = run.embed(parts, quiet=options.quiet)
            run.write(parts)
            say(made.text(time.monotonic() - began))
        # When the table is there they are of no more use, whoever left them.
        parts.remove()
    if options.projector is not None:
        _project(options, source, say)
    _tell(options, run, say)
    return out


def _model(options: Embed) -> tuple[Any, LoadedModel]:
    """The strategy, None for one device, and the model in its scope."""
    if options.strategy == "one_device":
        return None, _loaded(options)
    from playlist_pretrain.training.strategy import check_share, make_strategy

    strategy = make_strategy(options.strategy, options.replicas)
    check_share(options.batch, strategy)
    with strategy.scope():
        return strategy, _loaded(options)


def _loaded(options: Embed) -> LoadedModel:
    from playlist_pretrain.models.layers import precision, under_policy
    from playlist_pretrain.models.load import load_embedder

    embedder = load_embedder(options.model)
    if options.precision == "float32":
        return embedder
    with precision(options.precision):
        return dataclasses.replace(embedder, model=under_policy(embedder.model))


def _source(options: Embed, embedder: LoadedModel, say: Callable[[str], None]) -> Source:
    from playlist_pretrain.demo import ready_demo
    from playlist_pretrain.records.collection import Collection
    from playlist_pretrain.retrieval.window_batches import AudioWindows, CollectionWindows

    front_end, frames = embedder.front_end, embedder.frames
    if options.audio is not None:
        return AudioWindows(options.audio, front_end, frames, options.short, options.workers)
    path = location(options.collection) if options.collection else None
    collection = Collection.open(path or ready_demo(say, quiet=options.quiet))
    front_end.check_same(
        collection.front_end, f"the model {options.model}", f"collection {collection.name}"
    )
    return CollectionWindows(collection, frames, options.short)


def _about(options: Embed, source: Source, request: dict[str, Any]) -> dict[str, Any]:
    names = ("model_key", "front_end", "frames", "short", "per", "dtype", "precision")
    about = {"model": options.model, **{name: request[name] for name in names}}
    if options.audio is not None:
        about["audio"] = str(source.folder).encode("utf-8", "backslashreplace").decode()
    else:
        about["collection"] = str(source.collection.path)
        about["collection_key"] = request["collection_key"]
    return {**about, "request": request}


def _request_of(out: Path) -> Any:
    """What a table that is there was made of."""
    mend = "choose another --out, or --overwrite to replace it"
    try:
        request = overview(out).about.get("request")
    except EmbeddingsError as error:
        raise EmbeddingsError(f"{error}; {mend}") from error
    if request is None:
        raise EmbeddingsError(f"{out}: is there already, and is not of embed.py; {mend}")
    return request


def _go_on(parts: EmbeddingParts, source: Source, say: Callable[[str], None]) -> None:
    if parts.last is not None:
        say(f"going on after {parts.last.stop:,} of {len(source):,} tracks")


def _project(options: Embed, source: Source, say: Callable[[str], None]) -> None:
    from playlist_pretrain.retrieval.embedding_table import read_embeddings
    from playlist_pretrain.retrieval.projector import columns_of, write_projector

    table = read_embeddings(options.out)
    columns: dict[str, list[str]] = {}
    notes: list[str] = []
    if source.collection is not None:
        columns, notes = columns_of(source.collection, table.track_ids)
    for note in notes:
        print(f"WARNING: {printable(note)}", flush=True)
    folder = Path(options.projector)
    write_projector(folder, table, columns)
    say(f"{folder}: for the projector: tensorboard --logdir {shlex.quote(str(folder))}")


def _tell(options: Embed, run: EmbeddingRun, say: Callable[[str], None]) -> None:
    """Say what is there, and what comes next."""
    from playlist_pretrain.cli.search import track_words

    found = overview(run.out)
    say(f"{run.out}, {run.vectors}: {found.rows:,} vectors of {found.dim}, {options.dtype}")
    left_out = found.about["left_out"]
    if left_out:
        what = "1 track is" if left_out == 1 else f"{left_out:,} tracks are"
        print(printable(f"WARNING: {what} left out: see {run.report}"), flush=True)
    say(f"next: {command('search', '--embeddings', str(run.out))} {track_words(found.first_track)}")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; the exit code."""
    return command_line.run(Embed, embed, prog="embed.py", epilog=EXAMPLES, argv=argv)
