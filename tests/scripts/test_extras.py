"""Packages that a base installation lacks are named in one line, with the command to install."""

import dataclasses
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from playlist_pretrain import errors
from playlist_pretrain.__main__ import VERBS
from playlist_pretrain.audio.decode import load_audio
from playlist_pretrain.cli import command_line
from playlist_pretrain.errors import GroupsError, PlaylistPretrainError
from playlist_pretrain.files import whole
from playlist_pretrain.records.sources import TrackSource
from playlist_pretrain.records.workers import decode_in_order

ROOT = Path(__file__).parents[2]
HIDE = """
import os, sys

class Hiding:
    def __init__(self, finder):
        self._finder = finder

    def __getattr__(self, name):
        return getattr(self._finder, name)

    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in os.environ["HIDDEN"].split():
            return None
        return self._finder.find_spec(name, path, target)

sys.meta_path[:] = map(Hiding, sys.meta_path)
"""
TENSORFLOW = "TensorFlow: pip install 'playlist_pretrain[train]'"
ESSENTIA = "Essentia: pip install 'playlist_pretrain[train]'"


@pytest.fixture
def base(tmp_path):
    """Callable: verb and its words → exit code, standard error and output.

    A process, and those that it starts, find no module of an extra, nor what only those need.
    """
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "sitecustomize.py").write_text(HIDE)
    (tmp_path / "home").mkdir()

    def run(*words, module="playlist_pretrain"):
        hidden = [*errors._EXTRAS, "keras", "tensorflow_io", "tensorflow_addons"]
        environment = {**os.environ, "HIDDEN": " ".join(hidden)}
        environment["PYTHONPATH"] = os.pathsep.join([str(tmp_path / "site"), str(ROOT)])
        done = subprocess.run(
            [sys.executable, "-m", module, *words], cwd=tmp_path / "home", env=environment,
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        return done.returncode, done.stderr, done.stdout

    run.home = tmp_path / "home"
    return run


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ("make_tfrecords --audio music --out out", ESSENTIA),
        ("check_collection", "Matplotlib: pip install 'playlist_pretrain[page]'"),
        ("match_playlists --playlists x.csv", "Numba: pip install 'playlist_pretrain[train]'"),
        ("pretrain", TENSORFLOW),
        ("finetune --model m", TENSORFLOW),
        ("similarity --model m", TENSORFLOW),
        ("embed --model m --audio music --out e.parquet", TENSORFLOW),
        ("export --model m --name n", TENSORFLOW),
        ("tables --plan PLAN --out out", TENSORFLOW),
        ("search --embeddings e.parquet --page p.html", "scikit-learn: pip install 'playlist_pret"),
    ],
)
@pytest.mark.slow
def test_a_verb_says_in_one_line_what_is_missing(base, words, sentence):
    (base.home / "music").mkdir()
    code, error, out = base(*words.replace("PLAN", str(ROOT / "experiments" / "demo.toml")).split())
    assert code == 1 and f": error: this needs {sentence}" in error
    assert error.count("\n") == 1 and "Traceback" not in out
    assert [path.name for path in base.home.iterdir()] == ["music"]


@pytest.mark.slow
def test_the_demo_says_what_is_missing(base):
    code, error, _ = base("--quiet", module="playlist_pretrain.demo")
    assert code == 1 and error.count("\n") == 1
    assert error.endswith("error: this needs Numba: pip install 'playlist_pretrain[train]'\n")


@pytest.mark.slow
def test_what_needs_nothing_more_runs_on_a_base_installation(base):
    import pyarrow as pa
    import pyarrow.parquet as pq

    vectors = pa.array(np.random.default_rng(0).normal(size=80).astype(np.float32))
    rows = {
        "track_id": [f"t{row}" for row in range(20)],
        "embedding": pa.FixedSizeListArray.from_arrays(vectors, 4),
    }
    pq.write_table(pa.table(rows), base.home / "e.parquet")
    code, error, out = base("search", "--embeddings", "e.parquet", "--track", "t3")
    assert code == 0, error
    assert "'t3'" in out
    for verb in VERBS:
        code, error, _ = base(verb, "--help")
        assert code == 0, error


@dataclasses.dataclass(frozen=True)
class Nothing:
    """No option."""


def test_an_import_that_fails_is_a_sentence_or_a_fault(capsys):
    """A package of an extra is named wherever it is missed; any other is a fault of the code."""

    def missing(name):
        def function(options):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

        return command_line.run(Nothing, function, prog="do.py", argv=[])

    assert missing("gensim.models") == 1
    sentence = "do.py: error: this needs gensim: pip install 'playlist_pretrain[train]'\n"
    assert capsys.readouterr().err == sentence
    for name in ("playlist_pretrain.nowhere", "nowhere"):
        with pytest.raises(ModuleNotFoundError):
            missing(name)


def test_a_missing_package_is_no_fault_of_a_file(monkeypatch, tmp_path):
    with pytest.raises(ModuleNotFoundError), whole(Path("groups.npz"), "groups file"):
        raise ModuleNotFoundError("No module named 'numba'", name="numba")
    with pytest.raises(GroupsError), whole(Path("groups.npz"), "groups file"):
        raise ValueError
    monkeypatch.setitem(sys.modules, "essentia", None)
    tracks = [TrackSource("a", "a.wav")]
    with pytest.raises(PlaylistPretrainError, match=r"^this needs Essentia: pip install"):
        next(decode_in_order(tracks, ".", str, size_of=len))
    (tmp_path / "a.wav").write_bytes(b"RIFF")
    with pytest.raises(PlaylistPretrainError, match=r"^this needs Essentia: pip install"):
        load_audio(tmp_path / "a.wav")


def test_a_package_that_is_there_but_broken_says_why():
    broken = ImportError("libomp.so.5: cannot open shared object file")
    assert errors.needs("--index faiss", "faiss", broken) == (
        "--index faiss needs FAISS, which cannot be imported (libomp.so.5: cannot open shared "
        "object file): pip install 'playlist_pretrain[faiss]'"
    )
