"""Tags inside audio files (ID3, Vorbis comments, MP4, APE, ASF), and names that say nothing.

mutagen finds them. Of Matroska (mka, webm), au, w64 and caf files it reads none, of wav and aiff
files the ID3 tag.
"""

from __future__ import annotations

import contextlib
import io
import itertools
import os
import re
import unicodedata
import zlib
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from playlist_pretrain.files import FREELY

BETWEEN = "|"
"""Sign between the values of one field, as between those of ``tags.tsv``."""
LONGEST, MOST = 200, 20
"""Characters that are kept of a value, and values of a field."""
_KEYS = {
    "artist": ("artist", "author", "tpe1", "\xa9art"),
    "album": ("album", "wm/albumtitle", "talb", "\xa9alb"),
    "title": ("title", "tit2", "\xa9nam"),
    "genre": ("genre", "wm/genre", "tcon", "\xa9gen"),
    "year": ("date", "year", "wm/year", "tdrc", "\xa9day"),
}
"""Names of the fields, in lower case, in the formats that mutagen reads."""
_NO_TEXT = ("Cc", "Cs", "Zl", "Zp")
"""Unicode's controls, surrogates and line ends."""
_YEAR = re.compile(r"(?<!\d)(?!0000)\d{4}")

# fmt: off
PLACEHOLDERS = frozenset({
    "unknown", "unknown artist", "unknown artists", "unknown album", "unknown genre",
    "unknown title", "unknown year", "unknown composer", "unknown performer", "unkown",
    "no artist", "no album", "no genre", "no name", "no title", "not available", "not applicable",
    "n/a", "n.a.", "n. a.", "n.a", "na", "nan", "none", "null", "nil", "undefined", "unspecified",
    "untitled", "untitled album", "other", "misc", "miscellaneous",
    "various", "various artist", "various artists", "various performers", "various composers",
    "various authors", "va", "v.a.", "v. a.", "v.a", "v/a", "various artists (va)",
    "-", "--", "---", "–", "—", "_", ".", "..", "...", "…", "?", "??", "???", "*", "/", "",
    # What players and shops write in other languages.
    "unbekannt", "unbekannter interpret", "unbekannter künstler", "unbekanntes album",
    "verschiedene", "verschiedene interpreten", "verschiedene künstler", "diverse",
    "diverse interpreten", "diverse artiesten", "onbekend", "onbekende artiest", "onbekend album",
    "inconnu", "artiste inconnu", "album inconnu", "divers", "artistes divers",
    "artistes variés", "desconocido", "artista desconocido", "álbum desconocido", "varios",
    "varios artistas", "varios intérpretes", "desconhecido", "artista desconhecido",
    "álbum desconhecido", "vários", "vários artistas", "sconosciuto", "artista sconosciuto",
    "album sconosciuto", "artisti vari", "aa.vv.", "aavv", "okänd", "okänd artist",
    "nieznany", "nieznany wykonawca", "różni wykonawcy", "неизвестен", "неизвестный исполнитель",
    "неизвестный альбом", "разные исполнители", "未知", "未知艺术家", "未知歌手", "群星", "不明",
    "不明なアーティスト", "不明なアルバム", "オムニバス", "알 수 없는 음악가",
    # Various Artists and [unknown] by their ids in Spotify and MusicBrainz.
    "spotify:artist:0lyfqwjt6nxaflpzqxke9of", "89ad4ac3-39f7-470e-963a-56509c546377",
    "125ec42a-7229-4250-afc5-e057484327fe",
})
# fmt: on
"""Values that say that none is known, or that there are many, as :func:`plain_name` gives them."""
_BRACKETS = ("<>", "[]", "()", "{}", '""', "''")


def plain_name(text: str) -> str:
    """``text`` as names are compared: blanks, letter case and brackets around it do not count."""
    text = " ".join(text.split()).casefold()
    while len(text) > 1 and text[0] + text[-1] in _BRACKETS:
        text = text[1:-1].strip()
    return text


