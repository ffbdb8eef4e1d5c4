"""The demo's world: who makes which songs, and where each song lies in the latent space.

Everything is drawn from one seed, and another seed gives another world with the same six styles.

Latents
    A song's latent is a vector of :data:`KNOBS` real numbers, one for each trait that can be
    heard (attack of the lead, density of the hi-hat, …); about −1 and +1 are a trait's two ends.
    Styles lie on a ring: style k at angle θ_k = 2πk/6, knob j at an angle φ_j that the seed
    draws, and the style's centre is cos(θ_k − φ_j). The φ_j cover the circle evenly, so in every
    world neighbouring styles share about two thirds of their traits and opposite ones none. An
    artist lies around the style's centre (standard deviation :data:`ARTIST_SPREAD` in every
    knob), a song around the artist (:data:`SONG_SPREAD`).
Sound
    :mod:`playlist_pretrain.demo.songs` turns a latent into notes and a waveform.
Parts
    Songs 0 … 239 belong to the 24 artists of the part ``demo``, songs 240 … 359 to the 12 artists
    of ``demo-eval``, who are in no playlist.
Playlists
    A playlist has a theme, the latent of a song drawn by popularity, and a breadth w. Songs enter
    it without repetition with weight popularity · exp(−d² / 2w²), d being the distance from the
    theme, so a narrow one stays with an artist and a broad or long one reaches the neighbouring
    styles. One entry in twenty is drawn by popularity alone. Lengths are log-normal between 5
    and 60; popularity is a log-normal factor of the artist times one of the song.
Tags
    The style; five moods, each of them the 35 % of all songs that lie farthest along a direction
    of the latent space; instruments, each of them one end of one knob.
Triplets
    (anchor, positive, negative) such that the positive lies nearer to the anchor than the
    negative by at least :data:`MARGIN`. In four of five the positive is by another artist of the
    anchor's style and the negative of another style; in the others all three are of one style
    and anchor and positive by one artist.
"""

from __future__ import annotations

import functools
import zlib
from dataclasses import dataclass
from typing import Any

import numpy as np

STYLES = ("amber", "basalt", "cobalt", "dune", "ember", "fjord")
"""Names of the styles in the order of the ring; the last one is the first one's neighbour."""

KNOBS = (
    "lead_attack",  # plucked, dying away … bowed, sustained
    "lead_hollow",  # all harmonics … odd harmonics only
    "lead_bright",  # few harmonics … many
    "lead_vibrato",  # none … a semitone
    "lead_density",  # two notes a bar … fourteen
    "lead_leap",  # steps … leaps over two octaves
    "chord_length",  # short stabs … one pad a bar
    "chord_tremolo",  # steady … pulsating
    "chord_thickness",  # fifths … ninth chords
    "mode",  # phrygian … lydian
    "hat_density",  # four hits a bar … sixteen
    "hat_length",  # closed … open
    "beat_broken",  # kick on every beat … syncopated
    "bass_glide",  # staccato quavers … long sliding notes
)

PARTS = {"demo": 4, "demo-eval": 2}
"""Artists of each style in each part; the parts are the names of the collections."""

SONGS_PER_ARTIST = 10
ARTIST_SPREAD = 0.25
SONG_SPREAD = 0.15


def generator(seed: int, *stream: str | int) -> np.random.Generator:
    """Seeded generator of one named stream, independent of every other stream of the world."""
    words = (zlib.crc32(part.encode()) if isinstance(part, str) else part for part in stream)
    return np.random.default_rng([seed, *words])


@dataclass(frozen=True, eq=False)
class World:
    """Styles, 36 artists and 360 songs of one seed."""

    seed: int
    artists: tuple[str, ...]  # names, unique, lower case
    artist_style: np.ndarray  # int [36], indices into STYLES
    artist_part: tuple[str, ...]
    song_artist: np.ndarray  # int [360]
    latents: np.ndarray  # float [360, len(KNOBS)]
    titles: tuple[str, ...]
    track_ids: tuple[str, ...]  # artist/NN, NN counting the artist's songs from 01

    @property
    def song_style(self) -> np.ndarray:
        """Index into :data:`STYLES` of each song."""
        return self.artist_style[self.song_artist]

    def songs(self, part: str) -> np.ndarray:
        """Numbers of the songs of ``part``, ascending."""
        belongs = np.array([name == part for name in self.artist_part])
        return np.flatnonzero(belongs[self.song_artist])

    def song(self, track_id: str) -> int:
        """Number of the song called ``track_id``."""
        return self.track_ids.index(track_id)


