"""The songs of a world: from a latent to notes, and from notes to a waveform.

Four layers run through the whole song. A bar has sixteen steps. The lead repeats a motif of two
bars with small changes, the chords a progression of four bars, drums a pattern of one bar, so that
a window of three seconds holds the cues of every knob.

Wavetable voices and noise drums play the notes, in NumPy. Every layer is brought to the same power
before the balance of the layers is drawn, so a dense layer is not a loud one. Then come an
equalisation curve, coloured noise and the loudness of the song. These nuisances, as key and tempo,
are drawn without regard to the latent: the mean spectrum says little about where a song lies.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from playlist_pretrain.demo.world import KNOBS, World, generator

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
    """Notes of one layer, by time, as float arrays [n]."""

    start: np.ndarray  # seconds
    length: np.ndarray  # seconds
    pitch: np.ndarray  # MIDI number; unused for drums
    level: np.ndarray  # amplitude, about 1


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
    """Compose one song of a latent, float [len(KNOBS)].

    ``rng`` draws the nuisances and everything that differs between songs of one latent; notes begin
    before ``seconds`` and may ring beyond.
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


SAMPLE_RATE = 16000
TABLE = 4096
HIGHEST_PARTIAL = 7400.0

BALANCE_DB = 3.0
EQUALISER_DB = 5.0
TILT_DB = 5.0
LOUDNESS_DB = (-18.0, 0.0)
NOISE_DB = (-45.0, -20.0)
PEAK = 0.95


def render(world: World, song: int, seconds: float = 30.0) -> np.ndarray:
    """Render one song; it depends on the world's seed and the song's number alone.

    A shorter rendering of a song is not the beginning of a longer one. Returns float32
    [seconds × 16000], mono at 16 kHz with a peak of at most 0.95.
    """
    rng = generator(world.seed, "song", song)
    score = write_score(world.latents[song], rng, seconds)
    samples = round(seconds * SAMPLE_RATE)
    layers = [
        _play_lead(score, rng, samples),
        _play_chords(score, rng, samples),
        _play_bass(score, samples),
        _play_drums(score, rng, samples),
    ]
    mix = np.zeros(samples, np.float32)
    for layer, decibel in zip(layers, rng.normal(0, BALANCE_DB, len(layers)), strict=True):
        mix += layer * np.float32(_gain(decibel) / _rms(layer))
    mix = _colour(mix, rng)
    loudness = PEAK * _gain(rng.uniform(*LOUDNESS_DB))
    return mix * np.float32(loudness / np.abs(mix).max())


def _gain(decibel: float) -> float:
    return 10 ** (decibel / 20)


def _rms(signal: np.ndarray) -> float:
    return float(np.sqrt(np.mean(np.square(signal, dtype=np.float64))) + 1e-12)


def _hertz(pitch):
    return 440.0 * 2.0 ** ((pitch - 69) / 12)


