"""The latent world: counts, the ring of styles, and what depends on the seed."""

import numpy as np
import pytest

from playlist_pretrain.demo.world import PARTS, STYLES, make_world


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize(("part", "artists"), [("demo", 24), ("demo-eval", 12)])
def test_parts_have_their_artists_with_ten_songs_each_and_all_styles(seed, part, artists):
    world = make_world(seed)
    songs = world.songs(part)
    counts = np.bincount(world.song_artist[songs], minlength=36)
    assert len(songs) == 10 * artists
    assert np.array_equal(np.unique(counts), [0, 10])
    assert np.count_nonzero(counts) == artists
    assert np.array_equal(np.bincount(world.song_style[songs]), [10 * artists // 6] * 6)


def test_parts_share_no_artist_and_no_song():
    world = make_world(0)
    demo, demo_eval = (set(world.song_artist[world.songs(part)]) for part in PARTS)
    assert not demo & demo_eval
    assert len(demo | demo_eval) == len(world.artists) == len(set(world.artists)) == 36


def test_a_seed_gives_one_world_and_another_seed_another():
    first = make_world(5)
    make_world.cache_clear()
    again, other = make_world(5), make_world(6)
    assert first is not again
    assert np.array_equal(first.latents, again.latents)
    assert first.track_ids == again.track_ids
    assert first.titles == again.titles
    assert np.abs(first.latents - other.latents).max() > 0.5
    assert first.track_ids != other.track_ids


@pytest.mark.parametrize("seed", range(3))
def test_neighbours_on_the_ring_are_nearer_than_styles_farther_away(seed):
    world = make_world(seed)
    centres = np.array(
        [world.latents[world.song_style == style].mean(axis=0) for style in range(len(STYLES))]
    )
    apart = np.linalg.norm(centres[:, None] - centres, axis=2)
    steps = np.abs(np.subtract.outer(np.arange(6), np.arange(6)))
    steps = np.minimum(steps, 6 - steps)
    assert apart[steps == 1].max() < apart[steps == 2].min()
    assert apart[steps == 2].mean() < 0.95 * apart[steps == 3].mean()
