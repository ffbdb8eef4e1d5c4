"""Match playlists to the tracks of a collection: python scripts/match_playlists.py --help."""

from playlist_pretrain.cli.match_playlists import main

if __name__ == "__main__":
    raise SystemExit(main())