def _wavetable(hertz: float, slope: float, even: float) -> np.ndarray:
    """One period of a tone: partial k has amplitude k^−slope, even ones times ``even``."""
    partials = np.arange(1, max(2, min(24, int(HIGHEST_PARTIAL / hertz) + 1)))
    amplitudes = partials**-slope * np.where(partials % 2 == 0, even, 1.0)
    spectrum = np.zeros(TABLE // 2 + 1, complex)
    # Quadratic phases spread the energy over the period: a low crest factor, no clicks.
    spectrum[partials] = amplitudes * np.exp(1j * np.pi * partials**2 / len(partials))
    table = np.fft.irfft(spectrum, TABLE)
    return (table / _rms(table)).astype(np.float32)


def _envelope(samples: int, held: int, attack: float, decay: float, release: float) -> np.ndarray:
    """Rise, exponential decay, and release after ``held`` samples (times in seconds)."""
    time = np.arange(samples, dtype=np.float32) / np.float32(SAMPLE_RATE)
    envelope = np.minimum(1, time / np.float32(attack)) * np.exp(-time / np.float32(decay))
    fade = np.arange(samples - held, dtype=np.float32) / np.float32(release * SAMPLE_RATE)
    envelope[held:] *= np.maximum(0, 1 - fade)
    return envelope


def _add(track: np.ndarray, start: float, sound: np.ndarray, level: float = 1.0) -> None:
    begin = int(start * SAMPLE_RATE)
    room = len(track) - begin
    if room > 0:
        track[begin : begin + len(sound)] += sound[:room] * np.float32(level)


def _play(
    notes: Notes,
    samples: int,
    tone: tuple[float, float],
    envelope: tuple[float, float, float],
    vibrato: tuple[float, float] = (0.0, 5.0),
    slide: float = 0.0,
) -> np.ndarray:
    """Play ``notes`` with one instrument.

    ``tone`` is (slope, even) of the wavetable, ``envelope`` (attack, decay, release) in seconds,
    ``vibrato`` (semitones, hertz), ``slide`` seconds of gliding from the note before.
    """
    track = np.zeros(samples, np.float32)
    tables: dict[float, np.ndarray] = {}
    release = int(envelope[2] * SAMPLE_RATE)
    previous = notes.pitch[0]
    for start, length, pitch, level in zip(
        notes.start, notes.length, notes.pitch, notes.level, strict=True
    ):
        if pitch not in tables:
            tables[pitch] = _wavetable(_hertz(pitch), *tone)
        held = int(length * SAMPLE_RATE)
        time = np.arange(held + release, dtype=np.float32) / np.float32(SAMPLE_RATE)
        phase = time * np.float32(_hertz(pitch) * TABLE)
        if vibrato[0] > 0:
            depth = (2 ** (vibrato[0] / 12) - 1) * _hertz(pitch) / (2 * np.pi * vibrato[1])
            swing = np.minimum(1, time / np.float32(0.12))
            angle = time * np.float32(2 * np.pi * vibrato[1])
            phase += np.float32(depth * TABLE) * swing * np.sin(angle)
        if slide > 0 and previous != pitch:
            # Integral of the frequency's exponential approach to the note's own.
            gap = (_hertz(previous) - _hertz(pitch)) * slide * TABLE
            phase += np.float32(gap) * (1 - np.exp(-time / np.float32(slide)))
        index = phase.astype(np.int32) & (TABLE - 1)
        _add(track, start, tables[pitch][index] * _envelope(len(time), held, *envelope), level)
        previous = pitch
    return track


def _play_lead(score: Score, rng: np.random.Generator, samples: int) -> np.ndarray:
    traits = score.traits
    bowed = traits["lead_attack"]
    return _play(
        score.lead,
        samples,
        tone=(2.0 - 1.6 * traits["lead_bright"], 1.0 - 0.97 * traits["lead_hollow"]),
        envelope=(0.003 + 0.09 * bowed**2, 0.09 * 20**bowed, 0.02 + 0.08 * bowed),
        vibrato=(1.2 * traits["lead_vibrato"] ** 2, rng.uniform(4.5, 6.5)),
    )


def _play_chords(score: Score, rng: np.random.Generator, samples: int) -> np.ndarray:
    traits = score.traits
    pad = traits["chord_length"]
    track = _play(
        score.chords,
        samples,
        tone=(rng.uniform(0.8, 1.4), rng.uniform(0.3, 1.0)),
        envelope=(0.004 + 0.12 * pad**2, 0.12 * 20**pad, 0.03 + 0.1 * pad),
    )
    # Two pulses a beat for every tempo: the pulse is a trait, its rate is not.
    angle = np.arange(samples, dtype=np.float32) * np.float32(np.pi / (score.step * SAMPLE_RATE))
    depth = np.float32(0.95 * traits["chord_tremolo"] ** 1.5)
    return track * (1 - depth * (0.5 - 0.5 * np.cos(angle)))


def _play_bass(score: Score, samples: int) -> np.ndarray:
    legato = score.traits["bass_glide"]
    return _play(
        score.bass,
        samples,
        tone=(1.2, 0.8),
        envelope=(0.005, 0.1 * 15**legato, 0.03),
        slide=0.12 * legato**2,
    )


def _play_drums(score: Score, rng: np.random.Generator, samples: int) -> np.ndarray:
    opening = 0.015 * 12 ** score.traits["hat_length"]
    kit = {
        "kick": (_kick(rng), 1.0),
        "snare": (_burst(rng, rng.uniform(900, 2200), 0.09), 0.6),
        "hat": (_burst(rng, rng.uniform(4500, 6500), opening), 0.45),
    }
    track = np.zeros(samples, np.float32)
    for name, (sound, loudness) in kit.items():
        notes = getattr(score, name)
        for start, level in zip(notes.start, notes.level, strict=True):
            _add(track, start, sound, level * loudness)
    return track


def _kick(rng: np.random.Generator) -> np.ndarray:
    time = np.arange(int(0.25 * SAMPLE_RATE)) / SAMPLE_RATE
    low = rng.uniform(45, 65)
    phase = 2 * np.pi * (low * time + 120 * 0.03 * (1 - np.exp(-time / 0.03)))
    return (np.sin(phase) * np.exp(-time / 0.08)).astype(np.float32)


def _burst(rng: np.random.Generator, centre: float, decay: float) -> np.ndarray:
    """Noise around ``centre`` hertz that dies away with ``decay`` seconds."""
    size = int(min(6 * decay, 0.8) * SAMPLE_RATE)
    spectrum = np.fft.rfft(rng.standard_normal(size))
    hertz = np.fft.rfftfreq(size, 1 / SAMPLE_RATE)
    spectrum *= np.exp(-0.5 * (np.log2(np.maximum(hertz, 20) / centre) / 0.5) ** 2)
    noise = np.fft.irfft(spectrum, size)
    noise *= np.exp(-np.arange(size) / (decay * SAMPLE_RATE))
    return (noise / np.abs(noise).max()).astype(np.float32)


def _colour(mix: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Equalise ``mix`` and add coloured noise."""
    octave = np.log2(np.maximum(np.fft.rfftfreq(len(mix), 1 / SAMPLE_RATE), 30) / 1000)
    points = np.linspace(-5, 3, 9)
    curve = rng.normal(0, EQUALISER_DB, len(points)) + rng.normal(0, TILT_DB) * points / 4
    gains = 10 ** (np.interp(octave, points, curve) / 20)
    equalised = np.fft.irfft(np.fft.rfft(mix) * gains, len(mix)).astype(np.float32)
    noise = np.fft.rfft(rng.standard_normal(len(mix)))
    noise = np.fft.irfft(noise * 2 ** (octave * rng.uniform(-1, 0.3)), len(mix))
    level = _gain(rng.uniform(*NOISE_DB)) * _rms(equalised) / _rms(noise)
    return equalised + (noise * level).astype(np.float32)
