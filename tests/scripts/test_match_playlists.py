"""The command match_playlists: options, tables, figures, and what it prints."""

import json
import os

import pytest
from processes import ROOT, end, start

from playlist_pretrain.cli import match_playlists as make
from playlist_pretrain.playlists.groups import TrackGroups

SCRIPT = ROOT / "scripts" / "match_playlists.py"
IDS = [f"album {i // 5}/{i}" for i in range(30)]


@pytest.fixture
def mine(make_collection, tmp_path):
    return make_collection(tmp_path / "mine", [100] * 30, ids=IDS, front_end="vggish", per_shard=9)


@pytest.fixture
def playlists(tmp_path, rng):
    lines = [
        f"p{number},{IDS[5 * (number % 6) + track]}"
        for number in range(40)
        for track in rng.choice(5, 4, replace=False)
    ]
    path = tmp_path / "p.csv"
    path.write_text("group_id,track_id\n" + "\n".join(lines) + "\n")
    return path


def run(capsys, *words, code=0):
    capsys.readouterr()
    assert make.main([str(word) for word in words]) == code
    out, error = capsys.readouterr()
    if code:
        assert error.count("\n") == 1 and error.startswith("match_playlists.py: error: ")
        return error
    assert error == ""
    return out


@pytest.mark.slow
def test_tables_nearest_and_figures(mine, playlists, capsys):
    words = ["--collection", mine.path, "--tables", "tco,w2v", "--figures"]
    out = run(capsys, "--playlists", playlists, *words)
    assert "40 groups to train on, 0 pairs of tracks held out" in out
    assert out.count("by groups shared") == out.count("by cosine of Word2Vec") == 3
    figures = mine.path / "figures-playlists"
    names = {"lengths.png", "popularity.png", "co_occurrences.png"}
    assert {path.name for path in figures.iterdir()} == names
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in figures.iterdir())
    again = run(capsys, *words, "--nearest", f"{IDS[0]}, {IDS[7]}")
    assert again.count(": read") == 2 and "groups read" not in again
    for block in again.split("nearest to ")[1:]:
        lines = block.splitlines()
        own = lines[0].split("'")[1]
        assert own in (IDS[0], IDS[7])
        near = [line.split("'")[1] for line in lines[1:5] if line.startswith("  ")]
        assert near and own not in near
        if "groups shared" in lines[0]:  # playlists are made within albums
            assert all(one.split("/")[0] == own.split("/")[0] for one in near)
    assert again.splitlines()[-1].startswith("next: python scripts/pretrain.py --pairs playlist_co")
    assert run(capsys, *words, "--quiet") == ""


@pytest.mark.slow
def test_artists_get_their_pairing_and_their_figure(mine, playlists, tmp_path, capsys):
    table = tmp_path / "tracks.csv"
    rows = [f"artist {i // 5}|artist {i % 2},{IDS[i]}\n" for i in range(30)]
    table.write_text("artist,track_id\n" + "".join(rows))
    columns = ["--columns", "group=artist,track=track_id", "--separator", "|"]
    out = run(
        capsys, "--playlists", table, *columns, "--kind", "artists", "--collection", mine.path
    )
    assert out.splitlines()[-1] == (
        f"next: python scripts/pretrain.py --pairs artist_co --collection {mine.path} "
        "--groups artists"
    )
    artists = TrackGroups.load(mine.path / "groups-artists.npz")
    # Three tracks of artist 0 and three of artist 1 name that artist twice.
    assert artists.lengths.sum() == 60 - 6
    run(capsys, "--playlists", playlists, "--collection", mine.path, "--figures")
    assert (mine.path / "figures-playlists" / "tracks_per_artist.png").exists()


def test_a_map_joins_foreign_ids(mine, tmp_path, capsys):
    ids = "".join(f"s:{i},{IDS[i]}\n" for i in range(30))
    (tmp_path / "map.csv").write_text(f"foreign_id,track_id\n{ids}s:x,gone\n")
    (tmp_path / "p.csv").write_text("group_id,track_id\np,s:1\np,s:2\np,s:x\np,nobody\n")
    words = ["--playlists", tmp_path / "p.csv", "--collection", mine.path]
    out = run(capsys, *words, "--map", tmp_path / "map.csv")
    assert "31 ids, 30 of tracks of the collection" in out
    report = json.loads((mine.path / "groups-playlists.report.json").read_text())
    assert (report["entries_unmapped"], report["entries_unknown"]) == (1, 1)
    assert "--map joins ids that differ" in run(capsys, *words, "--name", "other", code=1)


