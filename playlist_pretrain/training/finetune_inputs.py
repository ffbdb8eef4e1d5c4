"""What a fine-tuning reads: its collection, its task and what it starts from."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from playlist_pretrain.demo import DEMO_COLLECTION, ready_demo
from playlist_pretrain.errors import ScoresError, TaskError
from playlist_pretrain.files import content_key
from playlist_pretrain.models.starting_points import StartingPoint, label_of, starting_point
from playlist_pretrain.recipes import FinetuneRecipe
from playlist_pretrain.storage import location
from playlist_pretrain.tasks import SPLITS

if TYPE_CHECKING:
    from pathlib import Path

    from playlist_pretrain.records.collection import Collection
    from playlist_pretrain.storage import RemotePath
    from playlist_pretrain.tasks.match import SplitRows, TaskRows

TAGS = "tags.tsv"
MEASURED = ("validation", "test")


@dataclass(frozen=True)
class TaggingData:
    """What a recipe reads.

    Attributes
    ----------
    collection : Collection
    task : TaskRows
        In rows of the collection.
    points : tuple of StartingPoint
        One for each model.
    name : str
        Of the task.
    citation : str
        Of its dataset.
    facts : dict
        What decides the runs beside their recipe.
    """

    collection: Collection
    task: TaskRows
    points: tuple[StartingPoint, ...]
    name: str
    citation: str
    facts: dict[str, Any]


def settle(
    recipe: FinetuneRecipe, say: Callable[[str], None], *, quiet: bool
) -> tuple[FinetuneRecipe, TaggingData]:
    """Open what the recipe names and settle every setting that depends on it."""
    from playlist_pretrain.records.collection import Collection
    from playlist_pretrain.tasks import TASKS, read_task
    from playlist_pretrain.tasks.match import match_task

    TASKS.get(recipe.task)  # refuses an unknown one before anything is read
    path = location(recipe.collection) if recipe.collection else ready_demo(say, quiet=quiet)
    collection = Collection.open(path)
    recipe = dataclasses.replace(recipe, collection=str(path)).resolve(
        demo=is_demo(path), window_frames=collection.front_end.window_frames
    )
    if recipe.task == "tags" and recipe.tags is None:
        recipe = dataclasses.replace(recipe, tags=_own_tags(collection))
    say(f"preset {recipe.preset}: {collection.name}, {len(collection)} tracks")
    task = read_task(recipe)
    rows = match_task(task, collection, partial=recipe.partial)
    say(f"task {task.name}")
    for note in rows.notes:
        say(note)
    for name in MEASURED:
        _check_measurable(task.name, name, getattr(rows, name))
    left_out = rows.validation.targets.all(axis=0) | ~rows.validation.targets.any(axis=0)
    if left_out.any():
        names = ", ".join(np.array(rows.classes)[left_out])
        say(f"validation cannot measure, and leaves out: {names}")
    points = tuple(starting_point(name, recipe, collection) for name in recipe.model)
    parts = [part for name in SPLITS for part in _bytes_of(getattr(rows, name))]
    facts = {
        "collection": collection.content_key,
        "task": content_key("\n".join(rows.classes).encode(), *parts),
        "models": [point.key for point in points],
    }
    return recipe, TaggingData(collection, rows, points, task.name, task.citation, facts)


def _check_measurable(task: str, name: str, split: SplitRows) -> None:
    """Refuse, before hours of training, a split that no metric can be worked out for after it."""
    from playlist_pretrain.evaluation.scores import measurable

    try:
        measurable(split.targets)
    except ScoresError as error:
        raise TaskError(f"{task}, {name}: {error}") from error


def _bytes_of(split: SplitRows) -> tuple[bytes, bytes]:
    return split.rows.tobytes(), split.targets.tobytes()


def is_demo(path: Path | RemotePath) -> bool:
    """Whether a path is one of the demo's two collections."""
    demo = DEMO_COLLECTION.resolve()
    return path.resolve() in (demo, demo.with_name(f"{demo.name}-eval"))


def _own_tags(collection: Collection) -> str:
    path = collection.path / TAGS
    if not path.is_file():
        raise TaskError(
            f"{collection.path}: no {TAGS} in it; --tags FILE names a table of tracks and tags, "
            "--task another task"
        )
    return str(path)


def default_name(recipe: FinetuneRecipe) -> str:
    """Name of a run folder when the user gives none."""
    collection = location(recipe.collection or DEMO_COLLECTION).resolve().name
    labels = "+".join(label_of(name, recipe.backbone) for name in recipe.model)
    frozen = "-frozen" if recipe.freeze else ""
    return f"{collection}-{recipe.task}-{labels}{frozen}"
