"""The page of the front door: its examples run one after the other, and name every name."""

import numpy as np
import pytest
from pages import steps, text_of

import playlist_pretrain as pp

PAGE = "docs/python.md"


def test_every_name_has_an_example_and_a_line_in_the_table():
    code = "".join(step.text for step in steps(PAGE))
    table = text_of(PAGE).partition("| name | |")[2].partition("\n\n")[0]
    for name in set(pp.__all__) - {"__version__"}:
        assert f"`{name}`" in table, name
        assert f"pp.{name}" in code or f"pp.{name}" in text_of(PAGE), name


@pytest.mark.long
def test_the_examples_run(home_at, monkeypatch, in_process):
    monkeypatch.chdir(home_at("model"))
    names = {}
    for step in steps(PAGE):
        if step.python:
            exec(compile(step.text, f"{PAGE}:{step.line}", "exec"), names)
    whole = np.asarray(names["everything"])
    np.testing.assert_array_equal(np.asarray(names["embeddings"]), whole[:2])
    np.testing.assert_allclose(np.asarray(names["same"])[0], whole[0], atol=1e-5)
    assert names["everything"].skipped == [] and len(names["windows"]) == len(
        names["windows"].starts
    )
    assert names["own"].ids == list(names["collection"].track_ids)
    assert sorted(names["tags"]["t0"]) == ["even", "odd"]
    assert np.isfinite(names["history"].history["loss"]).all()
