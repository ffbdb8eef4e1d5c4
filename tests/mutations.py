"""Mutated inputs for every reader: results or the family's errors, in seconds and little memory.

``python tests/mutations.py --reader NAME --count N --seed S`` makes a sound input, changes a copy
of it N times, each change known by S and its number, and reads it. Keys and hashes are made to fit
again, so that what lies behind them is reached. ``--first`` goes on after a number, ``--keep DIR``
keeps the inputs that a reader failed on; ``--reader all`` takes one after the other. The suite runs
a few of each (``test_mutations.py``).
"""

from __future__ import annotations

import argparse
import contextlib
import faulthandler
import hashlib
import importlib
import importlib.util
import io
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

TESTS = Path(__file__).resolve().parent
SECONDS, MEMORY = 10, 2 << 30
"""Most that a reader may take for one input."""
BYTES = (0, 1, 9, 10, 13, 32, 34, 39, 44, 45, 47, 58, 61, 91, 92, 123, 127, 128, 195, 254, 255)
SIZES = (1, 2, 4, 8)


@dataclass(frozen=True)
class Target:
    """A reader: what makes a sound input in a folder, reads it, and repairs hashes and keys."""

    make: Callable[[Path], Any]
    read: Callable[[Path], Any]
    repair: Callable[[Path], Any] = lambda folder: None
    cost: int = 1
    """How many mutations of the cheapest reader take as long as one of this."""


# Mutations


