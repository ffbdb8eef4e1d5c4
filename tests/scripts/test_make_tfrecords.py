import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import mutagen
import numpy as np
import pytest
import soundfile
from mutagen.id3 import TALB, TPE1

from playlist_pretrain.cli.make_tfrecords import main
from playlist_pretrain.cli.match_playlists import main as make_groups
from playlist_pretrain.errors import GroupsError
from playlist_pretrain.playlists.groups import load_groups
from playlist_pretrain.records.collection import Collection

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "scripts" / "make_tfrecords.py"


def write_wav(path, seconds, amplitude=0.3, rate=22050):
    path.parent.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(len(str(path.name)))
    samples = rng.uniform(-amplitude, amplitude, int(seconds * rate))
    soundfile.write(path, samples, rate, format="WAV")


@pytest.fixture
def run(capsys, in_process):
    """Run the command in this process."""

    def run(*arguments):
        capsys.readouterr()
        code = main([str(word) for word in arguments])
        said = capsys.readouterr()
        return SimpleNamespace(returncode=code, stdout=said.out, stderr=said.err)

    return run


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--audio", "empty"], "no audio in empty (it is empty)"),
        (["--audio", "music", "--front-end", "mfcc"], "there are: paper, musicnn, vggish"),
        (["--audio", "music", "--excerpt", "half"], "--excerpt half: give a number of seconds"),
        (["--audio", "music", "--excerpt", "nan"], "--excerpt nan:"),
        (["--audio", "music", "--resample-quality", "5"], "resample_quality = 5"),
        (["--audio", "music", "--workers", "0"], "--workers 0"),
        (["--audio", "music", "--tracks", "far.csv"], "is below music, neither 'gone/a.wav'"),
        ([], "--audio"),
        (["--report"], "out is no collection, so there is no report on one"),
        (["--audio", "music", "--add"], "out is no finished collection, so nothing can be added"),
    ],
)
def test_a_mistake_is_one_line(tmp_path, monkeypatch, capsys, arguments, message):
    monkeypatch.chdir(tmp_path)
    write_wav(Path("music/a.wav"), 1)
    Path("empty").mkdir()
    Path("far.csv").write_text("track_id,path\na,gone/a.wav\n")
    assert main([*arguments, "--out", "out"]) == 1
    said = capsys.readouterr().err
    assert said.startswith("make_tfrecords.py: error: ")
    assert message in said
    assert said.count("\n") == 1
    assert not Path("out").exists()


def tag(path, artist, album):
    file = mutagen.File(path)
    if file.tags is None:
        file.add_tags()
    file.tags.add(TPE1(encoding=3, text=artist))
    file.tags.add(TALB(encoding=3, text=[album]))
    file.save()


@pytest.mark.slow
def test_tags_of_files_become_a_table_and_groups(tmp_path, run, capsys):
    for name, artist, album in (
        ("a", ["A", "B"], "One"), ("b", ["B"], "-"), ("c", ["Unknown Artist"], "One")
    ):  # fmt: skip
        write_wav(tmp_path / "audio" / f"{name}.wav", 4)
        tag(tmp_path / "audio" / f"{name}.wav", artist, album)
    write_wav(tmp_path / "audio" / "d.wav", 4)
    build = ["--audio", tmp_path / "audio", "--out", tmp_path / "out"]
    table = tmp_path / "out" / "tracks.csv"
    assert (
        f"{table}: tags of the files: 2 of 4 tracks have an artist, 2 an album; groups of them: "
        f"python scripts/match_playlists.py --playlists tags --collection {tmp_path / 'out'}\n"
    ) in run(*build).stdout
    head = "track_id,artist,album,title,genre,year,folder\n"
    assert (
        table.read_text() == head + "a,A|B,One,,,,\nb,B,'-,,,,\nc,Unknown Artist,One,,,,\nd,,,,,,\n"
    )
    words = ["--playlists", "tags", "--collection", str(tmp_path / "out")]
    assert make_groups(words) == 0
    assert "--pairs artist_co" in capsys.readouterr().out
    groups = load_groups(Collection.open(tmp_path / "out"), "artists")
    assert list(groups.group_ids) == ["B"] and groups.rows.tolist() == [0, 1]
    # Files that were tagged since: without the table they are read again, and nothing else is.
    tag(tmp_path / "audio" / "d.wav", ["D"], "Two")
    table.unlink()
    assert "complete" in run(*build, "--add").stdout
    assert table.read_text().endswith("\nd,D,Two,,,,\n")


