"""Audio folder → collection of log-mels; see --help."""

from playlist_pretrain.records.make import main

if __name__ == "__main__":
    raise SystemExit(main())
