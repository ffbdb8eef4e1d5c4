"""The chain of printed next commands, run as it stands, on forty tracks of eight albums."""

import re
import shlex

import numpy as np
import pytest
import soundfile

from playlist_pretrain.__main__ import main
from playlist_pretrain.cli import similarity
from playlist_pretrain.runs import Run
from playlist_pretrain.training import recipes

RATE, SECONDS = 22050, 6


@pytest.fixture
def music(tmp_path, monkeypatch, rng):
    """A folder of forty files, each album with a tone of its own, and albums.csv beside it."""
    monkeypatch.chdir(tmp_path)
    time = np.arange(RATE * SECONDS) / RATE
    lines = ["group_id,track_id"]
    for track in range(40):
        album, name = f"album {track // 5}", f"{track % 5} - it's a song"
        path = tmp_path / "my music" / album / f"{name}.wav"
        path.parent.mkdir(parents=True, exist_ok=True)
        tone = np.sin(2 * np.pi * 110 * (2 + track // 5) * time)
        soundfile.write(path, 0.3 * tone + rng.normal(0, 0.02, len(time)), RATE)
        lines.append(f"{album},{album}/{name}")
    (tmp_path / "albums.csv").write_text("\n".join(lines) + "\n")


@pytest.mark.long
def test_the_chain_of_next_commands(music, in_process, monkeypatch, capsys):
    monkeypatch.setattr(recipes, "LEAST_STEPS", 4)  # the rule's own would take minutes
    monkeypatch.setattr(recipes, "PASSES", 2)
    capsys.readouterr()

    def run(words):
        assert main(words) == 0, capsys.readouterr().err
        told = capsys.readouterr().out
        (following,) = re.findall(r"^next: (.*)", told, re.M)
        _, script, *rest = shlex.split(following)
        return [script.removeprefix("scripts/").removesuffix(".py"), *rest], told

    following, told = run(
        ["make_tfrecords", "--audio", "my music", "--out", "tfrecords/mine", "--excerpt", "5",
         "--workers", "1"]
    )  # fmt: skip
    assert "5 s of the centre of each file are taken" in told.splitlines()[0]
    assert following[:2] == ["match_playlists", "--playlists"] and following[2] == "FILE"
    following[2] = "albums.csv"
    verbs = []
    for verb in ("match_playlists", "pretrain", "embed", "search", "search"):
        verbs.append(following[0])
        assert verbs[-1] == verb
        following, told = run(following)
        if verb == "pretrain":
            assert re.search(r"preset auto: \d+ pairs an epoch", told)
            assert "no retrieval probe" in told
    (folder,) = (path for path in Run("runs").path.iterdir())
    assert Run(folder).finished and following[0] == "search"
    following, _ = run(["check_collection", "--collection", "tfrecords/mine"])
    following, _ = run(following)
    assert following[0] == "pretrain"
    following, told = run(following)
    assert "is finished" in told and following[0] == "embed"


@pytest.mark.parametrize("excerpts", [False, True])
@pytest.mark.parametrize("tagged", [False, True])
def test_finetune_after_similarity_has_what_it_needs(make_collection, tmp_path, excerpts, tagged):
    collection = make_collection(tmp_path / "c", [300] * 3, seconds=30.0 if excerpts else 0.1)
    if tagged:
        (tmp_path / "c" / "tags.tsv").write_text("track_id\ttags\n")
    options = similarity.Similarity(
        model=["runs/a/saved_model", "scratch"], collection=str(collection.path)
    )
    told, following = similarity._next(options)
    words = shlex.split(following.removeprefix("next: "))
    assert words[2:6] == ["--model", "runs/a/saved_model", "--collection", str(collection.path)]
    assert words[6:] == ["--partial"] * excerpts + ["--tags", "FILE"] * (not tagged)
    assert told.endswith("by tags") == tagged
