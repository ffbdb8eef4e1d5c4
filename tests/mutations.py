"""Mutated inputs for every reader: results or the family's errors, in seconds and little memory.

``python tests/mutations.py --reader NAME --count N --seed S --out DIR`` makes sound inputs, changes
a copy of one N times, each change known by S and its number, and reads it. Keys and checksums are
made to fit again, so that what lies behind them is reached. ``DIR/NAME.log`` has a line for each:
number, answer, seconds of all processors, bytes of memory; the same command goes on where it
stopped, and prints the table of what is there. ``--keep`` is a folder for the inputs that a reader
failed on, ``--reader all`` takes one after the other, the quickest first, with as many inputs as
each is worth. The suite runs a few of each (``test_mutations.py``).
"""

from __future__ import annotations

import argparse
import contextlib
import csv
import dataclasses
import faulthandler
import functools
import gzip
import hashlib
import importlib
import io
import json
import os
import plistlib
import resource
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import time
import traceback
import warnings
import zipfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np

TESTS = Path(__file__).resolve().parent
sys.path[:0] = [str(TESTS), str(TESTS / "playlists")]
SECONDS, MEMORY, STUCK = 10, 2 << 30, 300
"""Most seconds of work and bytes that a reader may take for one input, and seconds on the clock
after which it hangs: a machine may be busy."""
MANY, FEW = 10_000, 500
"""Inputs for a reader, and for one of a ``cost`` of 50 or more."""
BYTES = (0, 1, 9, 10, 13, 32, 34, 39, 44, 45, 47, 58, 61, 91, 92, 123, 127, 128, 195, 254, 255)
SIZES = (1, 2, 4, 8)
TOKENS = (
    b"<", b"&", b"[", b"}", b"\xff\xfe", b"\xfe\xff", b"null", b"1e999", b"-1", b"NaN", b"\\ud800",
    b"<array>", b"<dict>", b"<data>!", b"<integer>0x</integer>", b"#EXTENC: idna\n",
    b"#EXTENC: undefined\n", b'sep="\n', b"%ff", b"\\\\", b"file://", b"9" * 5000, b"[" * 20_000,
)  # fmt: skip
Files = dict[str, bytes | None]
"""The files of an input by their names; None is a folder."""


@dataclass(frozen=True)
class Target:
    """A reader: what makes a sound input in a folder, reads it, and repairs hashes and keys.

    With ``many`` each folder in the folder is an input.
    """

    make: Callable[[Path], Any]
    read: Callable[[Path], Any]
    repair: Callable[[Path], Any] = lambda folder: None
    cost: float = 1
    """How many mutations of the cheapest reader take as long as one of this."""
    many: bool = False


# Mutations


def mutated_bytes(content: bytes, rng: np.random.Generator) -> bytes:
    """Change a file without a thought of what it is."""
    data = bytearray(content or b"\0")
    at = int(rng.integers(len(data)))
    size = min(int(rng.choice([1, 2, 4, 16, 64, 1024])), len(data) - at)
    part = data[at : at + size]
    match rng.integers(11):
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
            data[at:at] = part * min(_times(rng), 100_000 // size)
        case 6:
            data[at:at] = bytes([int(rng.choice(BYTES))]) * _times(rng)
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
        case 10:
            data[at:at] = TOKENS[int(rng.integers(len(TOKENS)))]
    return bytes(data)


def _times(rng: np.random.Generator) -> int:
    return int(
        rng.choice([1, 2, 3, 70, 100, 1000, 100_000], p=[0.2, 0.2, 0.2, 0.2, 0.1, 0.07, 0.03])
    )


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
        "x" * 100_000, [], {}, [[]], [None], {"": 1}, ["a"] * 1000, deep,
    ]  # fmt: skip
    if isinstance(there, int | float) and not isinstance(there, bool):
        values += [there + 1, there - 1, -there, there * 1000, str(there), [there]] * 2
    if isinstance(there, str):
        values += [there[1:], there * 2, there.upper(), [there], there + "\n"] * 2
    value = values[int(rng.integers(len(values)))]
    return deep(rng) if value is deep else value


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


def mutated_table(content: bytes, rng: np.random.Generator) -> bytes:
    """Change a cell of a table."""
    delimiter = "\t" if b"\t" in content else ";" if b";" in content else ","
    rows = list(csv.reader(io.StringIO(content.decode(), newline=""), delimiter=delimiter))
    row = rows[int(rng.integers(len(rows)))]
    if row:
        at = int(rng.integers(len(row)))
        row[at] = str(odd_value(rng, row[at]))
    stream = io.StringIO(newline="")
    csv.writer(stream, delimiter=delimiter).writerows(rows)
    return stream.getvalue().encode("utf-8", "surrogateescape")


def mutated_plist(content: bytes, rng: np.random.Generator) -> bytes:
    """Change a value or key of a property list."""
    return plistlib.dumps(mutated_tree(plistlib.loads(content), rng), sort_keys=False)


def mutated_gzip(content: bytes, rng: np.random.Generator) -> bytes:
    """Change what is compressed."""
    return gzip.compress(mutated_bytes(gzip.decompress(content), rng))


