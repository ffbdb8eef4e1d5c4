"""Tracks and audio files as queries: their vectors, and what cannot be asked about."""

import dataclasses
import json

import numpy as np
import pytest
import soundfile

from playlist_pretrain.errors import (
    AudioError,
    EmbeddingsError,
    FrontEndError,
    ModelError,
    RecipeError,
    TrackError,
)
from playlist_pretrain.evaluation.neighbours import nearest
from playlist_pretrain.models.load import LoadedModel
from playlist_pretrain.records.schema import PackedStrings
from playlist_pretrain.retrieval import search as module
from playlist_pretrain.retrieval.embedding_table import (
    EmbeddingTable,
    embedding_writer,
    overview,
    read_embeddings,
)
from playlist_pretrain.retrieval.model import Model
from playlist_pretrain.retrieval.queries import audio_query, closest_ids, open_table, tracks_query
from playlist_pretrain.retrieval.table_groups import KnownTracks


def table_of(ids, vectors, **about):
    packed = PackedStrings.pack(ids)
    table = EmbeddingTable(packed, np.asarray(vectors, np.float32), about=about)
    return table, KnownTracks(packed)


def write(path, ids, vectors, **columns):
    with embedding_writer(path, len(vectors[0]), {}, windows=bool(columns)) as add:
        add(ids, np.array(vectors, np.float32), **columns)
    return path


def test_tables_that_cannot_be_searched(tmp_path):
    path = tmp_path / "e.parquet"
    write(path, ["a", "a", "b"], [[1, 1], [-1, -1], [1, 0]], start_seconds=[0, 1, 0])
    with pytest.raises(EmbeddingsError, match=r"track 'a'\): all zeros"):
        open_table(path)
    with pytest.raises(EmbeddingsError, match="one track, so it has no neighbours"):
        open_table(write(path, ["a"], [[1, 0]]))


def test_tracks_are_their_centre_and_left_out():
    table, known = table_of("abc", [[2, 0], [0, 5], [-3, 0]])
    query = tracks_query(table, known, ["b", "a", "b"])
    np.testing.assert_allclose(query.vector, [0.5, 0.5])
    assert query.left_out.tolist() == [1, 0] and query.text == "the centre of 2 tracks"
    assert tracks_query(table, known, ["c"]).text == "'c'"
    with pytest.raises(EmbeddingsError, match="2 embeddings cancel"):
        tracks_query(table, known, ["a", "c"])


def test_unknown_ids_and_the_closest_ones():
    ids = [f"artist {i:03}/song {j}" for i in range(50) for j in range(9)]
    table, known = table_of(ids, np.ones((450, 2)))
    with pytest.raises(TrackError, match=r"no track 'Artist 007/sing 3' .*ids: 'artist 007/song 3"):
        tracks_query(table, known, ["artist 001/song 1", "Artist 007/sing 3"])
    assert closest_ids("song 8 of artist 31", ids)[0].startswith("artist 031")
    assert closest_ids("x", ["abc", "x1", "zz"])[0] == "x1"
    assert len(closest_ids("nothing like it", ids)) == 5


@pytest.fixture
def wav(tmp_path, rng):
    soundfile.write(tmp_path / "a.wav", rng.uniform(-0.3, 0.3, 20_000), 16000)
    return tmp_path / "a.wav"


@pytest.fixture
def embedder(monkeypatch):
    """Stand-in for a model; its ``key`` is "1", and what it gives is ``given``."""
    from playlist_pretrain.audio.front_end import front_end
    from playlist_pretrain.models import load as embedders

    class Loaded:
        given = np.array([3, 4], np.float32)
        settings = front_end("paper")

    monkeypatch.setattr(
        embedders,
        "load_embedder",
        lambda name, trust: LoadedModel(name, None, Loaded.settings, "1" * 32),
    )

    def embed(model, waveform, short):
        Loaded.samples, Loaded.short = len(waveform), short
        return table_of("a", [Loaded.given])[0]

    monkeypatch.setattr(Model, "embed", embed)
    return Loaded


