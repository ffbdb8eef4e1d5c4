"""``tracks.csv``: the tags of a collection's files, through builds, additions and kills."""

import csv
import os
import posixpath

import pytest
from build_loaders import PAPER, Tagged, Tones, content, interrupt_at_shard, sources

from playlist_pretrain.audio.file_tags import FileTags
from playlist_pretrain.errors import CollectionError, GroupsError
from playlist_pretrain.playlists.match import match_playlists
from playlist_pretrain.records.build import make_collection
from playlist_pretrain.records.sources import TrackSource
from playlist_pretrain.records.track_tags import COLUMNS, TRACKS_FILE, read_tracks, write_tracks


def table(folder):
    with open(folder / TRACKS_FILE, encoding="utf-8", newline="") as stream:
        header, *rows = csv.reader(stream)
    assert tuple(header[: len(COLUMNS)]) == COLUMNS
    return {row[0]: row[1:] for row in rows}


def row_of(track):
    return [
        f"by {track.source}",
        "",
        track.source,
        "'=x",
        "1999",
        posixpath.dirname(track.track_id),
    ]


def test_the_tags_of_every_track_that_is_kept(make, tmp_path):
    tracks = sources("unreadable:", "silent:", "short:")
    made = make(tracks, load=Tagged()).collection
    found = table(tmp_path / "out")
    assert list(found) == list(made.track_ids) and len(found) == 39
    assert found == {track.track_id: row_of(track) for track in tracks[1:]}
    key = made.content_key
    again = make(tracks, load=Tones(), overwrite=True).collection  # whose loader reads none
    assert again.content_key == key


def test_a_build_that_was_interrupted_has_the_same(make, tmp_path):
    make(load=Tagged())
    expected = content(tmp_path / "out")
    make(load=Tagged(), overwrite=True)
    assert content(tmp_path / "out") == expected
    (tmp_path / "out").rename(tmp_path / "whole")
    with pytest.MonkeyPatch.context() as patch, pytest.raises(KeyboardInterrupt):
        interrupt_at_shard(patch, 2)
        make(load=Tagged())
    assert make(load=Tagged()).kept == 2
    assert content(tmp_path / "out") == expected


def test_additions_leave_the_rows_that_are_there(make, tmp_path):
    make(sources(count=20), load=Tagged())
    edited = read_tracks(tmp_path / "out")
    first, second, *_ = edited.rows
    edited.header.append("mood")
    edited.rows = {i: (*row, "calm") for i, row in edited.rows.items() if i != second}
    edited.rows[first] = (first, "Mended", "", "", "", "", "", "calm")
    write_tracks(tmp_path / "out", edited, {})
    before = table(tmp_path / "out")
    more = [TrackSource("new", "noise:99")]
    make([*sources(count=20), *more], load=Tagged(), add=True)
    after = table(tmp_path / "out")
    assert after[first] == ["Mended", "", "", "", "", "", "calm"]
    assert {i: after[i] for i in before} == before
    assert after[second] == [*row_of(sources(count=20)[1]), ""]  # it had no row: read again
    assert after["new"] == [*row_of(more[0]), ""]
    assert list(after) == [*before, second, "new"]


@pytest.mark.parametrize("step", range(7))
@pytest.mark.parametrize("add", [False, True])
def test_killed_while_it_is_moved(make, killed_while_moving, tmp_path, add, step):
    tracks = sources(count=20)
    if add:
        make(tracks, load=Tagged())
        tracks = [*tracks, *(TrackSource(f"new {n}", f"noise:{n}") for n in range(50, 70))]
    with killed_while_moving(step):
        make(tracks, load=Tagged(), add=add)
    if (tmp_path / "out" / "collection.json").exists():
        assert len(table(tmp_path / "out")) >= 20
    make(tracks, load=Tagged(), add=add)
    assert table(tmp_path / "out") == {track.track_id: row_of(track) for track in tracks}
    assert not (tmp_path / "out" / ".build").exists()


def test_a_collection_without_the_table_gets_it(make, tmp_path):
    """As one of an earlier version, or whose files were tagged since and the table removed."""
    tracks = sources("silent:", count=20)
    made = make(tracks, load=Tagged()).collection
    whole = (tmp_path / "out" / TRACKS_FILE).read_bytes()
    (tmp_path / "out" / TRACKS_FILE).unlink()
    again = make(tracks, load=Tagged())
    assert (again.made, again.added) == (0, 0)
    assert again.collection.content_key == made.content_key
    assert (tmp_path / "out" / TRACKS_FILE).read_bytes() == whole


def test_no_table_is_written_for_loaders_that_read_none(make, tmp_path):
    make()
    (tmp_path / "out" / TRACKS_FILE).write_text("track_id,title\nx,T\n")
    make([*sources(), TrackSource("new", "noise:99")], add=True)
    assert (tmp_path / "out" / TRACKS_FILE).read_text() == "track_id,title\nx,T\n"
    assert read_tracks(tmp_path / "out").known("artist") == 0
    os.remove(tmp_path / "out" / TRACKS_FILE)
    make([*sources(), TrackSource("new", "noise:99")], add=True)
    assert not (tmp_path / "out" / TRACKS_FILE).exists()


def test_a_damaged_table_is_said_before_an_addition_begins(make, tmp_path):
    make(sources(count=20), load=Tagged())
    (tmp_path / "out" / TRACKS_FILE).write_text("track_id,artist\na\n")
    before = content(tmp_path / "out")
    with pytest.raises(CollectionError, match=r"tracks.csv: line 2: 1 cells.*; mend it, or remove"):
        make([*sources(count=20), TrackSource("new", "noise:9")], load=Tagged(), add=True)
    assert {k: v for k, v in content(tmp_path / "out").items() if ".build" not in k} == before


def test_names_are_counted(tmp_path):
    rows = [("a", "A"), ("b", "unknown|B"), ("c", "unknown"), ("d", "")]
    write_tracks(
        tmp_path, read_tracks(tmp_path), {i: FileTags(artist=artist) for i, artist in rows}
    )
    found = read_tracks(tmp_path)
    assert (found.known("artist"), found.known("album"), found.known("other")) == (2, 0, 0)
    assert found.rows["b"] == ("b", "unknown|B", "", "", "", "", "")


def test_folders_are_groups_where_there_are_no_tags(make_collection, tmp_path):
    ids = ["A/One/1", "A/One/2", "A|B/3", "A|B/4", "Unknown Album/5", "Unknown Album/6", "7"]
    collection = make_collection(tmp_path / "mine", [10] * len(ids), ids=ids)
    write_tracks(collection.path, read_tracks(collection.path), dict.fromkeys(ids, FileTags()))
    with pytest.raises(GroupsError, match=r"column 'artist' .* such as --columns group=folder"):
        match_playlists("tags", collection)
    found = match_playlists("tags", collection, columns={"group": "folder"})
    assert (found.kind, list(found.groups.group_ids)) == ("playlists", ["A/One", "A/B"])
    assert found.groups.rows.tolist() == [0, 1, 2, 3]


def test_with_beam(in_process, monkeypatch, tmp_path):
    pytest.importorskip("apache_beam")
    from playlist_pretrain.records import beam_build, build

    monkeypatch.setattr(beam_build, "work_through", build.work_through)
    run = beam_build.run_on("--runner=FnApiRunner")
    for name, shards in (("local", None), ("beam", run)):
        make_collection(tmp_path / name, sources(), PAPER, Tagged(), make_shards=shards)
    assert content(tmp_path / "beam") == content(tmp_path / "local")
    assert TRACKS_FILE in content(tmp_path / "beam")