def mutated_zip(content: bytes, rng: np.random.Generator) -> bytes:
    """Change a member, or its name."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        files: Files = {name: archive.read(name) for name in archive.namelist()}
    mutate(files, rng)
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", int(rng.choice([0, 8, 12, 14]))) as archive:
        for name, data in files.items():
            odd = str(odd_value(rng, name)).encode("utf-8", "replace").decode()
            archive.writestr(name if rng.integers(20) else odd[:60_000], data or b"")
    return stream.getvalue()


def mutated_message(message: Any, rng: np.random.Generator) -> Any:
    """Change a field of a message of protobuf."""
    places, waiting = [], [message]
    while waiting:
        one = waiting.pop()
        for field, value in one.ListFields():
            of_map = field.message_type is not None and field.message_type.GetOptions().map_entry
            several = not hasattr(value, "ListFields") and isinstance(value, Sequence)
            places.append((one, field, value))
            if of_map:
                inners = [value[key] for key in sorted(value)]  # their order is not always the same
                waiting += [inner for inner in inners if hasattr(inner, "ListFields")]
            elif field.message_type is not None:
                waiting += value if several or not hasattr(value, "ListFields") else [value]
    one, field, value = places[int(rng.integers(len(places)))]
    name = field.name
    scalar = isinstance(value, str | bytes | int | float)
    if scalar and rng.integers(8):
        if isinstance(value, str) and value.startswith("{"):
            value = json.dumps(mutated_tree(json.loads(value), rng))
        elif isinstance(value, bytes) and rng.integers(2):
            value = mutated_bytes(value, rng)
        else:
            others = [other for _, kind, other in places if kind.type == field.type]
            others = [other for other in others if isinstance(other, type(value))]
            value = (
                odd_value(rng, value) if rng.integers(2) else others[int(rng.integers(len(others)))]
            )
        if isinstance(value, str):  # what is no Unicode ends protobuf, and is in none of its files
            value = value.encode("utf-8", "replace").decode()
        with contextlib.suppress(TypeError, ValueError):
            setattr(one, name, value)
    elif (
        not scalar and not hasattr(value, "ListFields") and hasattr(value, "append") and len(value)
    ):
        at = int(rng.integers(len(value)))
        if rng.integers(2):
            del value[at]
        else:
            value.append(value[at])
    else:
        one.ClearField(name)
    return message


def mutated_protobuf(kind: Callable[[], Any]) -> Callable[[bytes, np.random.Generator], bytes]:
    """A mutation of a file of one message, of the type that ``kind`` gives."""

    def mutated_protobuf(content: bytes, rng: np.random.Generator) -> bytes:
        message = kind().FromString(content)
        for _ in range(int(rng.choice([1, 1, 3]))):
            mutated_message(message, rng)
        return message.SerializeToString(deterministic=True)

    return mutated_protobuf


def _saved_model() -> Any:
    from tensorflow.core.protobuf.saved_model_pb2 import SavedModel

    return SavedModel


def _keras_metadata() -> Any:
    import tensorflow as tf

    room = tf.keras.Model.__module__.split(".")[0]
    return importlib.import_module(f"{room}.protobuf.saved_metadata_pb2").SavedMetadata


def _graph() -> Any:
    from tensorflow.core.framework.graph_pb2 import GraphDef

    return GraphDef


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


STRUCTURED: dict[str, Callable[[bytes, np.random.Generator], bytes]] = {
    ".json": mutated_json,
    ".jsonl": mutated_json,
    ".jspf": mutated_json,
    ".listens": mutated_json,
    ".npz": mutated_npz,
    ".parquet": mutated_parquet,
    ".csv": mutated_table,
    ".tsv": mutated_table,
    ".xml": mutated_plist,
    ".gz": mutated_gzip,
    ".zip": mutated_zip,
    "saved_model.pb": mutated_protobuf(_saved_model),
    "keras_metadata.pb": mutated_protobuf(_keras_metadata),
    "p.pb": mutated_protobuf(_graph),
}


def mutate(files: Files, rng: np.random.Generator) -> str:
    """Change one file of an input; what was done."""
    names = sorted(name for name, content in files.items() if content is not None)
    name = names[int(rng.integers(len(names)))]
    content, path = files[name] or b"", Path(name)
    structured = STRUCTURED.get(path.name, STRUCTURED.get(path.suffix))
    if structured is not None and rng.integers(4):
        with contextlib.suppress(Exception):  # a value that the format does not have, or odd text
            files[name] = structured(content, rng)
            return f"{name}: {structured.__name__}"
    if rng.integers(60) == 0:
        what = ["gone", "folder", "copy"][int(rng.integers(3))]
        if what == "copy":
            files[str(path.with_name(f"{path.stem} (copy){path.suffix}"))] = content
        elif what == "gone":
            del files[name]
        else:
            files[name] = None
        return f"{name}: {what}"
    times = int(rng.choice([1, 1, 1, 2, 8]))
    for _ in range(times):
        content = mutated_bytes(content, rng)
    files[name] = content
    return f"{name}: {times} times other bytes"


# Inputs and readers


@functools.cache
def _cases(name: str) -> list[tuple[Any, str]]:
    """The odd files of a format, bare and packed, with the way to read each."""
    from test_odd_corpus import CORPUS

    return [
        (case, packing) for case, packing in CORPUS
        if case.reader == name and (packing != "folder" or len(case.files) > 1)
    ]  # fmt: skip


def _make_cases(name: str, folder: Path) -> None:
    from test_odd_corpus import written

    for number, (case, packing) in enumerate(_cases(name)):
        (folder / f"{number:03}").mkdir()
        written(case, packing, folder / f"{number:03}")


def _path_of_case(folder: Path) -> Path:
    path = folder / "u.zip" if (folder / "u.zip").exists() else folder / "u"
    within = list(path.iterdir()) if path.is_dir() else []
    return within[0] if len(within) == 1 else path


def _read_case(name: str, folder: Path) -> Any:
    """The groups of a source; going on after damage, none raises an error."""
    from playlist_pretrain.playlists.readers import READERS, Request, find_reader
    from playlist_pretrain.playlists.readers.source import LeftOut

    (case, _), path = _cases(name)[int(folder.name)], _path_of_case(folder)
    with contextlib.suppress(_family()):
        find_reader(path)
    reader = READERS.get(name)
    for keep_going in (True, False):
        left_out = LeftOut(keep_going=keep_going)
        request = {"kind": reader.kinds[0]} | case.request
        sources = reader.sources(path)
        for source in sources:
            source.encoding = case.encoding
        try:
            for group, tracks in reader.read(sources, Request(**request, damaged=left_out)):
                assert group and all(tracks)
                "".join([group, *tracks]).encode()
        except _family() as error:
            assert not keep_going and str(path) in str(error)
            raise
        assert all(str(path) in message for message in left_out.sources)
    return None


def _playlists(name: str) -> Target:
    make, read = functools.partial(_make_cases, name), functools.partial(_read_case, name)
    return Target(make, read, many=True)


def _read_query(folder: Path) -> Any:
    from playlist_pretrain.records.schema import PackedStrings
    from playlist_pretrain.retrieval.continuation import read_playlist
    from playlist_pretrain.retrieval.table_groups import KnownTracks

    known = KnownTracks(PackedStrings.pack(["a/1", "é/2", "c/3", "Č/1", "Ж/2"]))
    encoding = _cases("m3u")[int(folder.name)][0].encoding
    return str(read_playlist(_path_of_case(folder), known, audio=folder, encoding=encoding).text)


def _texts(read: Callable[[Path], Any], cost: float = 1, **files: str) -> Target:
    """A reader of text: inputs by the names of their files."""

    def make(folder: Path) -> None:
        for name, content in files.items():
            (folder / name).mkdir()
            (folder / name / name.replace("_", ".")).write_text(content, encoding="utf-8")

    return Target(
        make, lambda folder: read(folder / folder.name.replace("_", ".")), cost=cost, many=True
    )


def _family() -> type[Exception]:
    from playlist_pretrain.errors import PlaylistPretrainError

    return PlaylistPretrainError


def _by(module: str, name: str) -> Callable[[Path], Any]:
    """A function of the package that reads a file, imported when it is called."""
    return lambda path: getattr(importlib.import_module(f"playlist_pretrain.{module}"), name)(path)


def _lists(path: Path) -> Any:
    """Tables about the tracks of a file of embeddings."""
    from types import SimpleNamespace

    from playlist_pretrain.playlists.groups import read_track_ids
    from playlist_pretrain.records.schema import PackedStrings
    from playlist_pretrain.retrieval.projector import _columns_of
    from playlist_pretrain.retrieval.search import _titles
    from playlist_pretrain.retrieval.table_groups import KnownTracks, groups_of_table, tag_groups

    known = KnownTracks(PackedStrings.pack(["a", "b"]))
    shutil.copy(path, path.with_name("tags.tsv")) if path.is_file() else None
    beside = SimpleNamespace(path=path.parent, track_ids=known.track_ids)
    return _each(
        lambda: read_track_ids(path), lambda: tag_groups(path, known),
        lambda: groups_of_table(path, known), lambda: _titles([path], {"a", "b"}),
        lambda: _columns_of(beside, ["a", "b"]),
    )  # fmt: skip


def _each(*reads: Callable[[], Any]) -> list[Any]:
    """What several readers make of one input; the error of the last, if all refuse it."""
    found, refused = [], None
    for read in reads:
        try:
            found.append(read())
        except _family() as error:
            refused = error
    if refused is not None and not found:
        raise refused
    return found


def _task(path: Path) -> Any:
    from playlist_pretrain.tasks.tag_table import TagTableReader
    from playlist_pretrain.tasks.task import TaskSettings

    return TagTableReader().read(TaskSettings(tags=path))


def _jamendo(path: Path) -> Any:
    from playlist_pretrain.tasks.jamendo import _rows

    return list(_rows(path, ("genre", "instrument", "mood/theme")))


def _mtat(folder: Path) -> Any:
    from playlist_pretrain.tasks import magnatagatune

    with mock.patch.object(magnatagatune, "CLIPS", 8):
        return magnatagatune._annotations(magnatagatune._source(str(folder)))


def _make_mtat(folder: Path) -> None:
    from playlist_pretrain.tasks.magnatagatune import TAGS, TOP_50

    names = [*TOP_50, *(f"x{i}" for i in range(TAGS - len(TOP_50)))]
    cells = ["1"] * len(TOP_50) + ["0"] * (TAGS - len(TOP_50))
    lines = [["clip_id", *names, "mp3_path"]]
    lines += [[str(i), *cells, f"{i}/a-{i}.mp3"] for i in range(8)]
    text = "".join("\t".join(f'"{cell}"' for cell in line) + "\n" for line in lines)
    (folder / "annotations_final.csv").write_text(text)


def _plan(folder: Path) -> Any:
    from playlist_pretrain.experiments.cells import cells_of
    from playlist_pretrain.experiments.collect import read_paper
    from playlist_pretrain.experiments.plan import Paper, read_plan

    plan = read_plan(folder / "p.toml")
    if plan.paper is not None:
        plan = dataclasses.replace(plan, paper=Paper(str(folder / "numbers.toml")))
    return cells_of(plan), read_paper(plan)


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
    from playlist_pretrain.playlists.groups import TrackGroups
    from playlist_pretrain.records.collection import Collection
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
    key = Collection.open(folder).content_key
    for name, made_for in (("playlists", key), ("old", "k")):
        groups = TrackGroups.from_lists(name, [[0, 1], [2]], tracks=12, collection_key=made_for)
        groups.save(folder / f"groups-{name}.npz")
    report = {"source": "l", "format": "m3u", "kind": "playlists", "gap": 3.0, "keep_going": True}
    (folder / "groups-old.report.json").write_text(json.dumps(report))


def read_collection(folder: Path) -> Any:
    """Open a collection, read every window and every mel, verify it."""
    from playlist_pretrain.playlists.groups import load_groups
    from playlist_pretrain.records.collection import Collection
    from playlist_pretrain.records.overview import groups_of_other_content
    from playlist_pretrain.records.verify import verify_collection
    from playlist_pretrain.records.windows import WindowReader

    _each(lambda: verify_collection(folder), list)
    collection = Collection.open(folder)
    _each(
        lambda: load_groups(collection, "playlists"), lambda: load_groups(collection, "old"), list
    )
    list(groups_of_other_content(collection))
    rows = np.arange(len(collection))
    for row in rows.tolist():
        collection.mel(row)
    WindowReader(collection, 3, "repeat").read(rows, np.zeros(len(rows), np.int64))
    return collection.rows(["track/00", "x"])


def repair_records(path: Path) -> None:
    """Make the checksums of the records of a shard fit, as far as their lengths lead."""
    from playlist_pretrain.records.example import masked_crc

    data, at = bytearray(path.read_bytes()), 0
    while at + 12 <= len(data):
        (length,) = struct.unpack_from("<Q", data, at)
        struct.pack_into("<I", data, at + 8, masked_crc(bytes(data[at : at + 8])))
        if at + 16 + length > len(data):
            break
        crc = masked_crc(bytes(data[at + 12 : at + 12 + length]))
        struct.pack_into("<I", data, at + 12 + length, crc)
        at += 16 + length
    path.write_bytes(data)


def repair_collection(folder: Path) -> None:
    """Make sizes, hashes and the content key of a collection fit."""
    from playlist_pretrain.records.schema import collection_key

    file = folder / "collection.json"
    with contextlib.suppress(Exception):  # it may be the file that was mutated
        document = json.loads(file.read_bytes())
        for entry in document["shards"]:
            repair_records(folder / entry["file"])
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
    from playlist_pretrain.files import write_arrays, write_json

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
    write_arrays(folder / "best-00001.npz", arr_0=np.ones((2, 3), np.float32))


def _load_run(folder: Path) -> Any:
    import tensorflow as tf

    from playlist_pretrain.experiments.report import folders
    from playlist_pretrain.runs import unfinished
    from playlist_pretrain.training.engine import BestEpoch, read_history
    from playlist_pretrain.training.finetune import TaggingRuns, report

    run, model = (
        TaggingRuns(folder),
        tf.keras.Sequential([tf.keras.layers.Dense(3, use_bias=False)]),
    )
    model.build((1, 2))
    return _each(
        lambda: repr(run), lambda: run.best, lambda: run.check(), lambda: report(run, []),
        lambda: run._refuse_other({"recipe": {"epochs": 1}, "inputs": {}}, ()),
        lambda: unfinished(folder), lambda: read_history(run.history, ("epoch", "step", "loss")),
        lambda: folders.recipe(folder), lambda: folders.environment(folder),
        lambda: folders.history(folder, ("epoch", "step", "loss")),
        lambda: BestEpoch([model], folder, folder, "loss").restore([{"epoch": 1, "loss": 1.0}]),
    )  # fmt: skip


def _cell(kind: str) -> Any:
    from playlist_pretrain.experiments.cells import Cell

    return Cell(f"{kind}/own", kind, {"options": {}})


def _make_cell(folder: Path) -> None:
    """Run folder and record of a finished cell of a plan."""
    from playlist_pretrain.experiments.cells import State
    from playlist_pretrain.retrieval.embedding_table import embedding_writer

    state, cell = State(folder), _cell("triplets")
    state.fail(cell, "x")
    own = state.folder(cell)
    own.mkdir(parents=True)
    with embedding_writer(own / "embeddings.parquet", 4, {"model": "m"}) as write:
        write(["a", "b", "c"], np.eye(3, 4, dtype=np.float32))
    run = {"accuracy": 0.5, "right": [1, 0, 1], "roc_auc": 0.5, "average_precision": 0.25}
    for name, key in (("results", "models"), ("summary", "runs")):
        (own / f"{name}.json").write_text(json.dumps({key: [run, run], "lines": [2, 3]}))
    (own / "per_triplet.csv").write_text("anchor,positive,negative,margin m\na,b,c,0.5\nb,a,c,-1\n")
    (own / "per_tag.csv").write_text("class,support,average_precision_mean\nrock,3,0.5\npop,1,\n")
    shutil.copytree(own, state.folder(_cell("tags")))
    failed = state.notes(cell) / "failed.json"
    shutil.copy(failed, failed.with_name("done.json"))
    failed.with_name("done.json").write_text(json.dumps(
        {"spec": cell.spec, "seconds": 1.5, "resumed": False, "counts": {"pairs": 3}}
    ))  # fmt: skip


def _load_cell(folder: Path) -> Any:
    from types import SimpleNamespace

    from playlist_pretrain.experiments.cells import State
    from playlist_pretrain.experiments.collect import Collected
    from playlist_pretrain.experiments.report import folders

    state, cells = State(folder), [_cell("triplets"), _cell("tags")]
    own, collected = state.folder(cells[0]), SimpleNamespace(state=state)
    return _each(
        lambda: state.done(cells[0]), lambda: state.failed(cells[0]),
        *(functools.partial(Collected.runs, collected, cell) for cell in cells),
        *(functools.partial(read, own)
          for read in (folders.per_tag, folders.margins, folders.cosines)),
    )  # fmt: skip


def repair_checkpoint(folder: Path) -> None:
    """Make the checksums of the blocks of a checkpoint's index fit."""
    from playlist_pretrain.records.example import masked_crc

    for path in folder.rglob("*.index"):
        data = bytearray(path.read_bytes()) if path.is_file() else bytearray()

        def number(at: int, data: bytearray = data) -> tuple[int, int]:
            value = shift = 0
            while data[at] & 128:
                value, shift, at = value | (data[at] & 127) << shift, shift + 7, at + 1
            return value | data[at] << shift, at + 1

        with contextlib.suppress(IndexError, struct.error):
            handles, at = [], len(data) - 48
            for _ in range(4):
                value, at = number(at)
                handles.append(value)
            at, size = handles[2:]
            end = at + size - 4 - 4 * struct.unpack_from("<I", data, at + size - 4)[0]
            while at < end:
                _, at = number(at)
                own, at = number(at)
                _, at = number(at)
                start, at = number(at + own)
                size, at = number(at)
                handles += start, size
            for start, size in zip(handles[::2], handles[1::2], strict=True):
                crc = masked_crc(bytes(data[start : start + size + 1]))
                struct.pack_into("<I", data, start + size + 1, crc)
        if data:
            path.write_bytes(data)