MINE = {"model": "mine", "model_key": "1" * 32}


def test_an_audio_file(embedder, wav):
    query = audio_query(table_of("ab", np.eye(2), **MINE)[0], wav, None)
    assert query.vector.tolist() == [3, 4] and query.left_out.tolist() == []
    assert query.text == str(wav)


@pytest.mark.parametrize(
    ("about", "given", "samples", "said"),
    [
        ({"excerpt": 0.5}, None, 8000, "0.5 s of the file is taken, as of the embeddings' tracks"),
        ({"excerpt": "full"}, None, 20_000, "all of the file is taken, as of the"),
        ({"audio": "/music"}, None, 20_000, "all of the file is taken, as of the"),
        ({"excerpt": 0.5}, "full", 20_000, "all of the file is compared with 0.5 s of each track"),
        ({"excerpt": "full"}, "1", 16_000, "1 s of the file is compared with all of each track"),
        ({}, None, 20_000, "which part of each file they are of is not known"),
        ({"collection": "no/such"}, None, 20_000, "do not say which part of each file"),
    ],
)
def test_the_same_part_of_the_file_is_taken(embedder, wav, caplog, about, given, samples, said):
    table, _ = table_of("ab", np.eye(2), **MINE, **about)
    with caplog.at_level("INFO"):
        audio_query(table, wav, excerpt=given)
    assert embedder.samples == samples and said in caplog.text


@pytest.mark.parametrize(
    ("about", "short"), [({}, "repeat"), ({"short": "pad"}, "pad"), ({"short": "skip"}, "repeat")]
)
def test_a_short_file_is_filled_as_the_tracks_are(embedder, wav, about, short):
    audio_query(table_of("ab", np.eye(2), **MINE, **about)[0], wav)
    assert embedder.short == short


def test_a_collection_says_the_excerpt_beside_a_table_of_artists(
    embedder, wav, tmp_path, make_collection
):
    made = make_collection(tmp_path / "c", [4, 4], ids=["a", "b"])
    (tmp_path / "artists.csv").write_text("track_id,artist\na,x\nb,y\n")
    table, _ = table_of("ab", np.eye(2), **MINE)
    given = {"artists": tmp_path / "artists.csv", "collection": made.path}
    found = module.search(table, audio=wav, **given)
    assert [one["artist"] for one in found.neighbours()] == ["y", "x"]
    with pytest.raises(RecipeError, match="--collection: nothing reads it without --audio"):
        module.search(table, track="a", **given)


def test_excerpts_that_are_none(embedder, wav):
    for excerpt in (-1, [1], "half"):
        table, _ = table_of("ab", np.eye(2), **MINE, excerpt=excerpt)
        with pytest.raises(EmbeddingsError, match="the embeddings are damaged: an excerpt of"):
            audio_query(table, wav)
    with pytest.raises(RecipeError, match="--excerpt half"):
        audio_query(table_of("ab", np.eye(2), **MINE, excerpt=1.0)[0], wav, excerpt="half")


def test_a_silent_query_is_a_warning(embedder, tmp_path, caplog):
    soundfile.write(tmp_path / "a.wav", np.zeros(9000), 16000)
    audio_query(table_of("ab", np.eye(2), **MINE)[0], tmp_path / "a.wav")
    assert "0.0% of what is taken of it has sound: what is near says little" in caplog.text


