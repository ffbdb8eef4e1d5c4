"""A command, killed and interrupted at moments of its run: given again, it ends as if not.

The suite stops some commands once either way; ``STOPS=10 STOPS_LOG=FILE`` stops every command ten
times either way and notes in FILE what is done, where a later call goes on.
"""

import csv
import hashlib
import io
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile
from mel_files import npy
from tiny_plan import PLAN

ROOT = Path(__file__).resolve().parents[2]
STOPS = int(os.environ.get("STOPS", 1))
LOG = os.environ.get("STOPS_LOG")
LINE = re.compile(r"[\w-]+(\.py)?: interrupted; what was finished is kept\n")
SMALL = "--frames 16 --width 0.05 --batch 6"
COMMANDS = {
    "make_tfrecords": "make_tfrecords --audio music --out new --workers 2",
    "make_tfrecords --add": "make_tfrecords --audio music --out old --workers 2 --add",
    "import_mels": "import_mels --mels mels --description mels.json --out new --workers 2",
    "check_collection": "check_collection --collection tiny --verify",
    "check_collection --repair": "check_collection --collection hurt --repair",
    "match_playlists": "match_playlists --playlists p.csv --collection paper --name mine "
    "--tables tco,w2v --w2v-size 4 --figures",
    "pretrain": f"pretrain --pairs playlist_co --collection tiny --out run {SMALL} --epochs 4 "
    "--warmup-steps 2 --checkpoint-steps 2 --learning-rate 1e-3",
    "finetune": f"finetune --collection tiny --model scratch --out run {SMALL} --epochs 2 --runs 2 "
    "--predict music",
    "similarity": "similarity --model scratch mean-of-mel --collection tiny --out run --frames 16 "
    "--width 0.05",
    "similarity --audio": "similarity --model models/mine/saved_model --audio music --triplets "
    "music.csv --out run",
    "search": "search --embeddings e.parquet --track t00 --out found.csv --page map.html",
    "search --index": "search --embeddings e.parquet --track t00 --index faiss --out found.json",
    "search --playlist": "search --embeddings e.parquet --playlist party.m3u8 --out longer.m3u8",
    "embed --audio": "embed --model models/mine/saved_model --audio music --out new.parquet "
    "--projector projector --workers 2",
    "embed --collection": "embed --model models/mine/saved_model --collection paper --out "
    "new.parquet --per window --batch 4",
    "export serving": "export --model models/tags/saved_model --target serving --name mine "
    "--release-date 2026-01-01",
    "export essentia": "export --model models/vggish/saved_model --target essentia --name mine "
    "--release-date 2026-01-01 --front-end vggish-essentia",
    "tables": "tables --plan plan.toml --out run",
    "demo": "playlist_pretrain.demo --out tfrecords --workers 2",
}
SUITE = ("make_tfrecords", "match_playlists", "pretrain", "search", "embed --audio")
"""Those with processes, tables, checkpoints, outputs that belong together, and parts."""


@pytest.fixture(scope="module")
def world(make_collection, tiny_collection, saved_models, tmp_path_factory):
    """Folder of what the commands read, to be copied for each."""
    from playlist_pretrain.audio.front_end import PRESETS
    from playlist_pretrain.models.saved_model import save_backbone
    from playlist_pretrain.models.vggish import vggish
    from playlist_pretrain.records.build import build_collection
    from playlist_pretrain.retrieval.embedding_table import embedding_writer

    world, rng = tmp_path_factory.mktemp("world") / "world", np.random.default_rng(5)
    (world / "music").mkdir(parents=True)
    for number in range(12):
        noise = rng.normal(size=48_000) * 0.1
        soundfile.write(world / "music" / f"t{number:02d}.wav", noise, 16_000)
    (world / "few.csv").write_text("track_id,path\nt00,t00.wav\nt01,t01.wav\n")
    build_collection(world / "music", world / "old", tracks=world / "few.csv", workers=1)
    shutil.copytree(saved_models, world / "models")
    net = vggish(frames=64, bands=64, width=0.05, seed=3)
    save_backbone(net, PRESETS["vggish"], world / "models" / "vggish" / "saved_model")
    shutil.copytree(tiny_collection, world / "tiny")
    make_collection(world / "paper", [100 + 9 * k for k in range(48)], per_shard=8)
    make_collection(world / "hurt", [300] * 8)
    shard = world / "hurt" / "mel-00001.tfrecord"
    shard.write_bytes(shard.read_bytes()[:-5000])
    rows = "".join(f"g{k % 7},track/{k % 48:04d}\n" for k in range(96))
    (world / "p.csv").write_text(f"group_id,track_id\n{rows}")
    rows = "".join(f"t{k:02d},t{k + 1:02d},t{k + 2:02d}\n" for k in range(10))
    (world / "music.csv").write_text(f"anchor,positive,negative\n{rows}")
    (world / "party.m3u8").write_text("t00\nt01\n")
    with embedding_writer(world / "e.parquet", 8, {"model": "m", "model_key": "k"}) as write:
        write([f"t{k:02d}" for k in range(48)], rng.normal(size=(48, 8)).astype(np.float32))
    (world / "mels").mkdir()
    for number in range(40):
        mel = rng.uniform(-60, 20, (64, 300)).astype(np.float32)
        (world / "mels" / f"m{number:02d}.npy").write_bytes(npy(mel))
    about = {
        "name": "mine", "sample_rate": 22050, "frame_length": 2048, "hop_length": 512, "bands": 64,
        "window_frames": 128, "unit": "db", "orientation": "bands x frames",
    }  # fmt: skip
    (world / "mels.json").write_text(json.dumps(about))
    plan = PLAN.replace('"artist_co", ', "").format(
        collection="tiny", more='baseline = "playlist_co"'
    )
    plan = plan.replace('["scratch"]', "[]").partition("[tags.own]")[0]
    (world / "plan.toml").write_text(plan + '[triplets.own]\ncollection = "tiny"\n')
    return world


