"""The contract of playlist readers."""

from __future__ import annotations

import dataclasses
import gzip
import shutil
import tempfile
import zipfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from playlist_pretrain.errors import TableError
from playlist_pretrain.playlists.readers.source import OPTIONS, Group, Reader, Request
from playlist_pretrain.testing.clauses import (
    ContractError,
    refusal,
    require,
    require_line,
    require_name,
    require_options,
)

MOST_CUTS = 200
NOT_TEXT = b"\0" * 99


def check_reader(
    reader: Reader,
    example: Path,
    groups: Sequence[tuple[str, Sequence[str]]],
    request: Request | None = None,
) -> None:
    """Check a playlist reader against :class:`playlist_pretrain.playlists.readers.source.Reader`.

    ``example`` is a plain file of the format, or a folder of such files: neither gzipped nor
    zipped, which is done here. It is copied, and its copies are damaged. ``groups`` are its
    content, id and tracks of each group in its order. ``request`` is by default the reader's first
    kind and nothing else.
    Raises ContractError at the first clause that is broken.
    """
    require_name(reader.name)
    require(reader.name != "auto", "name: 'auto' stands for any reader")
    require_line(reader.description, "description")
    kinds = reader.kinds
    require(isinstance(kinds, tuple) and kinds, f"kinds: a tuple of at least one, not {kinds!r}")
    for kind in kinds:
        require_name(kind)
    require(len(set(kinds)) == len(kinds), f"kinds: each once, not {kinds!r}")
    require_options(reader.options, OPTIONS)
    request = request or Request(kinds[0])
    expected = {group: list(tracks) for group, tracks in groups}

    told: list[int] = []
    counting = dataclasses.replace(request, advance=told.append)
    found = _merged(_parts(reader, example, counting))
    require(found == expected, f"read: the example holds {expected!r}, not {found!r}")
    size = sum(source.size for source in reader.sources(example))
    require(min(told, default=0) >= 0, f"advance: is told more bytes, never fewer: {told}")
    require(sum(told) == size, f"advance: is told {size} bytes in all, not {sum(told)}")
    require(_merged(_parts(reader, example, request)) == expected, "read: again, the same")

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        require(_recognised(reader, example), "sniff: the example is recognised")
        (folder / "nothing").mkdir()
        (folder / "empty").write_bytes(b"")
        (folder / "zeros").write_bytes(NOT_TEXT)
        for other in ("nothing", "empty", "zeros"):
            require(not _recognised(reader, folder / other), f"sniff: {other} is not recognised")
        empty = folder / "nothing"
        refusal(lambda: reader.sources(empty), TableError, "nothing", "an empty folder")
        for packed in _packed(reader, example, folder):
            case = packed.suffix.lstrip(".") or "gz"
            found = _merged(_parts(reader, packed, request))
            require(found == expected, f"the same packed ({case}): {found!r} is not {expected!r}")
            require(_recognised(reader, packed), f"sniff: the same packed ({case}) is recognised")
        _damage(reader, _copy(example, folder / "damaged"), groups, request)


def _recognised(reader: Reader, path: Path) -> bool:
    try:
        found = reader.sniff(path)
    except Exception as error:
        raise ContractError(f"sniff: answers whatever is there, but raised {error!r}") from error
    require(isinstance(found, bool), f"sniff: True or False, not {found!r}")
    return found


def _parts(reader: Reader, path: Path, request: Request) -> list[Group]:
    sources = reader.sources(path)
    require(isinstance(sources, list) and sources, f"sources: a list of some, not {sources!r}")
    parts = reader.read(sources, request)
    require(isinstance(parts, Iterator), "read: streams, so it returns an iterator")
    return list(parts)


def _merged(parts: Iterable[Group]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for part in parts:
        require(isinstance(part, tuple) and len(part) == 2, f"read: pairs, not {part!r}")
        group, tracks = part
        require(isinstance(tracks, list), f"read: track ids are a list, not {tracks!r}")
        for found_id in (group, *tracks):
            require(isinstance(found_id, str) and found_id, f"ids: text, not {found_id!r}")
            whole = found_id.encode("utf-8", "replace").decode() == found_id
            require(whole, f"ids: valid Unicode, not {found_id!r}")
        found.setdefault(group, []).extend(tracks)
    return found


def _copy(example: Path, folder: Path) -> Path:
    folder.mkdir()
    copy = shutil.copytree if example.is_dir() else shutil.copy
    return Path(copy(example, folder / example.name))


def _packed(reader: Reader, example: Path, folder: Path) -> Iterator[Path]:
    """The example gzipped, file by file, and in one zip file."""
    copy = _copy(example, folder / "gzipped")
    for source in reader.sources(copy):
        require(source.file is not None, "the example is a plain file, or a folder of plain files")
        with gzip.open(f"{source.file}.gz", "wb") as packed:
            packed.write(source.file.read_bytes())
        source.file.unlink()
    yield copy if copy.is_dir() else copy.with_name(copy.name + ".gz")
    with zipfile.ZipFile(folder / "all.zip", "w") as archive:
        for source in reader.sources(example):
            archive.write(source.file, str(source.path))
    yield folder / "all.zip"


def _going_on(
    reader: Reader, path: Path, request: Request, case: str
) -> tuple[list[Group], list[TableError]]:
    """Parts that are read, and the damage that is told, when it is not raised."""
    damage: list[TableError] = []
    try:
        parts = _parts(reader, path, dataclasses.replace(request, damaged=damage.append))
    except ContractError:
        raise
    except Exception as error:
        raise ContractError(
            f"{case}: request.damaged is told, and what was read is kept; raised {error!r}"
        ) from error
    return parts, damage


def _damage(
    reader: Reader, path: Path, groups: Sequence[tuple[str, Sequence[str]]], request: Request
) -> None:
    """Zero bytes are refused; cut off anywhere, a source is read from its beginning or reported."""
    file = reader.sources(path)[-1].file
    whole, name = file.read_bytes(), file.name
    file.write_bytes(NOT_TEXT)
    refusal(lambda: _parts(reader, path, request), TableError, name, "zero bytes")
    parts, damage = _going_on(reader, path, request, "zero bytes")
    one = len(damage) == 1 and isinstance(damage[0], TableError)
    require(one, f"damaged: is told of one TableError a damaged source, not {damage!r}")
    for group, tracks in _merged(parts).items():
        real = any(one == group and list(known) == tracks for one, known in groups)
        require(real, f"damage: group {group!r} was made up: {tracks!r}")
    every = [(group, track) for group, tracks in groups for track in tracks]
    for size in range(0, len(whole), -(-len(whole) // MOST_CUTS)):
        file.write_bytes(whole[:size])
        case = f"cut off after {size} of {len(whole)} bytes"
        parts, damage = _going_on(reader, path, request, case)
        found = [(group, track) for group, tracks in _merged(parts).items() for track in tracks]
        require(len(damage) <= 1, f"{case}: reported once, not {damage!r}")
        for message in map(str, damage):
            require(
                message.isprintable() and name in message,
                f"{case}: the message is one line with {name!r} in it, not {message!r}",
            )
        # The last id may have lost its end, which a text without an end mark cannot tell.
        require(
            len(found) <= len(every) and found[:-1] == every[: len(found)][:-1],
            f"{case}: what is read is a beginning of what was written, not {found!r}",
        )
