"""Collections built by an Apache Beam pipeline, for more audio than one machine can decode.

``python -m playlist_pretrain.records.beam_build --audio DIR --out tfrecords/mine`` has the shards
made on any runner of Beam, one element a shard, and leaves the collection that
``make_tfrecords.py`` would have left, byte for byte. Needs the extra ``beam``, and a file system on
which all workers and this machine reach ``--audio`` and ``--out`` under the same path.

A worker writes a shard as a local build does: under another name, renamed when it is whole. So it
does no harm when a runner tries an element again, or has two workers make the same shard.

The option ``--beam`` of the commands that run as Apache Beam pipelines.
"""

from __future__ import annotations

import contextlib
import dataclasses
import io
import json
import logging
import os
import re
import shlex
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from playlist_pretrain import errors
from playlist_pretrain.cli import command_line
from playlist_pretrain.cli.make_tfrecords import MakeTfrecords, make_tfrecords
from playlist_pretrain.errors import CollectionError, PlaylistPretrainError, RecipeError
from playlist_pretrain.files import atomic_write
from playlist_pretrain.records.build_folder import (
    Deaths,
    ShardTask,
    ShardWork,
    part_path,
    read_notes,
)
from playlist_pretrain.records.report import Note
from playlist_pretrain.records.sources import TrackSource
from playlist_pretrain.records.workers import work_through
from playlist_pretrain.records.writer import ShardPart

disabled = logging.root.manager.disable
logging.disable(logging.WARNING)  # each decoding process would say which of Google's parts it lacks
try:
    import apache_beam as beam
    from apache_beam.options.pipeline_options import PipelineOptions
except ImportError as error:
    missing = "Apache Beam is not installed: pip install 'playlist_pretrain[beam]'"
    if __name__ == "__main__":
        raise SystemExit(
            f"python -m playlist_pretrain.records.beam_build: error: {missing}"
        ) from None
    raise PlaylistPretrainError(missing) from error
finally:
    logging.disable(disabled)

EXAMPLES = """
examples:
  python -m playlist_pretrain.records.beam_build --audio /nfs/music --out /nfs/tfrecords/mine \\
      --beam="--runner=FlinkRunner --flink_master=HOST:8081 --parallelism=64"
"""

TASKS_FILE = "tasks.jsonl"


class MakeShard(beam.DoFn):
    """Place of a shard's task in the list of tasks → (its part, its notes).

    A shard that is finished is left as it is. Tracks are decoded in a process of their own, so a
    decoder that crashes costs its track and not the worker.

    Parameters
    ----------
    work : ShardWork
        Its ``folder`` and ``root`` are reached by all workers.
    """

    def __init__(self, work: ShardWork):
        super().__init__()
        self._work = work
        self._read = beam.metrics.Metrics.counter("make_tfrecords", "tracks read")

    def process(self, place: int) -> Iterator[tuple[ShardPart, list[Note]]]:
        """Make one shard."""
        task = read_task(self._work.folder, place)
        steps = work_through(self._work, [task], 1, on_step=self._count, on_death=Deaths())
        with contextlib.closing(steps) as results:
            for _ in results:
                folder = self._work.folder
                yield (
                    ShardPart.load(part_path(folder, task.number)),
                    read_notes(folder, task.number),
                )

    def _count(self, task: ShardTask, position: int) -> None:
        self._read.inc(int(position > 0))  # it was the one before


class MakeShards(beam.PTransform):
    """Places of tasks (see :func:`write_tasks`) → (:class:`ShardPart`, list of notes) of each.

    Parameters
    ----------
    work : ShardWork
        See :class:`MakeShard`.
    """

    def __init__(self, work: ShardWork):
        super().__init__()
        self._work = work

    def expand(self, places: beam.PCollection) -> beam.PCollection:
        """Apply to a ``PCollection`` of places."""
        # Without a shuffle a runner may give all elements of a list to one worker.
        return places | "spread" >> beam.Reshuffle() | "shard" >> beam.ParDo(MakeShard(self._work))


def write_tasks(folder: Path, tasks: Sequence[ShardTask]) -> list[int]:
    """Write what the shards are made of into ``folder``; the place of each task in the file.

    A pipeline carries the places alone: runners limit its size to some megabytes.
    """
    places = []
    with atomic_write(folder / TASKS_FILE) as stream:
        for task in tasks:
            places.append(stream.tell())
            tracks = [dataclasses.astuple(track) for track in task.tracks]
            stream.write(json.dumps([task.number, tracks]).encode("ascii") + b"\n")
    return places


def read_task(folder: Path, place: int) -> ShardTask:
    """The task that :func:`write_tasks` wrote at ``place``.

    Raises
    ------
    CollectionError
        The file is not there: ``folder`` is not the one that was written.
    """
    try:
        with open(folder / TASKS_FILE, "rb") as stream:
            stream.seek(place)
            number, tracks = json.loads(stream.readline())
    except FileNotFoundError:
        raise CollectionError(f"a worker does not find {folder / TASKS_FILE}: {_SHARED}") from None
    return ShardTask(number, tuple(TrackSource(*track) for track in tracks))


