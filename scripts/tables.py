"""The paper's tables by one command: python scripts/tables.py --help."""

from playlist_pretrain.cli.tables import main

if __name__ == "__main__":
    raise SystemExit(main())
