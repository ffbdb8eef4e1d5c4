"""A disk that is full is one message with the name of the file, of whatever command and file.

The suite takes two files of one command of each verb; ``FULL_DISK=1`` takes all.
"""

import io
import json
import os
import shutil

import numpy as np
import pytest
import soundfile
from matplotlib.image import imread
from pyarrow import parquet
from small_disk import SmallDisk

from playlist_pretrain.audio.front_end import PRESETS
from playlist_pretrain.models.saved_model import save_backbone
from playlist_pretrain.models.vggish import vggish
from playlist_pretrain.playlists.match import match_playlists
from playlist_pretrain.retrieval.embed import embed

pytestmark = [pytest.mark.slow, pytest.mark.long]

MELS = {
    "name": "mine", "sample_rate": 16000, "frame_length": 512, "hop_length": 256, "bands": 8,
    "window_frames": 4, "unit": "db", "orientation": "bands x frames",
}  # fmt: skip


@pytest.fixture(scope="module")
def inputs(tiny_collection, make_collection, saved_models, tmp_path_factory):
    """A collection and one that is damaged, models, audio, mels, playlists, embeddings, a plan."""
    from tiny_plan import PLAN

    folder = tmp_path_factory.mktemp("inputs")
    col = folder / "col"
    shutil.copytree(tiny_collection, col)
    make_collection(folder / "long", [100] * 12, "vggish", ids=[f"t{k:02d}" for k in range(12)])
    shutil.copytree(folder / "long", folder / "bad")
    shard = bytearray((folder / "bad" / "mel-00001.tfrecord").read_bytes())
    shard[1000] ^= 255
    (folder / "bad" / "mel-00001.tfrecord").write_bytes(shard)
    (folder / "paper").symlink_to(saved_models / "mine")
    save_backbone(
        vggish(frames=16, bands=64, width=0.05, seed=1), PRESETS["vggish"], folder / "model"
    )
    embed(str(folder / "model"), folder / "e.parquet", collection=col)
    for name in ("music", "mels"):
        (folder / name).mkdir()
    for k in range(2):
        noise = np.random.default_rng(k).normal(size=32_000) * 0.1
        soundfile.write(folder / "music" / f"{k}.wav", noise, 16_000)
        np.save(folder / "mels" / f"{k}.npy", -np.ones((8, 500), np.float32))
    (folder / "mels.json").write_text(json.dumps(MELS))
    rows = "".join(f"g{k % 3},t{k:02d}\n" for k in range(12))
    (folder / "p.csv").write_text(f"group_id,track_id\n{rows}")
    match_playlists(folder / "p.csv", folder / "long")
    plan = PLAN.replace('"artist_co", ', "").format(collection=col, more='baseline = "playlist_co"')
    (folder / "plan.toml").write_text(plan)
    return folder


@pytest.fixture(scope="module")
def disk(tmp_path_factory):
    if reason := SmallDisk.why_not():
        pytest.skip(f"no small file system: {reason}")
    disk = SmallDisk(tmp_path_factory.mktemp("disk") / "room")
    yield disk
    disk.close()