@functools.lru_cache(maxsize=8)
def make_world(seed: int = 0) -> World:
    """Draw the world of ``seed`` (0 or greater); the same seed gives the same world anywhere."""
    rng = generator(seed, "latents")
    ring = 2 * np.pi * np.arange(len(STYLES)) / len(STYLES)
    phases = 2 * np.pi * (rng.permutation(len(KNOBS)) + rng.uniform(size=len(KNOBS))) / len(KNOBS)
    centres = np.cos(ring[:, None] - phases)

    style = np.concatenate(
        [np.repeat(np.arange(len(STYLES)), per_style) for per_style in PARTS.values()]
    )
    part = [name for name, per_style in PARTS.items() for _ in range(per_style * len(STYLES))]
    artist_latents = centres[style] + ARTIST_SPREAD * rng.standard_normal((len(style), len(KNOBS)))
    song_artist = np.repeat(np.arange(len(style)), SONGS_PER_ARTIST)
    latents = artist_latents[song_artist]
    latents = latents + SONG_SPREAD * rng.standard_normal(latents.shape)

    artists = _names(generator(seed, "artists"), len(style), words=1)
    titles = _names(generator(seed, "titles"), len(song_artist), words=2)
    numbers = np.tile(np.arange(1, SONGS_PER_ARTIST + 1), len(style))
    return World(
        seed=seed,
        artists=artists,
        artist_style=style,
        artist_part=tuple(part),
        song_artist=song_artist,
        latents=latents,
        titles=titles,
        track_ids=tuple(
            f"{artists[a]}/{number:02d}" for a, number in zip(song_artist, numbers, strict=True)
        ),
    )


def _names(rng: np.random.Generator, count: int, words: int) -> tuple[str, ...]:
    """``count`` different names of ``words`` invented words each."""
    names: dict[str, None] = {}
    while len(names) < count:
        syllables = [
            "".join(
                rng.choice(list("bdfgklmnprstvz")) + rng.choice(list("aeiou"))
                for _ in range(rng.integers(2, 4))
            )
            for _ in range(words)
        ]
        names[" ".join(syllables)] = None
    return tuple(names)


PLAYLISTS = 300
SHORTEST, MEDIAN_LENGTH, LONGEST = 5, 13, 60
BREADTH = (0.8, 1.6)
NOISE_SHARE = 0.05
TRIPLETS = 500
WITHIN_STYLE_SHARE = 0.2
MARGIN = 0.5
MOOD_SHARE = 0.35

MOODS = {
    "energetic": {"lead_density": 1, "hat_density": 1, "chord_length": -1},
    "calm": {"lead_density": -1, "hat_density": -1, "chord_length": 1},
    "dark": {"mode": -1, "lead_bright": -1},
    "tense": {"beat_broken": 1, "lead_leap": 1, "chord_thickness": 1},
    "dreamy": {"lead_vibrato": 1, "chord_tremolo": 1, "bass_glide": 1},
}
"""Direction of each mood: the sign of each knob that takes part."""

INSTRUMENTS = {
    "harp": ("lead_attack", -1),
    "violin": ("lead_attack", 1),
    "clarinet": ("lead_hollow", 1),
    "piano": ("chord_length", -1),
    "pad": ("chord_length", 1),
    "vibraphone": ("chord_tremolo", 1),
    "picked-bass": ("bass_glide", -1),
    "fretless-bass": ("bass_glide", 1),
    "shaker": ("hat_density", 1),
    "cymbal": ("hat_length", 1),
}
"""Knob of each instrument, and the end of it at which the instrument plays."""


