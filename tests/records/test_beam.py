"""The Beam pipeline leaves what a local build leaves, byte for byte, and says what it says."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
import soundfile
from build_loaders import PAPER, Tones, content, full_disk_at_shard, sources

from playlist_pretrain.cli import make_tfrecords as make_module
from playlist_pretrain.errors import CollectionError
from playlist_pretrain.records.build import make_collection

pytest.importorskip("apache_beam")
beam_build = pytest.importorskip("playlist_pretrain.records.beam_build")

LOCAL = "--runner=FnApiRunner"  # DirectRunner would look for another program first
SPECIAL = sources("unreadable:", "bug:", "silent:", "short:", "nothing:", "nan:")


@pytest.fixture
def make_with_beam(in_process, monkeypatch, tmp_path):
    """Build into ``tmp_path / "beam"`` with a pipeline, in this process."""
    from playlist_pretrain.records import build

    monkeypatch.setattr(beam_build, "work_through", build.work_through)

    def make(tracks=SPECIAL, load=None, out="beam", **options):
        run = beam_build.run_on(LOCAL)
        return make_collection(
            tmp_path / out, tracks, PAPER, load or Tones(), make_shards=run, **options
        )

    return make


def test_equal_to_a_local_build(make, make_with_beam, tmp_path):
    local, report = make(SPECIAL), make_with_beam()
    assert content(tmp_path / "beam") == content(tmp_path / "out")
    assert len(content(tmp_path / "beam")) == 3 + 4  # three files more, and the shards
    assert report.notes == local.notes and len(report.failed) == 4
    assert (report.made, report.kept, report.tracks) == (3, 0, 36)
    assert make_with_beam().made == 0


@pytest.mark.slow
def test_a_pipeline_that_fails_keeps_what_is_finished(make, make_with_beam, tmp_path):
    with pytest.MonkeyPatch.context() as patch, pytest.raises(CollectionError) as caught:
        full_disk_at_shard(patch, 1)
        make_with_beam()
    message = str(caught.value)
    assert "mel-00001.tfrecord" in message and "No space left on device" in message
    kept = re.search(r"\. (\d) of 3 shards are finished and kept: mend that, and", message)
    assert "\n" not in message and "[while running" not in message
    report = make_with_beam()
    assert report.kept == int(kept[1]) and report.made == 3 - report.kept
    make(SPECIAL)
    assert content(tmp_path / "beam") == content(tmp_path / "out")


def test_a_worker_that_sees_another_folder(make_with_beam, tmp_path, monkeypatch):
    """As on machines that do not share it: the worker's own folder has no tasks."""
    (tmp_path / "elsewhere").mkdir()
    read_task = beam_build.read_task
    monkeypatch.setattr(
        beam_build, "read_task", lambda _, place: read_task(tmp_path / "elsewhere", place)
    )
    with pytest.raises(CollectionError, match=r"does not find .*under the same path\. 0 of 3"):
        make_with_beam()


@pytest.fixture
def music(tmp_path, monkeypatch, rng):
    monkeypatch.chdir(tmp_path)
    Path("music/a").mkdir(parents=True)
    for name, seconds in (("a/long", 35), ("b", 5)):
        soundfile.write(f"music/{name}.wav", rng.uniform(-0.3, 0.3, seconds * 22050), 22050)
    Path("music/text.ogg").write_text("this is no audio at all\n" * 100)
    return Path("music")


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (["--beam=", "--workers", "2"], "--workers"),
        (["--beam=--runner=NoSuchRunner"], "--beam '--runner=NoSuchRunner'"),
        (["--beam=--direct_num_workers=x"], "invalid int value: 'x'"),
        (["--beam=--runner='"], "No closing quotation"),
    ],
)
def test_a_mistake_is_one_line(music, capsys, arguments, word):
    assert make_module.main(["--audio", "music", "--out", "out", *arguments]) == 1
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and word in error
    assert not Path("out").exists()


def test_without_beam_it_says_how_to_get_it(music, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "apache_beam", None)
    monkeypatch.delitem(sys.modules, beam_build.__name__)
    monkeypatch.delattr("playlist_pretrain.records.beam_build")
    assert make_module.main(["--audio", "music", "--out", "out", "--beam="]) == 1
    assert "pip install 'playlist_pretrain[beam]'" in capsys.readouterr().err


@pytest.mark.slow
def test_a_decoder_that_crashes_costs_its_track(make, tmp_path):
    """In real processes: the worker lives on, and the report is that of a local build."""
    tracks = sources("short:", "crash:", count=16)
    run = beam_build.run_on(LOCAL)
    report = make_collection(tmp_path / "beam", tracks, PAPER, Tones(), make_shards=run)
    reason = "reading it ended the process twice (SIGSEGV)"
    assert report.failed == [("album 0/001", "crash:", reason)]
    assert [source for _, source, _ in report.of("short")] == ["short:"]
    make([track for track in tracks if track.source != "crash:"])
    expected, found = content(tmp_path / "out"), content(tmp_path / "beam")
    for name in ("mel-00000.tfrecord", "index-0.npz"):
        assert found[name] == expected[name]


@pytest.mark.long
def test_two_workers_of_beam(music):
    options = "--runner=DirectRunner --direct_num_workers=2 --direct_running_mode=multi_processing"
    script = Path(__file__).resolve().parents[2] / "scripts" / "make_tfrecords.py"
    command = [sys.executable, script, "--audio", "music", "--out", "beam", "--quiet"]
    done = subprocess.run(
        [*command, f"--beam={options}"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "1 of 3 tracks could not be read" in done.stdout
    assert make_module.main(["--audio", "music", "--out", "local", "--quiet"]) == 0
    assert content(Path("local")) == content(Path("beam"))
