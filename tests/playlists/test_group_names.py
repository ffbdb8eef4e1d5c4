"""Groups of the collection's own tags, names that are no group's, and groups that are too large."""

import json

import pytest

from playlist_pretrain.cli import match_playlists as command
from playlist_pretrain.errors import GroupsError, PlaylistPretrainError, RecipeError, TableError
from playlist_pretrain.playlists.groups import TrackGroups, _same_command
from playlist_pretrain.playlists.match import match_playlists

IDS = [f"t{i:02}" for i in range(20)]


@pytest.fixture
def mine(make_collection, tmp_path):
    made = make_collection(tmp_path / "mine", [10] * len(IDS), ids=IDS)
    rows = [
        ("A", "One", "Rock", "1999"), ("A|B", "One", "Rock|Pop", "1999"), ("B", "Two", "Pop", ""),
        ("A", "Two", "Pop", "2004"), ("", "", "", ""), ("Unknown", "unknown album", "Other", ""),
        ("unknown|C", "-", "", "2004"), ("C", "Various", "", ""),
        ("Original Soundtrack", "", "", ""), ("original  soundtrack", "", "", ""),
        *[("<unknown>", "", "", "")] * 10,
    ]  # fmt: skip
    lines = [",".join([one, *row]) for one, row in zip(IDS, rows, strict=True)]
    head = "track_id,artist,album,genre,year"
    (made.path / "tracks.csv").write_text("\n".join([head, *lines]) + "\n")
    return made


def found_by(match):
    groups = match.groups
    return {name: [IDS[row] for row in groups.group(i)] for i, name in enumerate(groups.group_ids)}


def left_out(match):
    return {reason: count for reason, count, _ in match.coverage.rows_left_out}


def test_artists_of_the_tags(mine, caplog):
    caplog.set_level("INFO")
    found = match_playlists("tags", mine)
    assert (found.kind, found.groups.name) == ("artists", "artists")
    assert found_by(found) == {"A": ["t00", "t01", "t03"], "B": ["t01", "t02"], "C": ["t06", "t07"]}
    assert left_out(found) == {
        "column 'artist' is empty": 1,
        "of group 'unknown', which names none": 12,
    }
    assert found.coverage.groups_read == 5  # and two spellings of one that has a track each
    text = found.coverage.text()
    assert "\n  largest groups\n    3  'A'\n    2  'B'\n    2  'C'\n" in text + "\n"
    assert "of group 'unknown', which names none" in text
    report = json.loads(found.path.with_suffix(".report.json").read_text())
    assert report["source"] == "tags" and report["largest"][0] == {"group": "A", "tracks": 3}
    again = _same_command(found.path, "artists", str(mine.path))
    assert again.split("match_playlists.py ")[1].startswith("--playlists tags ")
    assert not any("fifth" in message for message in caplog.messages)


@pytest.mark.parametrize(
    ("column", "name", "groups"),
    [
        ("album", "albums", {"One": ["t00", "t01"], "Two": ["t02", "t03"]}),
        ("genre", "genres", {"Rock": ["t00", "t01"], "Pop": ["t01", "t02", "t03"]}),
        ("year", "years", {"1999": ["t00", "t01"], "2004": ["t03", "t06"]}),
    ],
)
def test_groups_of_the_other_tags(mine, column, name, groups):
    found = match_playlists("tags", mine.path, columns={"group": column})
    assert (found.kind, found.groups.name, found_by(found)) == (name, name, groups)


def test_the_command(mine, capsys, monkeypatch, tmp_path):
    words = ["--playlists", "tags", "--collection", str(mine.path)]
    ignored = ["--ignore", "original SOUNDTRACK", "Nobody, at all"]
    assert command.main([*words, "--columns", "group=artist", *ignored]) == 0
    said, errors = capsys.readouterr()
    said += errors
    assert "of group 'original soundtrack', by --ignore" in said
    assert "--ignore 'Nobody, at all': no group has this name" in said
    assert "--ignore 'original SOUNDTRACK': no group" not in said
    assert "--pairs artist_co" in said.splitlines()[-1] or "--pairs artist_co" in said
    again = _same_command(mine.path / "groups-artists.npz", "artists", str(mine.path))
    assert "--ignore 'original SOUNDTRACK' 'Nobody, at all'" in again
    # A file of that name is no word.
    (tmp_path / "tags").mkdir()
    (tmp_path / "tags" / "a.m3u").write_text("t00.mp3\nt05.mp3\n")
    monkeypatch.chdir(tmp_path)
    words[1] = "./tags"
    assert command.main(words) == 0
    assert TrackGroups.load(mine.path / "groups-playlists.npz").rows.tolist() == [0, 5]


