"""Pre-train a backbone on pairs of tracks: python scripts/pretrain.py --help."""

from playlist_pretrain.cli.pretrain import main

if __name__ == "__main__":
    raise SystemExit(main())
