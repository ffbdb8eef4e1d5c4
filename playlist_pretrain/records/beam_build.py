"""Building collections with an Apache Beam pipeline, for more audio than one machine can decode.

``make_tfrecords.py --beam="--runner=…"`` has the shards made on any runner of Beam, one element a
shard, and leaves the collection that it would have left without, byte for byte. Needs the extra
``beam``, and a file system on which all workers and this machine reach ``--audio`` and ``--out``
under the same path.

A worker writes a shard as a local build does: under another name, renamed when it is whole. So it
does no harm when a runner tries an element again, or has two workers make the same shard.
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
from pathlib import Path

from playlist_pretrain import errors
from playlist_pretrain.errors import CollectionError, PlaylistPretrainError, RecipeError
from playlist_pretrain.files import atomic_write, parse_json, whole
from playlist_pretrain.processes import work_through
from playlist_pretrain.records.shards import (
    Deaths,
    MadeShard,
    ShardTask,
    ShardWork,
    part_path,
    read_part,
)
from playlist_pretrain.records.sources import TrackSource

disabled = logging.root.manager.disable
logging.disable(logging.WARNING)  # each decoding process would say which of Google's parts it lacks
try:
    import apache_beam as beam
    from apache_beam.options.pipeline_options import PipelineOptions
except ImportError as error:
    raise PlaylistPretrainError(errors.needs("--beam", "apache_beam", error)) from error
finally:
    logging.disable(disabled)

TASKS_FILE = "tasks.jsonl"


class MakeShard(beam.DoFn):
    """Make the shard whose task is at a place of the list of tasks; yield what is known of it.

    A shard that is finished is left as it is. Tracks are decoded in a process of their own, so a
    decoder that crashes costs its track and not the worker.
    """

    def __init__(self, work: ShardWork):
        super().__init__()
        self._work = work
        self._read = beam.metrics.Metrics.counter("make_tfrecords", "tracks read")

    def process(self, place: int) -> Iterator[MadeShard]:
        """Make one shard."""
        task = read_task(self._work.folder, place)

        def count(task: ShardTask, position: int) -> None:
            self._read.inc(int(position > 0))  # it was the one before

        steps = work_through(self._work, [task], 1, on_step=count, on_death=Deaths())
        with contextlib.closing(steps) as results:
            try:
                for _ in results:
                    yield read_part(self._work.folder, task.number)
            except OSError as error:  # of which Beam would tell what comes last, not what it is
                raise CollectionError(f"{error.filename}: {error.strerror}") from error


def write_tasks(folder: Path, tasks: Sequence[ShardTask]) -> list[int]:
    """Write the tasks of all shards into ``folder``; return the place of each in the file.

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
    """Read the task that :func:`write_tasks` wrote at ``place``; CollectionError without a file."""
    try:
        with open(folder / TASKS_FILE, "rb") as stream:
            stream.seek(place)
            line = stream.readline()
    except FileNotFoundError:
        raise CollectionError(f"a worker does not find {folder / TASKS_FILE}: {_SHARED}") from None
    with whole(folder / TASKS_FILE, "list of shards", CollectionError):
        number, tracks = parse_json(line, list)
        return ShardTask(number, tuple(TrackSource(*track) for track in tracks))


_SHARED = "all workers and this machine must reach --audio and --out under the same path"


def run_on(options: str) -> Callable[[ShardWork, list[ShardTask]], int]:
    """Return ``make_shards`` for :func:`~playlist_pretrain.records.build.make_collection`.

    It raises CollectionError when the pipeline fails or leaves shards unmade; shards that are
    finished stay, and the next build of the same collection goes on with them. RecipeError when
    Beam does not take ``options``, such as ``"--runner=FlinkRunner --flink_master=HOST:PORT"``.
    """
    empty_pipeline(options)  # before audio is looked for

    def make_shards(work: ShardWork, tasks: list[ShardTask]) -> int:
        before = _parts(work, tasks)
        places = write_tasks(work.folder, tasks)
        there = dataclasses.replace(work, folder=Path(os.path.abspath(work.folder)))
        pipeline = empty_pipeline(options)
        # Without the shuffle a runner may give all elements of a list to one worker.
        spread = pipeline | beam.Create(places) | beam.Reshuffle()
        _ = spread | "shard" >> beam.ParDo(MakeShard(there))
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


def empty_pipeline(options: str) -> beam.Pipeline:
    """Make a pipeline with ``options``; RecipeError when Beam does not take them."""
    words = PipelineOptions(checked_options(options))
    try:
        return beam.Pipeline(options=words)
    except Exception as error:  # whatever becomes of looking a runner up
        raise RecipeError(f"--beam {options!r}: {one_line(error)}") from error


def checked_options(text: str) -> list[str]:
    """Split options of Beam into a list; RecipeError when Beam does not take one of them."""
    # The local runner would show a traceback before the error is told.
    logging.getLogger("apache_beam.runners.common").setLevel(logging.CRITICAL)
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
    """Message of an error on one line."""
    return " ".join(str(error).split())


def _parts(work: ShardWork, tasks: Sequence[ShardTask]) -> dict[int, tuple[int, int]]:
    """Numbers of the shards that are there, and what changes when one is made."""
    found = {}
    for task in tasks:
        with contextlib.suppress(FileNotFoundError):
            status = os.stat(part_path(work.folder, task.number))
            found[task.number] = status.st_ino, status.st_mtime_ns
    return found


def _reason(failure: Exception) -> str:
    """One line of a runner's error: that of the worker, which comes last."""
    lines = [line.strip() for line in str(failure).splitlines() if line.strip()]
    reason = (lines or [type(failure).__name__])[-1]
    reason = re.sub(r" \[while running '[^']*'\]$", "", reason)
    return re.sub(rf"^{re.escape(errors.__name__)}\.\w+: ", "", reason).rstrip(".")
