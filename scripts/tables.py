"""The paper's tables by one command: python scripts/tables.py --help."""

from playlist_pretrain.__main__ import start

if __name__ == "__main__":
    raise SystemExit(start("tables"))
