"""MagnaTagATune: 29-second clips with the tags that players of a game gave them.

Format: ``annotations_final.csv`` (or the same gzipped), a table with tabs and quotes: ``clip_id``,
188 tags as 0 or 1, ``mp3_path``. A track id is ``mp3_path`` without ``.mp3``.
Provenance: https://mirg.city.ac.uk/codeapps/the-magnatagatune-dataset, licensed CC BY-NC-SA 3.0.
Citation: Law, West, Mandel, Bay, Downie, Evaluation of algorithms using games: the case of music
tagging, ISMIR 2009.

Classes: the 50 most frequent tags, over all clips, most frequent first.
Splits: by the first sign of the path: 0–9, a and b for training, c for validation, d–f for the
test. Clips 35644, 55753 and 57881 are in none, as is common practice.
Protocol: two are in use, and figures of one do not compare with figures of the other. All
windows of a clip are tested.

========  =======  ======  ==========  =====  ===================================================
protocol  classes  train   validation  test   clips
========  =======  ======  ==========  =====  ===================================================
mtg            50  18,706       1,825  5,329  all; one without any of the 50 tags is negative for
                                              all of them (arXiv 2304.12257)
jongpil        50  15,244       1,529  4,332  those with one of the 50 tags, and at least 29.1 s
                                              long (https://github.com/jongpillee/music_dataset_split)
========  =======  ======  ==========  =====  ===================================================
"""

from __future__ import annotations

import re
from pathlib import Path, PurePosixPath

import numpy as np

from playlist_pretrain.delimited import read_columns, read_header
from playlist_pretrain.errors import TableError, TaskError
from playlist_pretrain.playlists.readers.source import Source
from playlist_pretrain.tasks.task import (
    SPLITS,
    Split,
    TaggingTask,
    TaskSettings,
    check_positives,
    counts_note,
    named,
)

FILE = "annotations_final.csv"
CLIP, AUDIO = "clip_id", "mp3_path"
CLIPS, TAGS = 25_863, 188
TOP_50 = (
    "guitar", "classical", "slow", "techno", "strings", "drums", "electronic", "rock", "fast",
    "piano", "ambient", "beat", "violin", "vocal", "synth", "female", "indian", "opera", "male",
    "singing", "vocals", "no vocals", "harpsichord", "loud", "quiet", "flute", "woman",
    "male vocal", "pop", "no vocal", "soft", "sitar", "solo", "man", "classic", "choir", "voice",
    "new age", "dance", "male voice", "female vocal", "beats", "harp", "cello", "no voice",
    "weird", "country", "female voice", "metal", "choral",
)  # fmt: skip
"""In the usual order, which three pairs of equally frequent tags would leave open."""
SPLIT_OF = {
    **dict.fromkeys("0123456789ab", "train"),
    **dict.fromkeys("c", "validation"),
    **dict.fromkeys("def", "test"),
}
NEVER_USED = frozenset({"35644", "55753", "57881"})
SHORT = frozenset({"29", "11268", "11269"})
"""Clips with tags that protocol jongpil leaves out, being shorter than 29.1 s."""
PROTOCOLS = {"mtg": (18_706, 1_825, 5_329), "jongpil": (15_244, 1_529, 4_332)}
PATH = re.compile(r"[0-9a-f]/[^/]+\.mp3")
SOURCE = "https://mirg.city.ac.uk/codeapps/the-magnatagatune-dataset"
CITATION = (
    "E. Law, K. West, M. Mandel, M. Bay, J. S. Downie: Evaluation of algorithms using games: the "
    "case of music tagging. ISMIR 2009"
)


class MagnaTagATuneReader:
    """Reader of MagnaTagATune; see the module."""

    name = "mtat"
    description = f"MagnaTagATune, its 50 most frequent tags: {FILE}, as it is or gzipped"
    options = frozenset({"splits", "protocol"})

    def read(self, settings: TaskSettings) -> TaggingTask:
        """Read the annotations; see ``TaskReader``."""
        protocol = settings.protocol or "mtg"
        if protocol not in PROTOCOLS:
            raise TaskError(f"--protocol {protocol}: MagnaTagATune has {', '.join(PROTOCOLS)}")
        source = _source(settings.splits)
        clips, paths, targets = _annotations(source)
        kept = np.array([clip not in NEVER_USED for clip in clips])
        if protocol == "jongpil":
            kept &= targets.any(axis=1) & np.array([clip not in SHORT for clip in clips])
        splits = _splits(paths, targets, kept)
        for (split, found), expected in zip(splits.items(), PROTOCOLS[protocol], strict=True):
            if len(found) != expected:
                raise TaskError(
                    f"{source.name}: {len(found):,} clips for {split}, protocol {protocol} has "
                    f"{expected:,}"
                )
        check_positives(source.name, TOP_50, splits)
        silent = sum(int((~split.targets.any(axis=1)).sum()) for split in splits.values())
        return TaggingTask(
            name=f"mtat {protocol}",
            classes=TOP_50,
            **splits,  # type: ignore[arg-type]
            whole_tracks=True,
            notes=(
                counts_note(TOP_50, splits),
                "numbers of clips and classes are those of the protocol",
                f"clips without any of the {len(TOP_50)} tags: {silent:,}",
                "figures of protocols mtg and jongpil do not compare",
            ),
            citation=CITATION,
        )