def _make_checkpoint(folder: Path) -> None:
    import tensorflow as tf

    weight = tf.Variable([[1.0, 2.0]])
    checkpoint = tf.train.Checkpoint(w=weight, optimizer=tf.Module(), metrics=[])
    checkpoint.write(str(folder / "V2" / "step-3"))
    v1 = tf.compat.v1
    (folder / "V1").mkdir()
    with tf.Graph().as_default(), v1.Session() as session:
        session.run(v1.get_variable("w", initializer=[[1.0, 2.0]]).initializer)
        saver = v1.train.Saver(write_version=v1.train.SaverDef.V1)
        saver.save(
            session, str(folder / "V1" / "step-3"), write_meta_graph=False, write_state=False
        )


def _load_checkpoint(folder: Path) -> Any:
    """The newest checkpoint of a run, and one that is read as that of AudioSet is."""
    from types import SimpleNamespace

    import tensorflow as tf

    from playlist_pretrain.models.audioset import _opened
    from playlist_pretrain.training.engine import Engine

    weight, optimizer = tf.Variable([[0.0, 0.0]]), tf.Module()
    optimizer.build = len
    model = SimpleNamespace(
        distribute_strategy=tf.distribute.get_strategy(), optimizer=optimizer, metrics=[],
        trainable_variables=[weight], parts={"w": weight},
    )  # fmt: skip
    engine = SimpleNamespace(
        model=model, steps_per_epoch=1, metric_variables=list, keep_checkpoints=len,
        run=SimpleNamespace(checkpoints=folder),
    )  # fmt: skip

    def variables() -> Any:
        with _opened(folder / "step-3") as checkpoint:
            return [checkpoint.get_tensor(name) for name in checkpoint.get_variable_to_shape_map()]

    return _each(lambda: Engine.restore_checkpoint(engine, folder), variables)


