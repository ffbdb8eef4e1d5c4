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
    :mod:`playlist_pretrain.demo.score` turns a latent into notes and drum hits,
    :mod:`playlist_pretrain.demo.synth` into a waveform. Key, tempo, balance of the layers,
    equalisation, loudness and noise are drawn for each song without regard to its latent.
Tables
    :mod:`playlist_pretrain.demo.tables` derives playlists, tags and triplets.

Songs 0 … 239 belong to the 24 artists of the part ``demo``, songs 240 … 359 to the 12 artists of
``demo-eval``, who are in no playlist.
"""

from __future__ import annotations

import functools
import zlib
from dataclasses import dataclass

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
    """Styles, artists and songs of one seed.

    Attributes
    ----------
    seed : int
    artists : tuple of str
        Names of the 36 artists, unique, lower case.
    artist_style : int array [36]
        Index into :data:`STYLES`.
    artist_part : tuple of str
        Part that an artist belongs to.
    song_artist : int array [360]
    latents : float array [360, len(KNOBS)]
        Where each song lies.
    titles : tuple of str
    track_ids : tuple of str
        ``artist/NN``, NN counting the artist's songs from 01.
    """

    seed: int
    artists: tuple[str, ...]
    artist_style: np.ndarray
    artist_part: tuple[str, ...]
    song_artist: np.ndarray
    latents: np.ndarray
    titles: tuple[str, ...]
    track_ids: tuple[str, ...]

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