def _source(splits: str | None) -> Source:
    if splits is None:
        raise TaskError(f"--task mtat: say where {FILE} is with --splits DIR ({SOURCE})")
    folder = Path(splits)
    if not folder.is_dir():
        raise TaskError(f"--splits {splits}: no such folder; {FILE} is to be in it ({SOURCE})")
    for name in (FILE, FILE + ".gz"):
        if (folder / name).exists():
            return Source(folder / name, PurePosixPath(name))
    raise TaskError(f"--splits {splits}: neither {FILE} nor {FILE}.gz is in this folder ({SOURCE})")


def _annotations(source: Source) -> tuple[list[str], list[str], np.ndarray]:
    """Ids and paths of all clips, and which of the 50 tags they have [clips, 50]."""
    header = read_header(source, (CLIP, AUDIO), "this is not MagnaTagATune's file")
    tags = [name for name in header if name not in (CLIP, AUDIO)]
    if len(tags) != TAGS:
        raise TaskError(f"{source.name}: {len(tags)} tags, MagnaTagATune has {TAGS}")
    line_of: dict[tuple[str, str], int] = {}
    clips, paths, flags = [], [], []
    for line, (clip, path, *values) in read_columns(source, (CLIP, AUDIO, *tags)):
        where = f"{source.name}: line {line}"
        text = "".join(values)
        if len(text) != len(tags) or not set(text) <= {"0", "1"}:
            tag, value = next(
                (tag, value)
                for tag, value in zip(tags, values, strict=True)
                if value not in ("0", "1")
            )
            raise TableError(f"{where}: column {tag!r}: {value[:60]!r} is neither 0 nor 1")
        if not PATH.fullmatch(path):
            raise TableError(f"{where}: {AUDIO} {path[:60]!r} is not of the kind f/name.mp3")
        for what, value in ((CLIP, clip), (AUDIO, path)):
            if (other := line_of.setdefault((what, value), line)) != line:
                raise TableError(f"{where}: {what} {value[:60]!r} is in line {other} already")
        clips.append(clip)
        paths.append(path)
        flags.append(text)
    if len(clips) != CLIPS:
        raise TaskError(f"{source.name}: {len(clips):,} clips, MagnaTagATune has {CLIPS:,}")
    table = np.frombuffer("".join(flags).encode("ascii"), np.uint8).reshape(len(clips), -1)
    return clips, paths, _most_frequent(table == ord("1"), tags, source.name)


def _most_frequent(table: np.ndarray, tags: list[str], where: str) -> np.ndarray:
    """Columns of the 50 most frequent tags, in the order of ``TOP_50``."""
    column = {tag: number for number, tag in enumerate(tags)}
    if unknown := [tag for tag in TOP_50 if tag not in column]:
        raise TaskError(f"{where}: no column {named(unknown)}")
    counts = table.sum(axis=0)
    places = [column[tag] for tag in TOP_50]
    least = min(places, key=lambda place: counts[place])
    others = np.delete(np.arange(len(tags)), places)
    most = others[counts[others].argmax()]
    if counts[most] >= counts[least]:
        raise TaskError(
            f"{where}: tag {tags[most]!r} has {counts[most]:,} clips and {tags[least]!r} "
            f"{counts[least]:,}; of the two, only the second is among the official 50"
        )
    return table[:, places]


def _splits(paths: list[str], targets: np.ndarray, kept: np.ndarray) -> dict[str, Split]:
    of = np.array([SPLIT_OF[path[0]] for path in paths])
    made = {}
    for split in SPLITS:
        rows = np.flatnonzero(kept & (of == split))
        mine = targets[rows]
        mine.flags.writeable = False
        made[split] = Split(tuple(paths[row].removesuffix(".mp3") for row in rows), mine)
    return made