def _make_mels(folder: Path) -> None:
    import tarfile

    for order in "CF":
        np.save(folder / f"{order}.npy", np.ones((3, 4), np.float32, order))
    with tarfile.open(folder / "a.tar", "w") as archive:
        archive.add(folder / "C.npy", "x/C.npy")
        archive.add(folder / "F.npy", "x/" + "F" * 200 + ".npy")


def _load_mels(folder: Path) -> Any:
    from playlist_pretrain.records.mel_files import find_mels, read_array

    found = find_mels(folder, keep_going=True)
    return _each(*(functools.partial(read_array, str(folder / one.source)) for one in found.files))


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
    tags = {"a": ["A", "", "T", "", "1999"]}
    write_json(build / "mel-00000.json", {"part": part, "notes": [note], "tags": tags})
    (folder / "tracks.csv").write_text("track_id,artist,mood\na,A,calm\nb,,\n")


def _load_build(folder: Path) -> Any:
    from playlist_pretrain.audio.front_end import front_end
    from playlist_pretrain.demo.build import _loader_there
    from playlist_pretrain.records.build_folder import BuildFolder, Plan, _read_listing
    from playlist_pretrain.records.report import notes_of
    from playlist_pretrain.records.shards import read_part
    from playlist_pretrain.records.track_tags import read_tracks
    from playlist_pretrain.records.verify import repair_collection

    plan = Plan({}, {}, front_end("paper").to_dict(), {})
    return _each(
        lambda: BuildFolder(folder), lambda: BuildFolder(folder).addition_to,
        lambda: notes_of(folder), lambda: _read_listing(folder / "sources-0.jsonl"),
        lambda: read_part(folder / ".build", 0), lambda: _loader_there(folder),
        lambda: read_tracks(folder),
        lambda: plan.differences_from_build(folder / ".build"),
        lambda: repair_collection(folder),
    )  # fmt: skip


