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

from playlist_pretrain import errors
from playlist_pretrain.__main__ import VERBS
from playlist_pretrain.messages import CONSOLE
from playlist_pretrain.version import __version__

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "playlist_pretrain"
LOCKS = ("current", "current-all", "current-gpu", "card", "card-all")


@pytest.fixture(scope="module")
def settings():
    """``setup.cfg``."""
    parser = configparser.ConfigParser()
    parser.read(ROOT / "setup.cfg", "utf-8")
    return parser


def sources(folder):
    """A checkout's own files, copied: a build leaves its traces beside what it builds."""
    kept = ("CHANGELOG.md", "CITATION.cff", "LICENSE", "MANIFEST.in", "Makefile", "README.md",
            "mkdocs.yml", "pyproject.toml", "setup.cfg")  # fmt: skip
    folder.mkdir()
    for name in kept:
        shutil.copy(ROOT / name, folder)
    folders = ("playlist_pretrain", "scripts", "tests", "notebooks", "docs", "benchmarks")
    for name in (*folders, "experiments", "constraints"):
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


def names(text):
    """Names of the packages of a list of requirements, or of a lock."""
    found = re.findall(r"^([A-Za-z0-9][\w.-]*)", text, re.M)
    return {name.replace("_", "-").lower() for name in found}


@pytest.fixture(scope="module")
def extras(settings):
    """Extra → names of the packages that it asks for."""
    return {name: names(text.strip()) for name, text in settings["options.extras_require"].items()}


@pytest.mark.parametrize("lock", LOCKS)
def test_a_lock_has_what_is_required_and_hashes_and_no_address(settings, extras, lock):
    text = (ROOT / "constraints" / f"{lock}.txt").read_text("utf-8")
    pinned, stack = names(text), lock.partition("-")[0]
    unwanted = names((ROOT / "constraints" / "dropped.txt").read_text("utf-8"))
    wanted = (
        names(settings["options"]["install_requires"].strip()) | extras["train"] | extras["page"]
    )
    if stack == "card":
        wanted |= extras["card"]
    if lock.endswith("-all"):
        wanted = wanted.union(*(extras[name] for name in extras if name not in ("card", "gpu")))
    if not lock.endswith("-gpu"):
        unwanted |= {"tensorflow"}
        wanted = wanted - {"tensorflow"} | {"tensorflow-cpu"}
    assert wanted <= pinned and not unwanted & pinned
    assert "essentia" not in pinned  # it owns the same files as essentia-tensorflow
    assert "://" not in text and "--index" not in text
    for entry in re.split(r"^(?=[A-Za-z0-9])", text, flags=re.M)[1:]:
        assert "==" in entry.partition("\n")[0] and "--hash=sha256:" in entry, entry


@pytest.mark.parametrize("stack", ["current", "card"])
def test_everything_holds_the_main_job_in_the_same_versions(stack):
    versions = [
        set(
            re.findall(r"^[a-z0-9][\w.-]*==[^ ;]+", (ROOT / "constraints" / name).read_text(), re.M)
        )
        for name in (f"{stack}.txt", f"{stack}-all.txt")
    ]
    assert len(versions[0]) > 50 and versions[0] < versions[1]


def test_the_extra_that_a_message_names_brings_the_package(extras):
    called = {"official": "tf-models-official", "sklearn": "scikit-learn", "faiss": "faiss-cpu",
              "upath": "universal-pathlib", "tensorflow_serving": "tensorflow-serving-api",
              "essentia": "essentia-tensorflow"}  # fmt: skip
    for module, (_, named) in errors._EXTRAS.items():
        package = called.get(module, module).replace("_", "-")
        assert package in set().union(*(extras[extra] for extra in named.split(","))), module


def test_a_base_installation_has_no_package_of_a_message(settings):
    modules = {name.replace("_", "-") for name in errors._EXTRAS}
    assert not modules & names(settings["options"]["install_requires"].strip())


@pytest.mark.parametrize("stack", ["current", "card"])
def test_without_python_make_says_how_to_get_it(tmp_path, stack):
    for name in ("Makefile", "setup.cfg", "pyproject.toml"):
        shutil.copy(ROOT / name, tmp_path)
    shutil.copytree(ROOT / "constraints", tmp_path / "constraints")
    (tmp_path / "bin").mkdir()
    for name in ("make", "sh", "cmp", "true"):
        (tmp_path / "bin" / name).symlink_to(shutil.which(name))
    done = subprocess.run(
        ["make", "demo", f"STACK={stack}"], cwd=tmp_path, env={"PATH": str(tmp_path / "bin")},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 2 and "found none on the PATH" in done.stderr
    for system in ("Debian", "Ubuntu", "Fedora", "uv python install 3.1", "PYTHON=/path/to/python"):
        assert system in done.stderr
    old = tmp_path / "bin" / "python3.10"
    old.write_text("#!/bin/sh\nexit 1\n")
    old.chmod(0o755)
    done = subprocess.run(
        ["make", "demo", f"STACK={stack}", "PYTHON=python3.10"],
        cwd=tmp_path, env={"PATH": str(tmp_path / "bin")},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 2 and "python3.10 is not Python 3.1" in done.stderr
    assert not list(tmp_path.glob(".venv*"))


def test_make_takes_the_newest_python_and_the_lock_of_the_stack(tmp_path):
    """By what it would do; pip installs, where uv is not on the PATH."""
    bin = tmp_path / "bin"
    bin.mkdir()
    for name in ("make", "sh"):
        (bin / name).symlink_to(shutil.which(name))
    for version in ("3.11", "3.12"):
        (bin / f"python{version}").write_text(f"#!/bin/sh\necho {version}\n")
        (bin / f"python{version}").chmod(0o755)
    for words, python, folder, lock in (
        ((), "python3.12", ".venv", "constraints/current.txt"),
        (("STACK=card",), "python3.11", ".venv-card", "constraints/card.txt"),
    ):
        shown = subprocess.run(
            ["make", "--dry-run", "--always-make", "demo", *words],
            cwd=ROOT, env={"PATH": str(bin)},
            capture_output=True, text=True, check=True,
        ).stdout  # fmt: skip
        assert f"{python} -m venv {folder} " in shown
        assert f"--no-deps --require-hashes -r {lock} " in shown
    wrong = subprocess.run(
        ["make", "demo", "STACK=new"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert wrong.returncode == 2 and "STACK=new: it is current or card" in wrong.stderr


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
    for name in ("constraints/current.txt", "constraints/cpu.txt", "CITATION.cff",
                 "CHANGELOG.md", "LICENSE", "Makefile", "tests/smoke.txt",
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
