"""Find the nearest tracks of any song: python scripts/search.py --help."""

from playlist_pretrain.__main__ import start

if __name__ == "__main__":
    raise SystemExit(start("search"))
