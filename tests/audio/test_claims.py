"""Headers that state what is not so: what is there is read, alike in every way of reading."""

import struct

import numpy as np
import pytest
from odd_audio import PICTURE, alike, id3v2

from playlist_pretrain.audio.decode import decode
from playlist_pretrain.audio.streams import sample_bytes
from playlist_pretrain.errors import AudioError

WAYS = ("builder", "audio_windows", "wav_bytes")
STREAMED = {  # what programs leave that write to a pipe: bytes of samples, or less a header
    "0": 0, "7FFFF000": 0x7FFFF000, "7FFFFFFF": 0x7FFFFFFF, "80000000": 0x80000000,
    "7FFFFFFF less a header": 0x7FFFFFFF - 44, "7FFFFF00": 0x7FFFFF00, "7F000000": 0x7F000000,
    "FFFFFFFF": 0xFFFFFFFF, "2³² less a header": 2**32 - 44, "FFFFFFFF less 36": 0xFFFFFFFF - 36,
    "FFFFF000": 0xFFFFF000,
}  # fmt: skip


def stating(wav, size, riff=None):
    """A wav file whose header states ``size`` bytes of samples."""
    at = wav.index(b"data") + 4
    riff = min(size + at - 4, 2**32 - 1) if riff is None else riff
    return wav[:4] + struct.pack("<I", riff) + wav[8:at] + struct.pack("<I", size) + wav[at + 4 :]


def read_by_all(ways, path, expected):
    for way in WAYS:
        assert alike(ways[way](path), expected, 0.01) == "", way


def refused_by_all(ways, path, words):
    for way in WAYS:
        with pytest.raises(Exception, match=words):
            ways[way](path)


@pytest.mark.slow
@pytest.mark.parametrize("size", STREAMED.values(), ids=STREAMED)
def test_lengths_that_streaming_programs_leave(size, tone, ways, by_ffmpeg, tmp_path):
    wav = tone("wav", rate=22050)
    (tmp_path / "whole.wav").write_bytes(wav)
    expected = by_ffmpeg(tmp_path / "whole.wav")
    for riff in (None, 0, 0xFFFFFFFF):
        (tmp_path / "a.wav").write_bytes(stating(wav, size, riff))
        read_by_all(ways, tmp_path / "a.wav", expected)


@pytest.mark.slow
@pytest.mark.parametrize("code", ["pcm_u8", "pcm_s24le", "pcm_s32le", "pcm_f32le", "pcm_f64le"])
def test_byte_rates_that_are_wrong_say_nothing_of_samples(code, tone, ways, by_ffmpeg, tmp_path):
    wav = tone("wav", "-c:a", code)
    (tmp_path / "whole.wav").write_bytes(wav)
    expected = by_ffmpeg(tmp_path / "whole.wav")
    at = wav.index(b"fmt ") + 16
    for rate in (0, 1, 4000, 2**32 - 1):
        (tmp_path / "a.wav").write_bytes(wav[:at] + struct.pack("<I", rate) + wav[at + 4 :])
        read_by_all(ways, tmp_path / "a.wav", expected)


CODES = ["adpcm_ms", "adpcm_ima_wav", "pcm_mulaw", "pcm_alaw", "libmp3lame", "mp2", "ac3", "flac"]


