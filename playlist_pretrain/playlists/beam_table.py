"""The table of co-occurrences as an Apache Beam pipeline, for more than one machine can hold.

``match_playlists.py --tables tco --beam="…"`` counts on any runner of Beam and leaves the file that
``pretrain.py --pairs playlist_tco`` looks for. Needs the extra ``beam``. The result equals that of
``top_table.py``, ties included.
"""

from __future__ import annotations

import itertools
import logging
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from playlist_pretrain.errors import RecipeError
from playlist_pretrain.files import check_writable, named
from playlist_pretrain.playlists.groups import TrackGroups, short_enough
from playlist_pretrain.playlists.top_table import TOP, TopTable, save_table, table_path
from playlist_pretrain.records.beam_build import PipelineOptions, beam, checked_options, one_line

FileSystems = beam.io.filesystems.FileSystems
logger = logging.getLogger(__name__)


class CoOccurrence(beam.PTransform):
    """Lists of rows → (row, [(row, count), …]) of every row that shares a group with another.

    ``top`` are kept for each, by count descending, then by row ascending; groups longer than
    ``max_group_length`` are left out.
    """

    def __init__(self, top: int = TOP, max_group_length: int = 1000):
        super().__init__()
        self._top, self._longest = top, max_group_length

    def expand(self, groups: beam.PCollection) -> beam.PCollection:
        """Apply to a ``PCollection`` of groups, each a sequence of rows without repetition."""
        longest = self._longest
        return (
            groups
            | "short groups" >> beam.Filter(lambda group: len(group) <= longest)
            | "pairs" >> beam.FlatMap(lambda group: itertools.permutations(group, 2))
            | "counts" >> beam.combiners.Count.PerElement()
            | "by row" >> beam.MapTuple(lambda pair, count: (pair[0], (count, -pair[1])))
            | "largest" >> beam.combiners.Top.LargestPerKey(self._top)
            | "rows" >> beam.MapTuple(lambda row, top: (row, [(-other, n) for n, other in top]))
        )


def beam_top_table(
    groups: TrackGroups,
    temp: str,
    *,
    top: int = TOP,
    max_group_length: int = 1000,
    options: Sequence[str] = (),
) -> TopTable:
    """Count the co-occurrences of ``groups`` with Beam.

    ``temp`` is a folder for the files that go to the workers and come back, on any file system
    that Beam knows and all workers reach; they are removed in the end. ``options`` are those of
    Beam, such as ``--runner=FlinkRunner``.
    """
    place = FileSystems.join(temp, f"co-occurrences-{time.time_ns()}")
    FileSystems.mkdirs(place)
    try:
        sent = FileSystems.join(place, "groups.txt")
        with named(sent), FileSystems.create(sent) as stream:
            for i in range(len(groups)):
                stream.write((" ".join(map(str, groups.group(i).tolist())) + "\n").encode())
        with beam.Pipeline(options=PipelineOptions(list(options))) as pipeline:
            (
                pipeline
                | "read" >> beam.io.ReadFromText(sent)
                | "rows" >> beam.Map(lambda line: [int(row) for row in line.split()])
                | CoOccurrence(top, max_group_length)
                | "lines" >> beam.MapTuple(line_of)
                | "write" >> beam.io.WriteToText(FileSystems.join(place, "top"))
            )
        rows = np.full((groups.tracks, top), -1, np.int32)
        counts = np.zeros((groups.tracks, top), np.int32)
        for match in FileSystems.match([FileSystems.join(place, "top-*")]):
            for shard in match.metadata_list:
                with FileSystems.open(shard.path) as stream:
                    for line in stream.read().decode().splitlines():
                        row, *found = map(int, line.split())
                        rows[row, : len(found) // 2] = found[::2]
                        counts[row, : len(found) // 2] = found[1::2]
    finally:
        FileSystems.delete([place])
    return TopTable(rows, counts, int((groups.lengths > max_group_length).sum()))


def line_of(row: int, found: Sequence[tuple[int, int]]) -> str:
    """A row and its largest counts as text: ``row other count other count …``."""
    return " ".join(map(str, [row, *(number for pair in found for number in pair)]))


def keep_beam_table(
    groups: TrackGroups,
    folder: Path,
    max_group_length: int = 1000,
    options: str = "",
    temp: str | None = None,
) -> None:
    """Count the co-occurrences of ``groups`` with Beam and keep the table in ``folder``.

    ``options`` are those of Beam, as on a command line; ``temp`` is a folder that all workers
    reach, by default a local one.

    Raises
    ------
    GroupsError
        If no group is short enough.
    RecipeError
        For options that Beam does not take, and when the pipeline fails.
    """
    words = checked_options(options)
    if temp is not None:
        try:
            FileSystems.get_filesystem(temp)
        except ValueError as error:
            raise RecipeError(f"--temp {temp}: {one_line(error)}") from error
    short_enough(groups, max_group_length)
    check_writable(folder)
    with tempfile.TemporaryDirectory() as local:
        try:
            table = beam_top_table(
                groups, temp or local, max_group_length=max_group_length, options=words
            )
        except (ValueError, RuntimeError) as error:
            raise RecipeError(f"--beam {options!r}: {one_line(error)}") from error
    path = table_path(groups, folder, max_group_length=max_group_length)
    save_table(table, path)
    logger.info("%s: counted with Beam", path)