_SHARED = "all workers and this machine must reach --audio and --out under the same path"


def run_on(pipeline: beam.Pipeline) -> Callable[[ShardWork, list[ShardTask]], int]:
    """What makes the shards of :func:`~playlist_pretrain.records.build.build_collection`.

    Parameters
    ----------
    pipeline : beam.Pipeline
        Empty; it is run once.

    Returns
    -------
    callable
        Raises CollectionError when the pipeline fails or leaves shards unmade; shards that are
        finished stay, and the next build of the same collection goes on with them.
    """

    def make_shards(work: ShardWork, tasks: list[ShardTask]) -> int:
        before = _parts(work, tasks)
        places = write_tasks(work.folder, tasks)
        there = dataclasses.replace(work, folder=Path(os.path.abspath(work.folder)))
        _ = pipeline | "tasks" >> beam.Create(places) | MakeShards(there)
        reason, failure = "", None
        try:
            state = pipeline.run().wait_until_finish()
        except Exception as error:  # each runner has errors of its own
            reason, failure = _reason(error), error
        after = _parts(work, tasks)
        if failure is None and len(after) < len(tasks):
            reason = f"the pipeline is {state}, but not all shards are here: {_SHARED}"
        if reason == KeyboardInterrupt.__name__:
            raise KeyboardInterrupt from failure
        if reason:
            raise CollectionError(
                f"{reason}. {len(after)} of {len(tasks)} shards are finished and kept: "
                "mend that, and the same command goes on"
            ) from failure
        return sum(before.get(number) != part for number, part in after.items())

    return make_shards


def _parts(work: ShardWork, tasks: Sequence[ShardTask]) -> dict[int, tuple[int, int]]:
    """Numbers of the shards that are there, and what changes when one is made."""
    found = {}
    for task in tasks:
        try:
            status = os.stat(part_path(work.folder, task.number))
        except FileNotFoundError:
            continue
        found[task.number] = status.st_ino, status.st_mtime_ns
    return found


def _reason(failure: Exception) -> str:
    """One line of what a runner raised: that of the worker, which comes last."""
    lines = [line.strip() for line in str(failure).splitlines() if line.strip()]
    reason = (lines or [type(failure).__name__])[-1]
    reason = re.sub(r" \[while running '[^']*'\]$", "", reason)
    return reason.removeprefix(f"{errors.__name__}.{CollectionError.__name__}: ").rstrip(".")


@dataclass
class BeamBuild(MakeTfrecords):
    """Build a collection as make_tfrecords does, with Apache Beam.

    An interrupted build goes on with the same command, or with make_tfrecords. All workers and
    this machine must reach --audio and --out under the same path.
    """

    workers: ClassVar[None] = None  # type: ignore[misc]  # it is the runner that knows
    beam: str = ""
    """Options of Beam, as in --beam="--runner=FlinkRunner --flink_master=HOST:PORT"."""


def build(options: BeamBuild) -> None:
    """Build the collection that ``options`` describe with Beam.

    Raises
    ------
    PlaylistPretrainError
        See :func:`playlist_pretrain.cli.make_tfrecords.make_tfrecords`; a pipeline that fails.
    RecipeError
        For options that Beam does not take.
    """
    make_tfrecords(options, run_on(_pipeline(options.beam)))


def _pipeline(text: str) -> beam.Pipeline:
    """An empty pipeline with the options in ``text``, all of them parsed."""
    options = PipelineOptions(checked_options(text))
    try:
        return beam.Pipeline(options=options)
    except Exception as error:  # whatever becomes of looking a runner up
        raise RecipeError(f"--beam {text!r}: {one_line(error)}") from error


def main(argv: Sequence[str] | None = None) -> int:
    """Command line of :func:`build`; returns the exit code."""
    # The local runner would show a traceback before the error is told.
    logging.getLogger("apache_beam.runners.common").setLevel(logging.CRITICAL)
    return command_line.run(
        BeamBuild,
        build,
        prog="python -m playlist_pretrain.records.beam_build",
        epilog=EXAMPLES,
        argv=argv,
    )


if __name__ == "__main__":
    # Workers import what they are sent by name, and have another __main__.

    raise SystemExit(main())


def checked_options(text: str) -> list[str]:
    """Options of Beam as a list.

    Raises
    ------
    RecipeError
        When Beam does not take one of them.
    """
    from apache_beam.options.pipeline_options import PipelineOptions

    said = io.StringIO()
    try:
        words = shlex.split(text)
        with contextlib.redirect_stderr(said):
            PipelineOptions(words).get_all_options()
    except ValueError as error:
        raise RecipeError(f"--beam {text!r}: {one_line(error)}") from error
    except SystemExit as error:  # argparse inside of Beam: a page of usage, then what is wrong
        reason = said.getvalue().strip().rpartition(" error: ")[2]
        raise RecipeError(f"--beam {text!r}: {reason}") from error
    return words


def one_line(error: Exception) -> str:
    """What an error says, whose lines Beam breaks as it likes."""
    return " ".join(str(error).split())
