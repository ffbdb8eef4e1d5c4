"""The table of co-occurrences as an Apache Beam pipeline, for more than one machine can hold.

``python -m playlist_pretrain.playlists.beam_table --collection tfrecords/mine`` counts on any
runner of Beam and leaves the file that ``pretrain.py --pairs playlist_tco`` looks for. Needs the
extra ``beam``. The result equals that of ``top_table.py``, ties included."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from playlist_pretrain.cli import command_line
from playlist_pretrain.errors import GroupsError, PlaylistPretrainError, RecipeError
from playlist_pretrain.files import check_writable
from playlist_pretrain.messages import command
from playlist_pretrain.playlists.groups import TrackGroups, load_groups
from playlist_pretrain.playlists.split import short_enough, split_groups
from playlist_pretrain.playlists.top_table import TOP, TopTable, save_table, table_path
from playlist_pretrain.records.beam_options import checked_options, one_line

try:
    import apache_beam as beam
    from apache_beam.io.filesystems import FileSystems
    from apache_beam.options.pipeline_options import PipelineOptions
except ImportError as error:
    missing = "Apache Beam is not installed: pip install 'playlist_pretrain[beam]'"
    if __name__ == "__main__":
        raise SystemExit(
            f"python -m playlist_pretrain.playlists.beam_table: error: {missing}"
        ) from None
    raise PlaylistPretrainError(missing) from error

EXAMPLES = """
examples:
  python -m playlist_pretrain.playlists.beam_table --collection tfrecords/mine
  python -m playlist_pretrain.playlists.beam_table --collection tfrecords/mine \\
      --temp gs://bucket/tmp --beam="--runner=DataflowRunner --project=P --region=R --temp_location=gs://bucket/tmp"
"""


class TopCounts(beam.CombineFn):
    """Counts the tracks that come with one, and keeps the largest counts.

    Parameters
    ----------
    top : int
        Tracks to keep.
    """

    def __init__(self, top: int):
        super().__init__()
        self._top = top

    def create_accumulator(self) -> dict[int, int]:
        """Nothing counted."""
        return {}

    def add_input(self, accumulator: dict[int, int], others: Sequence[int]) -> dict[int, int]:
        """Count the other tracks of one group."""
        for other in others:
            accumulator[other] = accumulator.get(other, 0) + 1
        return accumulator

    def merge_accumulators(self, accumulators: Iterable[dict[int, int]]) -> dict[int, int]:
        """Add counts up."""
        merged: dict[int, int] = {}
        for accumulator in accumulators:
            for other, count in accumulator.items():
                merged[other] = merged.get(other, 0) + count
        return merged

    def extract_output(self, accumulator: dict[int, int]) -> list[tuple[int, int]]:
        """(row, count) of the largest: count descending, then row ascending."""
        return sorted(accumulator.items(), key=lambda item: (-item[1], item[0]))[: self._top]


class CoOccurrence(beam.PTransform):
    """Lists of rows → (row, [(row, count), …]) of every row that shares a group with another.

    Parameters
    ----------
    top : int
        Tracks to keep for each.
    max_group_length : int
        Longer groups are left out.
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
            | "others" >> beam.FlatMap(others_of)
            | "largest counts" >> beam.CombinePerKey(TopCounts(self._top))
        )


def others_of(group: Sequence[int]) -> Iterator[tuple[int, list[int]]]:
    """Every row of a group, with the other rows."""
    for i, row in enumerate(group):
        others = [*group[:i], *group[i + 1 :]]
        if others:
            yield row, others


def beam_top_table(
    groups: TrackGroups,
    temp: str,
    *,
    top: int = TOP,
    max_group_length: int = 1000,
    options: Sequence[str] = (),
) -> TopTable:
    """Count the co-occurrences of ``groups`` with Beam.

    Parameters
    ----------
    groups : TrackGroups
    temp : str
        Folder for what goes to the workers and what comes back, on any file system that Beam
        knows and all workers reach; what is written there is removed.
    top, max_group_length
        See :func:`playlist_pretrain.playlists.top_table.top_table`.
    options : sequence of str
        Of Beam, such as ``--runner=FlinkRunner``.
    """
    place = FileSystems.join(temp, f"co-occurrences-{time.time_ns()}")
    FileSystems.mkdirs(place)
    try:
        sent = FileSystems.join(place, "groups.txt")
        with FileSystems.create(sent) as stream:
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
                    _take_in(stream.read().decode(), rows, counts)
    finally:
        FileSystems.delete([place])
    return TopTable(rows, counts, int((groups.lengths > max_group_length).sum()))


