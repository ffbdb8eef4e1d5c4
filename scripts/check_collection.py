"""Look at a collection, verify or repair it: python scripts/check_collection.py --help."""

from playlist_pretrain.records.check import main

if __name__ == "__main__":
    raise SystemExit(main())
