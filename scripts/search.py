"""Find the nearest tracks of any song: python scripts/search.py --help."""

from playlist_pretrain.cli.search import main

if __name__ == "__main__":
    raise SystemExit(main())
