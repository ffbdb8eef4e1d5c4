"""Groups over the tracks of an embedding table: of its collection, its tags, a table of artists."""

import numpy as np
import pytest

from playlist_pretrain.errors import CollectionError, EmbeddingsError, GroupsError, TableError
from playlist_pretrain.playlists.groups import TrackGroups, groups_path
from playlist_pretrain.records.schema import PackedStrings
from playlist_pretrain.retrieval.embedding_table import EmbeddingTable
from playlist_pretrain.retrieval.table_groups import (
    KnownTracks,
    artists_of,
    collection_groups,
    collection_of,
    groups_of_table,
    groups_of_tags,
)


@pytest.fixture
def collection(make_collection, tmp_path):
    made = make_collection(tmp_path / "mine", [4] * 6, ids=list("abcdef"))
    for name, lists in {"artists": [[0, 1], [2, 5]], "playlists": [[5, 3, 0], [1, 4]]}.items():
        TrackGroups.from_lists(
            name, lists, tracks=6, collection_key=made.content_key
        ).save(groups_path(made.path, name))  # fmt: skip
    (made.path / "tags.tsv").write_text(
        "track_id\tsplit\ttags\na\ttrain\tgenre---x|mood---y\nb\ttest\tgenre---x\nz\ttrain\tmood---y\n"
        "f\ttrain\tmood---y|plain\n"
    )
    return made


def table_of(ids, **about):
    packed = PackedStrings.pack(ids)
    return EmbeddingTable(packed, np.ones((len(ids), 2), np.float32), about=about), KnownTracks(
        packed
    )


def members(groups, ids):
    return {
        groups.group_ids[i]: [ids[row] for row in groups.group(i)]
        for i in range(len(groups))
        if len(groups.group(i))
    }


@pytest.fixture
def said(caplog):
    """What is logged, a line each."""
    caplog.set_level("INFO", "playlist_pretrain")
    return lambda: [record.getMessage() for record in caplog.records]


def test_rows_become_those_of_the_table(collection, said):
    ids = ["f", "x", "a", "d", "b"]
    _, known = table_of(ids)
    found = collection_groups(known, collection)
    by_name = {groups.name: members(groups, ids) for groups in found}
    assert by_name == {
        "artists": {"0": ["a", "b"], "1": ["f"]},
        "playlists": {"0": ["f", "d", "a"], "1": ["b"]},
        "tags": {"plain": ["f"]},
        "tags-genre": {"genre---x": ["a", "b"]},
        "tags-mood": {"mood---y": ["a", "f"]},
    }
    assert said() == [f"1 of 5 tracks are not in {collection.path}"]
    (only,) = collection_groups(known, collection, ["playlists"])
    assert only.name == "playlists"


def test_artists_of_rows(collection):
    groups = collection_groups(table_of(["f", "x", "a"])[1], collection)
    assert artists_of(groups, [2, 1, 0, 2]) == ["0", None, "1", "0"]
    assert artists_of([], [1, 0]) == [None, None]


def test_what_cannot_be_read_is_said_unless_it_is_wanted(collection, said):
    groups_path(collection.path, "artists").write_bytes(b"PK")
    (collection.path / "tags.tsv").write_text("track_id\tother\na\tb\n")
    _, known = table_of(["a", "b"])
    found = collection_groups(known, collection)
    assert [groups.name for groups in found] == ["playlists"]
    assert "groups-artists.npz: not a whole groups file" in said()[0]
    assert "no column 'tags'" in said()[1]
    for name, message in (("artists", "not a whole groups file"), ("albums", "has no groups 'alb")):
        with pytest.raises(GroupsError, match=message):
            collection_groups(known, collection, [name])


