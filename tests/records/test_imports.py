"""The import: rows, times and values; what is left out; interruptions, workers, settings."""

import json
import os

import mel_files
import numpy as np
import pytest

from playlist_pretrain.cli import import_mels as imports
from playlist_pretrain.errors import MelError, TrackError
from playlist_pretrain.messages import show_messages
from playlist_pretrain.records.collection import Collection
from playlist_pretrain.records.mel_sources import import_mels
from playlist_pretrain.records.report import notes_of


@pytest.fixture
def import_to(in_process, tmp_path):
    """Callable: import a folder into ``tmp_path / name``; the collection, open."""

    def call(folder, name="out", **options):
        import_mels(folder, tmp_path / name, **options)
        return Collection.open(tmp_path / name)

    return call


def test_melon_from_tar_files(tmp_path, import_to, capsys):
    show_messages()
    collection = import_to(mel_files.melon(tmp_path / "melon"))
    assert list(collection.track_ids) == ["0", "1", "999", "1000", "7777", "231000"]
    assert collection.front_end.name == "melon" and collection.source["loader"]["unit"] == "db"
    assert collection.front_end.bands == 48 and set(collection.frames) == {1876}
    for row, track_id in enumerate(collection.track_ids):
        expected = mel_files.mel(int(track_id)).T.astype(np.float16)
        np.testing.assert_array_equal(collection.mel(row), expected)
    assert set(collection.start_seconds) == {0} and set(collection.source_seconds) == {30}
    assert [(note.track_id, note.status) for note in notes_of(collection.path)] == [
        (str(i), "skipped") for i in (225_500, 276_000, 230_999)
    ]
    said = capsys.readouterr().out
    assert "3 of 9 mels were skipped and are left out" in said
    assert "6 tracks, 0.05 hours of audio" in said


