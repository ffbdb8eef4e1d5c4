"""The wheel and the sdist: whole, alike, and at home outside the checkout."""

import configparser
import os
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
import yaml

from playlist_pretrain.__main__ import VERBS
from playlist_pretrain.messages import CONSOLE
from playlist_pretrain.version import __version__

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "playlist_pretrain"


@pytest.fixture(scope="module")
def settings():
    """``setup.cfg``."""
    parser = configparser.ConfigParser()
    parser.read(ROOT / "setup.cfg", "utf-8")
    return parser


def sources(folder):
    """A checkout's own files, copied: a build leaves its traces beside what it builds."""
    kept = ("CHANGELOG.md", "CITATION.cff", "LICENSE", "MANIFEST.in", "Makefile", "README.md",
            "constraints.txt", "mkdocs.yml", "pyproject.toml", "setup.cfg")  # fmt: skip
    folder.mkdir()
    for name in kept:
        shutil.copy(ROOT / name, folder)
    folders = ("playlist_pretrain", "scripts", "tests", "notebooks", "docs", "benchmarks")
    for name in (*folders, "experiments"):
        ignored = shutil.ignore_patterns("__pycache__", "*.egg-info")
        shutil.copytree(ROOT / name, folder / name, ignore=ignored)
    (folder / "tfrecords").mkdir()
    shutil.copy(ROOT / "tfrecords" / "README.md", folder / "tfrecords")
    return folder


def build(folder, out, *what):
    """Run the standard front end, which takes nothing from a network here."""
    words = [sys.executable, "-m", "build", "--no-isolation", "--outdir", out, *what, folder]
    done = subprocess.run(list(map(str, words)), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """Folder with an sdist, and the wheel that was made of it."""
    folder = tmp_path_factory.mktemp("packages")
    build(sources(folder / "source"), folder / "dist")
    return folder


@pytest.fixture(scope="module")
def wheel(built):
    (path,) = (built / "dist").glob("*.whl")
    return path


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory):
    """Callable: words of a command, folder → what the installed console command did there."""
    site = tmp_path_factory.mktemp("installed")
    words = ["install", "--quiet", "--no-deps", "--no-index", "--target", str(site), str(wheel)]
    subprocess.run([sys.executable, "-m", "pip", *words], check=True)
    environment = {**os.environ, "PYTHONPATH": str(site), "CUDA_VISIBLE_DEVICES": "-1"}

    def run(folder, *words, program=(site / "bin" / CONSOLE,)):
        return subprocess.run(
            [sys.executable, *map(str, program), *map(str, words)],
            cwd=folder, env=environment, capture_output=True, text=True, check=False,
        )  # fmt: skip

    run.site = site
    return run


def contents(path):
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def test_one_version_and_it_is_in_every_place():
    text = (ROOT / "CHANGELOG.md").read_text("utf-8")
    released = re.findall(r"^## (\d+\.\d+\.\d+) - (\d{4}-\d\d-\d\d)$", text, re.M)
    versions = [tuple(map(int, version.split("."))) for version, _ in released]
    assert versions == sorted(versions, reverse=True) and len(set(versions)) == len(versions)
    assert re.findall(r"^## .*$", text, re.M)[0] == "## Unreleased"
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text("utf-8"))
    assert released[0] == (__version__, str(cited["date-released"]))
    assert cited["version"] == __version__


def test_every_requirement_has_its_version_in_the_constraints(settings):
    pinned = {
        line.partition("==")[0].replace("_", "-").lower()
        for line in (ROOT / "constraints.txt").read_text("utf-8").splitlines()
        if "==" in line
    }
    extras = settings["options.extras_require"]
    (made,) = re.findall(r"'\.\[([\w,]+)\]'", (ROOT / "Makefile").read_text("utf-8"))
    wanted = [settings["options"]["install_requires"], *(extras[name] for name in made.split(","))]
    for line in "".join(wanted).split():
        name = re.match(r"[A-Za-z][\w.-]+", line)
        if name:
            assert name[0].replace("_", "-").lower() in pinned, line