def _sound(seconds: float = 0.4, rate: int = 22_050) -> np.ndarray:
    tone = 0.3 * np.sin(np.arange(int(rate * seconds)) * 0.1)
    return np.stack([tone, -tone], 1)


def _audio(
    *kinds: str, tagged: bool = False, repair: Callable[[Path], Any] | None = None
) -> Target:
    """Audio files: ``extension[:subtype]`` of libsndfile, or ``extension=codec`` of ffmpeg."""

    def make(folder: Path) -> None:
        import soundfile
        from odd_audio import ID3V1, PICTURE, apev2, id3v2

        for kind in kinds:
            name, codec = kind.split("=") if "=" in kind else (kind.partition(":")[0], "")
            own = folder / f"{kind.replace(':', '-').replace('=', '-')}.{name}"
            own.mkdir()
            if not codec:
                soundfile.write(own / own.name, _sound(), 22_050, kind.partition(":")[2] or None,
                                format=name)  # fmt: skip
                continue
            import imageio_ffmpeg

            soundfile.write(own / "a.wav", _sound(), 22_050)
            tags = [word for tag in TAGGED for word in ("-metadata", tag)]
            words = ["-v", "error", "-i", own / "a.wav", "-strict", "-2", "-c:a", codec, *tags]
            command = [imageio_ffmpeg.get_ffmpeg_exe(), *words, own / own.name]
            subprocess.run(command, check=True)
            (own / "a.wav").unlink()
        for own in list(folder.iterdir()) if tagged else ():
            data = (own / own.name).read_bytes()
            forms = {"id3": id3v2(PICTURE[:900], 20) + data,
                     "ape": data + apev2(PICTURE[:900]) + ID3V1, "joined": data + data}  # fmt: skip
            for form, content in forms.items():
                other = folder / f"{form}-{own.name}"
                other.mkdir()
                (other / other.name).write_bytes(content)

    def read(folder: Path) -> Any:
        from playlist_pretrain.audio.decode import decode

        assert np.isfinite(decode(folder / folder.name, 16_000).waveform).all()

    return Target(make, read, repair or (lambda folder: None), cost=20, many=True)