def test_jamendo(tmp_path, import_to):
    folder = mel_files.jamendo(tmp_path / "j", low=(9007,))
    collection = import_to(folder)
    assert list(collection.track_ids) == ["07/9007", "41/241", "41/1241", "56/1376256"]
    assert collection.front_end.name == "jamendo-mels" and collection.front_end.bands == 96
    frames = 1 + -(-30 * 12_000 // 256)
    start = (3000 - frames) // 2
    expected = 2 * mel_files.mel(241, 96, 3000)[:, start : start + frames].T
    np.testing.assert_array_equal(collection.mel(1), expected.astype(np.float16))
    assert collection.start_seconds[0] == pytest.approx(start * 256 / 12_000)
    assert collection.source_seconds[0] == pytest.approx(2999 * 256 / 12_000)
    full = import_to(folder, "full", excerpt=None)
    assert set(full.frames) == {3000} and set(full.start_seconds) == {0}


def test_described_mels(tmp_path, import_to, rng):
    power = rng.uniform(0, 9, (40, 8))
    power[0] = 0
    for name in ("a/b", "c"):
        (tmp_path / "in" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "in" / f"{name}.npy").write_bytes(mel_files.npy(power))
    mel_files.write_tar(tmp_path / "in" / "x.tar", [("d/e.npy", mel_files.npy(power))])
    (tmp_path / "mels.json").write_text(
        json.dumps(
            {"name": "mine", "sample_rate": 8000, "frame_length": 400, "hop_length": 80, "bands": 8,
             "window_frames": 16, "unit": "power", "orientation": "frames×bands",
             "framing": "whole"}
        )
    )  # fmt: skip
    described = {"description": tmp_path / "mels.json"}
    collection = import_to(tmp_path / "in", **described, excerpt=0.25)
    assert list(collection.track_ids) == ["a/b", "c", "d/e"]
    assert set(collection.frames) == {1 + (2000 - 400) // 80}
    assert collection.source_seconds[0] == pytest.approx((39 * 80 + 400) / 8000)
    full = import_to(tmp_path / "in", "full", **described, excerpt=None)
    expected = 10 * np.log10(np.maximum(power, 1e-10))
    np.testing.assert_allclose(full.mel(2), expected, rtol=1e-3)


def test_what_cannot_be_read_is_noted_with_its_place(tmp_path, import_to):
    bad = np.full((48, 300), np.nan, np.float32)
    mel_files.write_tar(
        tmp_path / "m" / "arena_mel_0.tar",
        [
            ("0/1.npy", mel_files.npy(mel_files.mel(1, frames=300))),
            ("0/2.npy", mel_files.npy(mel_files.mel(2, frames=300).T)),
            ("0/3.npy", mel_files.npy(bad)),
            ("0/4.npy", b"junk"),
            ("0/5.npy", mel_files.npy(np.full((48, 9), 1e5, np.float32))),
            ("0/6.npy", mel_files.npy(np.full((48, 300), -100, np.float32))),
            ("0/7.npy", mel_files.npy(mel_files.mel(7, frames=200))),
            ("0/8.npy", mel_files.header((10**6, 10**6))),
            ("../0/9.npy", b""),
            ("9/10.npy", b""),
        ],
    )
    collection = import_to(tmp_path / "m")
    assert list(collection.track_ids) == ["1", "6", "7"]
    notes = {note.track_id: note for note in notes_of(collection.path)}
    places = {note.source.partition(":")[0] for note in notes.values()}
    assert places == {"arena_mel_0.tar"}
    for track_id, status, words in (
        ("2", "unreadable", "an array of shape (300, 48), not 48×frames"),
        ("3", "unreadable", "nan at frame 0, band 0 is not a number to learn from"),
        ("4", "unreadable", "no .npy file"),
        ("5", "unreadable", "100000.0 at frame 0, band 0 does not fit float16"),
        ("6", "silent", "no sound"),
        ("7", "short", "200 frames, a window of front end 'melon' has 256"),
        ("8", "unreadable", "4,000,000,000,000 bytes"),
        ("../0/9.npy", "unreadable", "leads out"),
    ):
        assert notes[track_id].status == status and words in notes[track_id].reason
    (unnamed,) = [note for note in notes.values() if note.status == "skipped"]
    assert unnamed.source.endswith(":9/10.npy") and "{id // 1000}/{id}.npy" in unnamed.reason
    assert str(tmp_path) not in (collection.path / "build_report.tsv").read_text()


def test_two_mels_of_one_track(tmp_path, import_to):
    folder = mel_files.jamendo(tmp_path / "j")
    (folder / "41" / "241.low.npy").write_bytes(mel_files.npy(mel_files.mel(0, 96, 3000)))
    with pytest.raises(TrackError, match=r"'41/241': '41/241\.(low\.)?npy' and") as caught:
        import_to(folder)
    assert "--keep-going" in str(caught.value) and not (tmp_path / "out").exists()
    collection = import_to(folder, keep_going=True)
    assert len(collection) == 4
    assert [note.status for note in notes_of(collection.path)] == ["skipped"]


def test_nothing_that_could_be_imported(tmp_path, import_to):
    folder = mel_files.melon(tmp_path / "melon", [225_001, 225_002], frames=3)
    with pytest.raises(MelError, match=r"none of 2 mels .* known to be damaged"):
        import_to(folder)
    with pytest.raises(MelError, match=r"none of 2 mels .* source jamendo; .*225/225001\.npy: its"):
        import_to(folder, source="jamendo")
    assert os.listdir(tmp_path) == ["melon"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--mels", "gone"], "gone: no such folder or tar file"),
        (["--mels", "m", "--excerpt", "half"], "--excerpt half: give a number of seconds"),
    ],
)
def test_a_mistake_is_one_line(tmp_path, monkeypatch, capsys, words, message):
    monkeypatch.chdir(tmp_path)
    mel_files.melon(tmp_path / "m", [1, 2], frames=3)
    assert imports.main([*words, "--out", "out"]) == 1
    said = capsys.readouterr().err
    assert said.startswith("import_mels.py: error: ") and said.count("\n") == 1
    assert message in said and not (tmp_path / "out").exists()