def test_damage_stops_unless_asked_to_keep_going(mine, tmp_path, capsys):
    folder = tmp_path / os.fsdecode(b"lists \xff\n\x1b[31m")  # which steers a terminal
    folder.mkdir()
    (folder / "good.m3u").write_text(f"{IDS[0]}\n{IDS[1]}\n\x1b]0;x\x07\n")
    for number in range(7):
        (folder / os.fsdecode(b"\xff\x1b%d.m3u" % number)).write_bytes(b"\0")
    words = ["--playlists", folder, "--collection", mine.path]
    error = run(capsys, *words, code=1)
    assert "line 1: holds a zero byte" in error and error[:-1].isprintable()
    assert not list(mine.path.glob("groups-*"))
    out = run(capsys, *words, "--keep-going")
    assert all(line.isprintable() for line in out.splitlines())
    assert "sources that could not be read to their end: 7" in out
    assert r"\udcff\x1b4.m3u" in out and "and 2 more in the report" in out
    report = json.loads((mine.path / "groups-playlists.report.json").read_text())
    assert len(report["damaged"]) == 7 and report["source"] == str(folder)
    groups = TrackGroups.load(mine.path / "groups-playlists.npz")
    assert list(groups.group_ids) == ["good"]
    (folder / "good.m3u").unlink()
    error = run(capsys, *words, "--keep-going", "--name", "other", code=1)
    assert "what could not be read: " in error


def test_without_a_collection_it_is_that_of_the_demo(
    mine, playlists, tmp_path, capsys, monkeypatch
):
    run(capsys, "--playlists", playlists, "--collection", mine.path)
    monkeypatch.setattr(make, "ready_demo", lambda: mine.path)
    out = run(capsys, "--tables", "tco")
    assert out.splitlines()[-1] == (
        "next: python scripts/pretrain.py --pairs playlist_co --groups playlists"
    )
    assert len(list(mine.path.glob("tco-*"))) == 1


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--collection", "C"], "--playlists: nothing to do without"),
        (["--collection", "C", "--tables", "xyz"], "--tables xyz: tco or w2v"),
        (["--collection", "C", "--tables", "tco", "--gap", "5"], "--gap: nothing reads it without"),
        (["--collection", "C", "--tables", "tco"], "no groups 'playlists'"),
        (["--collection", "C", "--tables", "tco", "--w2v-size", "3"],
         "--w2v-size: nothing reads it without --tables w2v"),
        (["--collection", "C", "--tables", "tco,w2v", "--max-group-length", "20000"], "10,000"),
        (["--collection", "C", "--playlists", "P", "--nearest", "x"], "--nearest: by what?"),
        (["--collection", "C", "--playlists", "P", "--beam", ""], "--beam: nothing reads it wit"),
        (["--collection", "C", "--playlists", "P", "--gap", "5"], "--gap is not for format table"),
        (["--collection", "C", "--playlists", "P", "--gap", "-1"], "--gap -1.0: minutes"),
        (["--collection", "C", "--playlists", "P", "--kind", "moods"], "--kind moods: format t"),
        (["--collection", "C", "--playlists", "P", "--separator", " "], "--separator"),
        (["--collection", "C", "--playlists", "P", "--workers", "0"], "--workers 0"),
        (["--collection", "C", "--playlists", "P", "--columns", "user=a"], "--columns group=…"),
        (["--collection", "C", "--playlists", "P", "--tables", "tco", "--nearest", "nobody"],
         "no track 'nobody'"),
    ],
)  # fmt: skip
def test_options_that_cannot_be_obeyed(mine, playlists, capsys, words, message):
    words = [{"C": mine.path, "P": playlists}.get(word, word) for word in words]
    assert message in run(capsys, *words, code=1)


@pytest.mark.slow
def test_from_slices_to_groups(make_collection, tmp_path):
    ids = [f"spotify:track:{i}" for i in range(6)]
    mine = make_collection(tmp_path / "my music", [10] * 6, ids=ids).path
    slices = tmp_path / "mpd"
    slices.mkdir()
    for pid in (0, 1000):
        tracks = [{"track_uri": f"spotify:track:{i}"} for i in (0, 1, 5, 9)]
        content = {"info": {}, "playlists": [{"pid": pid, "tracks": tracks}]}
        (slices / f"mpd.slice.{pid}-{pid + 999}.json").write_text(json.dumps(content))
    words = ["--playlists", slices, "--collection", mine]
    ((said, errors),) = end(start([SCRIPT, *words]))
    assert errors == "" and "groups read" in said and "'spotify:track:9'" in said
    assert said.splitlines()[-1] == (
        "next: python scripts/pretrain.py --pairs playlist_co "
        f"--collection '{mine}' --groups playlists"
    )
    report = json.loads((mine / "groups-playlists.report.json").read_text())
    assert (report["groups_kept"], report["entries_matched"], report["format"]) == (2, 6, "mpd")
    before = (mine / "groups-playlists.npz").read_bytes()
    (mine / "groups-playlists.npz").unlink()
    assert make.main([*map(str, words), "--quiet"]) == 0
    assert (mine / "groups-playlists.npz").read_bytes() == before
