"""The paper's own figures, to stand beside ours where the dataset is the same.

A TOML file::

    source = "arXiv 2304.12257"
    [pairs.artist_co]                    # a pairing
    pairs_per_epoch = 1014528
    steps = 132100
    [tags.jamendo-genre.vggish-artist_co]     # a task of the plan by its name, backbone and start
    roc_auc = [0.5, 0.1]                 # mean and standard deviation; [0.5] for a mean alone
    average_precision = [0.5, 0.1]
    [triplets.dim-sim.vggish-artist_co]
    accuracy = [0.5]
    difference = [0.1]

(the figures of tags and triplets in this example are made up).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from playlist_pretrain.errors import PlanError
from playlist_pretrain.experiments.cells import rows_of
from playlist_pretrain.experiments.plan import PAIRINGS, Plan
from playlist_pretrain.experiments.plan_file import read_content
from playlist_pretrain.experiments.toml import load, read_table

KEYS = ("source", "pairs", "tags", "triplets")
Figure = tuple[float, float | None]


@dataclass(frozen=True)
class PaperPairs:
    """Of one pairing."""

    pairs_per_epoch: int
    steps: int


@dataclass(frozen=True)
class PaperTags:
    """Of one row and tagging task."""

    roc_auc: tuple[float, ...] = ()
    average_precision: tuple[float, ...] = ()


@dataclass(frozen=True)
class PaperTriplets:
    """Of one row and triplet task."""

    accuracy: tuple[float, ...] = ()
    difference: tuple[float, ...] = ()


@dataclass(frozen=True)
class PaperNumbers:
    """What the file says.

    Attributes
    ----------
    source : str
    pairs : mapping of pairing to PaperPairs
    figures : mapping of (row id, column id) to (mean, standard deviation or None)
    """

    source: str
    pairs: Mapping[str, PaperPairs]
    figures: Mapping[tuple[str, str], Figure]


def read_paper(plan: Plan) -> PaperNumbers | None:
    """The file that a plan names, or None when it names none.

    Raises
    ------
    PlanError
        With file, table and key of what is not of the format, or is in no table of the plan.
    """
    if plan.paper is None:
        return None
    path = plan.paper.numbers
    content = load(path)
    for key in content:
        if key not in ("source", "pairs", "tags", "triplets"):
            raise PlanError(
                f"{path}: unknown key {key!r}; there are: source, pairs, tags, triplets"
            )
    source = content.get("source")
    if not isinstance(source, str) or not source:
        raise PlanError(f"{path}: source = {source!r}: where the figures are from")
    pairs = {}
    for pairing, table in read_content(content, "pairs", path).items():
        where = f"{path}: [pairs.{pairing}]"
        if pairing not in PAIRINGS:
            raise PlanError(f"{where}: one of {', '.join(PAIRINGS)}")
        pairs[pairing] = read_table(PaperPairs, table, where)
    figures: dict[Any, Any] = {}
    for kind, cls in (("tags", PaperTags), ("triplets", PaperTriplets)):
        figures |= _figures(plan, content, kind, cls, path)
    return PaperNumbers(source, pairs, figures)


def _figures(
    plan: Plan, content: Mapping[str, Any], kind: str, cls: type, path: str
) -> dict[tuple[str, str], Figure]:
    rows = {row.id for row in rows_of(plan)}
    tasks = {task.name for task in getattr(plan, kind)}
    found = {}
    for task in read_content(content, kind, path):
        if task not in tasks:
            raise PlanError(f"{path}: [{kind}.{task}]: the plan has no such task")
        for row, figures in read_content(read_content(content, kind, path), task, path).items():
            where = f"{path}: [{kind}.{task}.{row}]"
            if row not in rows:
                raise PlanError(f"{where}: the plan has no such row")
            for metric, figure in vars(read_table(cls, figures, where)).items():
                if len(figure) > 2:
                    raise PlanError(f"{where}: {metric} = {list(figure)}: mean and deviation")
                if figure:
                    found[row, f"{kind}/{task}/{metric}"] = (*figure, None)[:2]
    return found