@pytest.mark.slow
@pytest.mark.parametrize("code", CODES)
def test_compressed_wav(code, tone, by_ffmpeg, ways, tmp_path):
    """Byte rates and lengths that are wrong change nothing; what is cut off is said to be."""
    wav = tone("wav", "-c:a", code)
    path = tmp_path / "a.wav"
    path.write_bytes(wav)
    expected = by_ffmpeg(path)
    at = wav.index(b"fmt ") + 16
    for rate in (0, 1, 4000, 2**31):
        path.write_bytes(wav[:at] + struct.pack("<I", rate) + wav[at + 4 :])
        assert alike(ways["builder"](path), expected) == ""
    for size in (0, 0x7FFFF000, 0xFFFFFFFF):
        path.write_bytes(stating(wav, size))
        if size == 0 and code.startswith("adpcm"):
            with pytest.raises(AudioError, match=r"no samples came of it|cut off: 0\.0 s"):
                ways["builder"](path)
        else:
            assert alike(ways["builder"](path), expected, 0.15) == ""
    for way in WAYS[1:]:
        with pytest.raises(Exception, match="an encoding other than PCM and floats"):
            ways[way](path)
    path.write_bytes(wav[: len(wav) // 2])
    with pytest.raises(AudioError, match=r"cut off: 1\.\d s of the (2\.[89]|3\.\d) s"):
        ways["builder"](path)


@pytest.mark.slow
def test_a_decoder_that_stops_early_is_noticed(tone, tmp_path):
    """AAC in wav gives one frame in seven; both what its header states and its bytes say more."""
    (tmp_path / "a.wav").write_bytes(tone("wav", "-c:a", "aac", channels=1))
    with pytest.raises(AudioError, match=r"cut off: 0\.1 s of the 3\.0 s that its header states"):
        decode(tmp_path / "a.wav")


@pytest.mark.slow
@pytest.mark.parametrize("name", ["a.wav", "a.w64"])
@pytest.mark.parametrize("code", ["pcm_s16le", "pcm_s24le", "pcm_f32le"])
@pytest.mark.parametrize(("kind", "options"), [("w64", ()), ("wav", ("-rf64", "always"))])
def test_long_wav_files_under_any_name(kind, options, code, name, tone, ways, by_ffmpeg, tmp_path):
    """W64, and RF64 with chunks behind the samples, which are none."""
    content = tone(kind, "-c:a", code, *options, rate=44100)
    (tmp_path / name).write_bytes(content)
    expected = by_ffmpeg(tmp_path / name)
    if kind == "wav":
        assert content[:4] == b"RF64"
        (tmp_path / name).write_bytes(content + b"LIST" + struct.pack("<I", 4000) + bytes(4000))
    read_by_all(ways, tmp_path / name, expected)
    (tmp_path / name).write_bytes(content[: len(content) // 2])
    refused_by_all(ways, tmp_path / name, "cut off")


def chunk(name, content):
    return name + struct.pack("<I", len(content)) + content + bytes(len(content) % 2)


CHUNKS = {  # before the format, and before the samples
    "JUNK first": (chunk(b"JUNK", bytes(28)), b""),
    "those of studios": (b"", b"".join([
        chunk(b"bext", bytes(602)), chunk(b"cue ", bytes(4)), chunk(b"smpl", bytes(36)),
        chunk(b"LIST", b"INFOISFT\4\0\0\0abc\0"), chunk(b"PEAK", bytes(24)),
    ])),
    "of an odd length": (chunk(b"LIST", b"abc"), chunk(b"LIST", b"INFOI")),
    "an ID3 tag": (b"", chunk(b"id3 ", id3v2(PICTURE))),
    "very many": (b"", chunk(b"JUNK", b"") * 900),
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("case", CHUNKS)
def test_chunks_before_the_samples(case, tone, ways, by_ffmpeg, tmp_path):
    wav, (first, then) = tone("wav"), CHUNKS[case]
    (tmp_path / "whole.wav").write_bytes(wav)
    at = wav.index(b"data")
    body = wav[8:12] + first + wav[12:36] + then + wav[at:]
    (tmp_path / "a.wav").write_bytes(b"RIFF" + struct.pack("<I", len(body)) + body)
    read_by_all(ways, tmp_path / "a.wav", by_ffmpeg(tmp_path / "whole.wav"))


def with_bits(wav, bits):
    at = wav.index(b"fmt ") + 22
    return wav[:at] + struct.pack("<H", bits) + wav[at + 2 :]


@pytest.mark.slow
@pytest.mark.parametrize(("code", "bits"), [("pcm_s16le", 12), ("pcm_s24le", 20)])
def test_bits_that_do_not_fill_their_bytes(code, bits, tone, ways, by_ffmpeg, tmp_path):
    wav = tone("wav", "-c:a", code)
    if code == "pcm_s24le":  # in the plain form
        at = wav.index(b"data")
        wav = wav[:16] + struct.pack("<IH", 16, 1) + wav[22:36] + wav[at:]
    (tmp_path / "a.wav").write_bytes(with_bits(wav, bits))
    read_by_all(ways, tmp_path / "a.wav", by_ffmpeg(tmp_path / "a.wav"))


def test_samples_in_more_bytes_than_their_bits_are_refused(tone, ways, tmp_path):
    """Decoders take the bytes of four such samples for five."""
    wav = with_bits(tone("wav", "-c:a", "pcm_s32le"), 24)
    at = wav.index(b"data")
    (tmp_path / "a.wav").write_bytes(wav[:16] + struct.pack("<IH", 16, 1) + wav[22:36] + wav[at:])
    refused_by_all(ways, tmp_path / "a.wav", "24 bits in 32 for each sample")


def test_a_big_endian_wav(tone, ways, by_ffmpeg, tmp_path):
    wav, path = tone("wav"), tmp_path / "a.wav"
    samples = np.frombuffer(wav, "<i2", offset=wav.index(b"data") + 8).astype(">i2").tobytes()
    head = struct.pack(">IHHIIHH", 16, 1, 2, 44100, 4 * 44100, 4, 16)
    body = b"WAVEfmt " + head + b"data" + struct.pack(">I", len(samples)) + samples
    path.write_bytes(wav)
    expected = by_ffmpeg(path)
    path.write_bytes(b"RIFX" + struct.pack(">I", len(body)) + body)
    for way in WAYS[:2]:
        assert alike(ways[way](path), expected, 0.01) == ""


@pytest.mark.slow
def test_chunks_behind_are_no_sound(tone, ways, by_ffmpeg, tmp_path):
    wav, path = tone("wav"), tmp_path / "a.wav"
    path.write_bytes(wav)
    expected = by_ffmpeg(path)
    path.write_bytes(wav + b"LIST" + struct.pack("<I", 40_000) + bytes(range(250)) * 160)
    read_by_all(ways, path, expected)
    # No samples, and other chunks, in a file of the length that it states.
    head = wav[: wav.index(b"data") + 8]
    empty = stating(head, 0, len(head) + 40_000) + path.read_bytes()[-40_008:]
    path.write_bytes(empty)
    assert sample_bytes(str(path)).stated == 0
    refused_by_all(ways, path, "holds no samples")


@pytest.mark.slow
def test_what_is_cut_off_is_said_to_be_and_a_little_is_no_matter(tone, ways, tmp_path):
    wav, path = tone("wav", rate=16000), tmp_path / "a.wav"
    path.write_bytes(wav[: len(wav) // 2])
    refused_by_all(ways, path, "cut off")
    path.write_bytes(stating(wav, 2**30))
    refused_by_all(ways, path, "cut off")
    (tmp_path / "whole.wav").write_bytes(wav)
    path.write_bytes(stating(wav, len(wav)))  # the size of the file: more than its samples
    read_by_all(ways, path, decode(tmp_path / "whole.wav").waveform)


@pytest.mark.slow
def test_a_flac_written_to_a_pipe_is_read(tone, ways, by_ffmpeg, tmp_path):
    flac, path = tone("flac"), tmp_path / "a.flac"
    path.write_bytes(flac)
    expected = by_ffmpeg(path)
    path.write_bytes(flac[:21] + bytes([flac[21] & 0xF0]) + bytes(4) + flac[26:])
    for way in WAYS[:2]:
        assert alike(ways[way](path), expected, 0.01) == ""


@pytest.mark.parametrize("size", [0, 0x7F000008, 0xFFFFFFFF])
def test_an_aiff_written_to_a_pipe_is_read(size, tone, by_ffmpeg, tmp_path):
    aiff, path = tone("aiff"), tmp_path / "a.aiff"
    path.write_bytes(aiff)
    expected = by_ffmpeg(path)
    at = aiff.index(b"SSND") + 4
    path.write_bytes(aiff[:at] + struct.pack(">I", size) + aiff[at + 4 :])
    found = decode(path, excerpt=None).waveform
    assert alike(found, expected, 0.01) == ""


def test_an_aiff_that_is_cut_off(tone, ways, tmp_path):
    aiff = tone("aiff")
    (tmp_path / "a.aiff").write_bytes(aiff[: len(aiff) // 2])
    for way in WAYS[:2]:
        with pytest.raises(Exception, match=r"cut off: 1\.5 s of the 3\.0 s"):
            ways[way](tmp_path / "a.aiff")


def half_known(wma, code):
    """A WMA file whose header states a codec, with the extra data of WMA Lossless."""
    wma = bytearray(wma)
    at = wma.index(struct.pack("<HHI", 0x161, 2, 44100))
    extra = struct.pack("<HIQHH", 16, 3, 0, 0xE0, 0)
    old = struct.unpack_from("<H", wma, at + 16)[0]
    stream = wma.rindex(bytes.fromhex("9107DCB7B7A9CF118EE600C00C205365"), 0, at)
    for place, kind in ((16, "<Q"), (stream + 16, "<Q"), (stream + 64, "<I")):
        size = struct.unpack_from(kind, wma, place)[0]
        struct.pack_into(kind, wma, place, size + len(extra) - old)
    struct.pack_into("<H", wma, at, code)
    struct.pack_into("<HH", wma, at + 14, 16, len(extra))
    wma[at + 18 : at + 18 + old] = extra
    return bytes(wma)


@pytest.mark.parametrize("code", [0x162, 0x163], ids=["Professional", "Lossless"])
def test_a_codec_that_the_decoder_half_knows_is_not_said_to_be_silence(code, tone, tmp_path):
    (tmp_path / "a.wma").write_bytes(half_known(tone("wma", "-c:a", "wmav2"), code))
    with pytest.raises(AudioError, match="is not supported in full; convert it") as caught:
        decode(tmp_path / "a.wma")
    assert "no audio" not in str(caught.value)


@pytest.mark.parametrize(("suffix", "options"), [
    ("m4b", ("-f", "ipod")), ("mp4", ()), ("wv", ()), ("mka", ("-c:a", "libvorbis")),
    ("oga", ("-c:a", "flac")), ("webm", ("-c:a", "libvorbis")), ("mp2", ()), ("w64", ()),
    ("m4a", ("-c:a", "alac")), ("aifc", ("-f", "aiff", "-c:a", "pcm_mulaw")), ("wma", ()),
])  # fmt: skip
def test_every_extension_that_is_looked_for_is_decoded(suffix, options, tone, by_ffmpeg, tmp_path):
    path = tmp_path / f"a.{suffix}"
    path.write_bytes(tone(suffix, *options))
    found = decode(path, excerpt=None).waveform
    assert alike(found, by_ffmpeg(path)) == ""


COVER, FILM = "color=red:s=64x64:d=0.04", "testsrc=d=3:s=64x64"
SINE, HIGHER = "sine=440:d=3", "sine=660:d=3"
PICTURED = ("-c:v", "png", "-disposition:v", "attached_pic")
SEVERAL = {
    "a cover first": ("m4a", [COVER, SINE], PICTURED),
    "a cover first, flac": ("flac", [COVER, SINE], PICTURED),
    "a cover first, mp3": ("mp3", [COVER, SINE], PICTURED),
    "a cover first, mka": ("mka", [COVER, SINE], ("-c:v", "png", "-c:a", "libvorbis")),
    "two sounds": ("m4a", [SINE, HIGHER], ()),
    "a film": ("mp4", [FILM, SINE], ("-c:v", "mpeg4")),
    "a film in parts": ("mp4", [FILM, SINE], ("-c:v", "mpeg4", "-movflags", "frag_keyframe")),
    "a film, webm": ("webm", [FILM, SINE], ("-c:v", "libvpx", "-c:a", "libvorbis")),
    "a film, ogg": ("ogg", [FILM, SINE], ("-c:v", "libtheora", "-c:a", "libvorbis")),
}


@pytest.mark.slow
@pytest.mark.parametrize("case", SEVERAL)
def test_of_several_streams_the_first_sound_is_taken(case, ffmpeg, by_ffmpeg, tmp_path):
    suffix, sources, options = SEVERAL[case]
    given = [word for source in sources for word in ("-f", "lavfi", "-i", source)]
    path = tmp_path / f"a.{suffix}"
    ffmpeg(*given, "-map", 0, "-map", 1, *options, path)
    assert alike(decode(path, excerpt=None).waveform, by_ffmpeg(path), 0.05) == ""


@pytest.mark.slow
def test_edit_lists(tone, ffmpeg, by_ffmpeg, tmp_path):
    (tmp_path / "whole.m4a").write_bytes(tone("m4a"))
    ffmpeg("-ss", 1.5, "-i", tmp_path / "whole.m4a", "-c", "copy", tmp_path / "a.m4a")
    found = decode(tmp_path / "a.m4a", excerpt=None).waveform
    assert alike(found, by_ffmpeg(tmp_path / "a.m4a"), 0.05) == ""


def test_a_film_without_sound_is_said_to_be_one(ffmpeg, tmp_path):
    ffmpeg("-f", "lavfi", "-i", FILM, "-c:v", "mpeg4", tmp_path / "a.mp4")
    with pytest.raises(AudioError, match=r"a\.mp4: has no sound track$"):
        decode(tmp_path / "a.mp4")


@pytest.mark.slow
@pytest.mark.parametrize("rate", [8000, 11025, 12000, 16000, 24000, 32000])
@pytest.mark.parametrize("options", [(), ("-q:a", 4), ("-write_xing", 0)], ids=str)
def test_mp3_of_every_version(options, rate, tone, by_ffmpeg, ways, tmp_path):
    (tmp_path / "a.mp3").write_bytes(tone("mp3", *options, rate=rate))
    for way in WAYS[:2]:
        assert alike(ways[way](tmp_path / "a.mp3"), by_ffmpeg(tmp_path / "a.mp3"), 0.05) == ""


@pytest.mark.slow
@pytest.mark.parametrize(("suffix", "options"), [
    ("opus", ("-mapping_family", 1)), ("ogg", ("-c:a", "libvorbis")), ("flac", ()), ("aiff", ()),
])  # fmt: skip
def test_six_channels(suffix, options, tone, by_ffmpeg, ways, tmp_path):
    path = tmp_path / f"a.{suffix}"
    path.write_bytes(tone(suffix, *options, channels=6, rate=48000))
    for way in WAYS[:2]:
        assert alike(ways[way](path), by_ffmpeg(path), 0.05) == ""


def test_a_codec_of_webm_that_is_not_known_is_named(tone, tmp_path):
    (tmp_path / "a.webm").write_bytes(tone("webm", "-c:a", "libopus", rate=48000))
    with pytest.raises(AudioError, match=r"its codec is not supported; convert it.*ffmpeg -i"):
        decode(tmp_path / "a.webm")
