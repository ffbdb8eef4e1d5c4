"""Look at a collection, verify or repair it: python scripts/check_collection.py --help."""

from playlist_pretrain.cli.check_collection import main

if __name__ == "__main__":
    raise SystemExit(main())
