"""Audio in all of ffmpeg's codecs and containers: each file is decoded as ffmpeg has it, or left
out under a reason; ``pytest -m long -s`` prints the table."""

import os
import subprocess
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from odd_audio import alike

from playlist_pretrain.records.build import build_collection
from playlist_pretrain.records.report import read_report

CODECS = {  # extension and ffmpeg's name of a container: the encoders whose files ffmpeg reads
    "3g2 3g2": "aac",
    "3gp 3gp": "aac",
    "ac3 ac3": "ac3 ac3_fixed",
    "aac adts": "aac",
    "adx adx": "adpcm_adx",
    "aiff aiff": (
        "adpcm_ima_qt adpcm_ima_ws pcm_alaw pcm_f32be pcm_f64be pcm_mulaw pcm_s16be pcm_s16le "
        "pcm_s24be pcm_s32be pcm_s8 pcm_u8"
    ),
    "apm apm": "adpcm_ima_apm",
    "wma asf": (
        "aac ac3 ac3_fixed adpcm_ima_wav adpcm_ms adpcm_swf adpcm_yamaha dca dfpwm eac3 flac "
        "g722 libmp3lame libtwolame libvorbis mp2 mp2fixed pcm_alaw pcm_f32le pcm_f64le "
        "pcm_mulaw pcm_s16le pcm_s24le pcm_s32le pcm_s64le pcm_u8 wmav1 wmav2"
    ),
    "ast ast": "pcm_s16be_planar",
    "au au": ("g722 pcm_alaw pcm_f32be pcm_f64be pcm_mulaw pcm_s16be pcm_s24be pcm_s32be pcm_s8"),
    "avi avi": (
        "aac ac3 ac3_fixed adpcm_ima_wav adpcm_ms adpcm_swf adpcm_yamaha dca dfpwm eac3 flac "
        "g722 libmp3lame libtwolame libvorbis mp2 mp2fixed pcm_alaw pcm_f32le pcm_f64le "
        "pcm_mulaw pcm_s16le pcm_s24le pcm_s32le pcm_s64le pcm_u8 wmav1 wmav2"
    ),
    "caf caf": (
        "ac3 ac3_fixed adpcm_ima_qt adpcm_ima_wav adpcm_ms alac flac libmp3lame libtwolame "
        "mp2 mp2fixed pcm_alaw pcm_f32be pcm_f32le pcm_f64be pcm_f64le pcm_mulaw pcm_s16be "
        "pcm_s16le pcm_s24be pcm_s24le pcm_s32be pcm_s32le pcm_s8"
    ),
    "dts dts": "dca",
    "eac3 eac3": "eac3",
    "flac flac": "flac",
    "flv flv": (
        "aac ac3 ac3_fixed adpcm_swf eac3 flac libmp3lame libopus nellymoser opus pcm_alaw "
        "pcm_mulaw pcm_s16be pcm_s16le pcm_u8"
    ),
    "m4b ipod": "aac ac3 ac3_fixed alac",
    "ircam ircam": ("pcm_alaw pcm_f32le pcm_f64le pcm_mulaw pcm_s16le pcm_s24le pcm_s32le pcm_s8"),
    "kvag kvag": "adpcm_ima_ssi",
    "latm latm": "aac",
    "mka matroska": (
        "aac ac3 ac3_fixed adpcm_ima_wav adpcm_ms adpcm_swf adpcm_yamaha alac dca dfpwm eac3 "
        "flac g722 libmp3lame libopus libtwolame libvorbis mlp mp2 mp2fixed opus pcm_alaw "
        "pcm_f32le pcm_f64le pcm_mulaw pcm_s16be pcm_s16le pcm_s24be pcm_s24le pcm_s32be "
        "pcm_s32le pcm_s64le pcm_u8 truehd tta wavpack wmav1 wmav2"
    ),
    "mlp mlp": "mlp",
    "mmf mmf": "adpcm_yamaha",
    "mov mov": (
        "aac ac3 ac3_fixed adpcm_ima_qt adpcm_ima_wav adpcm_ms adpcm_swf adpcm_yamaha alac "
        "dca dfpwm eac3 g722 libmp3lame libtwolame libvorbis mp2 mp2fixed nellymoser pcm_alaw "
        "pcm_f32be pcm_f32le pcm_f64be pcm_f64le pcm_mulaw pcm_s16be pcm_s16le pcm_s24be "
        "pcm_s24le pcm_s32be pcm_s32le pcm_s64le pcm_s8 pcm_u8"
    ),
    "mp2 mp2": "libtwolame mp2 mp2fixed",
    "mp3 mp3": "libmp3lame",
    "mp4 mp4": (
        "aac ac3 ac3_fixed alac dca eac3 flac libmp3lame libopus libtwolame libvorbis mp2 "
        "mp2fixed opus pcm_f32be pcm_f32le pcm_f64be pcm_f64le pcm_s16be pcm_s16le pcm_s24be "
        "pcm_s24le pcm_s32be pcm_s32le truehd"
    ),
    "mpeg mpeg": "ac3 ac3_fixed dca libmp3lame libtwolame mp2 mp2fixed pcm_dvd pcm_s16be",
    "oga oga": "flac libopus libvorbis opus",
    "ogg ogg": "flac libopus libvorbis opus",
    "opus opus": "flac libopus libvorbis opus",
    "rm rm": "aac ac3 ac3_fixed",
    "sox sox": "pcm_s32be pcm_s32le",
    "spx spx": "flac libopus libvorbis opus",
    "swf swf": "libmp3lame",
    "truehd truehd": "truehd",
    "tta tta": "tta",
    "vob vob": "ac3 ac3_fixed dca libmp3lame libtwolame mp2 mp2fixed pcm_dvd pcm_s16be",
    "voc voc": "pcm_alaw pcm_mulaw pcm_s16le pcm_u8",
    "w64 w64": (
        "ac3 ac3_fixed adpcm_ima_wav adpcm_ms adpcm_swf adpcm_yamaha dca dfpwm eac3 flac g722 "
        "libmp3lame libtwolame mp2 mp2fixed pcm_alaw pcm_f32le pcm_f64le pcm_mulaw pcm_s16le "
        "pcm_s24le pcm_s32le pcm_s64le pcm_u8 wmav1 wmav2"
    ),
    "wav wav": (
        "ac3 ac3_fixed adpcm_ima_wav adpcm_ms adpcm_swf adpcm_yamaha dca dfpwm eac3 flac g722 "
        "libmp3lame libtwolame mp2 mp2fixed pcm_alaw pcm_f32le pcm_f64le pcm_mulaw pcm_s16le "
        "pcm_s24le pcm_s32le pcm_s64le pcm_u8 wmav1 wmav2"
    ),
    "webm webm": "libopus libvorbis opus",
    "wsaud wsaud": "adpcm_ima_ws",
    "wv wv": "wavpack",
}
KINDS = [(*kind.split(), codec) for kind, codecs in CODECS.items() for codec in codecs.split()]
SECONDS, HZ, LEVEL = 3, 440, 0.4
REASONS = (  # why a sound file may be left out: never for what it is not
    "codec is not supported", "more than two channels, or states none", "supported in full",
    "of a kind that is not supported", "transport stream, which is not read",
)  # fmt: skip


