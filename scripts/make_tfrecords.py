"""Turn an audio folder into a collection: python scripts/make_tfrecords.py --help."""

if __name__ == "__main__":  # worker processes import this file too, and need nothing of it
    from playlist_pretrain.__main__ import start

    raise SystemExit(start("make_tfrecords"))
