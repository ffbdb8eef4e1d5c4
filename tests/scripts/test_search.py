"""The command as a user runs it: what it finds, prints and writes, and what it refuses."""

import csv
import json
import re
import shlex

import numpy as np
import pytest
import soundfile

from playlist_pretrain.cli import search as module
from playlist_pretrain.playlists.groups import TrackGroups, groups_path
from playlist_pretrain.retrieval.embedding_table import embedding_writer

IDS = [f"artist{i // 4}/song{i % 4}" for i in range(24)]


@pytest.fixture(scope="module")
def collection(make_collection, tmp_path_factory):
    made = make_collection(tmp_path_factory.mktemp("c") / "my music", [4] * 24, ids=IDS)
    artists = [range(first, first + 4) for first in range(0, 24, 4)]
    for name, lists in {"artists": artists, "playlists": [range(0, 24, 2), range(5)]}.items():
        TrackGroups.from_lists(
            name, lists, tracks=24, collection_key=made.content_key
        ).save(groups_path(made.path, name))  # fmt: skip
    rows = "".join(f"{track}\ttrain\tgenre---{i % 2}\n" for i, track in enumerate(IDS))
    (made.path / "tags.tsv").write_text("track_id\tsplit\ttags\n" + rows)
    titles = "".join(f"{track},Song no. {i}\n" for i, track in enumerate(IDS))
    (made.path / "tracks.csv").write_text("track_id,title\n" + titles)
    return made


@pytest.fixture
def vectors(rng):
    """Of songs that lie around their artist."""
    centres = np.repeat(rng.normal(size=(6, 5)), 4, axis=0)
    return (centres + 0.3 * rng.normal(size=centres.shape)).astype(np.float32)


@pytest.fixture
def table(collection, vectors, tmp_path):
    path = tmp_path / "e.parquet"
    about = {"model": "mine", "model_key": "1" * 32, "collection": str(collection.path),
             "collection_key": collection.content_key}  # fmt: skip
    with embedding_writer(path, 5, about) as add:
        add(IDS, vectors)
    return path


@pytest.fixture
def search(table, capsys):
    """Callable: run the command on the table; ``(exit code, output, errors)``."""

    def run(*words, embeddings=table):
        code = module.main(["--embeddings", str(embeddings), *map(str, words)])
        return code, *capsys.readouterr()

    return run


def nearest_by_loop(vectors, query, left_out):
    lengths = np.linalg.norm(vectors, axis=1) * np.linalg.norm(query)
    similar = {i: vectors[i] @ query / lengths[i] for i in range(24) if i not in left_out}
    return sorted(similar, key=lambda i: -similar[i]), similar


