"""Whatever gives embeddings is run in the same way."""

import json
import sys

import numpy as np
import pytest

from playlist_pretrain.audio.front_end import PRESETS
from playlist_pretrain.errors import ModelError, RecipeError
from playlist_pretrain.messages import SCRIPTS
from playlist_pretrain.models.load import (
    MEAN_OF_MEL,
    Untrained,
    load_backbone,
    load_embedder,
    load_model,
    load_tagger,
)
from playlist_pretrain.runs import Run
from playlist_pretrain.training.recipes import PretrainRecipe

FRONT_END = PRESETS["paper"]


@pytest.fixture
def windows(rng):
    return rng.uniform(0, 6, (3, 8, 96)).astype(np.float32)


def untrained(rng, **settings):
    mean, std = rng.uniform(1, 2, (2, 96)).astype(np.float32)
    return Untrained(FRONT_END, mean, std, width=0.05, frames=8, **settings)


@pytest.mark.slow
def test_a_backbone_and_its_tagger_give_the_same(saved, backbone, windows):
    one = load_embedder(str(saved / "backbone" / "saved_model"))
    other = load_embedder(str(saved / "tagger"))
    expected = backbone(windows).numpy()
    for embedder in (one, other):
        np.testing.assert_allclose(embedder.model(windows).numpy(), expected, atol=1e-5)
        assert (embedder.frames, embedder.dim) == (8, 128)
        assert embedder.front_end == FRONT_END
    assert (one.label, other.label) == ("backbone", "tagger")
    assert one.key == other.key


def test_mean_of_mel_is_the_mean_of_what_is_standardised(rng, windows):
    material = untrained(rng)
    embedder = load_embedder(MEAN_OF_MEL, material)
    expected = ((windows - material.mean) / material.std).mean(axis=1)
    np.testing.assert_allclose(embedder.model(windows).numpy(), expected, atol=1e-5)
    assert embedder.label == MEAN_OF_MEL


def test_scratch_depends_on_its_seed_alone(rng, windows):
    material = untrained(rng)
    one, same = load_embedder("scratch", material), load_embedder("scratch", material)
    other = load_embedder("scratch", Untrained(**{**vars(material), "seed": 1}))
    assert one.key == same.key != other.key
    np.testing.assert_array_equal(one.model(windows), same.model(windows))
    assert not np.allclose(one.model(windows), other.model(windows))


@pytest.mark.parametrize("name", ["scratch", MEAN_OF_MEL])
def test_no_trained_model(name):
    with pytest.raises(RecipeError, match=f"--model {name}: it is no trained model"):
        load_embedder(name)


def test_no_model(tmp_path):
    with pytest.raises(ModelError, match="no such folder"):
        load_embedder(str(tmp_path / "none"))
    with pytest.raises(ModelError, match="missing"):
        load_embedder(str(tmp_path / "none.pb"))
    (tmp_path / "empty").mkdir()
    with pytest.raises(ModelError, match="no SavedModel"):
        load_embedder(str(tmp_path / "empty"))


@pytest.mark.parametrize("opened", [load_embedder, load_backbone, load_model, load_tagger])
def test_the_model_of_a_run_that_is_not_finished(tmp_path, opened, monkeypatch):
    given = "python scripts/pretrain.py --pairs playlist_co"
    monkeypatch.setattr(sys, "argv", [str(SCRIPTS / "pretrain.py"), *given.split()[2:]])
    run = Run(tmp_path / "x")
    run.claim(PretrainRecipe(), {})
    for path in (run.saved_model, run.path, run.path / "run-1" / "saved_model"):
        with pytest.raises(ModelError) as caught:
            opened(str(path))
        assert str(caught.value) == (
            f"{path}: no SavedModel yet: the run {run.path} is not finished; its command, given "
            f"again, goes on: {given}"
        )
    bad = ("rm -rf ~", f"{given} ; rm -rf ~", f"{given} $(rm x)", "python scripts/x.py 'a", 3)
    for named in ({}, *({"command": text} for text in bad)):  # none, or not one of ours
        (run.path / "recipe.json").write_text(json.dumps({"recipe": {}, "inputs": {}, **named}))
        with pytest.raises(ModelError, match=r"its command, given again, goes on$"):
            opened(str(run.saved_model))
    run.finish({})
    with pytest.raises(ModelError, match=r"no such folder|no SavedModel \("):
        opened(str(run.saved_model))