EXPORT = "export --name a --out new --model {i}"
COMMANDS = {
    "make_tfrecords --audio {i}/music --out new": [
        (0, "new/.build/listing.jsonl"), (1, "new/.build/plan.json"),
        (3, "new/.build/mel-00000.tfrecord"), (17, "new/.build/mel-00000.json"),
    ],
    "make_tfrecords --audio {i}/music --out new --workers 1": [
        (22, "new/.build/sources-0.jsonl"), (1, "new/.build/index-0.npz"),
        (1, "new/.build/collection.json"),
    ],
    "make_tfrecords --audio {i}/music --out new --beam=--runner=FnApiRunner": [
        (3, "new/.build/mel-00000.tfrecord"), (17, "new/.build/mel-00000.json"),
    ],
    "import_mels --mels {i}/mels --description {i}/mels.json --out new": [
        (0, "new/.build/listing.jsonl"), (2, "new/.build/mel-00000.tfrecord"),
    ],
    "check_collection --collection long": [(0, "long/figures/collection.png")],
    "check_collection --collection bad --repair": [
        (0, "bad/damaged/tracks.tsv"), (1, "bad/index-1.npz"), (1, "bad/collection.json"),
    ],
    "match_playlists --playlists {i}/p.csv --collection long --name other --quiet": [
        (0, "long/groups-other.npz"), (1, "long/groups-other.report.json"),
    ],
    "match_playlists --collection long --tables tco,w2v --figures --probe-share 0": [
        (0, "long/tco-playlists-"), (1, "long/w2v-playlists-"),
        (3, "long/figures-playlists/lengths.png"),
    ],
    "match_playlists --collection long --tables tco --probe-share 0 --beam=--runner=FnApiRunner": [
        (0, "long/tco-playlists-"),
    ],
    "pretrain --pairs playlist_co --collection {i}/col --out new --preset demo --frames 16"
    " --width 0.05 --batch 6 --epochs 1 --warmup-steps 1 --learning-rate 1e-3": [
        (0, "new/recipe.json"), (1, "new/environment.json"), (1, "new/tensorboard/events.out."),
        (1, "new/history.csv"), (20, "new/checkpoints/step-4"),
        (450, "new/saved_model/variables/variables"), (150, "new/saved_model/saved_model.pb"),
    ],
    "finetune --model {i}/model --collection {i}/col --tags {i}/col/tags.tsv --partial --runs 1"
    " --epochs 1 --batch 8 --out new --predict {i}/music": [
        (0, "new/recipe.json"), (3, "new/run-1/"), (50, "new/run-1/checkpoints/best-00001.npz"),
        (400, "new/run-1/checkpoints/step-3"), (560, "new/run-1/saved_model/saved_model.pb"),
    ],
    "similarity --model mean-of-mel --collection {i}/col --out new": [
        (0, "new/results.csv"), (1, "new/results.md"), (1, "new/per_triplet.csv"),
        (1, "new/results.json"),
    ],
    "search --embeddings e.parquet --track t00 --out new/n.csv --page new/page.html --overwrite": [
        (0, "new/n.csv"), (1, "new/page.html"),
    ],
    "search --embeddings e.parquet --playlist {i}/p.csv --name g0 --index faiss --out n.m3u8": [
        (0, "e.parquet.faiss"), (5, "e.parquet.faiss"),
    ],
    "embed --model {i}/model --collection {i}/col --out new/e.parquet --projector new/p": [
        (0, "new/.e.parquet.parts/part-00000.npz"), (7, "new/e.npy"), (7, "new/e.parquet"),
        (10, "new/p/vectors.tsv"), (16, "new/p/metadata.tsv"),
    ],
    "embed --model {i}/model --audio {i}/music --per window --out new/e.parquet": [
        (0, "new/.e.parquet.parts/part-00000.npz"), (4, "new/e.npy"),
    ],
    f"{EXPORT}/model --target serving": [
        (0, "new/serving/a/1/variables/variables"), (150, "new/serving/a/1/saved_model.pb"),
        (300, "new/serving/a/1/assets.extra/tf_serving_warmup_requests"),
    ],
    f"{EXPORT}/paper/saved_model": [
        (0, "new/essentia/a/a.pb"), (300, "new/essentia/a/saved_model/saved_model.pb"),
    ],
    f"TMPDIR=tmp {EXPORT}/paper/saved_model": [
        (5, "/saved_model.pb"), (300, "/synthetic.wav"), (900, "/clip.wav"),
    ],
    "tables --plan {i}/plan.toml --out new": [(0, "new/"), (20, "new/")],
    "make_demo --out new": [
        (0, "new/demo/.build/listing.jsonl"), (60, "new/demo/.build/mel-00000.tfrecord"),
    ],
}  # fmt: skip
"""Command → pages left free, one time after the other, and the file that does not fit then."""
if "FULL_DISK" not in os.environ:
    first = {command.partition(" --")[0].split()[-1]: command for command in reversed(COMMANDS)}
    COMMANDS = {command: COMMANDS[command][:2] for command in first.values()}


def whole(path):
    """Read a file as whoever needs it would; an exception if it is none."""
    readers = {".json": json.loads, ".npy": lambda data: np.load(io.BytesIO(data)),
               ".npz": lambda data: dict(np.load(io.BytesIO(data))),
               ".parquet": lambda data: parquet.read_table(io.BytesIO(data)),
               ".png": lambda data: imread(io.BytesIO(data))}  # fmt: skip
    content = path.read_bytes()
    if path.suffix in readers:
        readers[path.suffix](content)
    elif path.suffix in (".csv", ".tsv", ".jsonl", ".md", ".html", ".m3u8", ".pbtxt"):
        assert content.endswith(b"\n")


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.split()[0])
def test_it_is_one_message_with_the_file_and_can_be_gone_on_from(command, inputs, disk, tmp_path):
    for option, module in (("--beam", "apache_beam"), ("--index faiss", "faiss")):
        if option in command:
            pytest.importorskip(module)
    disk.leave(None)
    for path in disk.folder.iterdir():
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    for name in ("bad", "long"):
        shutil.copytree(inputs / name, disk.folder / name)
    shutil.copy(inputs / "e.parquet", disk.folder)
    (disk.folder / "tmp").mkdir()
    words, variables = command.format(i=inputs).split(), {}
    if words[0].startswith("TMPDIR="):
        variables["TMPDIR"] = words.pop(0).partition("=")[2]
        words[words.index("new")] = str(tmp_path / "new")
    for pages, name in COMMANDS[command]:
        disk.leave(pages)
        code, said = disk.run(*words, **variables)
        assert code == 1, (pages, said)
        (line,) = said.splitlines()
        assert "error: " in line and "No space left on device" in line and name in line, line
        hidden = [path for path in disk.folder.rglob("*") if ".tmp" in path.name]
        assert hidden == [] and ".tmp" not in line, (hidden, line)
        for path in disk.folder.rglob("*"):
            if path.is_file() and path.name != ".filler":
                whole(path)
    disk.leave(None)
    assert disk.run(*words, **variables) == [0, ""]
    assert [path for path in disk.folder.rglob("*") if ".tmp" in path.name] == []