def test_the_collection_of_a_table(collection, tmp_path):
    key = collection.content_key
    table, _ = table_of(["a"], collection=str(collection.path), collection_key=key)
    assert collection_of(table, None).content_key == key
    assert collection_of(table_of(["a"])[0], None) is None
    assert collection_of(table_of(["a"])[0], str(collection.path)).content_key == key
    moved = {"collection": str(tmp_path / "moved"), "collection_key": "7" * 32}
    with pytest.raises(CollectionError, match="no such folder"):
        collection_of(table_of(["a"], **moved)[0], None)
    with pytest.raises(CollectionError, match=f"content .key {key[:8]}.* of .key 77777777"):
        collection_of(table_of(["a"], **moved)[0], str(collection.path))
    with pytest.raises(EmbeddingsError, match="no track of the embeddings is in"):
        collection_groups(table_of(["A", "B"])[1], collection)


def test_artists_from_a_table(tmp_path):
    ids = ["a", "b", "c"]
    _, known = table_of(ids)
    path = tmp_path / "artists.csv"
    path.write_text(
        'artist,year,track_id\n"x, y",1,a\nz,2,b\n"x, y",1,b\n"x, y",1,a\n,1,c\nq,1,zz\n'
    )
    (groups,) = groups_of_table(path, known)
    assert members(groups, ids) == {"x, y": ["a", "b"], "z": ["b"]}
    assert artists_of([groups], [0, 1, 2]) == ["x, y", "x, y, z", None]
    path.write_text("track_id,artist\na,Unknown\na,x|y\nb,<unknown>|y\nc,Various Artists\n")
    (groups,) = groups_of_table(path, known)
    assert members(groups, ids) == {"x": ["a"], "y": ["a", "b"]}
    path.write_text("track_id,artist\na,unknown\nb,-\n")
    with pytest.raises(TableError, match="no artist of any track of the embeddings"):
        groups_of_table(path, known)
    path.write_text("track_id,artist,album\na,x,one\nb,x,-\nc,,one\n")
    artists, albums = groups_of_table(path, known)
    assert (artists.name, albums.name) == ("artists", "albums")
    assert members(albums, ids) == {"one": ["a", "c"]}
    path.write_text("track_id,artist,album\na,x,\n")
    assert [one.name for one in groups_of_table(path, known)] == ["artists"]


def test_artists_and_albums_from_the_tags_of_a_collection(collection, caplog):
    caplog.set_level("INFO")
    ids = ["b", "a"]
    _, known = table_of(ids)
    path = collection.path / "tracks.csv"
    assert groups_of_tags(collection, known) == []
    path.write_text("track_id,artist,title\na,unknown,T\n")  # nothing to say of this one
    assert groups_of_tags(collection, known) == [] and not caplog.messages
    path.write_text("track_id,artist,title\na,A|B,T\nb,B,\nc,B,\n")
    (found,) = groups_of_tags(collection, known)
    assert found.name == "artists" and members(found, ids) == {"A": ["a"], "B": ["a", "b"]}
    path.write_text("track_id,artist,album\na,unknown,X\nb,,X\n")
    (found,) = groups_of_tags(collection, known)
    assert found.name == "albums" and members(found, ids) == {"X": ["a", "b"]}
    path.write_text("track_id,artist\na\n")
    assert groups_of_tags(collection, known) == []
    assert "tracks.csv: line 2" in caplog.messages[-1]


@pytest.mark.parametrize(("content", "message"), [
    ("track_id,name\na,b\n", "no column 'artist' or 'artist_id'; its columns are: 'track_id', 'na"),
    ("artist\nb\n", "no column 'track_id'"),
    ("", "the file is empty"),
    ("track_id,artist_id\nq,x\n", "ids look like 'a'; the table's look like 'q'"),
    ("track_id,artist\na,\n", "no artist of any track"),
    ("track_id,artist\na\n", "line 2: 1 cells"),
])  # fmt: skip
def test_artists_that_cannot_be_read(content, message, tmp_path):
    (tmp_path / "artists.csv").write_text(content)
    with pytest.raises(TableError, match=message):
        groups_of_table(tmp_path / "artists.csv", table_of(["a"])[1])
