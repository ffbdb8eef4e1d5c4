"""How much a difference from the baseline depends on the tracks and triplets of a test."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from playlist_pretrain.errors import RunError
from playlist_pretrain.evaluation.bootstrap import METRICS, mean_intervals, resampled_means
from playlist_pretrain.evaluation.scores import load_scores
from playlist_pretrain.evaluation.tables import RESAMPLES, Difference
from playlist_pretrain.experiments.cells import TAGS, TRIPLETS, Row

if TYPE_CHECKING:
    from playlist_pretrain.experiments.collect import Collected


class PairedIntervals:
    """Bootstrap over what two models were both tested on, their runs taken together.

    Parameters
    ----------
    collected : Collected
        Finished cells.
    """

    def __init__(self, collected: Collected):
        self._collected = collected
        self._resampled: dict[tuple[str, str], tuple | None] = {}

    def of(self, rows: Sequence[Row]) -> dict[tuple[str, str], Difference]:
        """Intervals of the differences from the baseline, over tracks and over triplets."""
        found: dict[tuple[str, str], Difference] = {}
        for row in rows:
            base = self._collected.baseline(row)
            if base == row:
                continue
            for task in self._collected.plan.tags:
                found |= self._over_tracks(task.name, row, base)
            for task in self._collected.plan.triplets:
                found |= self._over_triplets(task.name, row, base)
        return found

    def _over_tracks(self, task: str, row: Row, base: Row) -> dict[tuple[str, str], Difference]:
        one, other = (self._resamples(task, r) for r in (row, base))
        if one is None or other is None:
            return {}
        if one[0] != other[0] or not np.array_equal(one[1], other[1]):
            self._collected.say(
                f"{task}: {row.id} and {base.id} were tested on different tracks: no interval"
            )
            return {}
        apart = one[2] - other[2]
        point = one[3] - other[3]
        low, high = np.percentile(apart, [2.5, 97.5], axis=0)
        return {
            (row.id, f"{TAGS}/{task}/{name}"): Difference(
                float(point[k]), (float(low[k]), float(high[k])), "tracks", len(one[0])
            )
            for k, name in enumerate(METRICS)
        }

    def _resamples(self, task: str, row: Row) -> tuple | None:
        """Track ids, targets, and means over runs: of resampled tracks, and of the tracks."""
        if (task, row.id) not in self._resampled:
            cells = self._collected.of(TAGS, task, row)
            self._resampled[task, row.id] = None
            if cells and all(self._collected.done[cell.id] for cell in cells):
                runs = [(cell, self._collected.runs(cell)) for cell in cells]
                files = [
                    self._collected.state.folder(cell) / f"run-{number}" / "scores.npz"
                    for cell, found in runs
                    for number in range(1, len(found) + 1)
                ]
                points = np.mean(
                    [[run[name] for name in METRICS] for _, found in runs for run in found], axis=0
                )
                self._resampled[task, row.id] = (*_resampled_runs(files), points)
        return self._resampled[task, row.id]

    def _over_triplets(self, task: str, row: Row, base: Row) -> dict[tuple[str, str], Difference]:
        sides = []
        for one in (row, base):
            cells = self._collected.of(TRIPLETS, task, one)
            if not cells or not all(self._collected.done[cell.id] for cell in cells):
                return {}
            files = [self._collected.state.folder(cell) / "results.json" for cell in cells]
            lines = [read_key(file, "lines") for file in files]
            right = np.mean([read_key(file, "models")[0]["right"] for file in files], axis=0)
            sides.append((lines[0], right))
        if sides[0][0] != sides[1][0]:
            self._collected.say(
                f"{task}: {row.id} and {base.id} have different triplets: no interval"
            )
            return {}
        apart = sides[0][1] - sides[1][1]
        (interval,) = mean_intervals(apart[:, np.newaxis], resamples=RESAMPLES)
        difference = Difference(float(apart.mean()), interval, "triplets", len(apart))
        return {(row.id, f"{TRIPLETS}/{task}/accuracy"): difference}


def read_key(file: Path, key: str) -> Any:
    """A value of a JSON object in a file that a run has left.

    Raises
    ------
    RunError
        If it cannot be read.
    """
    try:
        return json.loads(file.read_text("utf-8"))[key]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise RunError(
            f"{file}: cannot be read ({error}); remove its folder to have it made anew"
        ) from error


def _resampled_runs(files: Sequence[Path]) -> tuple[list[str], np.ndarray, np.ndarray]:
    """Track ids and targets in the order of the ids, and the mean over runs of resampled means."""
    means, ids, targets = [], None, None
    for file in files:
        found = load_scores(file)
        order = sorted(range(len(found.track_ids)), key=found.track_ids.__getitem__)
        ids, targets = [found.track_ids[place] for place in order], found.targets[order]
        means.append(resampled_means(targets, found.scores[order]))
    return ids, targets, np.mean(means, axis=0)
