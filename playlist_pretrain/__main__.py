"""The commands: ``playlist-pretrain VERB …``, the same as ``python scripts/VERB.py …``."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence

VERBS = {
    "make_tfrecords": "playlist_pretrain.records.make",
    "import_mels": "playlist_pretrain.records.imports",
    "check_collection": "playlist_pretrain.records.check",
    "match_playlists": "playlist_pretrain.playlists.make",
    "pretrain": "playlist_pretrain.training.pretrain",
    "finetune": "playlist_pretrain.training.finetune",
    "similarity": "playlist_pretrain.evaluation.similarity_run",
    "search": "playlist_pretrain.search.command",
    "embed": "playlist_pretrain.embedding.command",
    "export": "playlist_pretrain.export.make",
    "tables": "playlist_pretrain.experiments.command",
}
"""Verb → module whose ``main(argv)`` is the command; imported only when it is asked for."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the verb that comes first in ``argv`` with what follows; returns its exit code."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    verb = arguments[0].replace("-", "_") if arguments else "__help"
    if verb in VERBS:
        return importlib.import_module(VERBS[verb]).main(arguments[1:])
    usage = "usage: playlist-pretrain VERB [options]; verbs: " + ", ".join(VERBS)
    if verb in ("__help", "_h"):
        print(usage + "\nplaylist-pretrain VERB --help shows the options of a verb")
        return 0
    print(usage, file=sys.stderr)
    return 1


if __name__ == "__main__":
    raise SystemExit(main())
