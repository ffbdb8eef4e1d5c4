"""A trial of random damage: is it found, does it mislead, is what is sound kept?

python tests/records/trial.py [--times 1000] [--seed 0] prints the counts.
"""

import argparse
import contextlib
import io
import shutil
import sys
import tempfile
from collections import Counter
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parent))
from damage import content, flip

from playlist_pretrain.cli import check_collection as check
from playlist_pretrain.errors import PlaylistPretrainError
from playlist_pretrain.records.collection import Collection
from playlist_pretrain.records.windows import WindowReader

FRAMES = 4


def damaged(folder: Path, rng: np.random.Generator) -> tuple[str, str]:
    """Damage one file of a collection; its kind, and what was done to it."""
    kind = rng.choice(["shard", "shard", "index", "json"])
    pattern = {"shard": "mel-*.tfrecord", "index": "index-*.npz", "json": "collection.json"}[kind]
    path = rng.choice(sorted(folder.glob(pattern)))
    size = path.stat().st_size
    how = rng.choice(["bit", "bit", "bits", "cut", "gone"], p=[0.3, 0.3, 0.2, 0.15, 0.05])
    if how == "cut":
        with open(path, "r+b") as stream:
            stream.truncate(int(rng.integers(0, size)))
    elif how == "gone":
        path.unlink()
    else:
        for byte in rng.integers(0, size, 1 if how == "bit" else 8).tolist():
            flip(path, byte, int(rng.integers(0, 8)))
    return str(kind), str(how)


def command(*words: object) -> tuple[int, str]:
    """Exit code and output of check_collection.py."""
    output = io.StringIO()
    with contextlib.redirect_stdout(output), contextlib.redirect_stderr(output):
        code = check.main([*map(str, words), "--quiet"])
    return code, output.getvalue()


def reading(folder: Path, sound: dict) -> tuple[str, bool]:
    """How opening and reading ends, and whether anything that is read has changed."""
    try:
        collection = Collection.open(folder)
        reader = WindowReader(collection, FRAMES, "repeat")
        rows = np.arange(len(collection))
        windows = reader.read(rows, np.zeros(len(rows), np.int64))
        now = content(collection)
    except PlaylistPretrainError:
        return "refused", True
    assert list(now) == list(sound["tracks"]), "other tracks"
    for row, (track_id, (mel, *seconds)) in enumerate(now.items()):
        before = sound["tracks"][track_id]
        assert seconds == list(before[1:]) and len(mel) == len(before[0]), track_id
        # A few bits may differ; another track's mel differs in almost all of its bytes.
        changed = np.frombuffer(mel, np.uint8) != np.frombuffer(before[0], np.uint8)
        assert changed.sum() <= 8, f"{track_id}: another track's mel"
        frames = min(FRAMES, len(mel) // (2 * windows.shape[2]))
        assert windows[row, :frames].tobytes() == mel[: frames * 2 * windows.shape[2]]
    same = now == sound["tracks"] and collection.front_end == sound["front_end"]
    for here, before in zip(
        (collection.band_mean, collection.band_std), sound["stats"], strict=True
    ):
        same &= bool((np.abs(here - before) <= np.spacing(np.maximum(here, before))).all())
    return ("as before", False) if same else ("changed values", True)


def one_trial(sound_folder: Path, folder: Path, sound: dict, rng: np.random.Generator) -> Counter:
    """Damage a copy, read it, verify it, repair it; what happened."""
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(sound_folder, folder)
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    kind, how = damaged(folder, rng)
    after = {path.name: path.read_bytes() for path in folder.iterdir()}
    untouched = _untouched(before, after, sound)
    read, changed = reading(folder, sound)
    code, output = command("--collection", folder, "--verify")
    assert code in (0, 1) and "Traceback" not in output
    assert code == 1 or not changed, f"{kind} {how}: not found"
    if code == 0:
        text = "harmless, in the stamps of collection.json" if kind == "json" else "harmless"
        return Counter({("verify", kind, how, text): 1, ("read", read): 1})
    code, output = command("--collection", folder, "--repair")
    named = ""
    if code == 1 and "--front-end" in output:
        named = " with --front-end"
        code, output = command("--collection", folder, "--repair", "--front-end", "paper")
    assert code == 0, output
    repaired = Collection.open(folder)
    now = content(repaired)
    assert untouched <= now.keys() and all(now[i] == sound["tracks"][i] for i in now), "repair"
    if len(now) == len(sound["tracks"]):
        assert list(now) == list(sound["tracks"]) and repaired.content_key == sound["key"]
    again, output = command("--collection", folder, "--verify")
    assert again == 0, output
    lost = len(sound["tracks"]) - len(now)
    amount = "all tracks kept" if not lost else "1 track lost" if lost == 1 else "more lost"
    return Counter({("verify", kind, how, "found"): 1, ("read", read): 1,
                    ("repair", kind, amount + named): 1})  # fmt: skip


def _untouched(before: dict, after: dict, sound: dict) -> set[str]:
    """Tracks whose record has every byte it had."""
    kept = set()
    for track_id, (file, start, end) in sound["places"].items():
        now = after.get(file, b"")
        if now[start:end] == before[file][start:end]:
            kept.add(track_id)
    return kept


def known(collection: Collection) -> dict:
    """What a sound collection holds, and where."""
    from playlist_pretrain.records.verify import scan_shards

    places = {}
    for scan in scan_shards(collection.shard_paths, collection.front_end):
        spans = zip(scan.part.track_ids, scan.starts.tolist(), scan.ends.tolist(), strict=True)
        places |= {track_id: (scan.part.file, start, end) for track_id, start, end in spans}
    return {
        "tracks": content(collection),
        "stats": [collection.band_mean, collection.band_std],
        "front_end": collection.front_end,
        "key": collection.content_key,
        "places": places,
    }


def trial(sound: Collection, folder: Path, times: int, seed: int) -> Counter:
    """Counts of what happened in many trials; an AssertionError names the first that failed."""
    outcomes: Counter = Counter()
    facts = known(sound)
    for number in range(times):
        rng = np.random.default_rng([seed, number])
        try:
            outcomes += one_trial(sound.path, folder, facts, rng)
        except AssertionError as error:
            raise AssertionError(f"trial {number} of seed {seed}: {error}") from error
    return outcomes


def small_collection(folder: Path) -> Collection:
    """Twelve tracks in three shards of one size, so that a mixed-up shard is not told by it."""
    from playlist_pretrain.audio.front_end import front_end
    from playlist_pretrain.records.schema import shard_name
    from playlist_pretrain.records.writer import ShardWriter, write_collection

    rng, parts = np.random.default_rng(5), []
    for number in range(3):
        with ShardWriter(folder / shard_name(number), 96) as writer:
            for track in range(4):
                mel = rng.uniform(0, 6, (3 + track, 96)).astype(np.float32)
                writer.add(f"track/{number}{track}", mel, 0.25 * track, 30.0 + number)
        parts.append(writer.part)
    write_collection(folder, front_end("paper"), parts, {"made": "for a trial"})
    return Collection.open(folder)


def main():
    """Run it and print the counts."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--times", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        sound = small_collection(Path(folder) / "sound")
        outcomes = trial(sound, Path(folder) / "damaged", options.times, options.seed)
    for outcome, count in sorted(outcomes.items()):
        print(f"{count:6}  {', '.join(outcome)}")


if __name__ == "__main__":
    main()
