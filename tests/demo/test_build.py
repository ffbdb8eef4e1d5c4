"""The demo's collections: what is in their folders, and what a second call does."""

import csv
import hashlib
import json
import os
import shutil
import wave
from pathlib import Path

import numpy as np
import pytest

from playlist_pretrain.cli import make_demo as command
from playlist_pretrain.demo import build
from playlist_pretrain.demo.build import SongLoader, build_demo, write_songs
from playlist_pretrain.demo.songs import render
from playlist_pretrain.demo.world import PARTS, STYLES, make_world
from playlist_pretrain.errors import AudioError, CollectionError, RecipeError
from playlist_pretrain.playlists.groups import load_groups
from playlist_pretrain.records.collection import Collection

EVERY = {"tracks.csv", "tags.tsv", "triplets.csv", "groups-artists.npz"}
EXTRA = {"demo": {*EVERY, "playlists.csv", "groups-playlists.npz"}, "demo-eval": EVERY}


@pytest.fixture
def copied(quick_demo, tmp_path, monkeypatch):
    """The demo with short songs, as a copy that a test may write into."""
    monkeypatch.setattr(build, "SECONDS", 1.0)
    return shutil.copytree(quick_demo, tmp_path / "tfrecords")


def read(path: Path) -> list[dict[str, str]]:
    with open(path, newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream, delimiter="\t" if path.suffix == ".tsv" else ","))


def digests(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def test_a_negative_seed_is_refused(tmp_path):
    with pytest.raises(RecipeError, match="seed -1"):
        build_demo(tmp_path, -1)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("part", "place"), [
    ("demo", "collection.json"), ("demo-eval", ".build/plan.json"),
])  # fmt: skip
def test_another_world_in_the_folder_is_refused(tmp_path, part, place):
    file = tmp_path / part / place
    file.parent.mkdir(parents=True)
    loader = {"name": "SongLoader", "seed": 3, "version": SongLoader(3).version}
    file.write_text(json.dumps({"source": {"loader": loader}}))
    with pytest.raises(CollectionError, match=r"world 3, world 4 was asked .*--overwrite") as error:
        build_demo(tmp_path, 4)
    assert str(tmp_path / part) in str(error.value)
    assert f"--out {tmp_path} --seed 4" in str(error.value)
    file.write_text(json.dumps({"source": {"loader": {**loader, "seed": 4, "version": -1}}}))
    with pytest.raises(CollectionError, match=r"version -1 .*--seed 4 --overwrite"):
        build_demo(tmp_path, 4)


@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.parametrize(
    "content", ["{", '{"source": {"loader": {"name": "AudioLoader", "seed": 0}}}']
)
def test_a_collection_of_something_else_is_never_touched(tmp_path, content, overwrite):
    (tmp_path / "demo").mkdir()
    (tmp_path / "demo" / "collection.json").write_text(content)
    with pytest.raises(CollectionError, match="is not a collection of the demo"):
        build_demo(tmp_path, 0, overwrite=overwrite)
    assert digests(tmp_path).keys() == {"demo/collection.json"}


@pytest.mark.slow
@pytest.mark.parametrize("part", PARTS)
def test_tables_stand_beside_the_collection(quick_demo, part):
    root = quick_demo
    world = make_world(0)
    ids = {world.track_ids[song] for song in world.songs(part)}
    tracks, tags = read(root / part / "tracks.csv"), read(root / part / "tags.tsv")
    triplets = read(root / part / "triplets.csv")
    assert EXTRA[part] <= {path.name for path in (root / part).iterdir()}
    assert list(Collection.open(root / part).track_ids) == sorted(ids)
    assert list(tracks[0]) == ["track_id", "artist", "style", "title"]
    assert list(tags[0]) == ["track_id", "split", "tags"]
    assert list(triplets[0]) == ["anchor", "positive", "negative"]
    assert {row["track_id"] for row in tracks} == {row["track_id"] for row in tags} == ids
    assert {row["style"] for row in tracks} == set(STYLES)
    assert all(row["track_id"].startswith(row["artist"] + "/") for row in tracks)
    assert {row["split"] for row in tags} == {"train", "validation", "test"}
    assert all("style---" in row["tags"] and "|instrument---" in row["tags"] for row in tags)
    assert len(triplets) == 500
    assert {i for row in triplets for i in row.values()} <= ids


@pytest.mark.slow
def test_groups_are_the_playlists_and_artists(quick_demo):
    root = quick_demo
    demo, demo_eval = (Collection.open(root / part) for part in PARTS)
    entries = {}
    for row in read(root / "demo" / "playlists.csv"):
        entries.setdefault(row["group_id"], []).append(row["track_id"])
    unseen = {row["artist"] for row in read(root / "demo-eval" / "tracks.csv")}
    seen = {track_id.split("/")[0] for track_ids in entries.values() for track_id in track_ids}
    assert len(unseen) == 12 and not unseen & seen
    playlists = load_groups(demo, "playlists")
    assert list(playlists.group_ids) == list(entries)
    for number, track_ids in enumerate(entries.values()):
        assert [demo.track_ids[row] for row in playlists.group(number)] == track_ids
    for collection, artists in ((demo, 24), (demo_eval, 12)):
        groups = load_groups(collection, "artists")
        assert len(groups) == artists
        assert set(groups.lengths) == {10}
        for number, artist in enumerate(groups.group_ids):
            ids = [collection.track_ids[row] for row in groups.group(number)]
            assert all(track_id.startswith(artist + "/") for track_id in ids)


