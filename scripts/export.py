"""Export a model as a package that runs elsewhere: python scripts/export.py --help."""

from playlist_pretrain.__main__ import start

if __name__ == "__main__":
    raise SystemExit(start("export"))