def _tags_of_files() -> Target:
    """Tags of files of every kind, with a cover in some."""

    def read(folder: Path) -> Any:
        from playlist_pretrain.audio.file_tags import LONGEST, MOST, file_tags

        found = file_tags(folder / folder.name)
        for value in found:
            assert len(value) <= MOST * (LONGEST + 1) and "\n" not in value
            value.encode()
        return found

    kinds = ("mp3=libmp3lame", "flac=flac", "ogg=libvorbis", "opus=libopus", "m4a=aac", "wma=wmav2",
             "wv=wavpack", "wav")  # fmt: skip
    return Target(_audio(*kinds, tagged=True).make, read, many=True)


TAGGED = ("artist=Ärzte; Die", "album=Al", "title=T", "genre=Rock", "date=2004-05-06")


def _repair_ogg(folder: Path) -> None:
    """Make the checksums of the pages of an Ogg file fit."""
    for path in (path for path in folder.iterdir() if path.is_file()):
        data = bytearray(path.read_bytes())
        at = data.find(b"OggS")
        while at >= 0 and at + 27 <= len(data):
            end = at + 27 + data[at + 26]
            end += sum(data[at + 27 : end])
            data[at + 22 : at + 26] = bytes(4)
            crc = 0
            for byte in data[at:end]:
                crc = (crc << 8 ^ OGG_TABLE[crc >> 24 ^ byte]) & 0xFFFFFFFF
            struct.pack_into("<I", data, at + 22, crc)
            at = data.find(b"OggS", max(end, at + 4))
        path.write_bytes(data)


def _ogg_table() -> list[int]:
    table = []
    for byte in range(256):
        crc = byte << 24
        for _ in range(8):
            crc = crc << 1 ^ (0x104C11DB7 if crc & 1 << 31 else 0)
        table.append(crc)
    return table


OGG_TABLE = _ogg_table()


def _wav_in_graphs() -> Target:
    """Wav files in TensorFlow's graph, and as windows of audio are read."""

    def read(folder: Path) -> Any:
        import tensorflow as tf

        from playlist_pretrain.audio.audio_windows import file_waveform
        from playlist_pretrain.audio.wav import wav_waveform

        path = folder / folder.name
        content = path.read_bytes() if path.is_file() else b""
        for one, value in ((wav_waveform, content), (file_waveform, str(path))):
            with contextlib.suppress(tf.errors.OpError):  # its refusal in a graph
                assert np.isfinite(_in_graph(one)(tf.constant(value)).numpy()).all()

    return Target(
        _audio("wav", "wav:FLOAT", "wav:PCM_24", "rf64", "w64").make, read, cost=5, many=True
    )


@functools.cache
def _in_graph(function: Callable[..., Any]) -> Any:
    import tensorflow as tf

    signature = [tf.TensorSpec([], tf.string)]
    return tf.function(lambda value: function(value, 16_000), input_signature=signature)


def make_model(folder: Path) -> None:
    """Save a small backbone and a tagger, of a front end that has nothing for wav files."""
    import tensorflow as tf

    from playlist_pretrain.audio.front_end import IMPORTED
    from playlist_pretrain.models.saved_model import save_backbone, save_tagger
    from playlist_pretrain.models.tagger import tagger

    inputs = tf.keras.Input((8, 96), name="melspectrogram")
    hidden = tf.keras.layers.Dense(3, "relu")(tf.keras.layers.GlobalAveragePooling1D()(inputs))
    model = tf.keras.Model(inputs, tf.keras.layers.BatchNormalization()(hidden))
    front_end = IMPORTED["jamendo-mels"]
    save_backbone(model, front_end, folder / "backbone" / "model")
    save_tagger(tagger(model, 2), ("rock", "pop"), front_end, folder / "tagger" / "model")


def _load_model(folder: Path) -> Any:
    import tensorflow as tf

    from playlist_pretrain.models.load import load_model

    try:
        model = load_model(folder / "model")
        assert model.frames < 10_000
        windows = np.zeros((1, model.frames, model.front_end.bands), np.float32)
        return model.model(windows).numpy(), model.dim, model.embedder().model(windows).numpy()
    finally:
        tf.keras.backend.clear_session()


