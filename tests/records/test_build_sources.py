import os
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from playlist_pretrain.errors import AudioError, TableError, TrackError
from playlist_pretrain.records.sources import (
    AUDIO_EXTENSIONS,
    TrackSource,
    find_audio,
    read_tracks_table,
)


def fill(folder, *names):
    for name in names:
        path = os.path.join(os.fsencode(folder), os.fsencode(name))
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "wb"):
            pass
    return folder


def test_ids_are_paths_without_extension_sorted(tmp_path):
    long_name = "l" * 240
    composed, decomposed = (unicodedata.normalize(form, "é/ü") for form in ("NFC", "NFD"))
    names = ["b/2.Flac", "b/1.mp3", "a.b.OGG", f"{long_name}/{'m' * 60}.ogg", "B.m4a"]
    names += [f"{composed}.wav", f"{decomposed}.wav"]  # not normalised
    found = find_audio(fill(tmp_path, *names, "cover.jpg", "b/notes.txt"))
    ids = [track.track_id for track in found.tracks]
    assert ids == sorted(ids)
    assert {composed, decomposed, "b/2", "a.b", f"{long_name}/{'m' * 60}", "B"} < set(ids)
    assert {track.source for track in found.tracks} == set(names)
    assert found.other_files == {".jpg": 1, ".txt": 1}


def test_every_documented_extension_in_any_case_and_nothing_hidden(tmp_path):
    cases = [kind for one in AUDIO_EXTENSIONS for kind in (one, one.upper())]
    fill(tmp_path, *(f"{n}{kind}" for n, kind in enumerate(cases)))
    found = find_audio(fill(tmp_path, "._a.mp3", ".hidden/b.mp3", "x/.c.wav", ".mp3"))
    assert len(found.tracks) == len(cases) and not found.other_files


def test_links_that_lead_back_end(tmp_path):
    fill(tmp_path, "a/x.ogg")
    (tmp_path / "a/up").symlink_to(tmp_path)
    (tmp_path / "self.ogg").symlink_to("self.ogg")
    assert [track.track_id for track in find_audio(tmp_path).tracks] == ["a/x", "self"]


def test_two_files_with_one_id_name_both(tmp_path):
    with pytest.raises(TrackError, match=r"id 'x/a': 'x/a\.mp3' and 'x/a\.ogg'.*--tracks"):
        find_audio(fill(tmp_path, "x/a.ogg", "x/a.mp3"))
    more = r"'b\.mp3' and 'b\.mp4' \(and 2 more such files\); rename or remove one"
    with pytest.raises(TrackError, match=more):
        find_audio(fill(tmp_path, "b.mp3", "b.mp4", "x/a.MP4"))


def test_a_folder_without_audio(tmp_path):
    with pytest.raises(AudioError, match="it is empty"):
        find_audio(tmp_path)
    fill(tmp_path, "cover.jpg", "x/a.wav.txt")
    with pytest.raises(AudioError, match=r"2 files of other kinds \(1 \.jpg, 1 \.txt\)"):
        find_audio(tmp_path)
    with pytest.raises(AudioError, match="missing does not exist"):
        find_audio(tmp_path / "missing")
    with pytest.raises(AudioError, match=r"cover\.jpg is not a folder"):
        find_audio(tmp_path / "cover.jpg")


def test_a_table_of_tracks(tmp_path):
    text = f"track_id,path\nb,{tmp_path}/x/1.ogg\n a ,x/1 .ogg\na,./x/../1.ogg\n"
    (tmp_path / "t.csv").write_text(text)
    tracks = read_tracks_table(tmp_path / "t.csv", tmp_path)
    expected = {" a ": "x/1 .ogg", "a": "1.ogg", "b": "x/1.ogg"}
    assert tracks == [TrackSource(*entry) for entry in expected.items()]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("track_id|path\n1|a\n", r"its columns are: 'track_id\|path'"),
        ("track_id,path\na,x.ogg\nb,z\na,y.ogg\n", r"'a' is on line 2 \('x.ogg'\).*4 \('y.ogg'\)"),
        ("track_id,path\na,\n", "line 2: column 'path' is empty"),
        ("track_id,path\na,../x.ogg\n", r"line 2: the path '\.\./x\.ogg' is not inside"),
    ],
)
def test_bad_tables(tmp_path, text, message):
    (tmp_path / "audio").mkdir()
    (tmp_path / "t.csv").write_text(text)
    with pytest.raises(TableError, match=message) as caught:
        read_tracks_table(tmp_path / "t.csv", tmp_path / "audio")
    assert "t.csv" in str(caught.value)


