"""Look at a collection, verify or repair it: python scripts/check_collection.py --help."""

from playlist_pretrain.__main__ import start

if __name__ == "__main__":
    raise SystemExit(start("check_collection"))
