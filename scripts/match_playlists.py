#!/usr/bin/env python3
"""Match playlists to the tracks of a collection."""

import sys

from playlist_pretrain import cli
from playlist_pretrain.playlists.match import MatchOptions, match_playlists

EXAMPLES = """
examples:
  python scripts/match_playlists.py --playlists playlists.csv --collection tfrecords/mine
  python scripts/match_playlists.py --playlists tracks.csv --columns group=artist,track=track_id \\
      --name artists --collection tfrecords/mine
  python scripts/match_playlists.py --playlists mpd/data --collection tfrecords/mine
"""

if __name__ == "__main__":
    sys.exit(cli.run(MatchOptions, match_playlists, prog="match_playlists.py", epilog=EXAMPLES))
