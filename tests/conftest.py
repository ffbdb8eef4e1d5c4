"""Fixtures every test may use: seeded, offline, on the CPU, in temporary folders."""

import contextlib
import fcntl
import hashlib
import logging
import os
import shutil
import subprocess
import sys
from pathlib import Path
from urllib.parse import unquote

import numpy as np
import pytest
from environments import make_environment
from remote_server import Proxy, s3_server, variables
from tiny_plan import tiny_collection, write_plan  # noqa: F401 (fixtures of several folders)

os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

ROOT = Path(__file__).resolve().parent.parent


@pytest.hookimpl(trylast=True)  # of what the command line left
def pytest_collection_modifyitems(items):
    """Begin with the files that take longest, so that no process is alone with one at the end."""
    seconds: dict[Path, float] = {}
    for item in items:
        marks = {mark.name for mark in item.iter_markers()}
        cost = 30.0 if "long" in marks else 5.0 if "slow" in marks else 0.05
        seconds[item.path] = seconds.get(item.path, 0.0) + cost
    items.sort(key=lambda item: (-seconds[item.path], str(item.path)))


@pytest.fixture
def rng():
    """Seeded NumPy generator."""
    return np.random.default_rng(20231)


@pytest.fixture(scope="session")
def golden():
    """Folder of the golden values that travel with the project."""
    return Path(__file__).parent / "golden"


@pytest.fixture(scope="session")
def shared_data():
    """Callable: name of a folder of real inputs → its path; skips when it is not there."""

    def folder(name: str) -> Path:
        path = ROOT.parent / "shared" / "data" / name
        if not path.exists():
            pytest.skip(f"the real inputs {name!r} are not on this machine")
        return path

    return folder


@pytest.fixture(scope="session")
def only(tmp_path_factory):
    """Callable: requirements → Python of an environment that has them and nothing else."""
    made = {}

    def python(*requirements):
        if requirements not in made:
            made[requirements] = make_environment(tmp_path_factory.mktemp("only"), requirements)
        return str(made[requirements])

    return python


@pytest.fixture(autouse=True)
def messages_as_at_the_start():
    """What a command sets up to print its messages is undone after the test."""
    logger = logging.getLogger("playlist_pretrain")
    before = logger.level, logger.propagate, logger.handlers[:]
    yield
    logger.level, logger.propagate, logger.handlers[:] = before
    logger.manager._clear_cache()  # what loggers remember of levels


