"""The guides on what to do with a model: what they tell a user to type works."""

import shutil

import numpy as np
import pytest
from homes import MODEL
from pages import steps, text_of

GUIDES = "docs/guides"


def section(page, name):
    return text_of(page).partition(f"## {name}\n")[2].partition("\n## ")[0]


@pytest.mark.long
def test_similarity(home_at, follow):
    home, page = home_at("model"), f"{GUIDES}/similarity.md"
    assert len(follow(page, home)) == 2
    name = MODEL.removeprefix("runs/")
    for run in (f"previews-similarity-{name}+2", f"mine-similarity-{name}"):
        for file in ("results.md", "results.csv", "results.json", "per_triplet.csv"):
            assert f"`{file}`" in text_of(page)
            assert (home / "runs" / run / file).exists(), file


@pytest.mark.long
def test_embed(home_at, follow):
    home = home_at("model")
    follow(f"{GUIDES}/embed.md", home)
    assert len(np.load(home / "mine.npy")) == len(np.load(home / "windows.npy")) == 10
    assert (
        (home / "projector" / "metadata.tsv")
        .read_text()
        .startswith("track_id\tartist\tstart_seconds")
    )


@pytest.mark.long
def test_search(home_at, follow):
    home = home_at("model")
    shutil.copy(home / "music" / "t0.wav", home / "music" / "song.wav")
    assert len(follow(f"{GUIDES}/search.md", home)) == 5
    assert (home / "map.html").stat().st_size > 1e6  # what it needs to work offline is in it
    assert len((home / "longer.m3u8").read_text().splitlines()) == 22


@pytest.mark.long
def test_export(home_at, follow):
    home, page = home_at("model"), f"{GUIDES}/export.md"
    done = {step.text: printed for step, printed in follow(page, home)}
    promised = {
        "essentia": ("mine-1.pb", "saved_model/", "mine-1.json", "predict.py",
                     "mine-1-parity.json", "README.md"),
        "serving": ("1/", "rest_client.py", "grpc_client.py", "batching.config", "mine-1.json",
                    "README.md", "mine-1-parity.json"),
    }  # fmt: skip
    titles = {"essentia": "Essentia", "serving": "TensorFlow Serving"}
    for target, names in promised.items():
        for name in names:
            assert f"`{name}`" in section(page, titles[target])
            assert (home / "exports" / target / "mine-1" / name).exists(), name
    (predicted,) = (printed for text, printed in done.items() if "predict.py song.mp3" in text)
    assert "embeddings\n(1, 128)" in predicted
    (docker,) = (step.text for step in steps(page) if "docker run" in step.text)
    card = (home / "exports" / "serving" / "mine-1" / "README.md").read_text("utf-8")
    assert docker.partition("&& ")[2].strip() in card