def line_of(row: int, found: Sequence[tuple[int, int]]) -> str:
    """A row and its largest counts as text."""
    return f"{row}\t" + " ".join(f"{other}:{count}" for other, count in found)


def _take_in(text: str, rows: np.ndarray, counts: np.ndarray) -> None:
    for line in text.splitlines():
        row, _, found = line.partition("\t")
        for place, pair in enumerate(found.split()):
            other, _, count = pair.partition(":")
            rows[int(row), place], counts[int(row), place] = int(other), int(count)


@dataclass(frozen=True)
class BeamOptions:
    """Count the co-occurrences of groups with Apache Beam, for --pairs playlist_tco.

    The groups are those that pretrain trains on: without the ones held out for the probe.
    """

    collection: str
    """folder made by make_tfrecords"""
    name: str = "playlists"
    """name of the groups"""
    max_group_length: int = 1000
    """longer groups are left out"""
    exclude: str | None = None
    """file of track ids to keep out of training, as given to pretrain"""
    probe_share: float = 0.05
    """share of the groups kept out of training for the retrieval probe"""
    temp: str | None = None
    """folder that all workers reach, for what goes to them and comes back [a local one]"""
    beam: str = ""
    """options of Beam, as in --beam="--runner=FlinkRunner --flink_master=HOST:PORT" """
    quiet: bool = False
    """print nothing but errors"""


def count(options: BeamOptions) -> TopTable:
    """Count with Beam and keep the table beside the groups.

    Raises
    ------
    GroupsError
        If there are no such groups, or none that can be trained on.
    RecipeError
        For options that Beam does not take.
    """
    from playlist_pretrain.playlists.settings import TableSettings
    from playlist_pretrain.records.collection import Collection

    def say(text: str) -> None:
        if not options.quiet:
            print(text, flush=True)

    TableSettings(options.max_group_length, probe_share=options.probe_share).check()
    beam_options = checked_options(options.beam)
    if options.temp is not None:
        try:
            FileSystems.get_filesystem(options.temp)
        except ValueError as error:
            raise RecipeError(f"--temp {options.temp}: {one_line(error)}") from error
    collection = Collection.open(options.collection)
    split = split_groups(
        load_groups(collection, options.name),
        collection,
        frames=collection.front_end.window_frames,
        exclude=options.exclude,
        probe_share=options.probe_share,
        say=say,
    )
    if not len(split.kept):
        raise GroupsError(f"{collection.path}: no group of {options.name!r} can be trained on")
    short_enough(split.kept, options.max_group_length)
    check_writable(collection.path)
    with tempfile.TemporaryDirectory() as local:
        try:
            table = beam_top_table(
                split.kept,
                options.temp or local,
                max_group_length=options.max_group_length,
                options=beam_options,
            )
        except (ValueError, RuntimeError) as error:
            raise RecipeError(f"--beam {options.beam!r}: {one_line(error)}") from error
    path = table_path(
        split.kept, collection.path, top=TOP, max_group_length=options.max_group_length
    )
    save_table(table, path)
    say(f"{path}: written; {table.left_out:,} groups were too long")
    words = ["--pairs", "playlist_tco", "--collection", str(options.collection)]
    say("next: " + command("pretrain", *words))
    return table


def main(argv: Sequence[str] | None = None) -> int:
    """Command line of :func:`count`; returns the exit code."""
    return command_line.run(
        BeamOptions,
        count,
        prog="python -m playlist_pretrain.playlists.beam_table",
        epilog=EXAMPLES,
        argv=argv,
    )


if __name__ == "__main__":
    # Workers import what they are sent by name, and have another __main__.

    raise SystemExit(main())
