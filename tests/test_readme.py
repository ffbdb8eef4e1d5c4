"""What the README tells a user to type works."""

import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text("utf-8")
BLOCKS = re.findall(r"^```(\w*)\n(.*?)^```", README, re.M | re.S)
SMALL = " --batch 4 --epochs 1 --width 0.05"


def blocks(language):
    return [text for kind, text in BLOCKS if kind == language]


def python(code, folder):
    return subprocess.run(
        [sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, check=False
    )


@pytest.fixture
def home(tmp_path):
    """Folder with music, playlists and the scripts, as a user would have them."""
    from essentia.standard import MonoWriter

    home = tmp_path / "home"
    home.mkdir()
    (home / "music").mkdir()
    generator = np.random.default_rng(0)
    for track in range(10):
        tone = np.sin(2 * np.pi * (200 + 50 * track) * np.arange(5 * 16000) / 16000)
        wave = (0.3 * tone + generator.normal(scale=0.01, size=tone.shape)).astype(np.float32)
        MonoWriter(filename=str(home / "music" / f"t{track}.wav"), sampleRate=16000)(wave)
    lines = [f"g{track % 2},t{track}" for track in range(10)]
    (home / "playlists.csv").write_text("group_id,track_id\n" + "\n".join(lines) + "\n")
    _other_sources(home)
    (home / "scripts").symlink_to(ROOT / "scripts")
    return home


def _other_sources(home):
    """The files that the chapter on playlists speaks of."""
    uris = [f"spotify:track:{track}" for track in range(10)]
    playlists = [
        {
            "pid": pid,
            "tracks": [{"track_uri": uri, "artist_uri": "a", "album_uri": "b"} for uri in part],
        }
        for pid, part in enumerate((uris[:5], uris[3:]))
    ]
    with zipfile.ZipFile(home / "mpd.zip", "w") as archive:
        archive.writestr("data/mpd.slice.0-999.json", json.dumps({"playlists": playlists}))
    rows = [f"{uri},t{track}" for track, uri in enumerate(uris)]
    (home / "spotify.csv").write_text("foreign_id,track_id\n" + "\n".join(rows) + "\n")
    rows = [f"artist {track % 3}|artist {track % 2},t{track}" for track in range(10)]
    (home / "tracks.csv").write_text("artist,track_id\n" + "\n".join(rows) + "\n")
    rows = [f"t{track},{'train' if track < 4 else 'validation' if track < 7 else 'test'},"
            f"{'odd' if track % 2 else 'even'}" for track in range(10)]  # fmt: skip
    (home / "tags.csv").write_text("track_id,split,tags\n" + "\n".join(rows) + "\n")
    (home / "previews").symlink_to("music")
    ends = (
        "anchor_id,anchor_start_seconds,song1_id,song1_start_seconds,song2_id,song2_start_seconds"
    )
    (home / "clean-dim-sim.csv").write_text(
        f"{ends},song1_vote\nt0,0,t1,1.5,t2,2,1\nt3,1,t4,0,t3,2,0\n"
    )
    (home / "triplets.csv").write_text("anchor,positive,negative\nt0,t2,t1\nt5,t7,t6\n")
    listens = [
        {"user_name": "u", "timestamp": 1_600_000_000 + 60 * track,
         "track_metadata": {"additional_info": {"recording_mbid": f"t{track}"}}}
        for track in range(10)
    ]  # fmt: skip
    (home / "listens.jsonl").write_text("".join(json.dumps(line) + "\n" for line in listens))


def run_all(commands, home, more=lambda command: ""):
    """Run the commands of a block as a user would with ``.venv`` active; what the last says."""
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    for command in commands:
        command = command.replace("~/music", "music") + more(command)
        done = subprocess.run(
            command, shell=True, cwd=home, capture_output=True, text=True, env=environment,
            check=False,
        )  # fmt: skip
        assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
        assert "next: " in done.stdout
    return done.stdout


@pytest.mark.slow
def test_the_commands_of_the_chapter_on_playlists(home):
    run_all(["python scripts/make_tfrecords.py --audio music --out tfrecords/mine"], home)
    (block,) = [text for text in blocks("bash") if "--tables" in text]
    commands = [line.strip() for line in block.replace("\\\n", " ").splitlines()]
    assert len(commands) == 4
    run_all(commands, home)
    found = {path.name.partition("-")[0] for path in (home / "tfrecords" / "mine").glob("*-*")}
    assert {"groups", "tco", "w2v", "figures"} <= found


@pytest.mark.slow
def test_the_commands_of_the_chapter_without_audio(home):
    generator = np.random.default_rng(0)
    for song in range(12):
        path = home / "melon" / "0" / f"{song}.npy"
        path.parent.mkdir(parents=True, exist_ok=True)
        np.save(path, generator.uniform(-90, 0, (48, 300)).astype(np.float32))
    playlists = [
        {"id": k, "plylst_title": "", "tags": [], "songs": list(range(k, k + 8))} for k in range(4)
    ]
    (home / "melon" / "train.json").write_text(json.dumps(playlists))
    (block,) = [text for text in blocks("bash") if "import_mels.py" in text]
    commands = block.strip().splitlines()
    assert len(commands) == 3
    run_all(commands, home, lambda command: SMALL if "pretrain" in command else "")
    assert (home / "runs" / "melon-playlist_co-vggish" / "saved_model").is_dir()


def test_the_commands_of_the_chapter_on_tables(tmp_path):
    for name in ("scripts", "experiments"):
        (tmp_path / name).symlink_to(ROOT / name)
    (block,) = [text for text in blocks("bash") if "tables.py" in text]
    commands = block.strip().splitlines()
    assert len(commands) == 2 and all("--dry-run" in command for command in commands)
    run_all(commands, tmp_path)
    promised = README.partition("## The paper's tables")[2].partition("\n## ")[0]
    assert "105 cells" in promised
    (shards,) = [text for text in blocks("text") if "--shard" in text]
    assert re.findall(r"--shard (\d/\d)", shards) == ["1/2", "2/2"]
    run_all(shards.strip().splitlines(), tmp_path, lambda command: " --dry-run")
    rule = (ROOT / "Makefile").read_text("utf-8").partition("demo-tables: $(READY)\n")[2]
    made = rule.splitlines()[0].replace("$(RUN)", "python").strip()
    told = run_all([made], tmp_path, lambda command: " --dry-run")
    assert "105 cells, 105 to do" in told


@pytest.mark.slow
def test_the_commands_of_the_chapter_on_checking(home):
    run_all(["python scripts/make_tfrecords.py --audio music --out tfrecords/mine"], home)
    (block,) = [text for text in blocks("bash") if "--repair" in text]
    commands = block.strip().splitlines()
    assert len(commands) == 3
    run_all(commands, home)
    assert (home / "tfrecords" / "mine" / "figures" / "collection.png").exists()


@pytest.mark.slow
def test_the_commands_of_the_chapter_on_nearest_tracks(home):
    from playlist_pretrain.audio.front_end import front_end
    from playlist_pretrain.embedding.table import embedding_writer
    from playlist_pretrain.export.saved_model import save_backbone
    from playlist_pretrain.models.embedders import load_embedder
    from playlist_pretrain.models.vggish import vggish

    saved = home / "runs" / "saved_model"
    save_backbone(vggish(frames=256, bands=96, width=0.05), front_end("paper"), saved)
    model = load_embedder(str(saved))
    about = {"model": "runs/saved_model", "model_key": model.key}
    ids = [f"{artist}/{song:02}" for artist in ("futu", "zena") for song in range(1, 21)]
    table = home / "embeddings" / "demo.parquet"
    with embedding_writer(table, model.dim, about) as add:
        add(ids, np.random.default_rng(0).normal(size=(40, model.dim)))
    shutil.copy(home / "music" / "t0.wav", home / "music" / "song.wav")
    (home / "party.m3u8").write_text("futu/02.ogg\nzena/05.ogg\n")
    (block,) = [text for text in blocks("bash") if "search.py" in text]
    commands = block.strip().splitlines()
    assert len(commands) == 5
    run_all(commands, home)
    assert (home / "map.html").stat().st_size > 1e6  # what it needs to work offline is in it
    assert len((home / "longer.m3u8").read_text().splitlines()) == 22


@pytest.mark.slow
def test_the_three_commands_and_the_model_they_make(home):
    (commands,) = [text for text in blocks("bash") if "make_tfrecords.py" in text]
    commands = commands.strip().splitlines()
    assert [line.split()[1] for line in commands] == [
        "scripts/make_tfrecords.py", "scripts/match_playlists.py", "scripts/pretrain.py",
    ]  # fmt: skip
    run_all(commands, home, lambda command: SMALL if "pretrain" in command else "")
    run = home / "runs" / "mine-playlist_co-vggish"
    text = (ROOT / "README.md").read_text("utf-8")
    promised = text.partition("## What a run leaves behind")[2].partition("\n## ")[0]
    for name in re.findall(r"`([\w./]+)`", promised.partition("\n\nOne group")[0]):
        if not name.startswith("runs"):
            assert (run / name).exists(), name
    (block,) = [text for text in blocks("bash") if "finetune.py" in text]
    tagging = block.strip().splitlines()
    assert len(tagging) == 2
    run_all(tagging, home, lambda command: " --batch 4 --epochs 1 --runs 1")
    assert (home / "runs" / "mine-tags-mine-playlist_co-vggish" / "predictions").is_dir()
    (block,) = [text for text in blocks("bash") if "similarity.py" in text]
    judging = block.strip().splitlines()
    assert len(judging) == 2
    run_all(judging, home, lambda command: " --width 0.05" if "scratch" in command else "")
    for name in ("previews-similarity-mine-playlist_co-vggish+2",
                 "mine-similarity-mine-playlist_co-vggish"):  # fmt: skip
        promised = text.partition("## Judging a model by triplets")[2].partition("\n## ")[0]
        for file in ("results.md", "results.csv", "results.json", "per_triplet.csv"):
            assert f"`{file}`" in promised
            assert (home / "runs" / name / file).exists(), file
    (block,) = [text for text in blocks("bash") if "embed.py" in text]
    run_all(block.strip().splitlines(), home)
    assert len(np.load(home / "mine.npy")) == len(np.load(home / "windows.npy")) == 10
    assert (home / "projector" / "metadata.tsv").read_text().startswith("track_id\tstart_seconds")
    essentia, serving = [text for text in blocks("bash") if "export.py" in text]
    run_all(essentia.strip().splitlines(), home)
    promised = text.partition("## Essentia")[2].partition("\n## ")[0].partition("A SavedModel")[0]
    for name in ("mine-1.pb", "saved_model/", "mine-1.json", "predict.py", "mine-1-parity.json",
                 "README.md"):  # fmt: skip
        assert f"`{name}`" in promised
        assert (home / "exports" / "essentia" / "mine-1" / name).exists(), name
    command = re.search(r"`python (exports/.*predict.py) song.mp3`", promised)[1]
    done = subprocess.run(
        [sys.executable, command, "music/t0.wav"], cwd=home, capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    assert "embeddings\n(1, 128)" in done.stdout, done.stderr
    run_all(serving.strip().splitlines(), home)
    promised = text.partition("## TensorFlow Serving")[2].partition("\n## ")[0]
    for name in ("1/", "rest_client.py", "grpc_client.py", "batching.config", "mine-1.json",
                 "README.md", "mine-1-parity.json"):  # fmt: skip
        assert f"`{name}`" in promised
        assert (home / "exports" / "serving" / "mine-1" / name).exists(), name
    (docker,) = [block for block in blocks("bash") if "docker run" in block]
    card = (home / "exports" / "serving" / "mine-1" / "README.md").read_text("utf-8")
    assert docker.partition("&& ")[2].strip() in card
    shutil.copytree(run, home / "runs" / "demo-playlist_co-vggish")
    for code in blocks("python"):
        done = python(code, home)
        assert done.returncode == 0, f"{code}\n{done.stderr}"


@pytest.mark.slow
def test_make_says_why_python_311_and_how_to_get_it(tmp_path):
    ready = tmp_path / "venv" / ".ready"
    done = subprocess.run(
        ["make", f"READY={ready}", "PYTHON=", str(ready)],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode != 0
    for words in ("Python 3.11", "tensorflow-addons", "pyenv install 3.11", "PYTHON=/path"):
        assert words in done.stderr
    other = subprocess.run(
        ["make", f"READY={ready}", "PYTHON=true", str(ready)],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert other.returncode != 0 and not ready.exists()


def test_every_path_the_readme_names_is_there():
    layout = next(text for kind, text in BLOCKS if kind == "" and "playlist_pretrain/\n" in text)
    folder = ROOT
    for line in layout.splitlines():
        name = line.split()[0]
        folder = ROOT / "playlist_pretrain" if line.startswith("  ") else ROOT
        assert (folder / name).is_dir(), name