def heed():
    """A job in the background of a shell has Ctrl-C ignored, and hands that on."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


class Place:
    """A copy of the world, in which a command is given; always the same path."""

    def __init__(self, folder, world):
        self.here, self.temporary = folder / "here", folder / "temporary"
        self.world = world
        self.home = world.with_name("home")  # where libraries keep what they made once
        self.home.mkdir(exist_ok=True)

    def renew(self):
        for folder in (self.here, self.temporary):
            shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(self.world, self.here)
        self.temporary.mkdir()

    def start(self, command):
        verb, *words = command.split()
        program = ["-m", verb] if "." in verb else [ROOT / "scripts" / f"{verb}.py"]
        environment = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
        environment |= {"PYTHONPATH": str(ROOT), "HOME": str(self.home)}
        environment["TMPDIR"] = str(self.temporary)
        return subprocess.Popen(
            [sys.executable, *program, *words], cwd=self.here, env=environment,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
            preexec_fn=heed,
        )  # fmt: skip

    def end(self, command):
        process = self.start(command)
        said, errors = process.communicate(timeout=600)
        return process.returncode, said, errors

    def names(self):
        """What is there, with size and date."""
        found = {}
        for path in sorted(self.here.rglob("*")):
            try:
                about = path.lstat()
            except FileNotFoundError:
                continue
            found[str(path)] = None if path.is_dir() else (about.st_size, about.st_mtime_ns)
        return found

    def state(self):
        """All that the command left, but for what the clock says."""
        found = {}
        for path in sorted(self.here.rglob("*")):
            name = path.relative_to(self.here).as_posix()
            if path.is_file() and (content := timeless(path)) is not None:
                found[name] = content
            elif path.is_dir() and "tensorboard" not in name:
                found[name] = "folder"
        return found

    def spent(self, group):
        """Processor seconds of a group and of cells: a machine may have other work too."""
        ticks = sum(map(sum, self.processes(group).values()))
        return ticks / os.sysconf("SC_CLK_TCK")

    def processes(self, group):
        """Processes of a group, and those of cells, that still run, with the ticks they took."""
        found = {}
        for folder in Path("/proc").iterdir():
            if folder.name.isdecimal():
                try:
                    stat = (folder / "stat").read_text().rpartition(")")[2].split()
                    where = os.readlink(folder / "cwd")
                except OSError:
                    continue
                if stat[0] != "Z" and (int(stat[2]) == group or where == str(self.here)):
                    found[int(folder.name)] = list(map(int, stat[11:15]))
        return found


SECONDS = re.compile(r"second|resumed|took|command|rss|memory")


def timeless(path):
    """Content of a file, or a digest, without what differs from run to run; None to ignore it."""
    content, name = path.read_bytes(), path.name
    if "tensorboard" in path.parts or name in ("environment.json", "log.txt", "report.html"):
        return None
    if name in ("saved_model.pb", "fingerprint.pb"):
        return "there"  # TensorFlow numbers what is in it as it comes
    if name == "history.csv":
        rows = list(csv.DictReader(io.StringIO(content.decode())))
        return [{k: v for k, v in row.items() if not SECONDS.search(k)} for row in rows]
    if name in ("summary.json", "done.json"):
        return _timeless(json.loads(content))
    if path.suffix in (".png", ".pdf"):
        return "drawn"
    if len(content) < 20_000:
        try:
            return content.decode()
        except UnicodeDecodeError:
            pass
    return hashlib.sha256(content).hexdigest()


def _timeless(value):
    if isinstance(value, dict):
        return {k: _timeless(v) for k, v in value.items() if not SECONDS.search(k)}
    return value


def begun(process):
    """Whether the program looks after SIGTERM, hence Ctrl-C; before, Python starts up."""
    try:
        status = Path(f"/proc/{process.pid}/status").read_text()
    except OSError:
        return True
    return bool(int(re.search(r"SigCgt:\t(\w+)", status)[1], 16) >> (signal.SIGTERM - 1) & 1)


def wait_until(condition, process, until=120.0):
    until += time.monotonic()
    while process.poll() is None and not condition() and time.monotonic() < until:
        time.sleep(0.01)


def moments(number):
    """``(share, after)``: of the work from the program's begin, or from the first file on."""
    return [((k // 2 + 0.5) / ((number + 1) // 2), k % 2 == 0) for k in range(number)]


def measured(place, command):
    """Run a command whole: its state, processor seconds until it writes, and in all."""
    place.renew()
    before = place.names()
    process = place.start(command)
    with process:
        wait_until(lambda: place.names() != before, process)
        first = whole = place.spent(process.pid)
        while process.poll() is None:
            whole = max(whole, place.spent(process.pid))
            time.sleep(0.05)
        said, errors = process.communicate(timeout=600)
    assert process.returncode == 0, said + errors
    assert not os.listdir(place.temporary)
    return place.state(), first, whole


def stop(place, command, number, share, after, seconds):
    """Stop the command with a signal; what was seen of it."""
    place.renew()
    before = place.names()
    first, whole = seconds
    process = place.start(command)
    wait_until(lambda: begun(process), process)
    if after:
        wait_until(lambda: place.names() != before, process)
    enough = first + share * (whole - first) if after else share * whole
    wait_until(lambda: place.spent(process.pid) >= enough, process)
    at = time.monotonic()
    running = process.poll() is None
    if running:
        os.killpg(process.pid, number)
    said, errors = process.communicate(timeout=400)
    errors = re.sub("^WARNING:tensorflow:.*\n", "", errors, flags=re.M)  # of slow callbacks
    found = {"at": round(enough, 2), "took": round(time.monotonic() - at, 2), "ran": running}
    if number == signal.SIGINT:
        assert "Traceback" not in said
        if process.returncode == 0:
            assert errors == "", errors
        else:
            assert process.returncode == 130 and LINE.fullmatch(errors), (
                process.returncode, errors[-3000:], said[-1000:], found,
            )  # fmt: skip
    until = time.monotonic() + 330
    while left := place.processes(process.pid):
        assert time.monotonic() < until, f"processes are left: {left}"
        time.sleep(0.05)
    found["code"] = process.returncode
    return found


def same_again(place, command, expected):
    """The command given again ends as if it had not been stopped."""
    code, said, errors = place.end(command)
    state = place.state()
    assert sorted(state.keys() ^ expected.keys()) == [], said + errors
    for name, content in expected.items():
        assert state[name] == content, name
    assert code == 0 or "overwrite replaces" in errors, said + errors
    assert os.listdir(place.temporary) == []


@pytest.mark.long
@pytest.mark.parametrize("name", COMMANDS if "STOPS" in os.environ else SUITE)
def test_stopped_and_given_again_it_ends_as_if_not(name, world, tmp_path):
    place, command = Place(tmp_path, world), COMMANDS[name]
    expected, *seconds = measured(place, command)
    done = Path(LOG).read_text().splitlines() if LOG and Path(LOG).exists() else []
    done = {tuple(json.loads(line)["trial"]) for line in done}
    faults, stopped = [], bool(done)
    for number in (signal.SIGKILL, signal.SIGINT):
        for share, after in moments(STOPS):
            trial = (name, number.name, share, after, STOPS)
            if trial in done:
                continue
            try:
                while True:
                    found = stop(place, command, number, share, after, seconds)
                    same_again(place, command, expected)
                    if found["ran"] or share < 0.01:
                        break
                    share /= 2  # it took less than when it was measured
            except (AssertionError, subprocess.TimeoutExpired) as error:
                if not LOG:
                    raise
                found = {"fault": str(error)[-4000:]}
                faults.append((trial, found["fault"]))
            stopped |= found.get("ran", True)
            if LOG:
                with open(LOG, "a") as stream:
                    line = {"trial": trial, "whole": [round(s, 2) for s in seconds], **found}
                    stream.write(json.dumps(line) + "\n")
    assert not faults
    assert stopped, "it ended before it could be stopped"
