"""Joined and tagged files: all their sound, at its pitch, as ffmpeg has it of each part."""

import time

import numpy as np
import pytest
from odd_audio import ID3V1, PICTURE, alike, apev2, bare_flac, id3v2, id3v24, vbri

from playlist_pretrain.audio.decode import decode
from playlist_pretrain.audio.streams import frame_at, streams_of
from playlist_pretrain.errors import AudioError

MP3, BARE = ("mp3",), ("mp3", "-write_xing", 0, "-id3v2_version", 0)
VBR = (*BARE, "-q:a", 6)
VORBIS, OPUS, OGG_FLAC = ("ogg", "-c:a", "libvorbis"), ("opus",), ("oga", "-c:a", "flac")
LOW, HIGH = {"rate": 22050}, {"rate": 44100, "hz": 660, "level": 0.3}
MONO = {"channels": 1, "hz": 550, "level": 0.3}
LIBSNDFILE = "no audio that libsndfile reads"

JOINED = {
    "mp3 of two rates": (MP3, [LOW, HIGH]),
    "mp3 of two rates, the higher first": (MP3, [HIGH, LOW]),
    "mp3 of three rates, without information frames": (BARE, [{"rate": 48000}, LOW, HIGH]),
    "mp3 of one rate": (MP3, [{}, {"hz": 660}]),
    "mp3 of variable bit rate": (VBR, [{"level": 0.001}, {"hz": 660}]),
    "mp3, mono and stereo": (MP3, [MONO, {}]),
    "mp3, stereo and mono": (MP3, [{}, MONO]),
    "ogg of two rates": (VORBIS, [LOW, HIGH]),
    "ogg of one rate": (VORBIS, [{}, {"hz": 660}]),
    "ogg, mono and stereo": (VORBIS, [MONO, {}]),
    "opus": (OPUS, [{"rate": 48000}, {"rate": 48000, "hz": 660}]),
    "opus, mono and stereo": (OPUS, [{**MONO, "rate": 48000}, {"rate": 48000}]),
    "flac of two rates": (("flac",), [LOW, HIGH]),
    "flac of one rate": (("flac",), [{}, {"hz": 660}]),
    "flac in ogg, of two rates": (OGG_FLAC, [LOW, HIGH]),
    "aac of two rates": (("aac",), [LOW, HIGH]),
    "aac, stereo and mono": (("aac",), [{}, MONO]),
}


@pytest.fixture(scope="module")
def by_part(tone, by_ffmpeg, tmp_path_factory):
    """Callable: kind, parts → the bytes of each, and what ffmpeg decodes of one after the other."""
    folder, waves = tmp_path_factory.mktemp("parts"), {}

    def parts_of(kind, parts):
        contents = [tone(*kind, **part) for part in parts]
        for content in contents:
            if content not in waves:
                (folder / f"part.{kind[0]}").write_bytes(content)
                waves[content] = by_ffmpeg(folder / f"part.{kind[0]}")
        return contents, np.concatenate([waves[content] for content in contents])

    return parts_of


@pytest.mark.slow
@pytest.mark.parametrize("case", JOINED)
@pytest.mark.parametrize("between", [b"", ID3V1 + id3v2(PICTURE) + id3v24()], ids=["", "tags"])
def test_of_a_joined_file_every_part_sounds_as_it_is(case, between, by_part, ways, tmp_path):
    kind, parts = JOINED[case]
    contents, expected = by_part(kind, parts)
    path = tmp_path / f"joined.{kind[0]}"
    path.write_bytes(between.join(contents))
    assert alike(ways["builder"](path), expected, 0.1) == ""
    if kind in (("aac",), OGG_FLAC):
        with pytest.raises(Exception, match=LIBSNDFILE):
            ways["audio_windows"](path)
    else:
        assert alike(ways["audio_windows"](path), expected, 0.1) == ""


@pytest.mark.parametrize("order", [1, -1])
def test_joined_flac_without_other_blocks(order, by_part, ways, tmp_path):
    contents, expected = by_part(("flac",), [LOW, HIGH][::order])
    (tmp_path / "a.flac").write_bytes(b"".join(map(bare_flac, contents)))
    for way in ("builder", "audio_windows"):
        assert alike(ways[way](tmp_path / "a.flac"), expected) == ""


def test_ogg_links_of_two_codecs(by_part, tmp_path):
    (vorbis,), first = by_part(VORBIS, [{}])
    (opus,), second = by_part(OPUS, [{"rate": 48000, "hz": 660}])
    (tmp_path / "a.ogg").write_bytes(vorbis + opus)
    found = decode(tmp_path / "a.ogg", excerpt=None).waveform
    assert alike(found, np.concatenate([first, second])) == ""


