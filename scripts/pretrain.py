"""Pre-train a backbone on pairs of tracks: python scripts/pretrain.py --help."""

from playlist_pretrain.__main__ import start

if __name__ == "__main__":
    raise SystemExit(start("pretrain"))
