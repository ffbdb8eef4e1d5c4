"""Plans: what cannot work is refused with file, table and key, before anything is made."""

import re
from pathlib import Path

import pytest

from playlist_pretrain.errors import PlanError
from playlist_pretrain.experiments.collect import read_paper
from playlist_pretrain.experiments.plan import read_plan

ROOT = Path(__file__).parent.parent.parent


def test_the_plans_of_the_project_can_be_read(monkeypatch):
    monkeypatch.chdir(ROOT)
    demo, paper = (read_plan(f"experiments/{name}.toml") for name in ("demo", "paper"))
    assert demo.worlds.settings_from not in demo.worlds.seeds and len(demo.worlds.seeds) == 5
    assert read_paper(demo) is None
    assert set(read_paper(paper).pairs) == set(paper.pairings)
    assert set(paper.pairings) == set(demo.pairings) and demo.shape("vggish")["width"] == 0.25


@pytest.mark.parametrize(
    ("changes", "more", "words"),
    [
        ({}, "speed = 3", "unknown key 'speed'"),
        ({}, "level = 1.5", "level = 1.5"),
        ({'name = "tiny"': 'name = "../up"'}, "", "name = '../up'"),
        ({'name = "tiny"': ""}, "", "no key 'name'"),
        ({'["vggish"]': '["vgg"]'}, "", "backbones: 'vgg'"),
        ({'["vggish"]': '["vggish", "vggish"]'}, "", "a name comes once"),
        ({'["scratch"]': '["audioset"]'}, "", "[audioset]"),
        ({}, 'baseline = "simclr"', "baseline = 'simclr'"),
        ({"steps = 24": ""}, "", "exactly one of steps and epochs"),
        ({"steps = 24": "steps = 2.5"}, "", "[pretrain]: steps = 2.5"),
        ({"steps = 24": "steps = 24\nseeds = [1, 1]"}, "", "[pretrain] seeds"),
        ({"width = 0.05": "widht = 0.05"}, "", "[pretrain.settings]: unknown key 'widht'"),
        ({"width = 0.05": "width = -1"}, "", "[pretrain.settings]: --width -1"),
        ({"width = 0.05": "seed = 1"}, "", "seed is not for all cells"),
        ({"width = 0.05": "w2v_size = 8"}, "", "w2v_size: no backbone and no pairing"),
        ({"epochs = 2": "patience = 0"}, "", "[finetune.settings]: --patience 0"),
        ({"[tags.own]": "[tags.'a/b']"}, "", "[tags.a/b]"),
        ({'title = "tags & more"': "splitt = 1"}, "", "[tags.own]: unknown key 'splitt'"),
        ({"[triplets.own]": "[triplets.own]\naudio = 'x'"}, "", "[triplets.own] collection or"),
        ({}, "[worlds]\nseeds = [1]\nsettings_from = 0", "exactly one of this and [worlds]"),
        ({"[pretrain]\n": "[[pretrain]]\n"}, "", "a table [pretrain] is meant"),
        ({"steps = 24": "steps = = 24"}, "", "not TOML"),
    ],
)
def test_what_cannot_work_is_refused(write_plan, changes, more, words):
    if more.startswith("["):
        path = write_plan(changes)
        path.write_text(path.read_text() + more + "\n")
    else:
        path = write_plan(changes, more)
    with pytest.raises(PlanError, match=re.escape(words)) as refused:
        read_plan(path)
    assert str(path) in str(refused.value)


def test_a_world_by_which_settings_were_chosen_is_not_reported(write_plan):
    path = write_plan()
    text = re.sub(r'collection = ".*"\n', "", path.read_text())
    path.write_text(text + "[worlds]\nseeds = [1, 2]\nsettings_from = 2\n")
    with pytest.raises(PlanError, match="settings_from = 2"):
        read_plan(path)


@pytest.mark.parametrize("content", [b"", b"\xff\xfe", b"[pretrain", b"x = 1e999999999999"])
def test_files_that_are_no_plans(tmp_path, content):
    path = tmp_path / "plan.toml"
    path.write_bytes(content)
    with pytest.raises(PlanError, match=re.escape(str(path))):
        read_plan(path)
    with pytest.raises(PlanError, match="cannot be read"):
        read_plan(tmp_path / "none.toml")
    with pytest.raises(PlanError, match="cannot be read"):
        read_plan(tmp_path)


@pytest.fixture
def with_numbers(write_plan, tmp_path):
    """Callable: what is read of the tiny plan and a file of the paper's figures."""

    def read(text):
        numbers = tmp_path / "numbers.toml"
        numbers.write_text(text)
        path = write_plan()
        path.write_text(path.read_text() + f'[paper]\nnumbers = "{numbers}"\n')
        return read_paper(read_plan(path))

    return read


def test_figures_of_the_paper(with_numbers):
    found = with_numbers(
        'source = "made up"\n[tags.own.vggish-artist_co]\nroc_auc = [0.5, 0.1]\n'
        "[triplets.own.vggish-artist_co]\naccuracy = [0.75]\n"
    )
    assert found.figures == {
        ("vggish-artist_co", "tags/own/roc_auc"): (0.5, 0.1),
        ("vggish-artist_co", "triplets/own/accuracy"): (0.75, None),
    }


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "source"),
        ("source = 'a'\nyear = 1", "unknown key 'year'"),
        ("source = 'a'\n[pairs.best]\nsteps = 1", "[pairs.best]"),
        ("source = 'a'\n[tags.other.vggish-scratch]\nroc_auc = [1]", "[tags.other]"),
        ("source = 'a'\n[tags.own.resnet50-scratch]\nroc_auc = [1]", "no such row"),
        ("source = 'a'\n[tags.own.vggish-scratch]\nroc_auc = [1, 2, 3]", "mean and deviation"),
    ],
)
def test_figures_that_are_not_of_the_format(with_numbers, text, words):
    with pytest.raises(PlanError, match=re.escape(words)):
        with_numbers(text)