def test_silent_tracks_are_no_neighbours(tmp_path, caplog):
    path, vectors = tmp_path / "e.parquet", np.eye(3, dtype=np.float32) + 1
    with embedding_writer(tmp_path / "b.parquet", 3, {"silent": ["b"]}) as add:
        add(list("bca"), vectors)
    assert overview(tmp_path / "b.parquet").first_track == "c"
    with embedding_writer(path, 3, {"silent": ["b", "gone"]}) as add:
        add(list("abc"), vectors)
    with caplog.at_level("INFO"):
        table, whole = open_table(path)
    assert table.ids == ["a", "c"] and "1 track is silent, or nearly, and no" in caplog.text
    assert whole.ids == ["a", "c", "b"]
    np.testing.assert_array_equal(table.vectors, vectors[[0, 2]])
    with pytest.raises(TrackError, match="track 'b' is silent, or nearly: it has no neighbours"):
        tracks_query(table, KnownTracks(table.track_ids), ["b"])
    whole = read_embeddings(path)
    assert whole.ids == list("abc") and whole.silent.tolist() == [1]
    assert overview(path).first_track == "a"
    found = nearest(whole, k=1)
    assert found.rows.tolist() == [[2], [0], [0]]
    assert nearest(whole, np.array([1.0, 9, 1]), k=2).rows.tolist() == [[0, 2]]
    with pytest.raises(EmbeddingsError, match="k must be between 1 and 1"):
        nearest(whole, k=2)
    for silent in ("b", ["a", "b"], 1):
        with pytest.raises(TrackError, match="track 'b' is silent, or nearly: it has no neighb"):
            nearest(whole, silent, k=1)


def test_the_centre_is_of_tracks_that_have_sound():
    table, _ = table_of("abc", [[4, 4], [90, 90], [2, 6]], silent=["b"])
    centred, _ = open_table(table, centre=True)
    np.testing.assert_allclose(centred.vectors, [[1, -1], [-1, 1]])
    assert centred.about["centre"] == [3, 5]
    with pytest.raises(EmbeddingsError, match="no track that has sound"):
        open_table(table_of("ab", np.eye(2), silent=["a", "b"])[0], centre=True)


def test_an_audio_file_is_centred_as_the_table_is(embedder, wav):
    vectors = [[4, 4], [2, 6], [0, 5]]
    plain, _ = table_of("abc", vectors, **MINE)
    table, _ = open_table(plain, centre=True)
    np.testing.assert_allclose(table.vectors, np.array(vectors) - [2, 5])
    query = audio_query(table, wav)
    np.testing.assert_allclose(query.vector, [1, -1])
    assert open_table(table, centre=True)[0] is table
    for wrong in ("x", [1], [1, "y"], [1, None], [1, 10**400]):
        other, _ = table_of("abc", vectors, centre=wrong, **MINE)
        with pytest.raises(EmbeddingsError, match="damaged: a centre that is not 2 numbers"):
            audio_query(other, wav)


def test_what_is_in_memory_is_searched_as_a_file_is(tmp_path, rng):
    vectors = rng.normal(size=(30, 4)).astype(np.float32)
    ids = [f"t{i}" for i in range(30)]
    table, _ = table_of(ids, vectors)
    artists = tmp_path / "artists.csv"
    artists.write_text("track_id,artist\n" + "".join(f"t{i},{i % 3}\n" for i in range(30)))
    found = module.search(table, track="t3", less="t4", per_artist=2, artists=artists, centre=True)
    assert len(found.rows) == 6 and {one["artist"] for one in found.neighbours()} == {*"012"}
    path = write(tmp_path / "e.parquet", ids, vectors)
    again = module.search(
        path, track=["t3"], less=["t4"], per_artist=2, artists=artists, centre=True
    )
    assert again.neighbours() == found.neighbours() and repr(again) == repr(found)
    way = module.search(table, path=["t1", "t2"], steps=5)
    assert way.rows[0] == 1 and way.rows[-1] == 2 and way.query.text.startswith("path from 't1'")
    with pytest.raises(RecipeError, match="index 'faiss' is kept beside a file"):
        module.search(table, track="t1", index="faiss")


