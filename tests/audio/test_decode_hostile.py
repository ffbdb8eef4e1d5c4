"""Files that cannot be decoded: one error of one line, no crash, and nothing printed."""

import contextlib
import os
import subprocess
import sys
import textwrap
import zipfile

import numpy as np
import pytest
from chores import chore

from playlist_pretrain.audio import decode as decode_module
from playlist_pretrain.audio.decode import decode
from playlist_pretrain.errors import AudioError
from playlist_pretrain.processes import OwnProcess


@pytest.fixture(scope="module")
def whole(tmp_path_factory, ffmpeg):
    """Folder of good files of 4 s."""
    folder = tmp_path_factory.mktemp("whole")
    for suffix in ("wav", "flac", "mp3", "ogg", "m4a", "aiff"):
        ffmpeg("-f", "lavfi", "-i", "sine=440:d=4", "-ac", 2, folder / f"tone.{suffix}")
    ffmpeg("-f", "lavfi", "-i", "sine=440:d=4", "-c:a", "adpcm_ms", folder / "adpcm.wav")
    ffmpeg("-f", "lavfi", "-i", "sine=440:d=4", "-c:a", "libopus", folder / "opus.webm")
    return folder


def cut(whole, suffix: str, share: float) -> bytes:
    content = (whole / f"tone.{suffix}").read_bytes()
    return content[: int(len(content) * share)]


def zipped(whole, tmp_path) -> bytes:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.write(whole / "tone.mp3")
    return (tmp_path / "a.zip").read_bytes()


def wav_with_nan(whole, tmp_path, ffmpeg) -> bytes:
    ffmpeg("-i", whole / "tone.wav", "-c:a", "pcm_f32le", tmp_path / "float.wav")
    content = bytearray((tmp_path / "float.wav").read_bytes())
    content[-4000:-3996] = np.float32(np.nan).tobytes()
    return bytes(content)


BAD = [
    ("empty.wav", lambda *_: b"", "is empty"),
    ("random.mp3", lambda *_: np.random.default_rng(1).bytes(50_000), "decoded"),
    ("text.mp3", lambda *_: b"no music here\n" * 1000, "decoded"),
    ("zip.mp3", lambda whole, tmp_path, _: zipped(whole, tmp_path), "zip archive"),
    ("cut.wav", lambda whole, *_: cut(whole, "wav", 0.5), r"2\.0 s of the 4\.0 s"),
    ("cut.aiff", lambda whole, *_: cut(whole, "aiff", 0.5), r"2\.0 s of the 4\.0 s"),
    ("cut.flac", lambda whole, *_: cut(whole, "flac", 0.5), r"of the 4\.0 s"),
    ("cut.m4a", lambda whole, *_: cut(whole, "m4a", 0.5), "decoded"),
    ("head.flac", lambda whole, *_: cut(whole, "flac", 1)[:60], "decoded"),
    ("head.ogg", lambda whole, *_: cut(whole, "ogg", 1)[:60], "decoded"),
    ("nan.wav", wav_with_nan, "NaN or infinite"),
]


@pytest.mark.parametrize(
    ("name", "content", "message"), BAD, ids=lambda value: value if isinstance(value, str) else ""
)
def test_bad_files(name, content, message, whole, tmp_path, ffmpeg):
    path = tmp_path / name
    path.write_bytes(content(whole, tmp_path, ffmpeg))
    with pytest.raises(AudioError, match=message) as caught:
        decode(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)
    assert not hasattr(caught.value, "__notes__")


@pytest.mark.slow
def test_nothing_is_printed(whole, tmp_path, ffmpeg, monkeypatch, capfd):
    decoder = OwnProcess(decode_module._decode_task)  # which prints to what is captured now
    monkeypatch.setattr(decode_module, "_apart", decoder)
    paths = sorted(whole.iterdir())
    for name, content, _ in BAD:
        paths.append(tmp_path / name)
        paths[-1].write_bytes(content(whole, tmp_path, ffmpeg))
    for path in paths:
        with contextlib.suppress(AudioError):
            decode(path)
    printed = capfd.readouterr()
    assert printed.out == printed.err == ""


