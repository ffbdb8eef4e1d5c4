"""Fine-tune a backbone into a tagger, and test it: python scripts/finetune.py --help."""

from playlist_pretrain.__main__ import start

if __name__ == "__main__":
    raise SystemExit(start("finetune"))
