"""Playlists and artists of the size of arXiv 2304.12257, invented.

Matched to the paper: 999,219 playlists, 1,779,072 tracks, 52.2 tracks a playlist, 29.3 playlists a
track, every track in at least one, 7.2 tracks an artist, 1.28 artists a track. Not known from it,
and chosen: artists lie on a circle of taste; a playlist has a place on it and takes nine in ten of
its tracks near there, by popularity, and the rest anywhere; popularity is log-normal, of the artist
and of the track; lengths are log-normal, at most 250.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from playlist_pretrain.kernels import compiled
from playlist_pretrain.playlists.groups import TrackGroups
from playlist_pretrain.records.schema import PackedStrings

PLAYLISTS, TRACKS = 999_219, 1_779_072
TRACKS_A_PLAYLIST, TRACKS_AN_ARTIST, ARTISTS_A_TRACK = 52.2, 7.2, 1.28
LONGEST = 250
NEARBY_SHARE = 0.9
NARROWEST, BROADEST = 1e-6, 1e-2
"""Breadth of a playlist's taste, as a share of all listening."""
PAPER_PAIRS = {
    "simclr": 1_779_072,
    "artist_co": 1_014_528,
    "playlist_co": 826_368,
    "playlist_tco": 731_520,
    "playlist_w2v": 1_779_072,
}
"""Table 1 of the paper: pairs an epoch, incomplete batches of 384 dropped."""


def make_groups(share: float, folder: Path, seed: int = 0) -> None:
    """Write ``groups-playlists.npz`` and ``groups-artists.npz`` of a share of the paper's size."""
    rng = np.random.default_rng(seed)
    tracks, playlists = round(share * TRACKS), round(share * PLAYLISTS)
    artist_of, artists = _artists(rng, tracks)
    fame = rng.normal(0, 1.0, len(artists.indptr) - 1)[artist_of] + rng.normal(0, 1.2, tracks)
    listening = np.cumsum(np.exp(fame))
    listening /= listening[-1]
    lengths = _lengths(rng, playlists)
    indptr = np.concatenate([[0], np.cumsum(lengths)])
    places = np.sort(rng.random(playlists))
    breadths = np.exp(rng.uniform(np.log(NARROWEST), np.log(BROADEST), playlists))
    # Every track is laid into a playlist of its own place first, so that all are in one.
    home = np.searchsorted(places, listening).clip(0, playlists - 1).astype(np.int32)
    rows = fill(indptr, places, breadths, listening, home, int(rng.integers(2**31)))
    order = rng.permutation(playlists)  # else neighbours in the file would be alike
    starts = np.concatenate([[0], np.cumsum(lengths[order])])
    rows = take(indptr, rows, order, starts)
    _save("playlists", starts, rows, tracks, folder)
    _save("artists", artists.indptr, artists.rows, tracks, folder)


def _artists(rng: np.random.Generator, tracks: int) -> tuple[np.ndarray, TrackGroups]:
    """Main artist of every track, in the order of the circle, and all artists as groups."""
    count = round(tracks * ARTISTS_A_TRACK / TRACKS_AN_ARTIST)
    weights = rng.lognormal(0, 1.3, count)
    sizes = np.maximum(1, np.rint(weights / weights.sum() * tracks * 0.9).astype(np.int64))
    artist_of = np.repeat(np.arange(count), sizes)
    if len(artist_of) < tracks:
        more = rng.integers(0, count, tracks - len(artist_of))
        artist_of = np.sort(np.concatenate([artist_of, more]))
    artist_of = artist_of[:tracks]
    guests = np.flatnonzero(rng.random(tracks) < ARTISTS_A_TRACK - 1)
    guest_of = (artist_of[guests] + rng.integers(1, 50, len(guests))) % count
    groups = np.concatenate([artist_of, guest_of])
    rows = np.concatenate([np.arange(tracks), guests])
    order = np.argsort(groups, kind="stable")
    indptr = np.concatenate([[0], np.cumsum(np.bincount(groups, minlength=count))])
    kept = TrackGroups(
        "artists", indptr, rows[order].astype(np.int32), tracks, "k",
        PackedStrings.pack(map(str, range(count))),
    )  # fmt: skip
    return artist_of, kept


def _lengths(rng: np.random.Generator, playlists: int) -> np.ndarray:
    lengths = rng.lognormal(np.log(38.0), 0.85, playlists)
    for _ in range(8):  # cutting at both ends moves the mean
        lengths *= TRACKS_A_PLAYLIST / np.clip(lengths, 2, LONGEST).mean()
    return np.clip(np.rint(lengths), 2, LONGEST).astype(np.int64)


def _save(name: str, indptr: np.ndarray, rows: np.ndarray, tracks: int, folder: Path) -> None:
    ids = PackedStrings.pack(map(str, range(len(indptr) - 1)))
    groups = TrackGroups(name, indptr, rows, tracks, "k", ids)
    groups.save(folder / f"groups-{name}.npz")


@compiled
def fill(indptr, places, breadths, listening, home, seed):
    """Draw the tracks of every playlist, none twice in one."""
    np.random.seed(seed)
    tracks, playlists = len(listening), len(indptr) - 1
    rows = np.empty(indptr[-1], np.int32)
    used = indptr[:-1].copy()
    for track in range(tracks):
        playlist = home[track]
        for _ in range(playlists):  # the next that has room
            if used[playlist] < indptr[playlist + 1]:
                break
            playlist = (playlist + 1) % playlists
        rows[used[playlist]] = track
        used[playlist] += 1
    taken = np.full(tracks, -1, np.int32)
    for playlist in range(playlists):
        for entry in range(indptr[playlist], used[playlist]):
            taken[rows[entry]] = playlist
        breadth = breadths[playlist]
        while used[playlist] < indptr[playlist + 1]:
            if np.random.random() < NEARBY_SHARE:
                place = (places[playlist] + np.random.laplace(0.0, breadth)) % 1.0
            else:
                place = np.random.random()
            track = min(np.searchsorted(listening, place), tracks - 1)
            if taken[track] == playlist:
                breadth *= 1.02  # a narrow taste is soon exhausted
                continue
            taken[track] = playlist
            rows[used[playlist]] = track
            used[playlist] += 1
    return rows


@compiled
def take(indptr, rows, order, starts):
    """Groups in another order."""
    taken = np.empty_like(rows)
    for i in range(len(order)):
        first, last = indptr[order[i]], indptr[order[i] + 1]
        taken[starts[i] : starts[i + 1]] = rows[first:last]
    return taken
