"""All packages: names, places, kills, comparisons, descriptions and cards."""

import json
import os
import signal
from types import SimpleNamespace

import numpy as np
import pytest
from processes import end, start
from small_models import loaded

from playlist_pretrain.audio.front_end import PRESETS
from playlist_pretrain.errors import FrontEndError, ModelError
from playlist_pretrain.export import targets
from playlist_pretrain.export.package import (
    Compared,
    Job,
    ModelInfo,
    Written,
    check_description,
    compare,
    describe,
    model_card,
    run_apart,
    staged,
)
from playlist_pretrain.models.vggish import vggish


def description_of(job):
    ops = {"embeddings": "BiasAdd", "activations": "Sigmoid"}
    inference = {"sample_rate": 16000, "algorithm": "A"}
    return describe(job, "Takes windows.", ops, model_types=["x"], inference=inference)


class Nowhere(SimpleNamespace):
    """A target whose packages are run by nobody."""

    WHERE = "nowhere"
    compared = ()

    def check(self, job):
        pass

    def write(self, job, folder, scratch):
        (folder / "model").write_text("x")
        return Written(description_of(job), list(self.compared), "run nowhere:", {}, "code\n")

    def summary(self, folder, job, code):
        return [f"{folder}: nothing"]


@pytest.fixture
def target(monkeypatch):
    made = Nowhere()
    monkeypatch.setitem(targets.TARGETS, "nowhere", made)
    return made


def export(out, name="net", **settings):
    return targets.export(loaded(), "nowhere", name, out=out, **settings)


NAMES = ["", "..", "../x", "a b", "a\n", "-a", ".a", "ä", "a" * 101, "a\0"]


@pytest.mark.parametrize("name", NAMES)
def test_a_name_that_is_no_name_of_a_file_is_refused(name, tmp_path, target):
    with pytest.raises(ModelError, match="--name"):
        export(tmp_path / "out", name)
    assert os.listdir(tmp_path) == []


def test_other_bands_are_refused(tmp_path, target):
    net = vggish(frames=64, bands=64, width=0.02)
    with pytest.raises(FrontEndError, match="m: takes 64 bands, 'musicnn' makes 96"):
        targets.export(loaded(net=net), "nowhere", "net", out=tmp_path / "out")
    assert os.listdir(tmp_path) == []


def test_what_is_there_is_replaced_only_when_asked(tmp_path, target):
    folder = export(tmp_path).folder
    assert folder == tmp_path / "nowhere" / "net"
    assert set(os.listdir(folder)) == {"model", "net.json", "net-parity.json", "README.md"}
    (folder / "mine.txt").write_text("mine")
    with pytest.raises(ModelError, match=r"net: is there already; --overwrite"):
        export(tmp_path, author="B")
    assert json.loads((folder / "net.json").read_text())["author"] == ""
    assert (folder / "mine.txt").read_text() == "mine"
    export(tmp_path, author="B", overwrite=True)
    assert json.loads((folder / "net.json").read_text())["author"] == "B"
    assert os.listdir(folder.parent) == ["net"] and not (folder / "mine.txt").exists()


@pytest.mark.parametrize("kind", ["file", "folder", "link", "dangling"])
def test_what_is_no_package_is_never_replaced(kind, tmp_path, target):
    place = tmp_path / "nowhere" / "net"
    place.parent.mkdir()
    if kind == "file":
        place.write_text("mine")
    elif kind == "folder":
        place.mkdir()
        (place / "song.mp3").write_text("mine")
    elif kind == "link":
        place.symlink_to(export(tmp_path / "other").folder)
    else:
        place.symlink_to(tmp_path / "nothing")
    before = sorted(tmp_path.rglob("*"))
    for overwrite in (False, True):
        with pytest.raises(ModelError, match="net: is there already and is no package"):
            export(tmp_path, overwrite=overwrite)
    assert sorted(tmp_path.rglob("*")) == before


def test_interrupted_between_two_packages_both_can_be_asked_for_again(
    tmp_path, target, monkeypatch
):
    class Stopped(Nowhere):
        def write(self, job, folder, scratch):
            raise KeyboardInterrupt

    def both():
        targets.export_all(loaded(), ["nowhere", "elsewhere"], "net", out=tmp_path)

    monkeypatch.setitem(targets.TARGETS, "elsewhere", Stopped())
    with pytest.raises(KeyboardInterrupt):
        both()
    assert (tmp_path / "nowhere" / "net").exists()
    with pytest.raises(ModelError, match="is there already"):
        export(tmp_path)
    monkeypatch.setitem(targets.TARGETS, "elsewhere", Nowhere())
    both()
    assert [len(os.listdir(tmp_path / name)) for name in ("nowhere", "elsewhere")] == [1, 1]
    with pytest.raises(ModelError, match="is there already"):
        both()


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_failure_leaves_what_was_there(overwrite, tmp_path, target):
    out = tmp_path / "a" / "b"
    if overwrite:
        export(out)
    before = sorted(path.name for path in tmp_path.rglob("*"))
    target.compared = [Compared("it", "embeddings", 3, 3, 0.5, 1e-4)]
    with pytest.raises(ModelError, match="not the same nowhere, so nothing was exported: it: emb"):
        export(out, overwrite=overwrite)
    assert sorted(path.name for path in tmp_path.rglob("*")) == before


