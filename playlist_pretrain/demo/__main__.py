"""``python -m playlist_pretrain.demo``: make the demo's collections."""

from playlist_pretrain.cli.make_demo import main

if __name__ == "__main__":
    raise SystemExit(main())
