"""Embeddings of a collection or of audio files: python scripts/embed.py --help."""

from playlist_pretrain.cli.embed import main

if __name__ == "__main__":
    raise SystemExit(main())