def test_two_exports_of_one_name_do_not_meet(tmp_path, target, monkeypatch):
    write = target.write

    def meanwhile(*job):
        with pytest.raises(ModelError, match="by another process"):
            export(tmp_path)
        return write(*job)

    monkeypatch.setattr(target, "write", meanwhile)
    assert os.listdir(export(tmp_path).folder.parent) == ["net"]


@pytest.mark.parametrize("moment", [1, 2])
def test_killed_while_it_is_put_in_place(moment, tmp_path, target):
    """A death before either rename: the next export finds the old package."""
    folder = export(tmp_path, author="old").folder
    code = """
import os, sys
from pathlib import Path
from playlist_pretrain.export.package import staged
done = 0
def counted(*paths):
    global done
    done += 1
    if done == int(sys.argv[2]):
        os.kill(os.getpid(), 9)
    return replace(*paths)
replace = os.replace
with staged(Path(sys.argv[1]), "net", overwrite=True) as package:
    (package / "net.json").write_text('{"author": "new"}')
    os.replace = counted
"""
    end(start(["-c", code, folder.parent, moment]), code=-signal.SIGKILL)
    with (
        pytest.raises(ModelError, match="is there already"),
        staged(folder.parent, "net", overwrite=False),
    ):
        pass
    assert json.loads((folder / "net.json").read_text())["author"] == "old"
    assert os.listdir(folder.parent) == ["net"]


def test_a_process_that_dies_is_told(tmp_path):
    script = tmp_path / "dies.py"
    for text, reason in (
        ("import os, signal\nos.kill(os.getpid(), signal.SIGSEGV)\n", "it ended with SIGSEGV; "),
        ("import sys\nsys.exit('some\\nreason')\n", "reason"),
        ("raise SystemExit(3)\n", "it says nothing"),
    ):
        script.write_text(text)
        with pytest.raises(ModelError, match=f"^net: cannot be run: {reason}"):
            run_apart(str(script), failure="net: cannot be run")


def test_differences_are_in_standard_deviations(rng):
    here = rng.normal(size=(10, 8)) * 3
    there = here.copy()
    there[4, 2] += 0.5
    found = compare("it", "embeddings", there, here, 1)
    assert found.difference == pytest.approx(0.5 / here.std())
    assert compare("it", "activations", there, here, 1).difference == (pytest.approx(0.5))
    fewer = compare("it", "embeddings", there[:3], here, 1)
    assert (fewer.windows, fewer.expected, fewer.difference) == (3, 10, 0)
    assert not compare("it", "embeddings", there[:0], here, 1).passes
    there[0, 0] = np.nan
    assert not compare("it", "embeddings", there, here, 1).passes
    for difference, passes in ((1e-4, True), (1.1e-4, False)):
        assert Compared("it", "embeddings", 5, 5, difference, 1e-4).passes is passes


@pytest.fixture
def description():
    return description_of(Job(loaded(), "net", ModelInfo(), PRESETS["musicnn"]))


@pytest.mark.parametrize(
    ("keys", "value", "message"),
    [
        (["release_date"], "yesterday", "release_date: 'yesterday' is not a 'date'"),
        (["version"], "", "version: "),
        (["schema", "outputs", 0, "output_purpose"], "fun", "schema.outputs.0.output_purpose"),
        (["schema", "inputs", 0, "shape"], [None, 96], "schema.inputs.0.shape.0: None"),
        (["classes"], ["a", "a"], "classes: .* non-unique"),
    ],
)
def test_a_description_that_is_not_one(description, keys, value, message):
    check_description(description, "it")
    part = description
    for key in keys[:-1]:
        part = part[key]
    part[keys[-1]] = value
    with pytest.raises(ModelError, match=f"it: description: {message}"):
        check_description(description, "it")


def test_a_card_of_hostile_text():
    texts = {"author": "a|b\n# c", "description": "<b>*x*\n\n- y", "licence": "`|`"}
    about = ModelInfo(**texts, recipe={"warmup_steps": None})
    job = Job(loaded(classes=("a_b", "[c](d)", "drums")), "net", about, PRESETS["musicnn"])
    lines = model_card(description_of(job), about, "code\n", ["head", "  line"]).splitlines()
    assert "| author | a\\|b \\# c |" in lines
    assert "| licence | \\`\\|\\` |" in lines
    assert lines[2].startswith("\\<b\\>\\*x\\* - y Takes windows")
    assert "Classes: a\\_b, \\[c\\](d), drums" in lines
    assert "| activations | any × 3 | of each class, from 0 to 1 | Sigmoid |" in lines
    assert not any("warmup" in line for line in lines)  # a setting that has no value
