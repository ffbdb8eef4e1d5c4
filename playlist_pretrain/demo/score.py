"""From a song's latent to its notes: four layers that run through the whole song.

A bar has sixteen steps. The lead repeats a motif of two bars with small changes, the chords a
progression of four bars, drums a pattern of one bar, so that a window of three seconds holds the
cues of every knob. Key and tempo are nuisances: they are drawn without regard to the latent.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from playlist_pretrain.demo.world import KNOBS

SCALES = (
    (0, 1, 3, 5, 7, 8, 10),  # phrygian
    (0, 2, 3, 5, 7, 8, 10),  # aeolian
    (0, 2, 3, 5, 7, 9, 10),  # dorian
    (0, 2, 4, 5, 7, 9, 10),  # mixolydian
    (0, 2, 4, 5, 7, 9, 11),  # ionian
    (0, 2, 4, 6, 7, 9, 11),  # lydian
)
METRE = np.array([9, 0, 3, 1, 6, 0, 4, 2, 8, 0, 3, 1, 7, 0, 4, 2], float)
STRAIGHT_KICK, BROKEN_KICK = (0, 4, 8, 12), (0, 3, 6, 11, 14)
STRAIGHT_SNARE, BROKEN_SNARE = (4, 12), (5, 10, 13)

Traits = Mapping[str, float]
Random = np.random.Generator


@dataclass(frozen=True, eq=False)
class Notes:
    """Notes of one layer, by time.

    Attributes
    ----------
    start, length : float arrays [n]
        Seconds.
    pitch : float array [n]
        MIDI number; unused for drums.
    level : float array [n]
        Amplitude, about 1.
    """

    start: np.ndarray
    length: np.ndarray
    pitch: np.ndarray
    level: np.ndarray


@dataclass(frozen=True, eq=False)
class Score:
    """Layers of one song, and the traits in [0, 1] that the sound needs."""

    traits: dict[str, float]
    step: float
    lead: Notes
    chords: Notes
    bass: Notes
    kick: Notes
    snare: Notes
    hat: Notes


def traits_of(latent: np.ndarray) -> dict[str, float]:
    """Knobs squashed to [0, 1]: −1 becomes 0.12, +1 becomes 0.88."""
    return dict(zip(KNOBS, 0.5 + 0.5 * np.tanh(latent), strict=True))


def write_score(latent: np.ndarray, rng: np.random.Generator, seconds: float) -> Score:
    """Compose one song.

    Parameters
    ----------
    latent : float array [len(KNOBS)]
    rng : np.random.Generator
        Source of the nuisances and of everything that differs between songs of one latent.
    seconds : float
        Length; notes begin before it and may ring beyond.
    """
    traits = traits_of(latent)
    step = 60 / rng.uniform(88, 136) / 4
    bars = int(np.ceil(seconds / (16 * step)))
    key = int(rng.integers(-6, 6))
    scale = SCALES[int(np.clip(np.rint(traits["mode"] * 7 - 1), 0, 5))]
    roots = np.concatenate([[0], rng.choice([1, 2, 3, 4, 5], size=3, replace=False)])
    layers = {
        "lead": _lead(traits, rng, bars, scale, 72 + key),
        "chords": _chords(traits, rng, bars, scale, roots, 55 + key),
        "bass": _bass(traits, rng, bars, scale, roots, 36 + key),
        **_drums(traits, rng, bars),
    }
    timed = {
        name: Notes(
            rows[:, 0] * step + rng.normal(0, 0.003, len(rows)).clip(-0.008, 0.008) + 0.008,
            rows[:, 1] * step,
            rows[:, 2],
            rows[:, 3],
        )
        for name, rows in layers.items()
    }
    return Score(traits, step, **timed)


def _pitch(degree: np.ndarray | int, scale: Sequence[int]) -> np.ndarray:
    """Semitones above the key note of scale degrees, which may be negative."""
    octave, place = np.divmod(np.asarray(degree), 7)
    return 12 * octave + np.asarray(scale)[place]


def _lead(traits: Traits, rng: Random, bars: int, scale: Sequence[int], key: int) -> np.ndarray:
    onsets = round(2 + 12 * traits["lead_density"])
    size = 0.6 + 5.5 * traits["lead_leap"]
    reach = 3 + 9 * traits["lead_leap"]
    motif = []
    for bar in range(2):
        weight = METRE + rng.uniform(0, 5, 16)
        for place in np.sort(np.argsort(-weight)[:onsets]):
            motif.append((16 * bar + place, rng.normal(0, size)))
    steps, moves = np.array(motif).T
    rows, degree = [], 0.0
    for phrase in range(-(-bars // 2)):
        changed = np.where(rng.uniform(size=len(moves)) < 0.15, rng.normal(0, size, len(moves)), 0)
        begins = steps + 32 * phrase
        lengths = np.diff(np.append(begins, 32 * (phrase + 1)))
        for begin, length, move in zip(begins, lengths, moves + changed, strict=True):
            degree = degree + move
            degree = reach - abs(abs(degree + reach) % (4 * reach) - 2 * reach)
            rows.append((begin, length, key + _pitch(round(degree), scale), 1.0))
    rows = np.array(rows, float)
    rows[:, 3] = rng.uniform(0.7, 1.0, len(rows))
    return rows


def _chords(
    traits: Traits, rng: Random, bars: int, scale: Sequence[int], roots: np.ndarray, key: int
) -> np.ndarray:
    hits = round(1 + 9 * (1 - traits["chord_length"]) ** 1.5)
    degrees = [0, 4, 2, 6, 8][: 2 + round(3 * traits["chord_thickness"])]
    weight = METRE * (1 - 2 * traits["beat_broken"]) + rng.uniform(0, 4, 16)
    places = np.unique(np.append(np.argsort(-weight)[: hits - 1], 0))
    gaps = np.diff(np.append(places, 16))
    held = 0.2 + 0.8 * traits["chord_length"]
    rows = [
        (16 * bar + place, gap * held, key + _pitch(int(roots[bar % 4]) + degree, scale), 1.0)
        for bar in range(bars)
        for place, gap in zip(places, gaps, strict=True)
        for degree in degrees
    ]
    return np.array(rows, float)


def _bass(
    traits: Traits, rng: Random, bars: int, scale: Sequence[int], roots: np.ndarray, key: int
) -> np.ndarray:
    legato = traits["bass_glide"]
    hits = round(2 + 7 * (1 - legato))
    weight = METRE * (1 - 1.6 * traits["beat_broken"]) + rng.uniform(0, 4, 16)
    places = np.unique(np.append(np.argsort(-weight)[: hits - 1], 0))
    gaps = np.diff(np.append(places, 16))
    ornament = rng.choice([0, 0, 4, 7], size=len(places))
    rows = [
        (16 * bar + place, gap * (0.3 + 0.7 * legato), key + _pitch(roots[bar % 4] + up, scale), 1)
        for bar in range(bars)
        for place, gap, up in zip(places, gaps, ornament, strict=True)
    ]
    return np.array(rows, float)


def _drums(traits: Traits, rng: Random, bars: int) -> dict[str, np.ndarray]:
    broken = traits["beat_broken"]
    kick, snare = (
        (STRAIGHT_KICK, STRAIGHT_SNARE)
        if broken + rng.normal(0, 0.05) < 0.5
        else (BROKEN_KICK, BROKEN_SNARE)
    )
    weight = METRE + rng.uniform(0, 2, 16)
    hat = np.sort(np.argsort(-weight)[: round(3 + 13 * traits["hat_density"])])
    rows = {}
    for name, places in (("kick", kick), ("snare", snare), ("hat", hat)):
        begin = (16 * np.arange(bars)[:, None] + np.asarray(places)).ravel()
        level = rng.uniform(0.6, 1.0, len(begin))
        rows[name] = np.stack([begin, np.ones(len(begin)), np.zeros(len(begin)), level], axis=1)
    return rows
