"""Why is Playlist CO not ahead of Artist CO in the synthetic worlds? One thing varied at a time.

python benchmarks/order_causes.py [--plan experiments/demo.toml] [--only NAME …] [--seeds N …]
    [--workers 2]

Of the plan, Artist CO and Playlist CO are trained and judged again with another temperature,
number of steps or width, and with other groups: playlists cut into pieces of one style, so that
no pair crosses styles, and artists joined with one of another style, so that about half of the
pairs do. Prints for each the tags' Average Precision, the triplets' accuracy, and the differences
with 95 % intervals over the worlds. What a change leaves as it is, is that of the plan. Runs are
kept in ``runs/PLAN`` and ``runs/PLAN-NAME`` and gone on with; those of the first are the ones that
``make demo-tables`` makes.
"""

import argparse
import csv
import dataclasses
from dataclasses import dataclass, field

import numpy as np
from _table import print_table

PAIRINGS = ("artist_co", "playlist_co")
METRICS = {"tags": "average_precision", "triplets": "accuracy"}


@dataclass(frozen=True)
class Variant:
    """Changes to a plan: settings of the pre-training, its steps, the groups of one pairing."""

    settings: dict = field(default_factory=dict)
    steps: int | None = None
    pairings: tuple[str, ...] = PAIRINGS


PLAN = "as in the plan"
VARIANTS = {
    PLAN: Variant(),
    "one-style-playlists": Variant({"groups": "one-style-playlists"}, pairings=("playlist_co",)),
    "two-style-artists": Variant({"groups": "two-style-artists"}, pairings=("artist_co",)),
    "temperature-0.05": Variant({"temperature": 0.05}),
    "temperature-0.2": Variant({"temperature": 0.2}),
    "steps-399": Variant(steps=399),
    "steps-2394": Variant(steps=2394),
    "width-0.5": Variant({"width": 0.5}),
}


def changed(plan, variant, seeds):
    """The plan of a variant: its pairings alone, in the worlds ``seeds``."""
    settings = {**plan.pretrain.settings, **variant.settings}
    steps = variant.steps or plan.pretrain.steps
    if variant.steps and "warmup_steps" in settings:  # the same share of the run
        settings["warmup_steps"] = round(settings["warmup_steps"] * steps / plan.pretrain.steps)
    return dataclasses.replace(
        plan,
        pairings=variant.pairings,
        others=(),
        baseline=variant.pairings[0],
        pretrain=dataclasses.replace(plan.pretrain, settings=settings, steps=steps),
        worlds=dataclasses.replace(plan.worlds, seeds=seeds),
    )


def make_groups(folder):
    """Playlists cut by style, and artists joined two and two across styles, in a world."""
    from playlist_pretrain.playlists.groups import TrackGroups, groups_path, load_groups
    from playlist_pretrain.records.collection import Collection

    collection = Collection.open(folder)
    with open(folder / "tracks.csv", encoding="utf-8", newline="") as stream:
        style_of = {row["track_id"]: row["style"] for row in csv.DictReader(stream)}
    style = np.array([style_of[track_id] for track_id in collection.track_ids])
    playlists, artists = (load_groups(collection, name) for name in ("playlists", "artists"))
    members = [playlists.group(i) for i in range(len(playlists))]
    pieces = [rows[style[rows] == s] for rows in members for s in np.unique(style[rows])]
    by_style = {s: [] for s in sorted(style_of.values())}
    for i in range(len(artists)):
        by_style[style[artists.group(i)[0]]].append(artists.group(i))
    columns = list(by_style.values())  # as many artists in each style
    joined = [
        np.concatenate(two)
        for left, right in zip(columns[::2], columns[1::2], strict=True)
        for two in zip(left, right, strict=True)
    ]
    for name, groups in (
        ("one-style-playlists", [rows for rows in pieces if len(rows) > 1]),
        ("two-style-artists", joined),
    ):
        key = collection.content_key
        made = TrackGroups.from_lists(name, groups, tracks=len(collection), collection_key=key)
        made.save(groups_path(folder, name))


def values(plan, out, workers):
    """By (pairing, kind): an array of the metric by world; and the steps that were trained."""
    from playlist_pretrain.experiments.cells import PRETRAIN, WORLD, State, cells_of, folder_of
    from playlist_pretrain.experiments.collect import Collected
    from playlist_pretrain.experiments.pool import run_cells
    from playlist_pretrain.messages import show_messages

    def run(cells):
        run_cells(cells, state, workers=workers, threads=plan.threads)

    show_messages()
    state, cells = State(out), cells_of(plan)
    run([cell for cell in cells if cell.kind == WORLD])
    if "groups" in plan.pretrain.settings:
        for seed in plan.worlds.seeds:
            make_groups(folder_of(plan, seed) / "demo")
    run(cells)
    collected = Collected(plan, cells, state)
    if collected.not_done:
        raise SystemExit(f"not done: {collected.not_done}")
    found = {}
    for cell in cells:
        if cell.kind in METRICS:
            runs = [run[METRICS[cell.kind]] for run in collected.runs(cell)]
            found.setdefault((cell.row.start, cell.kind), []).append(np.mean(runs))
    steps = {state.done(cell)["counts"]["steps"] for cell in cells if cell.kind == PRETRAIN}
    return {name: np.array(one) for name, one in found.items()}, steps


def main():
    """Make what is not made yet, print one table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--plan", default="experiments/demo.toml")
    parser.add_argument("--only", nargs="+", choices=list(VARIANTS)[1:], help="changes [all]")
    parser.add_argument("--seeds", nargs="+", type=int, help="worlds [those of the plan]")
    parser.add_argument("--workers", type=int, default=2)
    options = parser.parse_args()

    from playlist_pretrain.evaluation.bootstrap import mean_intervals
    from playlist_pretrain.experiments.plan import read_plan

    plan = read_plan(options.plan)
    seeds = tuple(options.seeds or plan.worlds.seeds)
    base, rows = {}, []
    for name in (PLAN, *(options.only or list(VARIANTS)[1:])):
        out = f"runs/{plan.name}" + (f"-{name}" if name != PLAN else "")
        own, steps = values(changed(plan, VARIANTS[name], seeds), out, options.workers)
        base = base or own
        row = [name, "–".join(f"{count:,}" for count in sorted({min(steps), max(steps)}))]
        for kind in METRICS:
            artist, playlist = ({**base, **own}[pairing, kind] for pairing in PAIRINGS)
            ((low, high),) = mean_intervals((playlist - artist)[:, None])
            row += [f"{one.mean():.3f}" for one in (artist, playlist)]
            row.append(f"{(playlist - artist).mean():+.3f} [{low:+.3f}, {high:+.3f}]")
        rows.append(row)
    print_table(
        f"{len(seeds)} worlds of {options.plan}: tags' Average Precision, triplets' accuracy",
        ("", "steps", "tags: Artist CO", "Playlist CO", "less", "triplets: Artist CO",
         "Playlist CO", "less"),
        rows,
    )  # fmt: skip


if __name__ == "__main__":
    main()
