"""Tables for programs."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from playlist_pretrain.evaluation.tables import Tables


def document(tables: Tables) -> dict[str, Any]:
    """Rows, columns and entries, ready for JSON; infinite numbers become None.

    Returns
    -------
    dict
        ``rows`` and ``columns``: lists of the fields of :class:`TableRow` and
        :class:`TableColumn`. ``entries``: a list of ``row``, ``column`` (ids), ``values``,
        ``units``, ``folders``, ``mean``, ``std``, ``text``, ``best``, ``grey``; ``test``
        (``statistic``, ``degrees_of_freedom``, ``p_value``, …) or None; ``against_baseline``
        (``difference``, ``interval``, ``over``, ``count``) or None; ``effect_size`` or None;
        ``paper`` (mean and standard deviation, which may be None) or None.
        ``unit``, ``paired``, ``level``: as in :class:`Tables`.
    """
    return {
        "unit": tables.unit,
        "paired": tables.paired,
        "level": tables.level,
        "rows": [asdict(row) for row in tables.rows],
        "columns": [asdict(column) for column in tables.columns],
        "entries": [
            {
                "row": row,
                "column": column,
                **{name: list(value) for name, value in asdict(entry.measured).items()},
                "mean": entry.summary.mean,
                "std": entry.summary.std,
                "text": entry.text,
                "best": entry.best,
                "grey": entry.grey,
                "test": None if entry.test is None else _finite(asdict(entry.test)),
                "against_baseline": None if entry.against is None else asdict(entry.against),
                "effect_size": entry.effect,
                "paper": list(tables.paper[row, column]) if (row, column) in tables.paper else None,
            }
            for (row, column), entry in tables.entries.items()
        ],
    }


def _finite(values: dict[str, Any]) -> dict[str, Any]:
    odd = (float("inf"), float("-inf"))
    return {name: None if value in odd else value for name, value in values.items()}
