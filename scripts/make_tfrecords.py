"""Turn an audio folder into a collection: python scripts/make_tfrecords.py --help."""

from playlist_pretrain.records.make import main

if __name__ == "__main__":
    raise SystemExit(main())