def test_an_excerpt_of_a_joined_file_is_its_centre(by_part, tmp_path):
    contents, expected = by_part(MP3, [LOW, HIGH])
    (tmp_path / "a.mp3").write_bytes(b"".join(contents))
    found = decode(tmp_path / "a.mp3", excerpt=4)
    assert found.source_seconds == pytest.approx(6, abs=0.1)
    assert found.start_seconds == pytest.approx(1, abs=0.05)
    assert alike(found.waveform, expected[16000:80000]) == ""


FRONT = {  # what is before the sound
    "a tag with a picture": id3v2(PICTURE),
    "two tags": id3v2(PICTURE) + id3v2(PICTURE, 500),
    "three tags of three kinds": id3v2(PICTURE) + apev2() + ID3V1,
    "a tag, padding within": id3v2(PICTURE, 4000),
    "a tag, padding behind": id3v2(PICTURE) + bytes(3000),
    "a tag with a footer": id3v24(),
    "an APEv2 picture": apev2(),
    "an APEv2 picture without a header": apev2(header=False),
}
BACK = {
    "ID3v1": ID3V1,
    "ID3v2": id3v2(PICTURE),
    "an APEv2 picture": apev2(),
    "APEv2 and ID3v1": apev2() + ID3V1,
    "a tag with a footer": id3v24(),
    "zeros": bytes(4000),
}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("front", "back"),
    [*((front, None) for front in FRONT), *((None, back) for back in BACK), ("two tags", "ID3v1")],
)
@pytest.mark.parametrize(
    "kind", [MP3, BARE, ("flac",), ("aac",)], ids=["mp3", "bare", "flac", "aac"]
)
def test_tags_around_a_stream(kind, front, back, by_part, ways, tmp_path):
    if kind == ("flac",) and front == "an APEv2 picture without a header":
        pytest.skip("nothing says what follows it")
    (content,), expected = by_part(kind, [{"channels": 1}])
    path = tmp_path / f"a.{kind[0]}"
    path.write_bytes(FRONT.get(front, b"") + content + BACK.get(back, b""))
    assert [stream.channels for stream in streams_of(str(path))] == [1]
    assert alike(ways["builder"](path), expected) == ""
    if kind != ("aac",):
        assert alike(ways["audio_windows"](path), expected) == ""


@pytest.mark.slow
@pytest.mark.parametrize("suffix", ["mp2", "mp3"])
@pytest.mark.parametrize("part", [{}, {"channels": 1}, {"rate": 24000}], ids=str)
def test_layer_two_under_any_name(suffix, part, by_part, ways, tmp_path):
    (content,), expected = by_part(("mp2",), [part])
    path = tmp_path / f"a.{suffix}"
    path.write_bytes(content)
    for way in ("builder", "audio_windows"):
        assert alike(ways[way](path), expected) == ""


@pytest.mark.slow
def test_an_information_frame_of_another_program_is_no_change(by_part, ways, tmp_path):
    """Old encoders write it as stereo, of a bit rate of its own, before mono frames."""
    (stereo,), _ = by_part((*MP3, "-id3v2_version", 0), [{}])
    (mono,), expected = by_part(BARE, [{"channels": 1}])
    _, _, size = frame_at(stereo, 0)
    (tmp_path / "a.mp3").write_bytes(stereo[:size] + mono)
    for way in ("builder", "audio_windows"):
        assert alike(ways[way](tmp_path / "a.mp3"), expected) == ""


@pytest.mark.slow
@pytest.mark.parametrize("kind", [VBR, BARE], ids=["variable", "constant"])
def test_the_number_of_frames_that_another_encoder_states(kind, by_part, ways, tmp_path):
    (content,), expected = by_part(kind, [{}])
    (tmp_path / "a.mp3").write_bytes(id3v2(PICTURE) + vbri(content) + content + ID3V1)
    for way in ("builder", "audio_windows"):
        assert alike(ways[way](tmp_path / "a.mp3"), expected) == ""


