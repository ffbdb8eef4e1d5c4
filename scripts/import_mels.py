"""Turn mels that were made elsewhere into a collection: python scripts/import_mels.py --help."""

from playlist_pretrain.records.imports import main

if __name__ == "__main__":
    raise SystemExit(main())
