"""``python -m playlist_pretrain.demo``: make the demo's collections."""

from playlist_pretrain.__main__ import start

if __name__ == "__main__":
    raise SystemExit(start("make_demo"))