def test_what_tags_cannot_answer(mine, make_collection, tmp_path):
    bare = make_collection(tmp_path / "bare", [10] * 3)
    for arguments, kind, message in (
        ({"collection": bare}, TableError, r"tracks.csv: no such file; the make_tfrecords command"),
        (
            {"columns": {"group": "mood"}},
            TableError,
            "no column 'mood'; its columns are: 'track_id",
        ),
        ({"format": "m3u"}, RecipeError, "--format m3u: tags are in a table"),
        ({"audio": "music"}, TableError, "--audio is not for format table"),
    ):
        with pytest.raises(kind, match=message):
            match_playlists("tags", **{"collection": mine} | arguments)
    (mine.path / "tracks.csv").write_text("track_id,artist\nt00,\nt01,unknown\nt02,VA\n")
    with pytest.raises(GroupsError) as caught:
        match_playlists("tags", mine)
    message = str(caught.value)
    assert "holds no groups" in message and "'t01' of group 'unknown'" in message
    assert f"fill in column 'artist' of {mine.path / 'tracks.csv'}, or take another" in message


def table(folder, header, names):
    rows = [f"{name},{track}" for name, track in zip(names, IDS, strict=False)]
    (folder / "t.csv").write_text("\n".join([f"{header},track_id", *rows]) + "\n")
    return folder / "t.csv"


NAMES = ["a", "a", "Various Artists", "various artists", "", "N/A", "-", "-", "b", "b"]


@pytest.mark.parametrize(
    ("header", "options", "kept", "kind"),
    [
        ("artist", {"columns": {"group": "artist"}}, ["a", "b"], "artists"),
        ("Album_ID", {"columns": {"group": "Album_ID"}}, ["a", "b"], "albums"),
        ("composer", {"columns": {"group": "composer"}}, ["a", "b"], "playlists"),
        ("group_id", {"kind": "artists"}, ["a", "b"], "artists"),
        # Names of playlists are what they are, but for those that --ignore names.
        ("group_id", {}, ["a", "-", "b"], "playlists"),
        ("name", {"columns": {"group": "name"}, "kind": "playlists"}, ["a", "-", "b"], "playlists"),
        ("group_id", {"ignore": ["-", "B "]}, ["a"], "playlists"),
        ("artist", {"columns": {"group": "artist"}, "ignore": "A"}, ["b"], "artists"),
    ],
)
def test_names_in_a_table(mine, tmp_path, header, options, kept, kind):
    found = match_playlists(table(tmp_path, header, NAMES), mine, **options)
    assert list(found_by(found)) == kept and found.kind == kind
    rows = found.coverage.entries_read + sum(left_out(found).values())
    assert rows == len(NAMES)  # each is an entry, or counted


def test_parquet_with_lists_and_nulls(mine, tmp_path):
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    columns = {"artist": [["A", "unknown"], ["A"], None, ["VA"], []], "track_id": IDS[:5]}
    parquet.write_table(pyarrow.table(columns), tmp_path / "t.parquet")
    found = match_playlists(tmp_path / "t.parquet", mine, columns={"group": "artist"})
    assert found_by(found) == {"A": IDS[:2]}
    assert sum(left_out(found).values()) == 4


def test_artists_of_the_million_playlist_dataset(mine, tmp_path):
    uris = ["spotify:artist:0LyfQWJT6nXafLPZqxke9Of", "artist:a"] * 2
    tracks = [{"track_uri": one, "artist_uri": uri} for one, uri in zip(IDS, uris, strict=False)]
    content = {"playlists": [{"pid": 0, "tracks": tracks}]}
    (tmp_path / "mpd.slice.0-0.json").write_text(json.dumps(content))
    found = match_playlists(tmp_path / "mpd.slice.0-0.json", mine, kind="artists")
    assert found_by(found) == {"artist:a": ["t01", "t03"]} and sum(left_out(found).values()) == 2


def test_a_group_of_more_than_a_fifth_is_named(mine, tmp_path, caplog):
    names = ["it's me"] * 10 + ["b"] * 5 + ["c"] * 4
    match_playlists(table(tmp_path, "artist", names), mine, columns={"group": "artist"})
    (warning,) = [one.getMessage() for one in caplog.records if one.levelname == "WARNING"]
    assert warning == (
        '2 groups have more than a fifth of the 20 tracks of the collection: "it\'s me" (10, '
        "50.0 %), 'b' (5, 25.0 %); if a name stands for none, or for many, leave it out: --ignore "
        "'it'\"'\"'s me'"
    )
    caplog.clear()
    match_playlists(
        table(tmp_path, "artist", ["a"] * 4 + ["b"] * 4), mine, columns={"group": "artist"},
        overwrite=True,
    )  # fmt: skip
    assert not [one for one in caplog.records if one.levelname == "WARNING"]  # a fifth is none


def test_a_table_of_tags_that_is_damaged(mine):
    (mine.path / "tracks.csv").write_bytes(b"track_id,artist\nt00,\xff\n")
    with pytest.raises(PlaylistPretrainError, match=r"tracks.csv: line 2: not UTF-8"):
        match_playlists("tags", mine)