@pytest.fixture(scope="session")
def demo_collections(request, tmp_path_factory):
    """Folder of the demo's collections, to be read only; made once for each state of the sources.

    Kept in pytest's cache, which all its processes share.
    """
    package = ROOT / "playlist_pretrain"
    sources = sorted(
        path for room in ("demo", "audio", "records") for path in (package / room).glob("*.py")
    )
    state = hashlib.sha256(b"".join(path.read_bytes() for path in sources)).hexdigest()[:16]
    if hasattr(request.config, "cache"):
        cache = request.config.cache.mkdir("demo")
    else:
        cache = tmp_path_factory.mktemp("cache")
    folder = cache / state
    with open(cache / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not folder.exists():
            for old in cache.glob("*/"):
                shutil.rmtree(old)
            made = cache / "made"
            made.mkdir()
            subprocess.run(
                [sys.executable, "-m", "playlist_pretrain.demo", "--quiet"],
                cwd=made, check=True, env={**os.environ, "PYTHONPATH": str(ROOT)},
            )  # fmt: skip
            made.rename(folder)
    return folder / "tfrecords"


@contextlib.contextmanager
def one_process():
    """Decode and build in this process, where Essentia is started once for all tests."""
    from playlist_pretrain.records import build, workers

    def one_by_one(work, tasks, workers, *, on_death, on_step=lambda task, step: None, hold=None):
        for task in tasks:
            yield task, work(task, lambda step, task=task: on_step(task, step))

    with pytest.MonkeyPatch.context() as patch:
        for module in (build, workers):
            patch.setattr(module, "work_through", one_by_one)
        yield patch


@pytest.fixture
def in_process():
    """See ``one_process``."""
    with one_process():
        yield


@pytest.fixture(scope="session")
def quick_demo(tmp_path_factory):
    """Folder of the demo's collections with songs of one second, to be read only."""
    from playlist_pretrain.demo import build

    folder = tmp_path_factory.mktemp("quick") / "tfrecords"
    with one_process() as patch:
        patch.setattr(build, "SECONDS", 1.0)
        build.build_demo(folder)
    return folder


@pytest.fixture(scope="session")
def make_collection():
    """Callable: make a collection of random mels in a folder and open it.

    ``make_collection(path, frames=[300, 80], front_end="paper", seed=0, ids=None,
    per_shard=4, seconds=30.0, sound=None)``: track ``i`` has ``frames[i]`` frames of values between
    0 and 6, or is the mel ``frames[i]``, and has id ``ids[i]`` (default ``track/0000`` …);
    ``sound[i]`` is its share of sound.
    """
    from playlist_pretrain.audio.front_end import front_end as front_end_named
    from playlist_pretrain.records.collection import Collection
    from playlist_pretrain.records.schema import shard_name
    from playlist_pretrain.records.writer import ShardWriter, write_collection

    def make(
        path, frames, front_end="paper", seed=0, ids=None, per_shard=4, seconds=30.0, sound=None
    ):
        rng = np.random.default_rng(seed)
        settings = front_end_named(front_end)
        ids = [f"track/{i:04d}" for i in range(len(frames))] if ids is None else ids
        sound = [np.nan] * len(frames) if sound is None else sound
        tracks = list(zip(ids, frames, sound, strict=True))
        parts = []
        for first in range(0, len(tracks), per_shard):
            shard = Path(path) / shard_name(len(parts))
            with ShardWriter(shard, settings.bands) as writer:
                for track_id, mel, share in tracks[first : first + per_shard]:
                    if np.ndim(mel) == 0:
                        mel = rng.uniform(0, 6, (mel, settings.bands)).astype(np.float32)
                    writer.add(track_id, mel, 0.0, seconds, share)
            parts.append(writer.part)
        write_collection(path, settings, parts, source={"made": "random mels for a test"})
        return Collection.open(path)

    return make


@pytest.fixture(scope="session")
def saved_models(tmp_path_factory):
    """Folder of a small backbone, ``mine``, and a tagger made of it, ``tags``; to be read only."""
    from playlist_pretrain.audio.front_end import PRESETS
    from playlist_pretrain.models.saved_model import save_backbone, save_tagger
    from playlist_pretrain.models.tagger import tagger
    from playlist_pretrain.models.vggish import vggish

    folder = tmp_path_factory.mktemp("models")
    net, classes = vggish(frames=64, bands=96, width=0.05, seed=3), ("rock", "pop", "jazz")
    save_backbone(net, PRESETS["paper"], folder / "mine" / "saved_model")
    save_tagger(tagger(net, 3), classes, PRESETS["paper"], folder / "tags" / "saved_model")
    return folder


@pytest.fixture
def noise_folder(tmp_path, rng):
    """Callable: length in seconds by id → folder of wav files, louder from file to file."""
    import soundfile

    def write(seconds):
        folder = tmp_path / "audio"
        for loud, (track_id, length) in enumerate(seconds.items(), 1):
            path = folder / f"{track_id}.wav"
            path.parent.mkdir(parents=True, exist_ok=True)
            noise = rng.uniform(-0.15, 0.15, round(length * 16000)) * loud
            soundfile.write(path, noise, 16000, subtype="FLOAT")
        return folder

    return write


@pytest.fixture(scope="session")
def s3_port():
    """Port of a server on loopback that speaks S3."""
    with s3_server() as port:
        yield port


@pytest.fixture
def s3(s3_port, monkeypatch):
    """A proxy in front of that server, to which the usual variables lead; see ``Proxy``."""
    proxy = Proxy(s3_port)
    for name, value in variables(proxy.port).items():
        monkeypatch.setenv(name, value)
    s3fs = pytest.importorskip("s3fs")
    s3fs.S3FileSystem.clear_instance_cache()  # it remembers the server of another test
    yield proxy
    proxy.close()


@pytest.fixture(scope="module")
def browser():
    """The system's Chromium, headless; skips where there is none.

    Not of the whole session: while it runs, no other test could start an event loop.
    """
    names = ("chromium", "chromium-browser", "google-chrome")
    found = next(filter(None, map(shutil.which, names)), None)
    if found is None:
        pytest.skip(f"no browser is installed: none of {', '.join(names)} is on the PATH")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as driver:
        started = driver.chromium.launch(executable_path=found, args=["--no-sandbox"])
        yield started
        started.close()


@pytest.fixture(scope="module")
def opened(browser):
    """Callable: context manager of a page, ready, by its path, window and options of its context.

    When it is left, nothing may have gone wrong, and nothing but it and ``audio/`` been fetched.
    """

    @contextlib.contextmanager
    def open_page(path, viewport=None, **options):
        viewport = viewport or {"width": 1400, "height": 900}
        context = browser.new_context(viewport=viewport, **options)
        page = context.new_page()
        errors, fetched = [], []
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.on("console", lambda said: said.type == "error" and errors.append(said.text))
        page.on("request", lambda request: fetched.append(unquote(request.url)))
        page.goto(path.as_uri())
        page.wait_for_selector("html[data-ready]")
        yield page
        context.close()
        allowed = f"file://{path}", f"file://{path.parent}/audio/"
        assert all(url.startswith(allowed) for url in fetched), fetched
        assert [error for error in errors if "ERR_FILE_NOT_FOUND" not in error] == []

    return open_page
