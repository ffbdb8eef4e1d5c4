"""Judge models by triplets: python scripts/similarity.py --help."""

from playlist_pretrain.cli.similarity import main

if __name__ == "__main__":
    raise SystemExit(main())