def _make_package(folder: Path) -> None:
    from small_models import loaded

    from playlist_pretrain.export.targets import export

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
[paper]
numbers = "numbers.toml"
"""
NUMBERS = """
source = "a paper"
[pairs.simclr]
pairs_per_epoch = 10
steps = 3
[tags.own.vggish-simclr]
roc_auc = [0.5, 0.1]
average_precision = [0.25]
"""


def _make_plan(folder: Path) -> None:
    (folder / "p.toml").write_text(PLAN)
    (folder / "numbers.toml").write_text(NUMBERS)


MELS = {
    "name": "mine", "sample_rate": 16_000, "hop_length": 256, "bands": 48,
    "frame_length": 512, "window_frames": 64, "unit": "db", "orientation": "frames×bands",
}  # fmt: skip
TAGS = "track_id\ttags\tsplit\tartist\ttitle\n" + "".join(
    f"{i}\tg---rock,g---pop{',x' * (i % 2)}\t{('train', 'validation', 'test')[i % 3]}\tA{i}\tT\n"
    for i in range(9)
)
JAMENDO = "TRACK_ID\tARTIST_ID\tALBUM_ID\tPATH\tDURATION\tTAGS\n" + "".join(
    f"track_{i}\tartist_{i}\talbum_1\t{i:02}/{i}.mp3\t9.5\tgenre---rock\tgenre---pop\n"
    for i in range(6)
)
DIM_SIM = (
    "triplet_id,anchor_id,anchor_start_seconds,anchor_start_samples,song1_id,song1_start_seconds,"
    "song1_start_samples,song2_id,song2_start_seconds,song2_start_samples,song1_vote,song2_vote\n"
    "1,a,1.5,3,b,2,4,c,0,0,3,1\n2,b,2,4,a,1.5,3,c,0,0,0,2\n"
)
TRIPLETS = "anchor,positive,negative\na,b,c\nb,c,a\nc,a,b\n"
REPORT = "track_id\tsource\tstatus\treason\na\ta.wav\tshort\t'=1\n"
TARGETS: dict[str, Target] = {
    **{
        name: _playlists(name)
        for name in ("m3u", "xspf", "jspf", "mpd", "melon", "itunes", "history", "table")
    },
    "query": Target(functools.partial(_make_cases, "m3u"), _read_query, many=True),
    "tags": _texts(_task, t_tsv=TAGS, t_csv="track_id,tags\n" + "".join(
        f'{i},"x,y"\n' for i in range(9)
    )),
    "lists": _texts(_lists, t_tsv=TAGS, t_csv="track_id,artist,tags,title\na,A,x,T\nb,,y,\n",
                    t_txt="a\nb\n"),
    "jamendo": _texts(_jamendo, t_tsv=JAMENDO),
    "mtat": Target(_make_mtat, _mtat, cost=2),
    "triplets": _texts(_by("tasks.triplets", "read_triplets"), t_csv=TRIPLETS, d_csv=DIM_SIM),
    "tracks": _texts(_tracks, t_csv="track_id,path\na,x/a.mp3\nb,b.wav\n"),
    "map": _texts(_id_map, t_csv="foreign_id,track_id\n1,a\nspotify:track:2,b\n"),
    "report": _texts(_by("records.report", "read_report"), r_tsv=REPORT),
    "description": _texts(_by("records.mel_sources", "read_description"), m_json=json.dumps(MELS)),
    "plan": Target(_make_plan, _plan),
    "mels": Target(_make_mels, _load_mels),
    "collection": Target(make_collection, read_collection, repair_collection, cost=8),
    "build": Target(_make_build, _load_build, repair_collection, cost=5),
    "groups": Target(
        lambda folder: _groups().save(folder / "groups-playlists.npz"), _load_groups
    ),
    "tco": Target(_make_table, _load_table),
    "w2v": Target(_make_vectors, _load_vectors, _repair_key("w2v.bin", "w2v.json")),
    "scores": Target(_make_scores, _load_scores),
    "embeddings": Target(_make_embeddings, _load_embeddings, cost=5),
    "parts": Target(_make_parts, _load_parts),
    "cell": Target(_make_cell, _load_cell, cost=3),
    "wav": _audio("wav", "wav:FLOAT", "wav:PCM_24", "wav:IMA_ADPCM", "wav:ULAW", "rf64", "w64"),
    "aiff": _audio("aiff", "aiff:FLOAT", "au", "caf"),
    "flac": _audio("flac", "flac:PCM_24", tagged=True),
    "ogg": _audio("ogg", "opus=libopus", "oga=flac", repair=_repair_ogg),
    "mp3": _audio("mp3", "mp2=mp2", tagged=True),
    "aac": _audio("aac=aac", tagged=True),
    "m4a": _audio("m4a=aac", "mp4=alac", "mov=aac"),
    "wma": _audio("wma=wmav2", "wma=wmav1"),
    "mka": _audio("mka=libopus", "webm=libvorbis", "mka=flac"),
    "others": _audio("wv=wavpack", "ac3=ac3", "tta=tta", "caf=alac", "avi=libmp3lame"),
    "file_tags": _tags_of_files(),
    "wav_bytes": _wav_in_graphs(),
    "checkpoint": Target(
        _make_checkpoint, _load_checkpoint, repair_checkpoint, cost=50, many=True
    ),
    "faiss": Target(_make_index, _load_index, _repair_key("e.faiss", "e.faiss.json"), cost=50),
    "run": Target(_make_run, _load_run, cost=50),
    "saved_model": Target(make_model, _load_model, repair_checkpoint, cost=300, many=True),
    "package": Target(_make_package, _load_package, cost=300),
}  # fmt: skip


# The run


Sound = dict[str, Files]
"""Sound inputs by the names of their folders."""


def _contents(folder: Path) -> Files:
    return {
        str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None
        for path in folder.rglob("*") if path.is_file() or not any(path.iterdir())
    }  # fmt: skip


def _lay(files: Files, folder: Path) -> None:
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.mkdir() if content is None else path.write_bytes(content)


@contextlib.contextmanager
def made(target: Target) -> Iterator[tuple[Path, Sound]]:
    """A folder to work in, and sound inputs, of which the reader takes all, or one of many."""
    with tempfile.TemporaryDirectory(prefix="mutations-") as name:
        folder, refused = Path(name), []
        (folder / "sound").mkdir()
        target.make(folder / "sound")
        inputs = sorted((folder / "sound").iterdir()) if target.many else [folder / "sound"]
        sound = {one.name: _contents(one) for one in inputs}
        for one in inputs:
            try:
                target.read(one)
            except _family() as error:
                refused.append(error)
        if refused and (not target.many or len(refused) == len(inputs)):
            raise refused[0]
        yield folder, sound


def one(target: Target, folder: Path, sound: Sound, seed: int, number: int) -> list[Any]:
    """Read mutation ``number``: its line of the log."""
    rng = np.random.default_rng([seed, number])
    name = sorted(sound)[number % len(sound)]
    files = dict(sound[name])
    done = f"{name}/{mutate(files, rng)}" if target.many else mutate(files, rng)
    place = folder / "mutated" / (name if target.many else "")
    shutil.rmtree(folder / "mutated", ignore_errors=True)
    place.mkdir(parents=True)
    _lay(files, place)
    target.repair(place)
    begun, (before, _) = time.monotonic(), work_of_all()
    answer, wrong = "result", ""
    try:
        target.read(place)
    except _family():
        answer = "refused"
    except Exception:
        wrong = traceback.format_exc(limit=-4)
    after, memory = work_of_all()
    took = round(min(after - before, time.monotonic() - begun), 3)
    if not wrong and took > SECONDS:
        wrong = f"it took {took:.1f} s"
    return [number, "fault" if wrong else answer, took, memory, done, wrong]


def work_of_all() -> tuple[float, int]:
    """Seconds of work of this process and its children, and the most memory of one."""
    seconds, memory = time.process_time(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10
    with contextlib.suppress(OSError):
        for child in Path(f"/proc/self/task/{os.getpid()}/children").read_text().split():
            fields = Path(f"/proc/{child}/stat").read_text().rpartition(")")[2].split()
            seconds += (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
            status = Path(f"/proc/{child}/status").read_text()
            memory = max(memory, int(status.partition("VmHWM:")[2].split()[0]) << 10)
    return seconds, memory


def work(name: str, seed: int, first: int, last: int, keep: str) -> None:
    """Read some mutations, a line of the log for each on standard output."""
    import logging

    logging.disable(logging.CRITICAL)
    target = TARGETS[name]
    # A reader that is at work for too long ends the process, which says where it was.
    faulthandler.enable()
    faulthandler.register(signal.SIGPROF, chain=True)
    with made(target) as (folder, sound):
        print("[]", flush=True)
        (_, before), watched = work_of_all(), 0.0
        for number in range(first, last):
            signal.setitimer(signal.ITIMER_PROF, SECONDS * 3)
            if time.monotonic() > watched:
                faulthandler.dump_traceback_later(STUCK, exit=True)
                watched = time.monotonic() + SECONDS
            line = one(target, folder, sound, seed, number)
            if line[3] > max(before, MEMORY):
                line[1], line[5] = "fault", line[5] or f"it took {line[3] / 2**30:.1f} GiB"
            before = max(before, line[3])
            print(json.dumps(line if line[5] else line[:4]), flush=True)
            if line[5] and keep:
                kept = Path(keep) / f"{name}-{seed}-{number}"
                shutil.copytree(folder / "mutated", kept, dirs_exist_ok=True)
        signal.setitimer(signal.ITIMER_PROF, 0)
        faulthandler.cancel_dump_traceback_later()


def run(name: str, count: int, seed: int, log: Path | None = None, keep: str = "") -> list[list]:
    """Read mutations 0 to ``count`` in a process of its own; the lines of the log.

    The process is started again after a mutation that ends it.
    """
    lines: list[list] = []
    if log is not None and log.exists():
        whole = log.read_text().rpartition("\n")[0]
        lines = [json.loads(line) for line in whole.splitlines()]
        log.write_text(whole + "\n" * bool(whole))
    with open(log or os.devnull, "a", encoding="utf-8") as stream:
        while len(lines) < count:
            words = ["--worker", name, str(seed), str(len(lines)), str(count), keep]
            with tempfile.TemporaryFile("w+") as errors:
                process = subprocess.Popen(
                    [sys.executable, __file__, *words],
                    stdout=subprocess.PIPE, stderr=errors, text=True,
                    env={**os.environ, "PYTHONPATH": str(TESTS.parent),
                         "CUDA_VISIBLE_DEVICES": "-1", "TF_CPP_MIN_LOG_LEVEL": "3"},
                )  # fmt: skip
                began = False
                for text in process.stdout:
                    if not text.startswith("["):
                        continue
                    line, began = json.loads(text), True
                    if line:
                        lines.append(line)
                        stream.write(text)
                        stream.flush()
                if process.wait() == 0:
                    break
                errors.seek(0)
                said = errors.read()[-3000:]
            if not began:
                raise RuntimeError(f"{name}: no sound input: {said}")
            wrong = f"it ended the process ({process.returncode}): {said}"
            lines.append([len(lines), "fault", 0.0, 0, "", wrong])
            stream.write(json.dumps(lines[-1]) + "\n")
    return lines[:count]


def row(name: str, lines: Sequence[list]) -> str:
    """A reader's row of the table."""
    answers = [line[1] for line in lines]
    counts = [answers.count(answer) for answer in ("result", "refused", "fault")]
    slowest, memory = (max(line[at] for line in lines) for at in (2, 3))
    cells = [
        name,
        *(f"{n:,}" for n in (len(lines), *counts)),
        f"{slowest:.1f}",
        f"{memory / 2**20:,.0f}",
    ]
    return "\t".join(cells)