def mutated_bytes(content: bytes, rng: np.random.Generator) -> bytes:
    """Change a file without a thought of what it is."""
    data = bytearray(content or b"\0")
    at = int(rng.integers(len(data)))
    size = min(int(rng.choice([1, 2, 4, 16, 64, 1024])), len(data) - at)
    part = data[at : at + size]
    match rng.integers(10):
        case 0:
            data[at] ^= 1 << int(rng.integers(8))
        case 1:
            data[at] = int(rng.choice(BYTES))
        case 2:
            data[at : at + size] = rng.bytes(size)
        case 3:
            del data[at:]
        case 4:
            del data[at : at + size]
        case 5:
            data[at:at] = part * min(int(rng.choice([1, 2, 100, 10_000])), 100_000 // size)
        case 6:
            data[at:at] = bytes([int(rng.choice(BYTES))]) * int(rng.choice([1, 3, 70, 100_000]))
        case 7:
            other = int(rng.integers(len(data)))
            data[other : other + size] = part
        case 8:
            width = int(rng.choice(SIZES))
            number = int(rng.choice([0, 1, 127, 128, 255])) << int(rng.choice([0, 8, 24, 56]))
            order = "little" if rng.integers(2) else "big"
            data[at : at + width] = (number % (1 << 8 * width)).to_bytes(width, order)
        case 9:
            words = data.split()
            word = bytes(words[int(rng.integers(len(words)))]) if words else b"x"
            data[at:at] = b" " + word
    return bytes(data)


def deep(rng: np.random.Generator) -> Any:
    """Lists in lists."""
    value: Any = []
    for _ in range(int(rng.choice([5, 63, 70, 400]))):
        value = [value] if rng.integers(2) else {"a": value}
    return value


def odd_value(rng: np.random.Generator, there: Any) -> Any:
    """A value that does not belong there."""
    values: list[Any] = [
        None, True, 0, -1, 1, 2**31, 2**63, -(2**63), 10**400, 1.5, -0.0, 1e308, float("nan"),
        float("inf"), "", "x", "\0", "\x1b[2J", "\udcff", "ü" * 3, "1", "NaN", "../../x", "/etc/x",
        "x" * 100_000, [], {}, [[]], [None], {"": 1}, ["a"] * 1000, deep(rng),
    ]  # fmt: skip
    if isinstance(there, int | float) and not isinstance(there, bool):
        values += [there + 1, there - 1, -there, there * 1000, str(there), [there]] * 2
    if isinstance(there, str):
        values += [there[1:], there * 2, there.upper(), [there], there + "\n"] * 2
    return values[int(rng.integers(len(values)))]


def mutated_tree(content: Any, rng: np.random.Generator) -> Any:
    """Change one value or key of a document."""
    places: list[tuple[Any, Any]] = []

    def walk(value: Any) -> None:
        items = value.items() if isinstance(value, dict) else enumerate(value)
        for key, inner in items:
            places.append((value, key))
            if isinstance(inner, dict | list):
                walk(inner)

    if isinstance(content, dict | list):
        walk(content)
    if not places or rng.integers(50) == 0:
        return odd_value(rng, content)
    holder, key = places[int(rng.integers(len(places)))]
    match rng.integers(8):
        case 0:
            del holder[key]
        case 1 if isinstance(holder, list):
            holder.insert(key, holder[key])
        case 1:
            holder["new"] = odd_value(rng, None)
        case 2:
            other, name = places[int(rng.integers(len(places)))]
            with contextlib.suppress(KeyError, IndexError):  # the one may lie in the other
                holder[key] = json.loads(json.dumps(other[name]))
        case _:
            holder[key] = odd_value(rng, holder[key])
    return content


def mutated_json(content: bytes, rng: np.random.Generator) -> bytes:
    """Change a document, or one of a document a line."""
    lines = content.splitlines()
    whole = (content[:1] == b"{" and lines[0] == b"{") or len(lines) == 1
    at = 0 if whole else int(rng.integers(len(lines)))
    tree = mutated_tree(json.loads(content if whole else lines[at]), rng)
    text = json.dumps(tree, indent=2 if whole else None).encode()
    return text if whole else b"\n".join([*lines[:at], text, *lines[at + 1 :]]) + b"\n"


def mutated_npz(content: bytes, rng: np.random.Generator) -> bytes:
    """Change arrays, their types and shapes, or the archive they are in."""
    with np.load(io.BytesIO(content)) as archive:
        arrays = dict(archive)
    name = str(rng.choice(list(arrays)))
    array = np.array(arrays[name])
    if name == "header" and rng.integers(4):
        tree = mutated_tree(json.loads(array.tobytes()), rng)
        array = np.frombuffer(json.dumps(tree).encode(), np.uint8)
    else:
        match rng.integers(9):
            case 0 if array.size:
                place = np.unravel_index(int(rng.integers(array.size)), array.shape)
                odd = [0, 1, -1, 255, 2**31 - 1, -(2**31), 2**62, float("nan"), float("inf"), 1e30]
                with np.errstate(all="ignore"), warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    number = np.array(odd[int(rng.integers(len(odd)))])
                    array[place] = number.astype(array.dtype)
            case 1:
                array = array[:-1]
            case 2:
                array = np.concatenate([array, array])
            case 3:
                kinds = ["<f2", "<f8", ">i4", "<u8", "|b1", "|S3", "<U4", "<M8[s]", "<c16", "|V4"]
                with np.errstate(all="ignore"), warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    with contextlib.suppress(TypeError, ValueError):
                        array = array.astype(str(rng.choice(kinds)))
            case 4:
                array = array.reshape(1, *array.shape) if rng.integers(2) else array.ravel()
            case 5:
                array = np.asfortranarray(array[::-1])
            case 6:
                array = np.zeros((0, *array.shape[1:]), array.dtype)
            case 7:
                array = rng.permuted(array)
            case 8:
                array = np.array(3)
    arrays[name] = array
    if rng.integers(20) == 0:
        del arrays[name]
    stream = io.BytesIO()
    (np.savez_compressed if rng.integers(20) == 0 else np.savez)(stream, **arrays)
    return stream.getvalue()


def mutated_parquet(content: bytes, rng: np.random.Generator) -> bytes:
    """Change a column or the metadata of a table."""
    import pyarrow as pa
    from pyarrow import parquet

    table = parquet.read_table(io.BytesIO(content))
    place = int(rng.integers(len(table.column_names)))
    name, column = table.column_names[place], table.column(place).combine_chunks()
    try:
        match rng.integers(7):
            case 0:
                table = table.drop_columns([name])
            case 1:
                values = column.to_pylist()
                values[int(rng.integers(len(values)))] = None if rng.integers(2) else values[0]
                table = table.set_column(place, name, pa.array(values, column.type))
            case 2:
                kinds = [pa.int64(), pa.binary(), pa.float64(), pa.date32(), pa.large_string(),
                         pa.dictionary(pa.int32(), pa.string()), pa.string_view()]  # fmt: skip
                kind = kinds[int(rng.integers(len(kinds)))]
                table = table.set_column(place, name, column.cast(kind, safe=False))
            case 3:
                names = list(table.column_names)
                names[place] = str(rng.choice(["", "x", *names]))
                table = table.rename_columns(names)
            case 4:
                table = table.take(rng.integers(0, len(table), int(rng.choice([0, 1, 1000]))))
            case 5:
                own = dict(table.schema.metadata or {})
                for key in own:
                    if own[key].startswith(b"{"):
                        tree = mutated_tree(json.loads(own[key]), rng)
                        own[key] = json.dumps(tree).encode()
                table = table.replace_schema_metadata(own)
            case 6:
                text = pa.array(
                    [str(odd_value(rng, "a")).encode("utf-8", "replace").decode()] * len(table)
                )
                table = table.set_column(place, name, text)
    except (pa.ArrowException, NotImplementedError):
        return mutated_bytes(content, rng)
    stream = io.BytesIO()
    parquet.write_table(table, stream, compression=str(rng.choice(["none", "zstd", "snappy"])))
    return stream.getvalue()


STRUCTURED = {
    ".json": mutated_json,
    ".jsonl": mutated_json,
    ".jspf": mutated_json,
    ".npz": mutated_npz,
    ".parquet": mutated_parquet,
}


def mutate(folder: Path, rng: np.random.Generator) -> str:
    """Change one file of an input; what was done."""
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    path = paths[int(rng.integers(len(paths)))]
    structured = STRUCTURED.get(path.suffix)
    if structured is not None and rng.integers(4):
        path.write_bytes(structured(path.read_bytes(), rng))
        return f"{path.relative_to(folder)}: {structured.__name__}"
    if rng.integers(60) == 0:
        what = ["gone", "folder", "copy"][int(rng.integers(3))]
        if what == "copy":
            shutil.copy(path, path.with_name(f"{path.stem} (copy){path.suffix}"))
        else:
            path.unlink()
            if what == "folder":
                path.mkdir()
        return f"{path.relative_to(folder)}: {what}"
    content = path.read_bytes()
    times = int(rng.choice([1, 1, 1, 2, 8]))
    for _ in range(times):
        content = mutated_bytes(content, rng)
    path.write_bytes(content)
    return f"{path.relative_to(folder)}: {times} times other bytes"


# Inputs and readers


def _example(name: str) -> Callable[[Path], Any]:
    def make(folder: Path) -> Any:
        spec = importlib.util.spec_from_file_location("e", TESTS / "playlists" / "conftest.py")
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        groups = [("7", ["a", "b"]), ("8", ["b", "ü/c"]), ("9", ["x", "a", "a"])]
        return module.WRITERS[name](folder, groups)

    return make


def _playlists(name: str) -> Target:
    def read(folder: Path) -> Any:
        from playlist_pretrain.playlists.readers import READERS, Request, find_reader

        reader = READERS.get(name)
        with contextlib.suppress(_family()):
            find_reader(folder)
        return list(reader.read(reader.sources(folder), Request(reader.kinds[0])))

    return Target(_example(name), read)


def _text(name: str, content: str, read: Callable[[Path], Any]) -> Target:
    return Target(
        lambda folder: (folder / name).write_text(content, encoding="utf-8"),
        lambda folder: read(folder / name),
    )


def _family() -> type[Exception]:
    from playlist_pretrain.errors import PlaylistPretrainError

    return PlaylistPretrainError


def _by(module: str, name: str) -> Callable[[Path], Any]:
    """A function of the package that reads a file, imported when it is called."""
    return lambda path: getattr(importlib.import_module(f"playlist_pretrain.{module}"), name)(path)


def _tracks(path: Path) -> Any:
    from playlist_pretrain.records.sources import read_tracks_table

    return read_tracks_table(path, path.parent)


def _id_map(path: Path) -> Any:
    from playlist_pretrain.playlists.match import IdMap
    from playlist_pretrain.records.schema import PackedStrings
    from playlist_pretrain.retrieval.table_groups import KnownTracks

    return IdMap.read(path, KnownTracks(PackedStrings.pack(["a", "b"])))


def make_collection(folder: Path) -> Any:
    """Twelve tracks in three shards."""
    from playlist_pretrain.audio.front_end import front_end
    from playlist_pretrain.records.schema import shard_name
    from playlist_pretrain.records.writer import ShardWriter, write_collection

    rng, parts = np.random.default_rng(0), []
    for number in range(3):
        with ShardWriter(folder / shard_name(number), 96) as writer:
            for track in range(4):
                mel = rng.uniform(0, 6, (5, 96)).astype(np.float32)
                writer.add(f"track/{number}{track}", mel, 0.0, 1.0)
        parts.append(writer.part)
    write_collection(folder, front_end("paper"), parts, source={"made": "at random"})


def read_collection(folder: Path) -> Any:
    """Open a collection, read every window and every mel, verify it."""
    from playlist_pretrain.records.collection import Collection
    from playlist_pretrain.records.verify import verify_collection
    from playlist_pretrain.records.windows import WindowReader

    with contextlib.suppress(_family()):
        verify_collection(folder)
    collection = Collection.open(folder)
    rows = np.arange(len(collection))
    for row in rows.tolist():
        collection.mel(row)
    WindowReader(collection, 3, "repeat").read(rows, np.zeros(len(rows), np.int64))
    return collection.rows(["track/00", "x"])


def repair_collection(folder: Path) -> None:
    """Make sizes, hashes and the content key of a collection fit."""
    from playlist_pretrain.records.schema import collection_key

    file = folder / "collection.json"
    with contextlib.suppress(Exception):  # it may be the file that was mutated
        document = json.loads(file.read_bytes())
        for entry in [*document["shards"], document["index"]]:
            content = (folder / entry["file"]).read_bytes()
            entry |= {"size": len(content), "sha256": hashlib.sha256(content).hexdigest()}
        document["content_key"] = collection_key(document["front_end"], document["shards"])
        file.write_text(json.dumps(document))


def _groups() -> Any:
    from playlist_pretrain.playlists.groups import TrackGroups

    return TrackGroups.from_lists(
        "playlists", [[0, 1, 2], [2, 3], [4, 0]], tracks=6, collection_key="k"
    )


def _load_groups(folder: Path) -> Any:
    from playlist_pretrain.playlists.groups import TrackGroups

    groups = TrackGroups.load(folder / "groups-playlists.npz")
    return [groups.group(i) for i in range(len(groups))], repr(list(groups.group_ids))


def _make_table(folder: Path) -> None:
    from playlist_pretrain.playlists.top_table import save_table, top_table

    save_table(top_table(_groups(), top=3), folder / "tco.npz")


def _load_table(folder: Path) -> Any:
    from playlist_pretrain.playlists.top_table import load_table

    return load_table(folder / "tco.npz", 6, 3)


def _make_vectors(folder: Path) -> None:
    from playlist_pretrain.playlists.word2vec import TrackVectors, save_vectors

    vectors = np.random.default_rng(0).normal(size=(4, 3)).astype(np.float32)
    rows = np.array([0, 1, 3, 5], np.int32)
    save_vectors(TrackVectors(rows, vectors, 0, {"a": 1}), list("abcdef"), folder / "w2v.bin")


def _load_vectors(folder: Path) -> Any:
    from playlist_pretrain.playlists.word2vec import load_vectors

    return load_vectors(folder / "w2v.bin", list("abcdef"), 3).table(6)


def _repair_key(name: str, about: str) -> Callable[[Path], None]:
    def repair(folder: Path) -> None:
        from playlist_pretrain.files import content_key

        with contextlib.suppress(Exception):
            found = json.loads((folder / about).read_bytes())
            found["content_key"] = content_key((folder / name).read_bytes())
            (folder / about).write_text(json.dumps(found))

    return repair


def _make_scores(folder: Path) -> None:
    from playlist_pretrain.evaluation.scores import save_scores

    rng = np.random.default_rng(0)
    scores = rng.normal(size=(5, 3)).astype(np.float32)
    save_scores(folder / "scores.npz", list("abcde"), scores > 0, scores, ["x", "y", "z"])


def _load_scores(folder: Path) -> Any:
    from playlist_pretrain.evaluation.scores import load_scores

    return load_scores(folder / "scores.npz")


def _make_embeddings(folder: Path) -> None:
    from playlist_pretrain.retrieval.embedding_table import embedding_writer

    about = {"model": "m", "model_key": "0" * 32, "frames": 256, "audio": "/music"}
    vectors = np.random.default_rng(0).normal(size=(40, 8)).astype(np.float32)
    ids = [f"a/{i // 2}" for i in range(40)]
    with embedding_writer(folder / "e.parquet", 8, about, windows=True, audio=True) as write:
        write(ids, vectors, [float(i % 2) for i in range(40)], [f"{one}.mp3" for one in ids])


def _load_embeddings(folder: Path) -> Any:
    from playlist_pretrain.retrieval.embedding_table import overview
    from playlist_pretrain.retrieval.search import search

    overview(folder / "e.parquet")
    found = search(folder / "e.parquet", track=["a/1"], report=True, out=folder / "o.json")
    (folder / "o.json").unlink()
    return repr(found)


def _vectors() -> np.ndarray:
    return np.random.default_rng(0).normal(size=(60, 6)).astype(np.float32)


def _search_index(folder: Path) -> Any:
    from playlist_pretrain.retrieval.faiss_index import cached_search

    search = cached_search(folder / "e", _vectors(), lists=7)
    rows = search.of_tracks(5, range(60)).rows
    assert rows.min() >= 0 and rows.max() < 60
    return rows


def _load_index(folder: Path) -> Any:
    """What the file has, without making it again where it is refused."""
    from playlist_pretrain.retrieval.faiss_index import FaissSearch, _load

    about = json.loads((folder.parent / "about.json").read_bytes())
    index = _load(folder / "e.faiss", about, (60, 6))
    rows = FaissSearch(_vectors(), index).of_tracks(5, range(60)).rows
    assert rows.min() >= 0 and rows.max() < 60
    return rows


def _make_index(folder: Path) -> None:
    _search_index(folder)
    about = json.loads((folder / "e.faiss.json").read_bytes())
    del about["content_key"]
    (folder.parent / "about.json").write_text(json.dumps(about))


def _make_parts(folder: Path) -> None:
    from playlist_pretrain.files import write_arrays

    parts = folder / ".e.parquet.parts"
    for number in range(2):
        write_arrays(
            parts / f"part-{number:05d}.npz",
            {"format": 1, "request": {"model_key": "k"}, "notes": [["a", "a.mp3", "short", "r"]]},
            vectors=np.ones((3, 4), np.float16), starts=np.arange(3.0),
            counts=np.array([1, 2, 0]),
        )  # fmt: skip


def _load_parts(folder: Path) -> Any:
    from playlist_pretrain.retrieval.embed import _check_request, _load_parts

    for part in (parts := list(_load_parts(folder / "e.parquet"))):
        with contextlib.suppress(_family()):
            _check_request(part["request"], {"model_key": "k"}, "e")
    return parts


def _make_run(folder: Path) -> None:
    from playlist_pretrain.files import write_json

    (folder / "saved_model").mkdir()
    (folder / "saved_model" / "saved_model.pb").write_bytes(b"")
    write_json(folder / "recipe.json", {
        "version": "0.3.0", "command": "x", "recipe": {"epochs": 1, "seed": 0, "batch": 2},
        "inputs": {"collection_key": "k"},
    })  # fmt: skip
    metrics = {"roc_auc": 0.5, "average_precision": 0.4, "validation_average_precision": 0.3}
    interval = {"roc_auc": [0.1, 0.2], "average_precision": [0.1, 0.2]}
    write_json(folder / "environment.json", {"packages": {"a": "1"}, "devices": [{"type": "CPU"}]})
    run = {**metrics, "intervals": interval, "epochs": 2, "best_epoch": 1, "model": "m"}
    text = {"mean": 0.5, "std": 0.1, "text": "0.5 ± 0.1"}
    write_json(folder / "summary.json", {
        "task": "t", "tracks": {"test": {"used": 3, "of": 4}}, "classes": 3, "left_out": ["a"],
        "citation": "c", "runs": [run, run], "roc_auc": text, "average_precision": text,
    })  # fmt: skip
    (folder / "history.csv").write_text("epoch,step,loss\n1,10,0.5\n2,20,0.25\n")


def _load_run(folder: Path) -> Any:
    from playlist_pretrain.experiments.report import folders
    from playlist_pretrain.runs import unfinished
    from playlist_pretrain.training.engine import read_history
    from playlist_pretrain.training.finetune import TaggingRuns, report

    run, found = TaggingRuns(folder), []
    for read in (
        lambda: repr(run), lambda: run.best, lambda: run.check(), lambda: report(run, []),
        lambda: run._refuse_other({"recipe": {"epochs": 1}, "inputs": {}}, ()),
        lambda: unfinished(folder), lambda: read_history(run.history, ("epoch", "step", "loss")),
        lambda: folders.recipe(folder), lambda: folders.environment(folder),
        lambda: folders.history(folder, ("epoch", "step", "loss")),
    ):  # fmt: skip
        with contextlib.suppress(_family()):
            found.append(read())
    return found


def _make_build(folder: Path) -> None:
    from playlist_pretrain.files import write_json

    make_collection(folder)
    (folder / "sources-0.jsonl").write_text(
        "".join(json.dumps([f"track/0{i}", f"{i}.wav", 10, None]) + "\n" for i in range(4))
    )
    (folder / "build_report.tsv").write_text(
        "track_id\tsource\tstatus\treason\na\ta.wav\tshort\t3 frames\n"
    )
    build = folder / ".build"
    build.mkdir()
    shutil.copy(folder / "sources-0.jsonl", build / "listing.jsonl")
    write_json(build / "plan.json", {"front_end": {"name": "paper"}, "source": {"loader": {}}})
    part = {
        "file": "mel-00000.tfrecord", "size": 4, "sha": "0", "track_ids": ["a"], "offsets": [4],
        "frames": [3], "start_seconds": [0.0], "source_seconds": [1.0], "band_sum": [1.0],
        "band_square_sum": [1.0],
    }  # fmt: skip
    note = {"track_id": "a", "source": "a.wav", "status": "short", "reason": "r"}
    write_json(build / "mel-00000.json", {"part": part, "notes": [note]})


def _load_build(folder: Path) -> Any:
    from playlist_pretrain.audio.front_end import front_end
    from playlist_pretrain.records.build_folder import BuildFolder, Plan, _read_listing
    from playlist_pretrain.records.report import notes_of
    from playlist_pretrain.records.shards import read_part

    found, plan = [], Plan({}, {}, front_end("paper").to_dict(), {})
    for read in (
        lambda: BuildFolder(folder), lambda: BuildFolder(folder).addition_to,
        lambda: notes_of(folder), lambda: _read_listing(folder / "sources-0.jsonl"),
        lambda: read_part(folder / ".build", 0),
        lambda: plan.differences_from_build(folder / ".build"),
    ):  # fmt: skip
        with contextlib.suppress(_family()):
            found.append(read())
    return found


def _audio(kind: str, subtype: str | None = None) -> Target:
    def make(folder: Path) -> None:
        import soundfile

        rate = 22_050
        tone = 0.3 * np.sin(np.arange(rate) * 0.1)
        soundfile.write(folder / f"a.{kind}", np.stack([tone, -tone], 1), rate, subtype)

    def read(folder: Path) -> Any:
        from playlist_pretrain.audio.decode import decode, stated_seconds

        path = folder / f"a.{kind}"
        with contextlib.suppress(_family(), OSError):
            stated_seconds(str(path))
        return decode(path, 16_000).waveform.sum()

    return Target(make, read, cost=20)


def _wav_bytes() -> Target:
    def read(folder: Path) -> Any:
        import tensorflow as tf

        from playlist_pretrain.audio.wav import wav_waveform

        path = folder / "a.wav"
        content = path.read_bytes() if path.is_file() else b""
        try:
            return wav_waveform(tf.constant(content), 16_000).numpy().sum()
        except tf.errors.InvalidArgumentError as error:  # its refusal in a graph
            return str(error)

    return Target(_audio("wav").make, read, cost=5)


def _make_model(folder: Path) -> None:
    from playlist_pretrain.audio.front_end import PRESETS
    from playlist_pretrain.models.saved_model import save_tagger
    from playlist_pretrain.models.tagger import tagger
    from playlist_pretrain.models.vggish import vggish

    net = tagger(vggish(frames=64, bands=96, width=0.05, seed=3), 2)
    save_tagger(net, ("rock", "pop"), PRESETS["paper"], folder / "model")


def _load_model(folder: Path) -> Any:
    from playlist_pretrain.models.load import load_model

    model = load_model(folder / "model").model
    return model(np.zeros((1, 64, 96), np.float32)).numpy()


def _make_package(folder: Path) -> None:
    from playlist_pretrain.export.targets import export

    sys.path.insert(0, str(TESTS))
    from small_models import loaded

    package = export(loaded(), "essentia", "p", out=folder / "made")
    for path in (package.folder / "p.pb", package.folder / "p.json"):
        shutil.copy(path, folder)
    shutil.rmtree(folder / "made")


def _load_package(folder: Path) -> Any:
    from playlist_pretrain.models.load import load_embedder

    loaded = load_embedder(str(folder / "p.pb"))
    return loaded.model(np.zeros((1, loaded.frames, 96), np.float32)).numpy()


PLAN = """
name = "small"
backbones = ["vggish"]
pairings = ["simclr", "artist_co"]
others = ["scratch"]
[pretrain]
collection = "tfrecords/x"
seeds = [0, 1]
steps = 24
settings = { batch = 8 }
[finetune]
runs = 2
[tags.own]
collection = "tfrecords/y"
"""
MELS = {
    "name": "mine", "sample_rate": 16_000, "hop_length": 256, "bands": 48,
    "frame_length": 512, "window_frames": 64, "unit": "db", "orientation": "frames×bands",
}  # fmt: skip
TAGS = 'track_id\ttags\na\tg---rock,g---pop\n"b"\tx\n'
TRIPLETS = "anchor,positive,negative\na,b,c\nb,c,a\nc,a,b\n"
REPORT = "track_id\tsource\tstatus\treason\na\ta.wav\tshort\t'=1\n"
TARGETS: dict[str, Target] = {
    **{
        name: _playlists(name)
        for name in ("mpd", "melon", "jspf", "xspf", "m3u", "history", "table")
    },
    "tags": _text("t.tsv", TAGS, _by("tasks.tag_table", "read_tags")),
    "triplets": _text("t.csv", TRIPLETS, _by("tasks.triplets", "read_triplets")),
    "tracks": _text("t.csv", "track_id,path\na,x/a.mp3\nb,b.wav\n", _tracks),
    "map": _text("t.csv", "foreign_id,track_id\n1,a\n2,b\n", _id_map),
    "plan": _text("p.toml", PLAN, _by("experiments.plan", "read_plan")),
    "mels": _text("mels.json", json.dumps(MELS), _by("records.mel_sources", "read_description")),
    "report": _text("r.tsv", REPORT, _by("records.report", "read_report")),
    "collection": Target(make_collection, read_collection, repair_collection, cost=8),
    "build": Target(_make_build, _load_build, repair_collection, cost=3),
    "groups": Target(
        lambda folder: _groups().save(folder / "groups-playlists.npz"), _load_groups
    ),
    "tco": Target(_make_table, _load_table),
    "w2v": Target(_make_vectors, _load_vectors, _repair_key("w2v.bin", "w2v.json")),
    "scores": Target(_make_scores, _load_scores),
    "embeddings": Target(_make_embeddings, _load_embeddings, cost=5),
    "parts": Target(_make_parts, _load_parts),
    "faiss": Target(_make_index, _load_index, _repair_key("e.faiss", "e.faiss.json")),
    "run": Target(_make_run, _load_run, cost=3),
    "wav": _audio("wav"),
    "flac": _audio("flac"),
    "ogg": _audio("ogg"),
    "mp3": _audio("mp3"),
    "wav_bytes": _wav_bytes(),
    "saved_model": Target(_make_model, _load_model, cost=300),
    "package": Target(_make_package, _load_package, cost=100),
}  # fmt: skip


# The run


@contextlib.contextmanager
def made(target: Target) -> Iterator[Path]:
    """A folder with a sound input, which the reader takes."""
    with tempfile.TemporaryDirectory(prefix="mutations-") as name:
        folder = Path(name) / "sound"
        folder.mkdir()
        target.make(folder)
        target.read(folder)
        yield folder


def one(target: Target, sound: Path, seed: int, number: int) -> tuple[str, str | None, bool]:
    """Read mutation ``number``; what it was, what is wrong with the answer, and if it is one."""
    folder = sound.with_name("mutated")
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(sound, folder)
    done = mutate(folder, np.random.default_rng([seed, number]))
    target.repair(folder)
    began = time.monotonic()
    wrong, answered = None, False
    try:
        target.read(folder)
        answered = True
    except _family() as error:
        text = str(error)
        if len(text) > 6000 or not text.replace("\n", "").isprintable():
            wrong = f"a message of {len(text)} signs: {text[:200]!r}"
    except Exception:
        wrong = traceback.format_exc(limit=-4)
    took = time.monotonic() - began
    if wrong is None and took > SECONDS:
        wrong = f"it took {took:.1f} s"
    return done, wrong, answered


def work(name: str, seed: int, first: int, last: int, keep: Path | None) -> None:
    """Read some mutations, telling each on standard output before it is read, and what is wrong."""
    import logging

    logging.disable(logging.CRITICAL)
    target, read = TARGETS[name], 0
    with made(target) as sound:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        for number in range(first, last):
            print(f"at {number}", flush=True)
            faulthandler.dump_traceback_later(SECONDS * 3, exit=True)
            done, wrong, answered = one(target, sound, seed, number)
            read += answered
            faulthandler.cancel_dump_traceback_later()
            most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
            if wrong is None and most > max(before, MEMORY):
                wrong = f"it took {most / 2**30:.1f} GiB"
            before = max(before, most)
            if wrong is not None:
                print(json.dumps([number, done, wrong]), flush=True)
                if keep is not None:
                    shutil.copytree(
                        sound.with_name("mutated"), keep / f"{name}-{seed}-{number}",
                        dirs_exist_ok=True,
                    )  # fmt: skip
    print(f"read {read}", flush=True)


def run(
    name: str, count: int, seed: int, first: int = 0, keep: Path | None = None
) -> tuple[int, list[tuple[int, str, str]]]:
    """Read mutations ``first`` to ``first + count`` in a process of its own.

    Returns how many were read as if they were sound, and those that failed. The process is
    started again after a mutation that ends it.
    """
    faults: list[tuple[int, str, str]] = []
    read = 0
    last = first + count
    while first < last:
        words = ["--worker", name, str(seed), str(first), str(last), str(keep or "")]
        with tempfile.TemporaryFile("w+") as errors:
            process = subprocess.Popen(
                [sys.executable, __file__, *words],
                stdout=subprocess.PIPE, stderr=errors, text=True,
                env={**os.environ, "PYTHONPATH": str(TESTS.parent), "CUDA_VISIBLE_DEVICES": "-1",
                     "TF_CPP_MIN_LOG_LEVEL": "3"},
            )  # fmt: skip
            at = -1
            for line in process.stdout:
                if line.startswith("at "):
                    at = int(line[3:])
                elif line.startswith("read "):
                    read += int(line[5:])
                elif line.startswith("["):
                    faults.append(tuple(json.loads(line)))
            if process.wait() == 0:
                return read, faults
            errors.seek(0)
            said = errors.read()[-3000:]
        if at < 0:
            raise RuntimeError(f"{name}: no sound input: {said}")
        faults.append((at, "", f"it ended the process ({process.returncode}): {said}"))
        first = at + 1
    return read, faults


def main() -> int:
    """Command line; the exit code is 1 where a reader failed."""
    if sys.argv[1:2] == ["--worker"]:
        name, seed, first, last, keep = sys.argv[2:]
        work(name, int(seed), int(first), int(last), Path(keep) if keep else None)
        return 0
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--reader", choices=["all", *TARGETS], required=True)
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--first", type=int, default=0, help="number to go on from")
    parser.add_argument("--keep", type=Path, help="folder for the inputs that a reader failed on")
    asked = parser.parse_args()
    failed = 0
    for name in TARGETS if asked.reader == "all" else [asked.reader]:
        began = time.monotonic()
        read, faults = run(name, asked.count, asked.seed, asked.first, asked.keep)
        for number, done, wrong in faults:
            print(f"{name} --seed {asked.seed} --first {number} ({done}): {wrong}")
        failed += len(faults)
        took = time.monotonic() - began
        print(
            f"{name}: {asked.count:,} mutations, {read:,} read, {len(faults)} faults, {took:.0f} s",
            flush=True,
        )
    return int(failed > 0)


if __name__ == "__main__":
    raise SystemExit(main())
