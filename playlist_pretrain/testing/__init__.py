"""Contract tests: what the commands rely on in a reader, a pairing, a backbone and a task.

Each function takes an implementation and raises :class:`ContractError` at the first clause that it
breaks, so it can be called in a test of any project. The package's own plug-ins pass them too.
"""

from __future__ import annotations

from playlist_pretrain.testing.backbones import check_backbone
from playlist_pretrain.testing.clauses import ContractError
from playlist_pretrain.testing.pairings import check_pairing
from playlist_pretrain.testing.readers import check_reader
from playlist_pretrain.testing.tasks import check_task

__all__ = ["ContractError", "check_backbone", "check_pairing", "check_reader", "check_task"]
