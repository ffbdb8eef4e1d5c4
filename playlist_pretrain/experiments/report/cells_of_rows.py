"""Finished cells of a plan by what a section shows of them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from playlist_pretrain.experiments.cells import NAMES, STARTS, Cell, Row, rows_of

if TYPE_CHECKING:
    from playlist_pretrain.experiments.collect import Collected


class DoneCells:
    """The cells that are done, their folders and titles.

    Parameters
    ----------
    collected : Collected
    """

    def __init__(self, collected: Collected):
        self.collected, self.plan = collected, collected.plan
        self.rows = rows_of(collected.plan)

    def of(self, kind: str, task: str, row: Row) -> list[Cell]:
        """Those of a row."""
        found = self.collected.of(kind, task, row)
        return [cell for cell in found if self.collected.done[cell.id] is not None]

    def folder(self, cell: Cell) -> Path:
        """Its run folder."""
        return self.collected.state.folder(cell)

    def title(self, row: Row) -> str:
        """Backbone, where there are several, and start."""
        several = len(self.plan.backbones) > 1
        backbone = f"{NAMES[row.backbone]}, " if several and row.backbone else ""
        return backbone + STARTS[row.start]

    def backbones(self) -> Iterator[tuple[str, list[Row]]]:
        """Name of each backbone, empty where there is one, and its rows; those of none are with
        the first."""
        for number, backbone in enumerate(self.plan.backbones):
            rows = [
                row for row in self.rows if row.backbone == backbone or not (row.backbone or number)
            ]
            yield NAMES[backbone] if len(self.plan.backbones) > 1 else "", rows