@pytest.mark.slow
def test_a_file_that_ends_its_process_is_one_error(monkeypatch, whole):
    path = whole / "tone.wav"
    twice, before = "reading it ended the process twice", "the process that was to decode it ended"
    for task, reason in (
        ("crash", f"{twice} (SIGSEGV)"),
        ("exit:3", f"{twice} (exit code 3)"),
        ("crash at once", f"{before} twice before it began (SIGSEGV)"),
    ):
        dying = OwnProcess(chore)
        monkeypatch.setattr(decode_module, "_apart", lambda _, own=dying, task=task: own(task))
        with pytest.raises(AudioError) as caught:
            decode(path)
        assert str(caught.value) == f"{path}: {reason}"
    monkeypatch.undo()
    assert decode(path).source_seconds == pytest.approx(4, abs=0.01)


@pytest.mark.parametrize("suffix", ["mp3", "ogg"])
def test_formats_without_a_length_give_what_a_cut_file_holds(suffix, whole, tmp_path):
    path = tmp_path / f"cut.{suffix}"
    path.write_bytes(cut(whole, suffix, 0.5))
    assert 0.6 < decode(path).source_seconds < 3.2


def test_a_wav_written_to_a_pipe_states_no_length(whole, tmp_path):
    content = bytearray((whole / "tone.wav").read_bytes())
    place = content.index(b"data") + 4
    content[place : place + 4] = b"\xff" * 4
    path = tmp_path / "piped.wav"
    path.write_bytes(content)
    assert decode(path).source_seconds == pytest.approx(4.0, abs=0.01)


def test_what_is_no_file(tmp_path):
    os.mkfifo(tmp_path / "pipe.wav")
    for name, message in (
        ("", "is a folder"),
        ("missing.wav", "No such file"),
        ("pipe.wav", "not a regular file"),
        ("nul\0.wav", "embedded null"),
        ("two\nlines.wav", "No such file"),
    ):
        with pytest.raises(AudioError, match=message) as caught:
            decode(tmp_path / name)
        assert "\n" not in str(caught.value)


@pytest.mark.slow
def test_unknown_codecs_do_not_crash_a_process_that_dirties_its_memory(whole):
    program = """
        import sys
        from playlist_pretrain.audio.decode import decode
        from playlist_pretrain.errors import AudioError
        for path in sys.argv[1:] * 3:
            try:
                print(round(decode(path).source_seconds))
            except AudioError as error:
                print("codec" in str(error))
    """
    names = [str(whole / name) for name in ("opus.webm", "adpcm.wav", "tone.mp3")]
    environment = {**os.environ, "MALLOC_PERTURB_": "165"}
    environment.pop("TF_CPP_MIN_LOG_LEVEL", None)
    result = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program), *names],
        env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    assert result.stdout.split() == ["True", "4", "4"] * 3
    assert result.stderr == ""


@pytest.mark.slow
def test_a_rate_of_two_hertz_takes_no_gigabytes(whole, tmp_path, ffmpeg):
    content = bytearray((whole / "tone.wav").read_bytes())
    content[24:28] = (2).to_bytes(4, "little")
    (tmp_path / "slow.wav").write_bytes(content)
    noise = np.random.default_rng(0).bytes(400)
    (tmp_path / "raw").write_bytes(noise)
    raw = ["-f", "s16le", "-ar", "2", "-ac", "1", "-i", tmp_path / "raw"]
    ffmpeg(*raw, "-c:a", "alac", "-ar", "2", tmp_path / "slow.m4a")
    program = """
        import resource, sys
        from playlist_pretrain import processes
        from playlist_pretrain.audio.decode import decode
        from playlist_pretrain.errors import AudioError
        processes._serving = True  # here, where memory can be measured
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        limits = resource.getrlimit(resource.RLIMIT_DATA)
        for path in sys.argv[1:]:
            try:
                print(round(decode(path).source_seconds))
            except AudioError as error:
                print(error)
        assert resource.getrlimit(resource.RLIMIT_DATA) == limits
        print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 1 << 20)
    """
    names = [str(tmp_path / "slow.wav"), str(tmp_path / "slow.m4a"), str(whole / "tone.mp3")]
    said = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program), *names],
        capture_output=True, text=True, check=True,
    ).stdout.splitlines()  # fmt: skip
    assert said[:1] == [f"{names[0]}: a file of an impossible rate: 2"]
    assert said[1].startswith(f"{names[1]}: cannot be decoded: its sample rate is none of audio; ")
    assert said[2:] == ["4", "True"]