def playlists(world: World) -> list[tuple[str, list[int]]]:
    """300 playlists over the songs of ``demo``: (playlist id, numbers of its songs)."""
    rng = generator(world.seed, "playlists")
    songs = world.songs("demo")
    artists = rng.normal(0, 0.5, len(world.artists))
    popularity = artists[world.song_artist[songs]] + rng.normal(0, 0.4, len(songs))
    chance = np.exp(popularity) / np.exp(popularity).sum()
    latents = world.latents[songs]
    made = []
    for number in range(1, PLAYLISTS + 1):
        length = int(np.clip(np.rint(MEDIAN_LENGTH * rng.lognormal(0, 0.7)), SHORTEST, LONGEST))
        theme = latents[rng.choice(len(songs), p=chance)]
        distance = np.square(latents - theme).sum(axis=1)
        fitting = popularity - distance / (2 * rng.uniform(*BREADTH) ** 2)
        # Gumbel noise and the largest: draws without repetition by the weights' exponentials.
        order = np.argsort(-(fitting + rng.gumbel(size=len(songs))))
        chosen = order[:length].copy()
        strangers = int(rng.binomial(length, NOISE_SHARE))
        if strangers:
            others = order[length:]
            share = chance[others] / chance[others].sum()
            chosen[-strangers:] = rng.choice(others, strangers, replace=False, p=share)
        made.append((f"playlist-{number:03d}", [int(s) for s in songs[rng.permutation(chosen)]]))
    return made


def tags(world: World) -> list[tuple[str, ...]]:
    """Tags of every song of the world, as ``style---…``, ``mood---…``, ``instrument---…``."""
    column = {knob: world.latents[:, place] for place, knob in enumerate(KNOBS)}
    found: dict[str, Any] = {
        f"style---{style}": world.song_style == k for k, style in enumerate(STYLES)
    }
    for mood, direction in MOODS.items():
        along = sum(sign * column[knob] for knob, sign in direction.items())
        found[f"mood---{mood}"] = along > np.quantile(along, 1 - MOOD_SHARE)
    for instrument, (knob, sign) in INSTRUMENTS.items():
        found[f"instrument---{instrument}"] = sign * column[knob] > 0
    return [
        tuple(tag for tag, has in found.items() if has[song])
        for song in range(len(world.track_ids))
    ]


def splits(world: World) -> list[str]:
    """Split of every song: ``train``, ``validation`` or ``test``.

    An artist of the test split is in no other one. In ``demo`` each style has two artists for
    training, one for validation and one for the test. ``demo-eval`` has two artists a style: one
    for the test, the other one's first seven songs for training and last three for validation.
    """
    by_place = {"demo": ("train", "train", "validation", "test"), "demo-eval": ("train", "test")}
    names: list[str] = []
    for artist, (style, part) in enumerate(zip(world.artist_style, world.artist_part, strict=True)):
        before = zip(world.artist_style[:artist], world.artist_part[:artist], strict=True)
        split = by_place[part][sum(pair == (style, part) for pair in before)]
        names += [split] * SONGS_PER_ARTIST
        if part == "demo-eval" and split == "train":
            names[-3:] = ["validation"] * 3
    return names


def triplets(world: World, part: str) -> np.ndarray:
    """500 triplets over the songs of ``part``: numbers of anchor, positive, negative [500, 3]."""
    rng = generator(world.seed, "triplets", part)
    songs = world.songs(part)
    within = round(TRIPLETS * WITHIN_STYLE_SHARE)
    artist, style = world.song_artist, world.song_style
    drawn = songs[rng.integers(len(songs), size=(400 * TRIPLETS, 3))]
    anchor, positive, negative = drawn.T
    far = np.linalg.norm(world.latents[anchor] - world.latents[negative], axis=1)
    near = np.linalg.norm(world.latents[anchor] - world.latents[positive], axis=1)
    clear = (far - near >= MARGIN) & (anchor != positive) & (style[anchor] == style[positive])
    same_artist = artist[anchor] == artist[positive]
    same_style = style[anchor] == style[negative]
    kinds = (
        (clear & ~same_artist & ~same_style, TRIPLETS - within),
        (clear & same_artist & same_style & (artist[anchor] != artist[negative]), within),
    )
    rows = []
    for kind, count in kinds:
        candidates = drawn[kind]
        first = np.sort(np.unique(candidates, axis=0, return_index=True)[1])[:count]
        rows.append(candidates[first])
    return rng.permutation(np.concatenate(rows))