@pytest.mark.slow
@pytest.mark.parametrize("kind", [MP3, VBR, BARE], ids=["information", "variable", "bare"])
def test_a_stream_that_begins_and_ends_within_a_frame(kind, by_part, by_ffmpeg, ways, tmp_path):
    (content,), _ = by_part(kind, [{}])
    parts = {
        "begin": content[1000:],
        "end": content[:-100],
        "half": content[: len(content) // 2],
        "both": content[100:-100],
    }
    for name, part in parts.items():
        path = tmp_path / f"{name}.mp3"
        path.write_bytes(part)
        for way in ("builder", "audio_windows"):
            assert alike(ways[way](path), by_ffmpeg(path)) == "", (name, way)


@pytest.mark.parametrize("tags", [b"", ID3V1, apev2() + ID3V1], ids=["", "ID3v1", "two"])
def test_two_frames_are_a_sound_if_nothing_else_follows(tags, by_part, ways, tmp_path):
    (content,), _ = by_part(BARE, [{}])
    size = frame_at(content, 0)[2]
    size += frame_at(content, size)[2]
    (tmp_path / "a.mp3").write_bytes(id3v2(PICTURE) + content[:size] + tags)
    for way in ("builder", "audio_windows"):
        assert len(ways[way](tmp_path / "a.mp3")) == pytest.approx(2 * 1152 / 44100 * 16000, abs=2)


@pytest.mark.parametrize("reached", [b"\0", b"x"])
def test_damaged_tags_cost_no_time(reached, tmp_path):
    """Each states that it reaches to the same place, where no sound begins."""
    tags = 20_000
    head = [b"ID3\3\0\0" + bytes((tags - at) * 10 - 10 >> shift & 127 for shift in (21, 14, 7, 0))
            for at in range(tags)]  # fmt: skip
    (tmp_path / "a.mp3").write_bytes(b"".join(head) + reached * 20_000_000 + b"end")
    start = time.monotonic()
    assert streams_of(str(tmp_path / "a.mp3")) == []
    assert time.monotonic() - start < 10


@pytest.mark.slow
@pytest.mark.parametrize("first", [0.0003, 0.5])
def test_a_variable_bit_rate_without_its_length_is_read_to_the_end(
    first, ffmpeg, by_ffmpeg, ways, tmp_path
):
    noise = f"aevalsrc=if(lt(t\\,4)\\,{first}\\,0.5003-{first})*(random(0)-0.5):s=16000:d=8"
    ffmpeg("-f", "lavfi", "-i", noise, *BARE[1:], "-q:a", 4, tmp_path / "a.mp3")
    expected = by_ffmpeg(tmp_path / "a.mp3")
    for way in ("builder", "audio_windows"):
        found = ways[way](tmp_path / "a.mp3")
        assert abs(len(found) - len(expected)) < 1600
        halves = [np.std(wave[at]) for wave in (found, expected)
                  for at in (slice(8000, 56000), slice(72000, 120000))]  # fmt: skip
        np.testing.assert_allclose(halves[:2], halves[2:], rtol=0.05, atol=1e-4)


@pytest.mark.parametrize("start", [b"", b"\xff\xfb\x90\x64"])
def test_noise_that_looks_like_frames_is_no_sound(start, tmp_path):
    for seed in range(8):
        path = tmp_path / f"{seed}.mp3"
        path.write_bytes(start + np.random.default_rng(seed).bytes(50_000))
        assert streams_of(str(path)) == []
        with pytest.raises(AudioError, match="cannot be decoded"):
            decode(path)


def test_frames_between_noise_are_read(by_part, ways, tmp_path):
    (content,), expected = by_part(BARE, [{}])
    noise = [np.random.default_rng(seed).bytes(20_000) for seed in range(3)]
    (tmp_path / "a.mp3").write_bytes(noise[0] + content + noise[1] + content + noise[2])
    expected = np.concatenate([expected, expected])
    (stream,) = streams_of(str(tmp_path / "a.mp3"))
    assert len(stream.spans) == 2
    assert abs(len(ways["audio_windows"](tmp_path / "a.mp3")) - len(expected)) < 1600
    assert abs(len(ways["builder"](tmp_path / "a.mp3")) - len(expected)) < 1600


def test_a_sound_that_changes_all_the_time_is_refused_at_once(by_part, tmp_path):
    contents, _ = by_part(BARE, [{"seconds": 0.2}, {"seconds": 0.2, "channels": 1}])
    (tmp_path / "a.mp3").write_bytes(b"".join(contents) * 60)
    with pytest.raises(AudioError, match=r"a\.mp3: its sample rate or channels change more than"):
        decode(tmp_path / "a.mp3")


@pytest.mark.parametrize(
    ("codec", "kind"), [("libmp3lame", "mpeg"), ("libmp3lame", "mpegts"), ("aac", "mpegts")]
)
def test_a_film_is_not_taken_for_its_frames(codec, kind, ffmpeg, tmp_path):
    path = tmp_path / "a.aac"
    ffmpeg("-f", "lavfi", "-i", "sine=440:d=2", "-c:a", codec, "-f", kind, path)
    with pytest.raises(AudioError, match="is an MPEG program or transport stream"):
        decode(path)


@pytest.mark.parametrize("suffix", ["m4a", "wav", "mka", "wma"])
def test_a_wrong_name_does_not_matter(suffix, by_part, tmp_path):
    (content,), expected = by_part((suffix,), [{}])
    (tmp_path / "a.mp3").write_bytes(content)
    assert alike(decode(tmp_path / "a.mp3", excerpt=None).waveform, expected) == ""
