"""The synthetic world: its artists and styles, playlists, tags, splits and triplets."""

from collections import Counter, defaultdict

import numpy as np
import pytest

from playlist_pretrain.demo import world as tables
from playlist_pretrain.demo.world import PARTS, STYLES, make_world


@pytest.fixture(params=[0, 1], ids=lambda seed: f"world{seed}")
def world(request):
    return make_world(request.param)


def test_playlists_are_300_sets_of_demo_songs(world):
    playlists = tables.playlists(world)
    known = set(world.songs("demo"))
    assert len({name for name, _ in playlists}) == len(playlists) == 300
    for _, songs in playlists:
        assert 5 <= len(songs) <= 60
        assert len(set(songs)) == len(songs)
        assert set(songs) <= known


def test_playlists_keep_to_a_style_and_reach_the_neighbouring_ones(world):
    together = np.zeros((6, 6))
    for _, songs in tables.playlists(world):
        count = np.bincount(world.song_style[songs], minlength=6)
        together += np.outer(count, count) - np.diag(count)
    share = together / together.sum()
    steps = np.abs(np.subtract.outer(np.arange(6), np.arange(6)))
    steps = np.minimum(steps, 6 - steps)
    by_steps = [share[steps == step].sum() for step in range(4)]
    assert by_steps[0] > 0.4
    assert by_steps[1] > 0.15
    assert by_steps[1] / 12 > 1.5 * by_steps[2] / 12
    assert 0 < by_steps[3] / 6 < by_steps[1] / 12


def test_every_song_has_its_style_and_some_instruments_and_moods(world):
    tags = tables.tags(world)
    assert len(tags) == 360
    for song, found in enumerate(tags):
        assert len(set(found)) == len(found)
        kinds = Counter(tag.split("---")[0] for tag in found)
        assert kinds["style"] == 1
        assert f"style---{STYLES[world.song_style[song]]}" in found
        assert kinds["instrument"] >= 3  # a lead, a chord instrument and a bass
        assert set(kinds) <= {"style", "mood", "instrument"}
    moods = Counter(tag for found in tags for tag in found if tag.startswith("mood"))
    assert set(moods) == {f"mood---{mood}" for mood in tables.MOODS}
    assert set(moods.values()) == {126}  # 35 % of 360


def test_splits_have_their_sizes_and_no_artist_of_a_test_is_in_another_one(world):
    splits = tables.splits(world)
    sizes = [Counter(splits[song] for song in world.songs(part)) for part in PARTS]
    assert sizes[0] == {"train": 120, "validation": 60, "test": 60}
    assert sizes[1] == {"train": 42, "validation": 18, "test": 60}
    found = defaultdict(set)
    for song in range(360):
        found[world.song_artist[song]].add(splits[song])
    assert all(kinds == {"test"} for kinds in found.values() if "test" in kinds)
    demo = {world.song_artist[song] for song in world.songs("demo")}
    assert all(len(found[artist]) == 1 for artist in demo)


@pytest.mark.parametrize("part", PARTS)
def test_triplets_are_500_clear_ones_between_styles_or_within_one(world, part):
    triplets = tables.triplets(world, part)
    assert triplets.shape == np.unique(triplets, axis=0).shape == (500, 3)
    assert set(triplets.ravel()) <= set(world.songs(part))
    anchor, positive, negative = (world.latents[column] for column in triplets.T)
    near = np.linalg.norm(anchor - positive, axis=1)
    assert np.all(near > 0)
    assert np.all(np.linalg.norm(anchor - negative, axis=1) - near >= tables.MARGIN)
    style, artist = world.song_style[triplets], world.song_artist[triplets]
    within = style[:, 0] == style[:, 2]
    assert np.all(style[:, 0] == style[:, 1])
    assert within.sum() == 100
    assert np.all((artist[:, 0] == artist[:, 1]) == within)
    assert np.all(artist[:, 0] != artist[:, 2])
    assert len(set(artist[:, 0])) == len(set(world.song_artist[world.songs(part)]))


def test_parts_have_their_own_artists_with_ten_songs_each_and_all_styles(world):
    artists = []
    for part, count in (("demo", 24), ("demo-eval", 12)):
        songs = world.songs(part)
        found, counts = np.unique(world.song_artist[songs], return_counts=True)
        assert len(found) == count and set(counts) == {10}
        assert np.array_equal(np.bincount(world.song_style[songs]), [10 * count // 6] * 6)
        artists += found.tolist()
    assert len(set(artists)) == len(world.artists) == len(set(world.artists)) == 36


def test_neighbours_on_the_ring_are_nearer_than_styles_farther_away(world):
    centres = np.array(
        [world.latents[world.song_style == style].mean(axis=0) for style in range(len(STYLES))]
    )
    apart = np.linalg.norm(centres[:, None] - centres, axis=2)
    steps = np.abs(np.subtract.outer(np.arange(6), np.arange(6)))
    steps = np.minimum(steps, 6 - steps)
    assert apart[steps == 1].max() < apart[steps == 2].min()
    assert apart[steps == 2].mean() < 0.95 * apart[steps == 3].mean()
