"""Export a model as a package that runs elsewhere: python scripts/export.py --help."""

from playlist_pretrain.cli.export import main

if __name__ == "__main__":
    raise SystemExit(main())
