"""Embeddings of a collection or of audio files: python scripts/embed.py --help."""

from playlist_pretrain.__main__ import start

if __name__ == "__main__":
    raise SystemExit(start("embed"))
