"""What judging by triplets comes to: its tables, for people and for programs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

import numpy as np

from playlist_pretrain import __version__
from playlist_pretrain.evaluation.bootstrap import mean_intervals
from playlist_pretrain.evaluation.similarity import (
    RESAMPLES,
    PairedDifference,
    TripletResult,
    agreement_bins,
    paired_difference,
)
from playlist_pretrain.tasks.dim_sim import CITATION, Triplets


@dataclass(frozen=True)
class Source:
    """Where clips were read from.

    Attributes
    ----------
    kind : {"audio", "collection"}
    path : str
    name : str
        Of the folder.
    cut : bool
        Whether audio files were excerpts already.
    """

    kind: str
    path: str
    name: str
    cut: bool


@dataclass(frozen=True, eq=False)
class Judged:
    """A model and how it did.

    Attributes
    ----------
    label, path : str
        For tables, and as it was given.
    key : str
        Changes when its weights do.
    front_end : str
        Name of that.
    frames : int
        Of a window.
    short_clips : int
        Clips that have fewer frames: their window was filled up.
    result : TripletResult
    embeddings : np.ndarray float32 [clips named, dim]
        Of the clips that the triplets name, in their order.
    """

    label: str
    path: str
    key: str
    front_end: str
    frames: int
    short_clips: int
    result: TripletResult
    embeddings: np.ndarray


@dataclass(frozen=True, eq=False)
class Outcome:
    """Several models on the same triplets.

    Attributes
    ----------
    asked, used : Triplets
        Of the table, and those of them that have all their clips.
    source : Source
    seconds : float or None
        Length of an excerpt; None for whole tracks and whole files.
    short : str
        What filled the window of a short clip.
    seed : int
        Of the intervals.
    models : sequence of Judged
        Others are compared with the first.
    """

    asked: Triplets
    used: Triplets
    source: Source
    seconds: float | None
    short: str
    seed: int
    models: Sequence[Judged]

    @cached_property
    def against_first(self) -> list[PairedDifference]:
        """The second model and those after it less the first."""
        first, *others = self.models
        return [paired_difference(one.result, first.result, self.seed) for one in others]

    @cached_property
    def bins(self) -> list[dict[str, Any]]:
        """Accuracy and 95 % interval of each model on triplets of a like agreement."""
        if self.used.agreement is None:
            return []
        right = np.stack([one.result.right for one in self.models], axis=1)
        return [
            {
                "agreement": name,
                "triplets": int(inside.sum()),
                "accuracy": right[inside].mean(axis=0).tolist(),
                "interval": mean_intervals(right[inside], resamples=RESAMPLES, seed=self.seed),
            }
            for name, inside in agreement_bins(self.used.agreement)
        ]

    def lines(self) -> Iterator[str]:
        """Markdown: accuracy and differences of all models, then comparisons, then agreement."""
        used, asked = len(self.used), len(self.asked)
        of = "" if used == asked else f" of {asked:,}, {asked - used:,} left out (--partial)"
        yield f"{self.source.name}: {used:,} triplets{of}"
        yield ""
        yield "| model | accuracy [95 %] | ties | difference | centred | short clips |"
        yield "|---|---|---|---|---|---|"
        for one in self.models:
            r = one.result
            yield (
                f"| {_cell(one.label)} | {_interval(r.accuracy, r.interval)} | {r.ties} | "
                f"{r.difference:.4f} | {r.centred_difference:.4f} | {one.short_clips} of "
                f"{len(self.used.named)} |"
            )
        if self.against_first:
            first = _cell(self.models[0].label)
            yield ""
            yield f"| less {first} | difference [95 %] | only it right | only {first} | McNemar p |"
            yield "|---|---|---|---|---|"
            for one, apart in zip(self.models[1:], self.against_first, strict=True):
                yield (
                    f"| {_cell(one.label)} | {_interval(apart.difference, apart.interval)} | "
                    f"{apart.first} | {apart.second} | {apart.p_value:.2g} |"
                )
        if self.bins:
            labels = " | ".join(_cell(one.label) for one in self.models)
            yield ""
            yield f"| agreement | triplets | {labels} |"
            yield "|---|---|" + "---|" * len(self.models)
            for part in self.bins:
                cells = map(_interval, part["accuracy"], part["interval"])
                yield f"| {part['agreement']} | {part['triplets']} | {' | '.join(cells)} |"

    def document(self) -> dict[str, Any]:
        """Everything, ready for JSON; ``right`` is in the order of the triplets used."""
        return {
            "version": __version__,
            "triplets": {
                "file": str(self.asked.path),
                "key": self.asked.key,
                "in_table": len(self.asked),
                "used": len(self.used),
                "clips": len(self.used.named),
                "citation": CITATION if self.asked.dim_sim else "",
            },
            "source": asdict(self.source),
            "excerpt_seconds": self.seconds,
            "short": self.short,
            "seed": self.seed,
            "resamples": RESAMPLES,
            "models": [
                {
                    **row,
                    "key": one.key,
                    "right": one.result.right.tolist(),
                }
                for one, row in zip(self.models, self.rows, strict=True)
            ],
            "agreement": self.bins,
            "lines": self.used.lines.tolist(),
        }

    def _row(self, number: int) -> dict[str, Any]:
        one, result = self.models[number], self.models[number].result
        row = {
            "model": one.label,
            "path": one.path,
            "front_end": one.front_end,
            "frames": one.frames,
            "triplets": len(self.used),
            "accuracy": result.accuracy,
            "accuracy_low": result.interval[0],
            "accuracy_high": result.interval[1],
            "ties": result.ties,
            "difference": result.difference,
            "centred_difference": result.centred_difference,
            "short_clips": one.short_clips,
        }
        if number:
            apart = self.against_first[number - 1]
            row |= {
                "against_first": apart.difference,
                "against_first_low": apart.interval[0],
                "against_first_high": apart.interval[1],
                "only_it_right": apart.first,
                "only_first_right": apart.second,
                "p_value": apart.p_value,
            }
        return row

    @property
    def rows(self) -> list[dict[str, Any]]:
        """A row a model, for a table."""
        return [self._row(number) for number in range(len(self.models))]


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def _interval(value: float, interval: Sequence[float]) -> str:
    return f"{value:.3f} [{interval[0]:.3f}, {interval[1]:.3f}]"
