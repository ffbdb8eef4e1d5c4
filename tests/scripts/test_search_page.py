"""``search.py --page``: the page that the command writes, in its file and in a browser."""

import json
import re
import shlex

import numpy as np
import pytest
import soundfile
from remote_server import upload

from playlist_pretrain.cli import search as module
from playlist_pretrain.playlists.groups import TrackGroups, groups_path
from playlist_pretrain.retrieval.embedding_table import embedding_writer

TRACKS = 24
IDS = [f"artist{i // 4}/song {i % 4}" for i in range(TRACKS)]


@pytest.fixture(scope="module")
def world(make_collection, tmp_path_factory):
    """A folder with a collection, its embeddings and the audio of all but one track."""
    folder = tmp_path_factory.mktemp("world")
    made = make_collection(folder / "music", [4] * TRACKS, ids=IDS)
    lists = {"artists": [range(i, i + 4) for i in range(0, TRACKS, 4)], "playlists": [range(5)]}
    for name, groups in lists.items():
        TrackGroups.from_lists(
            name, groups, tracks=TRACKS, collection_key=made.content_key
        ).save(groups_path(made.path, name))  # fmt: skip
    rows = "".join(f"{track}\ttrain\tgenre---{'ab'[i % 2]}\n" for i, track in enumerate(IDS))
    (made.path / "tags.tsv").write_text("track_id\tsplit\ttags\n" + rows)
    titles = "".join(f"{track},Song no. {i}\n" for i, track in enumerate(IDS))
    (made.path / "tracks.csv").write_text("track_id,title\n" + titles)
    rng = np.random.default_rng(3)
    vectors = np.repeat(rng.normal(size=(6, 8)), 4, axis=0) + 0.3 * rng.normal(size=(TRACKS, 8))
    about = {"model": "mine", "model_key": "1" * 32, "collection": str(made.path),
             "collection_key": made.content_key}  # fmt: skip
    with embedding_writer(folder / "e.parquet", 8, about) as add:
        add(IDS, vectors)
    for track in IDS[:-1]:
        path = folder / "audio" / f"{track}.wav"
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, np.zeros(16_000), 16_000)
    return folder


@pytest.fixture
def search(world, capsys):
    """Callable: run the command on the world's embeddings; ``(exit code, output, errors)``."""

    def run(*words):
        code = module.main(["--embeddings", str(world / "e.parquet"), *map(str, words)])
        return code, *capsys.readouterr()

    return run


def data_of(page):
    text = page.read_text("utf-8")
    return json.loads(re.search(r'<script type="application/json" id="data">(.*?)</scr', text)[1])


def test_names_labels_and_links(search, world, tmp_path):
    page = tmp_path / "map.html"
    code, text, errors = search("--page", page, "--audio-folder", world / "audio")
    assert (code, errors) == (0, "")
    assert f"{page}: {TRACKS} tracks, {TRACKS - 1} with audio" in text
    data = data_of(page)
    assert data["ids"] == IDS and data["titles"][7] == "Song no. 7"
    assert [one["name"] for one in data["labels"]] == ["artist", "genre"]
    assert data["labels"][1]["values"] == ["a", "b"]
    assert data["links"][5].endswith("audio/artist1/song%201.wav") and data["links"][-1] == ""


def test_without_audio_and_with_a_track_that_is_selected(search, tmp_path):
    page = tmp_path / "map.html"
    code, text, _ = search("--page", page, "--track", IDS[9])
    assert code == 0 and "none with audio (--audio-folder)" in text
    assert data_of(page)["selected"] == 9 and data_of(page)["links"] is None


@pytest.mark.slow
def test_titles_of_a_remote_collection(world, s3, tmp_path, capsys):
    url = f"s3://search-page/{tmp_path.name}/music"
    upload(world / "music", url)
    words = ["--embeddings", world / "e.parquet", "--collection", url]
    page = tmp_path / "map.html"
    assert module.main([*map(str, words), "--page", str(page)]) == 0, capsys.readouterr()
    data = data_of(page)
    assert data["titles"][7] == "Song no. 7"
    assert [one["name"] for one in data["labels"]] == ["artist", "genre"]


def test_the_next_command_works_for_an_id_like_an_option(tmp_path, capsys):
    with embedding_writer(tmp_path / "e.parquet", 2, {}) as add:
        add(["-a", "-b"], np.array([[1.0, 0], [0.5, 1]]))
    words = ["--embeddings", str(tmp_path / "e.parquet")]
    assert module.main(words) == 0
    command = capsys.readouterr().out.splitlines()[-1]
    assert module.main(shlex.split(command.partition("search.py ")[2])) == 0
    assert "nearest to" in capsys.readouterr().out


def test_titles_of_a_table_of_artists(search, tmp_path):
    table = tmp_path / "artists.csv"
    table.write_text(f"track_id,artist,title\n{IDS[0]},one---two,Another title\n")
    assert search("--page", tmp_path / "map.html", "--artists", table)[0] == 0
    data = data_of(tmp_path / "map.html")
    assert data["titles"][:2] == ["Another title", ""]
    assert data["labels"][0]["values"] == ["one---two"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--page", "map.txt"], "--page map.txt: its name must end in .html or .htm"),
        (["--page", "s3://bucket/map.html"], "write to a file here, then copy it"),
        (["--audio-folder", "x"], "--audio-folder: nothing reads it without --playlist or --page"),
        (["--page", "map.html", "--audio-folder", "none"], "none"),
    ],
)
def test_what_is_refused(words, message, search, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, _, errors = search(*words)
    assert code == 1 and message in errors and len(errors.splitlines()) == 1
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_the_list_in_a_browser_is_that_of_the_command(browser, search, world, tmp_path):
    page, found = tmp_path / "map.html", tmp_path / "found.json"
    words = ["--track", IDS[9], "--page", page, "--out", found]
    assert search(*words, "--audio-folder", world / "audio")[0] == 0
    expected = json.loads(found.read_text())["neighbours"]
    context = browser.new_context()
    opened = context.new_page()
    opened.goto(page.as_uri())
    opened.wait_for_selector("html[data-ready]")
    rows = opened.eval_on_selector_all("#nearest button", "all => all.map((b) => +b.dataset.row)")
    shown = opened.inner_text("#nearest")
    context.close()
    assert [IDS[row] for row in rows] == [one["track_id"] for one in expected]
    assert all(f"{one['similarity']:.4f}" in shown for one in expected)
