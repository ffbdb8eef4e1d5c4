"""Word2Vec over playlists: what reaches gensim, what it learns, and the file it leaves."""

import json
from urllib.parse import unquote

import numpy as np
import pytest

from playlist_pretrain.errors import GroupsError, RecipeError
from playlist_pretrain.playlists import word2vec as vectors_file
from playlist_pretrain.playlists.groups import TrackGroups
from playlist_pretrain.playlists.settings import TableSettings
from playlist_pretrain.playlists.word2vec import (
    Sentences,
    TrackVectors,
    cached_vectors,
    load_vectors,
    save_vectors,
    track_vectors,
    train,
    vectors_path,
)


def groups_of(playlists, tracks, name="playlists"):
    return TrackGroups.from_lists(name, playlists, tracks=tracks, collection_key="k")


@pytest.fixture
def communities(rng):
    """400 playlists, each of tracks of one of two communities; tracks 40 and 41 are in none."""
    return groups_of([rng.choice(20, 8, replace=False) + 20 * (i % 2) for i in range(400)], 42)


SMALL = TableSettings(w2v_size=16)


def test_the_settings_reach_gensim(communities):
    settings = TableSettings(w2v_size=24, w2v_sample=0.01)
    model = train(communities, settings, epochs=2, seed=5)
    assert model.sg == 0 and model.shrink_windows is False and model.min_count == 1
    assert model.window == 8, "the longest group"
    assert model.alpha == 0.02 and model.epochs == 2 and model.vector_size == 24
    assert model.sample == 0.01 and model.seed == 5 and model.workers == 1
    assert model.wv.vectors.shape == (40, 24)
    other = train(communities, TableSettings(w2v_window=3, w2v_workers=2))
    assert (other.window, other.workers, other.epochs, other.sample) == (3, 2, 20, 1e-3)


def test_vectors_that_do_not_fit_in_memory_are_one_message(communities):
    with pytest.raises(RecipeError, match=r"^--w2v-size 10000000000000: .*allocate"):
        train(communities, TableSettings(w2v_size=10**13))


def test_no_group_is_cut():
    """gensim trains the first 10,000 words of a sentence only."""
    from gensim.models import Word2Vec

    groups = groups_of([range(10_000), range(9_999, 20_000)], 20_000)
    settings = TableSettings(10_000, w2v_size=2, w2v_window=5, w2v_sample=0)
    model = train(groups, settings)
    untrained = Word2Vec(vector_size=2, seed=0, min_count=1)
    untrained.build_vocab(Sentences(groups, np.array([True, False])))
    assert model.wv.index_to_key == untrained.wv.index_to_key
    assert np.any(model.wv.vectors != untrained.wv.vectors, axis=1).all()
    vectors = track_vectors(groups, settings)
    assert vectors.rows.tolist() == list(range(10_000)) and vectors.left_out == 1
    with pytest.raises(RecipeError, match=r"--max-group-length 10001: .* 10,000"):
        train(groups, TableSettings(10_001))