@pytest.mark.long
def test_the_wheel_is_the_package_and_nothing_else(wheel):
    found = {name for name in contents(wheel) if ".dist-info/" not in name}
    every = (path for path in PACKAGE.rglob("*") if path.is_file())
    own = [path for path in every if "__pycache__" not in path.parts]
    assert found == {path.relative_to(ROOT).as_posix() for path in own}
    assert "playlist_pretrain/py.typed" in found
    suffixes = {Path(name).suffix for name in found}
    assert {".html", ".css", ".js", ".json"} <= suffixes


@pytest.mark.long
def test_checkout_sdist_and_container_make_the_same_wheel(built, wheel, tmp_path):
    build(built / "source", tmp_path / "checkout", "--wheel")
    context = tmp_path / "context"
    context.mkdir()
    for line in (ROOT / ".dockerignore").read_text("utf-8").splitlines():
        if line.startswith("!"):
            copy = shutil.copytree if (ROOT / line[1:]).is_dir() else shutil.copy
            copy(ROOT / line[1:], context / line[1:])
    build(context, tmp_path / "container", "--wheel")
    for folder in ("checkout", "container"):
        assert contents(tmp_path / folder / wheel.name) == contents(wheel), folder


@pytest.mark.long
def test_the_sdist_has_what_its_tests_need(built):
    (path,) = (built / "dist").glob("*.tar.gz")
    with tarfile.open(path) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    for name in ("constraints.txt", "CITATION.cff", "CHANGELOG.md", "LICENSE", "Makefile",
                 "scripts/pretrain.py", "tests/conftest.py", "tests/golden/musicnn_mel.npz",
                 "notebooks/first_hour.ipynb", "docs/platforms.md", "mkdocs.yml", "docs/hooks.py",
                 "docs/pipeline.svg", "docs/guides/pretrain.md", "tests/docs/pages.py",
                 "tfrecords/README.md"):  # fmt: skip
        assert name in names, name
    assert not any("__pycache__" in name for name in names)


@pytest.mark.long
def test_every_verb_has_help_outside_the_checkout(installed, tmp_path):
    for verb in VERBS:
        done = installed(tmp_path, verb, "--help")
        assert done.returncode == 0, done.stderr
        assert done.stdout.startswith(f"usage: {CONSOLE} {verb} [options]")
        assert f"\n  {CONSOLE} {verb} " in done.stdout and "scripts/" not in done.stdout
    code = (
        "import sys, playlist_pretrain.__main__ as main\n"
        "for module in main.VERBS.values(): __import__(module)\n"
        "print({m.__file__.split('playlist_pretrain')[0] for n, m in sys.modules.items()"
        " if n.startswith('playlist_pretrain') and m.__file__})"
    )
    done = installed(tmp_path, program=("-c", code))
    assert done.stdout.strip() == repr({f"{installed.site}/"}), done.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.long
def test_from_audio_to_a_model_in_an_empty_folder(installed, tmp_path):
    import soundfile

    (tmp_path / "music").mkdir()
    generator = np.random.default_rng(0)
    for track in range(4):
        wave = generator.uniform(-0.5, 0.5, 5 * 16000)
        soundfile.write(tmp_path / "music" / f"t{track}.wav", wave, 16000)
    missing = installed(tmp_path, "pretrain", "--collection", "tfrecords/mine")
    assert missing.returncode == 1
    words = "make_tfrecords --audio DIR --out tfrecords/mine"
    assert missing.stderr.startswith(f"{CONSOLE} pretrain: error: ")
    assert f"with {CONSOLE} {words}\n" in missing.stderr
    for verb, words in {
        "make_tfrecords": "--audio music --out tfrecords/mine --workers 2",
        "check_collection": "--collection tfrecords/mine --verify",
        "pretrain": "--pairs simclr --collection tfrecords/mine --batch 4 --epochs 1 --width 0.05",
    }.items():
        done = installed(tmp_path, verb, *words.split())
        assert done.returncode == 0, done.stderr
        assert re.search(r"^next: playlist-pretrain ", done.stdout, re.M)
        assert "scripts/" not in done.stdout
    assert (tmp_path / "runs" / "mine-simclr-vggish" / "saved_model").is_dir()
    as_module = installed(tmp_path, "pretrain", "--batch", "0", program=("-m", "playlist_pretrain"))
    assert as_module.stderr.startswith("python -m playlist_pretrain pretrain: error: ")