@pytest.mark.parametrize("index", ["exact", "faiss"])
@pytest.mark.parametrize("asked", [[5], [5, 6, 20]])
def test_tracks(asked, index, search, vectors, tmp_path):
    out = tmp_path / "found.json"
    words = ["--track", *(IDS[i] for i in asked), "--top", 7, "--out", out, "--index", index]
    code, text, errors = search(*words)
    assert (code, errors) == (0, "")
    units = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    order, similar = nearest_by_loop(vectors, units[asked].mean(axis=0), asked)
    content = json.loads(out.read_text())
    assert [one["track_id"] for one in content["neighbours"]] == [IDS[i] for i in order[:7]]
    assert [one["rank"] for one in content["neighbours"]] == [1, 2, 3, 4, 5, 6, 7]
    for one, i in zip(content["neighbours"], order, strict=False):
        assert one["similarity"] == pytest.approx(similar[i], abs=1e-6)
        assert one["artist"] == str(i // 4)
    assert content["query"] == {"track": [IDS[i] for i in asked]} and content["model"] == "mine"
    lines = text.splitlines()
    start = next(i for i, line in enumerate(lines) if line.split()[:1] == ["rank"])
    assert lines[start].split() == ["rank", "similarity", "percentile", "track", "artist"]
    pairs = (units @ units.T)[np.triu_indices(24, 1)]
    share = 100 * np.mean(pairs < similar[order[0]] - 1e-7)
    assert content["neighbours"][0]["percentile"] == pytest.approx(share, abs=0.5)
    assert lines[start + 1].split() == [
        "1", f"{similar[order[0]]:.4f}", f"{content['neighbours'][0]['percentile']:.2f}", "%",
        repr(IDS[order[0]]), repr(str(order[0] // 4)),
    ]  # fmt: skip
    assert lines[-1] == (
        f"next: python scripts/search.py --embeddings {tmp_path}/e.parquet --track {IDS[order[0]]}"
    )


def test_as_csv_and_never_over_another_file(search, tmp_path):
    out = tmp_path / "new" / "found.csv"
    assert search("--track", IDS[0], "--out", out)[0] == 0
    with open(out, newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert list(rows[0]) == [
        "rank", "similarity", "percentile", "track_id", "artist"
    ] and len(rows) == 10  # fmt: skip
    content = out.read_bytes()
    code, text, errors = search("--track", IDS[1], "--out", out)
    assert (code, text) == (1, "") and "is there already; --overwrite" in errors
    assert out.read_bytes() == content
    assert search("--track", IDS[1], "--out", out, "--overwrite")[0] == 0
    assert out.read_bytes() != content


def test_interrupted_between_its_files_it_can_be_asked_again(search, tmp_path, monkeypatch):
    out, page = tmp_path / "found.csv", tmp_path / "map.html"
    words = ["--track", IDS[0], "--out", out, "--page", page]

    def stopped(*_, **__):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("playlist_pretrain.retrieval.search.write_map_page", stopped)
        assert search(*words)[0] == 130
    assert out.exists() and not page.exists()
    # Half of something else is none of it.
    assert "is there already" in search("--track", IDS[0], "--out", out)[2]
    assert "is there already" in search(*words[:-1], tmp_path / "other.html")[2]
    assert search(*words)[0] == 0 and page.exists()
    assert not list(tmp_path.glob(".*"))
    assert "is there already" in search(*words)[2]


def test_a_playlist_goes_on_with_what_is_not_in_it(search, vectors, tmp_path):
    playlist = tmp_path / "list.m3u8"
    entries = [2, 9, 2, 13]
    playlist.write_text("#EXTM3U\n" + "".join(f"{IDS[i]}.ogg\n" for i in entries) + "no/such.ogg\n")
    out = tmp_path / "longer.m3u8"
    code, text, _ = search("--playlist", playlist, "--add", 6, "--out", out)
    assert code == 0
    assert "5 entries, 4 in the embeddings (3 different tracks), 1 not" in text
    assert "not there: 'no/such'" in text
    units = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    order, _ = nearest_by_loop(vectors, units[[2, 9, 13]].mean(axis=0), entries)
    lines = out.read_text().splitlines()
    assert lines[:6] == playlist.read_text().splitlines()
    assert lines[6:] == [IDS[i] for i in order[:6]]
    # All there are, when no number is given and there are fewer than are usual.
    rest = [IDS[i] for i in range(24) if i not in range(5)]
    playlist.write_text("".join(f"{track}\n" for track in rest))
    code, text, _ = search("--playlist", playlist)
    assert code == 0 and text.splitlines()[-1].endswith("--out longer.m3u8")
    assert sorted(line.split("'")[1] for line in text.splitlines() if "   0." in line) == IDS[:5]
    for more in ("longer.csv", "longer.json"):
        assert search("--playlist", playlist, "--out", tmp_path / more)[0] == 0


def test_what_comes_next_is_asked_in_the_same_way(search, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    several = tmp_path / "several lists.csv"
    lines = "".join(f"{'ab'[i % 2]},{track}\n" for i, track in enumerate(IDS[:9]))
    several.write_text(f"list,track\n{lines}")
    words = ["--playlist", several, "--columns", "group=list,track=track", "--name", "b", "--add",
             3, "--centre", "--fold", "--less", *IDS[20:22], "--per-artist", 2]  # fmt: skip
    for asked, out in ((words, "longer.m3u8"), (["--path", *IDS[:2], "--centre"], "path.m3u8")):
        code, text, _ = search(*asked)
        assert code == 0
        _, _, following = text.splitlines()[-1].partition("search.py ")
        assert module.main(shlex.split(following)) == 0
        assert (tmp_path / out).exists()
        _, both, _ = search(*asked)  # what both found
        assert rows_of(both) == 2 * rows_of(text) != []


def test_of_a_space(search, collection, tmp_path):
    code, text, _ = search("--out", tmp_path / "space.json")
    assert code == 0
    for name in ("artists", "playlists", "tags-genre"):
        assert f"  same {name} " in text
    space = json.loads((tmp_path / "space.json").read_text())["space"]
    found = {one["name"]: one for one in space["groups"]}
    assert found["artists"]["share"] > 2 * found["artists"]["share_chance"]
    low, high = found["artists"]["retrieval"]["intervals"]["recall@1"]
    assert low < found["artists"]["retrieval"]["recall"]["1"] < high
    _, text, _ = search("--groups", "playlists", "--top", 3)
    assert "same artists" not in text and "; 3 nearest of all 24 tracks" in text
    _, text, _ = search("--track", IDS[0], "--report", "--out", tmp_path / "both.json")
    assert "nearest to 'artist0/song0'" in text and "hubness" in text
    assert {"neighbours", "space"} <= set(json.loads((tmp_path / "both.json").read_text()))


def test_faiss_says_how_much_it_finds(search, rng, tmp_path):
    path = tmp_path / "noise.parquet"
    with embedding_writer(path, 8, {}) as add:
        add([f"t{i}" for i in range(400)], rng.normal(size=(400, 8)))
    words = ["--track", "t0", "--index", "faiss", "--faiss-probes"]
    _, text, _ = search(*words, 500, embeddings=path)
    assert "it finds 100.0% of the ten nearest (of 100 tracks drawn)" in text
    _, text, _ = search(*words, 1, "--faiss-lists", 10, embeddings=path)
    assert "an index of other lists; made again" in text
    assert "it finds " in text and "it finds 100.0%" not in text


def test_a_collection_that_moved_or_changed_is_said(search, vectors, tmp_path, collection):
    path = tmp_path / "other.parquet"
    about = {"collection": str(collection.path), "collection_key": "2" * 32}
    with embedding_writer(path, 5, about) as add:
        add(IDS, vectors)
    for words in ([], ["--track", IDS[0]]):
        code, text, _ = search(*words, embeddings=path)
        assert code == 0 and "groups of the collection are left out: " in text
        assert "another content" in text and "'0'" not in text
    for words in (["--collection", collection.path], ["--groups", "artists"]):
        code, _, errors = search(*words, embeddings=path)
        assert code == 1 and "another content" in errors


ERRORS = {
    "two queries": (["--track", "x", "--audio", "y"], "--track and --audio: one of them at a time"),
    "unknown track": (["--track", "artist1/song9"], "tracks); the closest ids: 'artist1/song0'"),
    "top": (["--track", IDS[0], "--top", "0"], "--top 0: at least 1"),
    "index": (["--index", "annoy"], "--index annoy: exact or faiss"),
    "lists": (["--faiss-lists", "3"], "--faiss-lists: nothing reads it without --index faiss"),
    "seed": (["--seed", "-1"], "--seed -1: at least 0"),
    "add": (["--add", "3"], "--add: nothing reads it without --playlist"),
    "unread collection": (
        ["--track", IDS[0], "--artists", "x.csv", "--collection", "y"],
        "--collection: nothing reads it without --audio, --report or --page, given --artists",
    ),
    "groups": (["--groups", "albums"], "has no groups 'albums'; there are: artists, playlists"),
    "artists twice": (["--groups", "artists", "--artists", "x.csv"], "artists come from one"),
    "audio": (["--audio", "/no/x.mp3"], "/no/x.mp3: no such file"),
    "suffix": (["--track", IDS[0], "--out", "x.txt"], "must end in .m3u8 or .csv or .json"),
    "remote": (["--out", "s3://b/x.json"], "is written to a local folder"),
    "page": (["--page", "map.txt"], "--page map.txt: its name must end in .html or .htm"),
    "remote page": (["--page", "s3://bucket/map.html"], "write to a file here, then copy it"),
    "no page": (["--audio-folder", "x"], "nothing reads it without --playlist, --page or an --out"),
    "not played": (
        ["--path", *IDS[:2], "--audio-folder", "x", "--out", "x.csv"], "an --out that ends in .m3u8"
    ),
    "no search": (["--page", "m.html", "--out", "x.json"], "without a search or --report"),
    "steps": (["--steps", "3"], "--steps: nothing reads it without --path"),
    "one end": (["--path", IDS[0]], f"--path {IDS[0]}: two ids, its first and its last song"),
    "itself": (["--path", IDS[0], IDS[0]], "--path: from a track to itself"),
    "cap": (["--track", IDS[0], "--per-artist", "0"], "--per-artist 0: at least 1"),
    "cap of a path": (["--path", *IDS[:2], "--per-artist", "1"], "--per-artist: nothing reads it"),
    "no albums": (["--track", IDS[0], "--per-album", "1"], "--per-album 1: no albums are known"),
    "less of itself": (["--track", *IDS[:2], "--less", IDS[1]], "is asked about too"),
    "unknown less": (["--track", IDS[0], "--less", "x"], "no track 'x' in the embeddings"),
    "no audio": (["--page", "map.html", "--audio-folder", "none"], "none"),
}  # fmt: skip


@pytest.mark.parametrize("case", list(ERRORS))
def test_one_line_and_exit_code_1(case, search, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    words, message = ERRORS[case]
    code, _, errors = search(*words)
    assert [path.name for path in tmp_path.iterdir()] == ["e.parquet"]
    assert code == 1 and message in errors
    assert errors.startswith("search.py: error: ") and errors.count("\n") == 1


def test_out_is_not_the_table(search, table):
    same = table.with_name("same.json")
    same.hardlink_to(table)
    code, _, errors = search("--track", IDS[0], "--out", same, "--overwrite")
    assert code == 1 and "the file of the embeddings" in errors
    (table.parent / "d.json").mkdir()
    code, _, errors = search("--track", IDS[0], "--out", table.parent / "d.json", "--overwrite")
    assert code == 1 and "a folder, not a file" in errors


def data_of(page):
    text = page.read_text("utf-8")
    return json.loads(re.search(r'<script type="application/json" id="data">(.*?)</scr', text)[1])


def test_a_page_of_names_labels_and_links(search, tmp_path):
    page = tmp_path / "map.html"
    for track in IDS[:-1]:
        path = tmp_path / "audio" / f"{track}.wav"
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, np.zeros(160), 16_000)
    code, text, errors = search("--page", page, "--audio-folder", tmp_path / "audio")
    assert (code, errors) == (0, "") and f"{page}: 24 tracks, 23 with audio" in text
    data = data_of(page)
    assert data["ids"] == IDS and data["titles"][7] == "Song no. 7" and data["selected"] is None
    assert [one["name"] for one in data["labels"]] == ["playlist", "artist", "genre"]
    assert data["labels"][2]["values"] == ["0", "1"]
    assert data["labels"][0]["tracks"][0] == [0, 1]  # of both playlists
    assert data["links"][5] == "audio/artist1/song1.wav" and data["links"][-1] == ""


def test_a_page_prints_no_report_unless_asked(search, tmp_path):
    code, text, _ = search("--page", tmp_path / "map.html")
    assert code == 0 and "hubness" not in text and "nearest to" not in text
    assert text.splitlines()[-1].endswith(f"--track {IDS[0]}")
    words = ["--page", tmp_path / "map.html", "--overwrite"]
    assert "hubness" not in search(*words, "--track", IDS[3])[1]
    assert "hubness" in search(*words, "--report")[1]


def rows_of(text):
    lines = (line.split() for line in text.splitlines())
    return [line for line in lines if len(line) > 4 and line[3] == "%"]


def test_caps_folding_and_away(search, tmp_path, vectors, table):
    albums = tmp_path / "albums.csv"
    rows = "".join(f"{one},x,{'best' if i % 3 else ''}\n" for i, one in enumerate(IDS))
    albums.write_text("track_id,artist,album\n" + rows)
    code, text, _ = search("--track", IDS[0], "--per-artist", 1, "--top", 6)
    found = [row[-1] for row in rows_of(text)]
    assert code == 0 and sorted(found) == [repr(str(i)) for i in range(6)]
    words = ["--track", IDS[0], "--artists", albums, "--per-album", 2, "--top", 10]
    code, text, _ = search(*words)
    found = [row[4].strip("'") for row in rows_of(text)]
    assert code == 0 and sum(IDS.index(one) % 3 > 0 for one in found) == 2
    assert len(found) == 9 and "9 of the 10 tracks asked for: no others keep the rules" in text
    vectors[5], vectors[6] = vectors[4] * 1.0001, vectors[0]
    path = tmp_path / "same.parquet"
    with embedding_writer(path, 5, {}) as add:
        add(IDS, vectors)
    _, text, _ = search("--track", IDS[0], "--top", 23, embeddings=path)
    assert (
        "2 of them nearly equal to one before, or asked about, as copies are; --fold leaves" in text
    )
    _, text, _ = search(
        "--track", IDS[0], "--fold", "--top", 21, "--out", tmp_path / "f.json", embeddings=path
    )
    assert f"folded: {IDS[6]!r}, nearly equal to {IDS[0]!r}" in text and "--fold leaves" not in text
    folded = json.loads((tmp_path / "f.json").read_text())["folded"]
    assert {"track_id": IDS[6], "same_as": IDS[0]} in folded and len(folded) == 2
    code, text, _ = search("--track", IDS[0], "--less", IDS[8], IDS[9], "--top", 21)
    names = [row[4].strip("'") for row in rows_of(text)]
    assert code == 0 and not {IDS[0], IDS[8], IDS[9]} & set(names)
    assert f"nearest to {IDS[0]!r}, away from 2 tracks" in text


def test_caps_need_no_report_of_their_groups(search, collection, tmp_path, make_collection):
    words = ["--track", IDS[0], "--report", "--groups", "playlists", "--per-artist", 1]
    code, text, _ = search(*words)
    assert code == 0 and len(rows_of(text)) == 6
    assert "same playlists" in text and "same artists" not in text
    # Artists of a table, albums of the files' tags.
    made = make_collection(tmp_path / "tagged", [4] * 24, ids=IDS)
    tags = "".join(f"{one},{i % 5}\n" for i, one in enumerate(IDS))
    (made.path / "tracks.csv").write_text("track_id,album\n" + tags)
    artists = tmp_path / "artists.csv"
    artists.write_text("track_id,artist\n" + "".join(f"{one},x\n" for one in IDS))
    with embedding_writer(tmp_path / "t.parquet", 5, {}) as add:
        add(IDS, np.random.default_rng(0).normal(size=(24, 5)))
    words = ["--track", IDS[0], "--artists", artists, "--collection", made.path, "--per-album", 1]
    code, text, _ = search(*words, embeddings=tmp_path / "t.parquet")
    found = [row[4].strip("'") for row in rows_of(text)]
    assert code == 0 and sorted(IDS.index(one) % 5 for one in found) == [0, 1, 2, 3, 4]


def test_a_path_from_one_song_to_another(search, tmp_path):
    words = ["--path", IDS[0], IDS[20], "--steps", 6]
    code, text, _ = search(*words, "--out", tmp_path / "path.json")
    assert code == 0 and f"path from {IDS[0]!r} to {IDS[20]!r}, largest step 0." in text
    path = json.loads((tmp_path / "path.json").read_text())["path"]
    ids = [one["track_id"] for one in path]
    assert (ids[0], ids[-1]) == (IDS[0], IDS[20]) and len(set(ids)) == len(ids) == 7
    assert path[0]["similarity"] is None and path[0]["percentile"] is None
    assert 0 < path[1]["percentile"] <= 100
    assert search(*words, "--out", tmp_path / "path.csv")[0] == 0
    with open(tmp_path / "path.csv", newline="") as stream:
        assert [row["track_id"] for row in csv.DictReader(stream)] == ids
    code, text, _ = search(*words)
    command = text.splitlines()[-1].partition("search.py ")[2]
    assert command.endswith(f"--path {IDS[0]} {IDS[20]} --steps 6 --out path.m3u8")
    folder = tmp_path / "music"
    for one in IDS:
        (folder / one).parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(folder / f"{one}.flac", np.zeros(160), 16_000)
    code, text, _ = search(*words, "--out", tmp_path / "p.m3u8", "--audio-folder", folder)
    lines = (tmp_path / "p.m3u8").read_text().splitlines()
    assert lines == ["#EXTM3U", *(f"{folder}/{one}.flac" for one in ids)] and "no file" not in text
    near = ["--track", IDS[4], IDS[2], "--less", IDS[6], "--top", "3"]
    _, text, _ = search(*near, "--out", tmp_path / "near.m3u8", "--audio-folder", folder)
    lines = (tmp_path / "near.m3u8").read_text().splitlines()
    found = [line.split("'")[1] for line in text.splitlines() if re.match(r" +\d ", line)]
    ids = [IDS[4], IDS[2], *found]
    assert lines == ["#EXTM3U", *(f"{folder}/{one}.flac" for one in ids)] and len(found) == 3


def test_centred_embeddings_spread_their_cosines(search, vectors, tmp_path):
    path = tmp_path / "alike.parquet"
    with embedding_writer(path, 5, {}) as add:
        add(IDS, vectors + 30)
    _, text, _ = search("--track", IDS[0], "--top", 23, embeddings=path)
    plain = [row[1:3] for row in rows_of(text)]
    assert min(float(cosine) for cosine, _ in plain) > 0.98
    _, text, _ = search("--track", IDS[0], "--top", 23, "--centre", embeddings=path)
    apart = vectors.astype(float) - vectors.mean(axis=0)
    order, similar = nearest_by_loop(apart, apart[0], [0])
    rows = rows_of(text)
    assert [row[4] for row in rows] == [repr(IDS[i]) for i in order]
    found = [float(row[1]) for row in rows]
    np.testing.assert_allclose(found, [similar[i] for i in order], atol=2e-4)
    assert min(found) < 0


def test_a_page_without_audio_with_titles_of_a_table_of_artists(search, tmp_path):
    table = tmp_path / "artists.csv"
    table.write_text(f"track_id,artist,title\n{IDS[0]},one---two,Another title\n")
    words = ["--page", tmp_path / "map.html", "--track", IDS[9], "--artists", table]
    code, text, _ = search(*words)
    assert code == 0 and "none with audio (--audio-folder)" in text
    data = data_of(tmp_path / "map.html")
    assert data["selected"] == 9 and data["links"] is None
    assert data["titles"][:2] == ["Another title", ""]
    labels = {label["name"]: label["values"] for label in data["labels"]}
    assert labels["artist"] == ["one---two"]


def test_artists_and_titles_of_the_tags_of_a_collection(make_collection, tmp_path, capsys):
    made = make_collection(tmp_path / "mine", [4] * 4, ids=list("abcd"))
    (made.path / "tracks.csv").write_text(
        "track_id,artist,album,title,genre,year\na,A|B,,One,,\nb,A,,Two,,\nc,Unknown,,,,\nd,,,,,\n"
    )
    about = {"collection": str(made.path), "collection_key": made.content_key}
    with embedding_writer(tmp_path / "e.parquet", 4, about) as add:
        add(list("abcd"), np.eye(4, dtype=np.float32) + 0.1)
    words = ["--embeddings", str(tmp_path / "e.parquet"), "--track", "d"]
    out = tmp_path / "found.csv"
    assert module.main([*words, "--out", str(out)]) == 0
    assert "  'a'    'A, B'\n" in capsys.readouterr().out
    with open(out, newline="") as stream:
        artists = {row["track_id"]: row["artist"] for row in csv.DictReader(stream)}
    assert artists == {"a": "A, B", "b": "A", "c": ""}
    assert module.main([*words, "--page", str(tmp_path / "map.html")]) == 0
    data = data_of(tmp_path / "map.html")
    assert data["titles"] == ["One", "Two", "", ""]
    assert [one["name"] for one in data["labels"]] == ["artist"]
    assert data["labels"][0]["values"] == ["A", "B"]
    # Groups that were matched go before.
    TrackGroups.from_lists(
        "artists", [[0, 1], [2, 3]], tracks=4, collection_key=made.content_key
    ).save(groups_path(made.path, "artists"))
    assert module.main([*words, "--out", str(out), "--overwrite"]) == 0
    with open(out, newline="") as stream:
        assert {row["artist"] for row in csv.DictReader(stream)} == {"0", "1"}


def test_the_next_command_works_for_an_id_like_an_option(tmp_path, capsys):
    with embedding_writer(tmp_path / "e.parquet", 2, {}) as add:
        add(["-a", "-b"], np.array([[1.0, 0], [0.5, 1]]))
    words = ["--embeddings", str(tmp_path / "e.parquet")]
    assert module.main(words) == 0
    command = capsys.readouterr().out.splitlines()[-1]
    assert module.main(shlex.split(command.partition("search.py ")[2])) == 0
    assert "nearest to" in capsys.readouterr().out
