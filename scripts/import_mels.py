"""Turn mels that were made elsewhere into a collection: python scripts/import_mels.py --help."""

if __name__ == "__main__":  # worker processes import this file too, and need nothing of it
    from playlist_pretrain.__main__ import start

    raise SystemExit(start("import_mels"))