@given(path=st.text(alphabet="ab./ ", min_size=1, max_size=12))
def test_no_path_of_a_table_leaves_the_folder(tmp_path_factory, path):
    folder = tmp_path_factory.mktemp("audio")
    (folder / "t.csv").write_text(f'track_id,path\na,"{path}"\n')
    try:
        (track,) = read_tracks_table(folder / "t.csv", folder)
    except TableError:
        return
    assert os.path.realpath(folder / track.source).startswith(os.path.realpath(folder) + os.sep)


def test_paths_of_a_table_are_those_of_files_however_they_are_written(tmp_path, caplog):
    caplog.set_level("INFO")
    fill(tmp_path / "music", "Nina/Été.WAV", "b/50% off.ogg", "c.mp3")
    decomposed = unicodedata.normalize("NFD", "Été")
    paths = {"1": f"nina/{decomposed}.wav", "2": "b\\50%25 off.ogg", "3": "c.mp3", "4": "gone.mp3"}
    lines = [f"{track},{path}\n" for track, path in paths.items()]
    (tmp_path / "t.csv").write_text("track_id,path\n" + "".join(lines))
    tracks = read_tracks_table(tmp_path / "t.csv", tmp_path / "music")
    expected = ["Nina/Été.WAV", "b/50% off.ogg", "c.mp3", "gone.mp3"]
    assert [track.source for track in tracks] == expected
    assert any("matched percent-decoded" in message for message in caplog.messages)


def test_paths_of_a_table_mean_files_of_the_folder(tmp_path):
    music = fill(tmp_path / "music", "a.wav", "B.wav", "é.wav", "Music/a.wav", "Music/x y.wav")
    paths = {
        "a.wav": "a.wav", "b.WAV": "B.wav", f"{music}/A.wav": "a.wav", "e\u0301.wav": "é.wav",
        f"file://{music}/Music/x%20y.wav": "Music/x y.wav", "./music//A.wav": "Music/a.wav",
        "Music\\x%20y.wav": "Music/x y.wav", "Music/gone.wav": "Music/gone.wav",
    }  # fmt: skip

    def read(paths, prefix=None):
        rows = "".join(f"{number},{path}\n" for number, path in enumerate(paths))
        (tmp_path / "t.csv").write_text(f"track_id,path\n{rows}", encoding="utf-8")
        tracks = read_tracks_table(tmp_path / "t.csv", music, prefix)
        return [track.source for track in tracks]

    assert read(paths) == list(paths.values())
    assert read(["Music/a.wav"], "Music") == ["a.wav"]


@pytest.mark.parametrize("prefix", [None, "D:\\Music"])
def test_paths_of_a_table_from_another_system(tmp_path, prefix):
    fill(tmp_path / "music", "a/1.mp3", "a/2.mp3")
    (tmp_path / "t.csv").write_text("track_id,path\nx,D:\\Music\\a\\1.mp3\ny,D:\\Music\\a\\2.mp3\n")
    tracks = read_tracks_table(tmp_path / "t.csv", tmp_path / "music", prefix)
    assert tracks == [TrackSource("x", "a/1.mp3"), TrackSource("y", "a/2.mp3")]
    (tmp_path / "t.csv").write_text(
        "track_id,path\nx,/old/a/1.mp3\ny,/old/a/2.mp3\nz,/etc/passwd\n"
    )
    with pytest.raises(TableError, match=r"line 4: the path '/etc/passwd' is not inside"):
        read_tracks_table(tmp_path / "t.csv", tmp_path / "music")