def test_two_communities_separate(communities):
    vectors = track_vectors(communities, SMALL)
    assert vectors.rows.tolist() == list(range(40))
    centred = vectors.vectors - vectors.vectors.mean(axis=0)  # all vectors share an offset
    unit = centred / np.linalg.norm(centred, axis=1, keepdims=True)
    cosine = unit @ unit.T
    same = np.equal.outer(np.arange(40) // 20, np.arange(40) // 20)
    within = cosine[same & ~np.eye(40, dtype=bool)]
    assert within.min() > cosine[~same].max() + 0.5


def test_one_worker_gives_equal_bits(communities):
    one, other = (track_vectors(communities, SMALL) for _ in range(2))
    assert one.vectors.tobytes() == other.vectors.tobytes()
    different = track_vectors(communities, SMALL, seed=1)
    assert not np.array_equal(one.vectors, different.vectors)


def test_long_groups_are_left_out_and_none_at_all_is_refused():
    groups = groups_of([[0, 1, 2], [1, 2], [0, 1, 2, 3, 4]], 6)
    vectors = track_vectors(groups, TableSettings(3, w2v_size=4))
    assert vectors.rows.tolist() == [0, 1, 2] and vectors.left_out == 1
    with pytest.raises(GroupsError, match=r"at most 2 tracks \(--max-group-length\)"):
        track_vectors(groups_of([[0, 1, 2]], 3), TableSettings(2))


IDS = ["plain", "with blank", "ü/ö", "100%", "a\nb", "\x1b[31m", "tab\there", "%20", "日本"]


def some_vectors(rng, rows=range(9)):
    rows = np.array(rows, np.int32)
    vectors = rng.normal(size=(len(rows), 6)).astype(np.float32)
    return TrackVectors(rows, vectors, 3, {"groups": "mine"})


@pytest.mark.parametrize("rows", [range(9), [1, 4, 8]])
def test_gensim_reads_the_file_and_so_do_we(rng, tmp_path, rows):
    from gensim.models import KeyedVectors

    vectors = some_vectors(rng, rows)
    save_vectors(vectors, IDS, tmp_path / "v.bin")
    keyed = KeyedVectors.load_word2vec_format(tmp_path / "v.bin", binary=True)
    assert [unquote(word) for word in keyed.index_to_key] == [IDS[row] for row in rows]
    np.testing.assert_array_equal(keyed.vectors, vectors.vectors)
    again = load_vectors(tmp_path / "v.bin", IDS, 6)
    np.testing.assert_array_equal(again.rows, vectors.rows)
    np.testing.assert_array_equal(again.vectors, vectors.vectors)
    assert again.left_out == 3 and again.about == vectors.about


def test_damage_anywhere_is_refused_in_one_line(rng, tmp_path):
    path = tmp_path / "v.bin"
    save_vectors(some_vectors(rng), IDS, path)
    whole = path.read_bytes()
    damaged = [*(whole[:size] for size in range(0, len(whole), 23)), whole + b"x"]
    for place in range(0, len(whole), 23):
        damaged.append(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
    for content in damaged:
        path.write_bytes(content)
        with pytest.raises(GroupsError, match=r"v\.bin: not a whole file") as caught:
            load_vectors(path, IDS, 6)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("ids", "size"), [(IDS, 7), (IDS[:-1], 6)])
def test_vectors_of_another_collection_or_size_are_refused(rng, tmp_path, ids, size):
    save_vectors(some_vectors(rng), IDS, tmp_path / "v.bin")
    with pytest.raises(GroupsError, match=r"v\.bin: not a whole file"):
        load_vectors(tmp_path / "v.bin", ids, size)


def test_kept_under_a_key_of_content_and_settings(communities, tmp_path, monkeypatch, caplog):
    caplog.set_level("INFO")
    ids = [f"track {row}" for row in range(42)]
    first = cached_vectors(communities, ids, tmp_path, SMALL)
    assert ".bin: made in" in caplog.messages[-1]
    about = json.loads(next(tmp_path.glob("w2v-playlists-*.json")).read_text())
    assert about["settings"]["window"] == 8 and about["gensim"]
    monkeypatch.setattr(vectors_file, "train", None)  # whatever is read now is not trained
    again = cached_vectors(communities, ids, tmp_path, SMALL)
    np.testing.assert_array_equal(first.vectors, again.vectors)
    other = TableSettings(w2v_size=16, w2v_window=2)
    paths = {vectors_path(communities, tmp_path, settings) for settings in (SMALL, other)}
    paths |= {vectors_path(communities, tmp_path, SMALL, **{k: 3}) for k in ("epochs", "seed")}
    assert len(paths) == 4


def test_a_damaged_file_is_made_again(communities, tmp_path):
    ids = [f"track {row}" for row in range(42)]
    settings = TableSettings(w2v_size=4)
    cached_vectors(communities, ids, tmp_path, settings, epochs=1)
    path = vectors_path(communities, tmp_path, settings, epochs=1)
    whole = path.read_bytes()
    path.write_bytes(whole[:50])
    cached_vectors(communities, ids, tmp_path, settings, epochs=1)
    assert path.read_bytes() == whole
    path.with_suffix(".json").unlink()
    cached_vectors(communities, ids, tmp_path, settings, epochs=1)
    assert path.with_suffix(".json").exists()