@pytest.mark.slow
@pytest.mark.parametrize("damage", ["none", "missing", "truncated", "foreign"])
def test_a_second_call_mends_what_is_damaged_and_changes_nothing_else(copied, damage):
    content = digests(copied)
    written = {path: path.stat().st_mtime_ns for path in copied.rglob("*")}
    for part, names in EXTRA.items():
        for name in names:
            path = copied / part / name
            if damage == "missing":
                path.unlink()
            elif damage == "truncated":
                path.write_bytes(path.read_bytes()[:100])
    if damage == "foreign":
        shutil.copy(copied / "demo-eval/groups-artists.npz", copied / "demo/groups-artists.npz")
    build_demo(copied)
    assert digests(copied) == content
    if damage == "none":
        assert {path: path.stat().st_mtime_ns for path in copied.rglob("*")} == written


@pytest.mark.slow
def test_the_command_says_what_there_is_and_what_comes_next(copied, capsys):
    assert command.main(["--out", str(copied)]) == 0
    said = capsys.readouterr().out
    assert f"{copied / 'demo'}: 240 songs of world 0" in said
    assert f"{copied / 'demo-eval'}: 120 songs of world 0" in said
    assert f"--pairs playlist_co --collection {copied / 'demo'} --preset demo" in said
    assert command.main(["--out", str(copied), "--seed", "1"]) == 1
    assert "holds world 0, world 1 was asked for" in capsys.readouterr().err


@pytest.mark.slow
def test_wav_files_are_the_songs(tmp_path):
    world = make_world(1)
    write_songs(tmp_path / "songs", 1, seconds=0.25)
    files = {
        str(path.relative_to(tmp_path / "songs").with_suffix(""))
        for path in (tmp_path / "songs").rglob("*.*")
    }
    assert files == {
        f"{part}/{world.track_ids[song]}" for part in PARTS for song in world.songs(part)
    }
    song = int(world.songs("demo-eval")[0])
    with wave.open(str(tmp_path / "songs/demo-eval" / f"{world.track_ids[song]}.wav")) as file:
        assert file.getparams()[:4] == (1, 2, 16000, 4000)
        samples = np.frombuffer(file.readframes(4000), "<i2")
    np.testing.assert_allclose(samples / 32767, render(world, song, 0.25), atol=2e-5)


def test_wav_files_want_an_empty_folder(tmp_path, capsys):
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(AudioError, match="is not empty"):
        write_songs(tmp_path, 0)
    arguments = ["--audio", str(tmp_path), "--out", str(tmp_path / "tfrecords")]
    assert command.main(arguments) == 1  # before anything is built
    assert "is not empty" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_wav_files_that_were_begun_go_on_in_the_same_world(tmp_path, monkeypatch):
    songs, rendered = tmp_path / "songs", []

    def few(*arguments):
        if len(rendered) == 3:
            raise KeyboardInterrupt
        rendered.append(arguments)
        return render(*arguments)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(build, "render", few)
        write_songs(songs, 1, seconds=0.25)
    assert len(list(songs.rglob("*.wav"))) == 3
    with pytest.raises(AudioError, match="is not empty"):
        write_songs(songs, 2, seconds=0.25)
    write_songs(songs, 1, seconds=0.25)
    world = make_world(1)
    assert len(list(songs.rglob("*.wav"))) == sum(len(world.songs(part)) for part in PARTS)
    assert sorted(os.listdir(songs)) == sorted(PARTS)
    with pytest.raises(AudioError, match="is not empty"):
        write_songs(songs, 1, seconds=0.25)


def mean_of_mel_accuracies(means, mean, std, triplets) -> dict[str, float]:
    """Accuracy of raw and standardised means of the mel [tracks, bands], by distance."""
    found = {}
    for name, vectors in (("raw", means), ("standardised", (means - mean) / std)):
        unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
        for distance, compared in (("cosine", unit), ("euclidean", vectors)):
            anchor, positive, negative = (compared[column] for column in triplets.T)
            near = np.linalg.norm(anchor - positive, axis=1)
            far = np.linalg.norm(anchor - negative, axis=1)
            found[f"{name} {distance}"] = float(np.mean(far > near))
    return found


@pytest.mark.long
def test_mean_of_mel_does_not_solve_demo_eval_but_the_latents_do(demo_collections):
    demo_eval = Collection.open(demo_collections / "demo-eval")
    world = make_world(0)
    rows = read(demo_eval.path / "triplets.csv")
    triplets = np.array(
        [[demo_eval.row(row[c]) for c in ("anchor", "positive", "negative")] for row in rows]
    )
    means = np.array([demo_eval.mel(row).mean(axis=0, dtype=float) for row in range(120)])
    found = mean_of_mel_accuracies(means, demo_eval.band_mean, demo_eval.band_std, triplets)
    assert max(found.values()) <= 0.65, found
    latents = np.array([world.latents[world.song(i)] for i in demo_eval.track_ids])
    true = mean_of_mel_accuracies(latents, 0.0, 1.0, triplets)
    assert min(true["raw cosine"], true["raw euclidean"]) >= 0.9, true
