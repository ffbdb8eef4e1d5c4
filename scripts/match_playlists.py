"""Match playlists to the tracks of a collection: python scripts/match_playlists.py --help."""

from playlist_pretrain.__main__ import start

if __name__ == "__main__":
    raise SystemExit(start("match_playlists"))