@pytest.fixture(scope="module")
def made(ffmpeg, by_ffmpeg, tmp_path_factory):
    """Callable: kinds → the folder of their files, and what ffmpeg decodes of each.

    What ffmpeg cannot write, or of which it does not get its own tone back, is no file of a kind.
    """

    folder = tmp_path_factory.mktemp("codecs")
    wave = "|".join([f"{LEVEL}*sin(2*PI*{HZ}*t)"] * 2)
    source = f"aevalsrc={wave}:s=44100:d={SECONDS}"
    tone = np.float32(LEVEL) * np.sin(2 * np.pi * HZ * np.arange(SECONDS * 16000) / 16000)

    def decoded(kind):
        suffix, container, codec = kind
        path = folder / container / f"{codec}.{suffix}"
        path.parent.mkdir(exist_ok=True)
        words = ["-f", "lavfi", "-i", source, "-c:a", codec, "-f", container]
        try:
            try:
                ffmpeg(*words, path)
            except subprocess.CalledProcessError:  # encoders that it calls experimental
                ffmpeg(*words, "-strict", "-2", path)
            there = by_ffmpeg(path)
        except subprocess.CalledProcessError:
            return {}
        return {} if alike(there, tone, 0.2) else {f"{container}/{path.name}": there}

    def make(kinds):
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            return folder, {
                name: wave for one in pool.map(decoded, kinds) for name, wave in one.items()
            }

    return make


def table_of(folder, expected, out):
    """Rows (container, in, decoded, left out by reason, greatest difference in seconds)."""
    from playlist_pretrain.audio.decode import decode

    tracks = "".join(f"{name},{name}\n" for name in expected)
    (folder / "tracks.csv").write_text(f"track_id,path\n{tracks}")
    collection = build_collection(
        folder, out, tracks=folder / "tracks.csv", excerpt="full", workers=1
    )
    reasons = {note.source: note.reason for note in read_report(out / "build_report.tsv")
               if note.status == "unreadable"}  # fmt: skip
    built = set(collection.track_ids)
    assert built.isdisjoint(reasons) and built | set(reasons) == set(expected)
    rows = defaultdict(lambda: [0, 0, defaultdict(int), 0.0])
    for name, wave in expected.items():
        row = rows[name.partition("/")[0]]
        row[0] += 1
        if name in built:
            found = decode(folder / name, excerpt=None).waveform
            assert alike(found, wave, 0.05) == "", name
            row[1] += 1
            row[3] = max(row[3], abs(len(found) - len(wave)) / 16000)
        else:
            (reason,) = [known for known in REASONS if known in reasons[name]][:1] or [None]
            assert reason, (name, reasons[name])
            row[2][reason] += 1
    return rows


def as_text(rows):
    lines = [f"{'container':<12}{'in':>5}{'decoded':>9}  {'s off':>6}  left out"]
    for container, (given, decoded, left, off) in sorted(rows.items()):
        why = ", ".join(f"{number} {reason}" for reason, number in sorted(left.items()))
        lines.append(f"{container:<12}{given:>5}{decoded:>9}  {off:>6.3f}  {why}")
        assert given == decoded + sum(left.values())
    given, decoded = (sum(row[at] for row in rows.values()) for at in (0, 1))
    off = max(row[3] for row in rows.values())
    lines.append(
        f"{'all':<12}{given:>5}{decoded:>9}  {off:>6.3f}  {given - decoded} under a reason"
    )
    return "\n".join(lines)


@pytest.mark.long
def test_codecs_are_read_as_ffmpeg_has_them(made, tmp_path):
    folder, expected = made(KINDS)
    assert len(expected) >= 200
    rows = table_of(folder, expected, tmp_path / "out")
    print("\n" + as_text(rows))
    # What people have is decoded, not only accounted for.
    for name in ("adts", "aiff", "asf", "flac", "ipod", "matroska", "mp3", "mp4", "oga", "wav"):
        assert rows[name][1] > 0, name