def names_something(text: str) -> bool:
    """False for an empty cell, and for one of the ``PLACEHOLDERS``."""
    return plain_name(text) not in PLACEHOLDERS


def names_in(cell: str) -> list[str]:
    """The names in a cell that may hold several, each once, without those that say nothing."""
    parts = (part.strip() for part in cell.split(BETWEEN))
    return [name for name in dict.fromkeys(parts) if names_something(name)]


class FileTags(NamedTuple):
    """Tags of a file; several values of a field have ``|`` between them, none is ``""``."""

    artist: str = ""
    album: str = ""
    title: str = ""
    genre: str = ""
    year: str = ""


def file_tags(path: str | os.PathLike) -> FileTags:
    """Read the tags of an audio file.

    Values are on one line, without control characters and cut after ``LONGEST`` of them; the year
    is the first four digits in a row of the date. A file without tags, damaged, or with more than
    64 MiB of them (pictures count, and are not kept) has none: this raises no error.
    """
    import mutagen

    if not os.path.isfile(path):  # opening a pipe would wait for ever
        return FileTags()
    try:
        with _Bounded(os.fsdecode(path)) as stream, _compressed_frames_left_out():
            found = mutagen.File(stream)
        tags = getattr(found, "tags", None)
        keys = {key.lower(): key for key in tags.keys()} if tags else {}  # noqa: SIM118
        fields = {
            field: _values(tags[keys[name]])
            for field, names in _KEYS.items()
            for name in reversed(names)
            if name in keys
        }
    except Exception:  # whatever mutagen makes of a file, its sound may be read all the same
        return FileTags()
    if date := _YEAR.search(" ".join(fields.pop("year", ()))):
        fields["year"] = [date[0]]
    return FileTags(**{field: BETWEEN.join(values) for field, values in fields.items()})


def _values(value: Any) -> list[str]:
    """Texts of a field: of a frame of ID3 (a genre there may be a number), or of a list."""
    found = getattr(value, "genres", None) or getattr(value, "text", value)
    several = isinstance(found, Iterable) and not isinstance(found, str)
    texts = (getattr(one, "text", getattr(one, "value", one)) for one in (found if several else ()))
    lines = (_on_a_line(text) for text in (texts if several else [found]) if isinstance(text, str))
    return [line for line in dict.fromkeys(itertools.islice(lines, MOST)) if line]


def _on_a_line(text: str) -> str:
    signs = (
        " " if unicodedata.category(sign) in _NO_TEXT else sign for sign in text[: 10 * LONGEST]
    )
    return " ".join("".join(signs).replace(BETWEEN, "/").split())[:LONGEST].strip()


class _Bounded(io.FileIO):
    """A file of which 64 MiB at most are read, however often."""

    def __init__(self, path: str | os.PathLike):
        super().__init__(path)
        self._left, self._size = FREELY, os.fstat(self.fileno()).st_size

    def read(self, size: int | None = -1) -> bytes:
        most = min(self._left + 1, max(self._size - self.tell(), 0))  # room for no more is made
        data = super().read(most if size is None or size < 0 else min(size, most)) or b""
        self._left -= len(data)
        if self._left < 0:
            raise ValueError(f"more than {FREELY:,} bytes of tags")
        return data


class _NothingExpands:
    """In place of zlib: a frame of some bytes may stand for gigabytes, and no program writes it."""

    error = zlib.error

    @staticmethod
    def decompress(data: bytes) -> bytes:
        raise zlib.error("a compressed frame")


@contextlib.contextmanager
def _compressed_frames_left_out() -> Iterator[None]:
    """Have mutagen leave compressed frames of ID3 out, for which it has no bound."""
    from mutagen.id3 import _frames

    before, _frames.zlib = _frames.zlib, _NothingExpands  # type: ignore[assignment]
    try:
        yield
    finally:
        _frames.zlib = before