def test_the_model_must_be_that_of_the_table(embedder, wav):
    vectors = np.eye(2)
    other, _ = table_of("ab", vectors, model="other", model_key="2" * 32)
    message = r"of model 'other' \(key 22222222\), and 'mine' is another \(key 11111111\)"
    with pytest.raises(EmbeddingsError, match=message):
        audio_query(other, wav, "mine")
    with pytest.raises(EmbeddingsError, match="do not say which model"):
        audio_query(table_of("ab", vectors)[0], wav, "mine")
    with pytest.raises(EmbeddingsError, match="give it with --model"):
        audio_query(table_of("ab", vectors, model_key="1" * 32)[0], wav, None)
    assert audio_query(table_of("ab", vectors, model_key="1" * 32)[0], wav, "mine").vector.any()


def test_audio_that_cannot_be_asked_about(embedder, wav, tmp_path):
    table, _ = table_of("ab", np.eye(2), **MINE)
    with pytest.raises(AudioError, match="no such file"):
        audio_query(table, tmp_path / "no.wav", None)
    (tmp_path / "text.mp3").write_text("no audio")
    with pytest.raises(AudioError, match=r"text\.mp3: cannot be decoded"):
        audio_query(table, tmp_path / "text.mp3", None)
    embedder.given = np.zeros(2, np.float32)
    with pytest.raises(ModelError, match="has no direction"):
        audio_query(table, wav)
    from playlist_pretrain.audio.front_end import IMPORTED

    embedder.settings = next(iter(IMPORTED.values()))
    with pytest.raises(FrontEndError, match="takes no waveforms"):
        audio_query(table, wav)


@pytest.mark.slow
def test_the_mean_of_mels_is_made_from_the_collection(make_collection, wav, tmp_path):
    from playlist_pretrain.models.load import Untrained, load_embedder

    made = make_collection(tmp_path / "mine", [80] * 4)
    untrained = Untrained(made.front_end, made.band_mean, made.band_std, frames=16)
    about = {"model": "mean-of-mel", "model_key": load_embedder("mean-of-mel", untrained).key}
    with pytest.raises(RecipeError, match="it is no trained model"):
        audio_query(table_of("ab", np.eye(2), **about)[0], wav, None)
    about |= {"collection": str(made.path), "collection_key": made.content_key}
    with pytest.raises(EmbeddingsError, match="windows of None frames"):
        audio_query(table_of("ab", np.eye(2), **about)[0], wav, None)
    table, _ = table_of("ab", np.eye(2), frames=16, **about)
    assert audio_query(table, wav).vector.shape == (96,)
    other = dataclasses.replace(table, about={**table.about, "frames": 17})
    assert audio_query(other, wav).vector.shape == (96,)


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"track": "a", "path": ["a", "b"]}, "--track and --path: one of them at a time"),
        ({"track": "a", "playlist": "p.m3u8"}, "--track and --playlist: one of them at a time"),
        ({"track": "a", "excerpt": 3}, "--excerpt: nothing reads it without --audio"),
        ({"path": ["a", "b"], "per_artist": 1}, "--per-artist: nothing reads it without --track"),
        ({"path": ["a", "b"], "steps": 0}, "--steps 0: at least 1"),
        ({"path": "a"}, "--path a: two ids, its first and its last song"),
        ({"report": True, "fold": True}, "--fold: nothing reads it without --track"),
        ({"track": "a", "top": 0}, "--top 0: at least 1"),
        (
            {"track": "a", "out": "o.txt"},
            "--out o.txt: its name must end in .m3u8 or",
        ),
        ({"track": "a", "index": "tree"}, "--index tree: exact or faiss"),
    ],
)
def test_what_the_command_refuses_is_refused_in_python(asked, message):
    with pytest.raises(RecipeError, match=message):
        module.search(table_of("abc", np.eye(3) + 1)[0], **asked)


def test_an_audio_path_is_text_in_json(embedder, wav, tmp_path):
    table, _ = table_of("ab", np.eye(2), **MINE)
    module.search(table, audio=wav, out=tmp_path / "o.json")
    assert json.loads((tmp_path / "o.json").read_text())["query"] == {"audio": str(wav)}
