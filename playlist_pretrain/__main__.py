"""The commands: ``playlist-pretrain VERB …``, the same as ``python scripts/VERB.py …``."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence

from playlist_pretrain.errors import shortened
from playlist_pretrain.version import __version__

VERBS = {
    "make_tfrecords": "playlist_pretrain.cli.make_tfrecords",
    "import_mels": "playlist_pretrain.cli.import_mels",
    "check_collection": "playlist_pretrain.cli.check_collection",
    "match_playlists": "playlist_pretrain.cli.match_playlists",
    "pretrain": "playlist_pretrain.cli.pretrain",
    "finetune": "playlist_pretrain.cli.finetune",
    "similarity": "playlist_pretrain.cli.similarity",
    "search": "playlist_pretrain.cli.search",
    "embed": "playlist_pretrain.cli.embed",
    "export": "playlist_pretrain.cli.export",
    "tables": "playlist_pretrain.cli.tables",
}
"""Verb → module whose ``main(argv)`` is the command; imported only when it is asked for."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the verb that comes first in ``argv`` with what follows; returns its exit code."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    word = arguments[0] if arguments else "--help"
    verb = word.replace("-", "_")
    if verb in VERBS:
        return importlib.import_module(VERBS[verb]).main(arguments[1:])
    usage = "usage: playlist-pretrain VERB [options]; verbs: " + ", ".join(VERBS)
    if word in ("--help", "-h"):
        print(usage + "\nplaylist-pretrain VERB --help shows the options of a verb")
        return 0
    if word == "--version":
        print(f"playlist-pretrain {__version__}")
        return 0
    import difflib

    near = difflib.get_close_matches(verb, VERBS, 1)
    meant = f", did you mean {near[0]}?" if near else ""
    text = shortened(f"playlist-pretrain: error: no verb {word!r}{meant}")
    print(f"{text}\n{usage}", file=sys.stderr)
    return 1


if __name__ == "__main__":
    raise SystemExit(main())
