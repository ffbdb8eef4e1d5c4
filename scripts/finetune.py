"""Fine-tune a backbone into a tagger, and test it: python scripts/finetune.py --help."""

from playlist_pretrain.cli.finetune import main

if __name__ == "__main__":
    raise SystemExit(main())