@pytest.mark.slow
def test_a_folder_with_everything_that_goes_wrong(tmp_path, run):
    audio = tmp_path / "audio"
    write_wav(audio / "good" / "long.wav", 35)
    write_wav(audio / "good" / "名前.wav", 5)
    write_wav(audio / "good" / ("l" * 200) / ("m" * 99 + ".wav"), 5)
    write_wav(audio / "short.wav", 1)
    write_wav(audio / "silent.wav", 5, amplitude=0)
    write_wav(audio / "cut.wav", 20)
    os.truncate(audio / "cut.wav", 50_000)
    (audio / "empty.mp3").touch()
    (audio / "text.ogg").write_text("this is no audio at all\n" * 100)
    (audio / "gone.flac").symlink_to("nowhere")
    (audio / "cover.jpg").touch()
    (audio / ".hidden.wav").touch()
    with open(os.fsencode(audio) + b"/caf\xe9.wav", "wb") as stream:
        stream.write((audio / "short.wav").read_bytes())
    out = tmp_path / "out"

    # As in a user's shell: whatever TensorFlow may print, the program has to keep quiet itself.
    environment = {k: v for k, v in os.environ.items() if k != "TF_CPP_MIN_LOG_LEVEL"}
    command = [sys.executable, SCRIPT, "--audio", audio, "--out", out]
    answer = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert (answer.returncode, answer.stderr) == (0, "")
    lines = answer.stdout.splitlines()  # on a busy machine it tells of its progress too
    first, *said = [line for line in lines if " a second, " not in line]
    assert first.startswith("30 s of the centre of each file are taken") and "--partial" in first
    assert said[0] == (
        "WARNING: 5 of 10 tracks could not be read and are left out (cut.wav, empty.mp3, gone.flac "
        f"and 2 more): see {out / 'build_report.tsv'}; --report prints it"
    )
    kept = (
        "1 track is silent: kept, but in no pair of a training and no neighbour (silent.wav): see"
    )
    assert said[1].startswith(kept)
    assert said[2].startswith("1 track is shorter than a window and kept (short.wav): see")
    assert said[3].startswith("1 file of another kind (1 .jpg) was left alone; audio")
    assert said[-1].startswith("next: python scripts/match_playlists.py")
    assert list(Collection.open(out).track_ids) == [
        "good/" + "l" * 200 + "/" + "m" * 99, "good/long", "good/名前", "short", "silent",
    ]  # fmt: skip
    lines = [line.split("\t") for line in (out / "build_report.tsv").read_text().splitlines()[1:]]
    assert [line[1] for line in lines if line[2] == "unreadable"] == [
        "cut.wav", "empty.mp3", "gone.flac", "text.ogg", "caf\\udce9.wav",
    ]  # fmt: skip
    others = [line[1:3] for line in lines if line[2] != "unreadable"]
    assert others == [["short.wav", "short"], ["silent.wav", "silent"]]
    assert str(tmp_path) not in (out / "build_report.tsv").read_text()

    again = run("--audio", audio, "--out", out, "--quiet")
    assert (again.returncode, again.stdout.splitlines()) == (0, said[:1])


def test_an_excerpt_of_the_tracks_of_a_table(tmp_path, run):
    write_wav(tmp_path / "audio" / "x" / "long.wav", 40)
    (tmp_path / "tracks.tsv").write_text("path\ttrack_id\nx/long.wav\tone\nx/none.wav\ttwo\n")
    table = ["--tracks", tmp_path / "tracks.tsv", "--front-end", "musicnn", "--excerpt", "2.5"]
    answer = run("--audio", tmp_path / "audio", "--out", tmp_path / "out", *table)
    assert answer.returncode == 0, answer.stderr
    assert "1 of 2 tracks could not be read and is left out (x/none.wav): see" in answer.stdout
    collection = Collection.open(tmp_path / "out")
    assert list(collection.track_ids) == ["one"]
    assert collection.frames.tolist() == [1 + -(-40_000 // 256)]
    assert collection.source_seconds[0] == pytest.approx(40, abs=1e-3)


def test_adding_trying_again_and_reporting(tmp_path, monkeypatch, run):
    monkeypatch.chdir(tmp_path)
    for name in ("a", "b", "c"):
        write_wav(Path("music") / f"{name}.wav", 4)
    Path("music/bad.mp3").write_text("not music")
    Path("music/empty.ogg").touch()
    assert run("--audio", "music", "--out", "mine").returncode == 0
    Path("p.csv").write_text("group_id,track_id\n1,a\n1,b\n1,c\n1,d\n")
    match = "python scripts/match_playlists.py --playlists p.csv --format table --kind playlists"
    groups = ["--playlists", "p.csv", "--collection", "mine"]
    assert make_groups([*groups, "--quiet"]) == 0

    report = run("--out", "mine", "--report")
    said = report.stdout.splitlines()
    assert report.returncode == 0 and report.stderr == ""
    assert said[1:3] == ["empty.ogg: is empty", "mine: 2 files are not in the collection"]
    assert said[0].startswith("bad.mp3: cannot be decoded")
    assert said[-1].strip() == "1  unreadable: empty.ogg: is empty"

    write_wav(Path("music/d.wav"), 4)
    write_wav(Path("music/bad.mp3"), 4)  # whatever its name says
    plain = run("--audio", "music", "--out", "mine").stdout
    assert "1 track appended, 1 of which could not be read before" in plain
    assert "1 track of music not in the collection yet: the same command with --add" in plain
    assert run("--audio", "music", "--out", "mine").stdout.count("appended") == 0
    os.utime("music/a.wav", (1, 1))
    refused = run("--audio", "music", "--out", "mine")
    assert refused.returncode == 1
    assert "1 changed, 0 gone, 1 new; first of them: path, size or date of track 'a'" in (
        refused.stderr
    )
    added = run("--audio", "music", "--out", "mine", "--add")
    assert (added.returncode, added.stderr) == (0, "")
    assert "1 track left as they were" in added.stdout and "1 track appended;" in added.stdout
    collection = Collection.open("mine")
    assert list(collection.track_ids) == ["a", "b", "c", "bad", "d"]
    assert "a.wav: the collection holds this id" in run("--out", "mine", "--report").stdout

    with pytest.raises(GroupsError) as caught:
        load_groups(collection, "playlists")
    command = str(caught.value).partition("again with ")[2]
    assert command == f"{match} --collection mine --overwrite"
    assert make_groups([*command.split()[2:], "--quiet"]) == 0
    assert load_groups(collection, "playlists").lengths.tolist() == [4]