def main() -> int:
    """Command line; the exit code is 1 where a reader failed."""
    if sys.argv[1:2] == ["--worker"]:
        name, seed, first, last, keep = sys.argv[2:]
        work(name, int(seed), int(first), int(last), keep)
        return 0
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--reader", choices=["all", *TARGETS], required=True)
    parser.add_argument(
        "--count", type=int, help=f"inputs [{MANY}, or {FEW} for models and the like]"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, required=True, help="folder of the logs")
    parser.add_argument("--keep", default="", help="folder for the inputs that a reader failed on")
    asked = parser.parse_args()
    asked.out.mkdir(parents=True, exist_ok=True)
    names = sorted(TARGETS, key=lambda name: TARGETS[name].cost)
    failed = 0
    print("reader\tinputs\tresults\trefused\tfaults\tslowest (s)\tmost memory (MiB)")
    for name in names if asked.reader == "all" else [asked.reader]:
        count = asked.count or (FEW if TARGETS[name].cost >= 50 else MANY)
        lines = run(name, count, asked.seed, asked.out / f"{name}.log", asked.keep)
        print(row(name, lines), flush=True)
        failed += sum(line[1] == "fault" for line in lines)
    return int(failed > 0)


if __name__ == "__main__":
    raise SystemExit(main())
