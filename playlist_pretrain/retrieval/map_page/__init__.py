"""An embedding space to see and hear: one self-contained HTML page.

:mod:`~.layout` puts the tracks on a plane, :mod:`~.contents` gathers what the page shows,
:mod:`~.figure` describes the plot for Bokeh, and :mod:`~.page` writes the file. What runs in the
browser is beside them: ``page.html``, ``page.css`` and the scripts ``data.js``, ``plot.js``,
``panel.js``, in that order.
"""

from __future__ import annotations

from playlist_pretrain.retrieval.map_page.page import MapPage, write_map_page

__all__ = ["MapPage", "write_map_page"]
