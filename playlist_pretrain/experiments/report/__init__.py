"""A page about a plan: its tables and what the run folders of its cells hold.

It reads cells, so it is a room of the experiments; :mod:`playlist_pretrain.evaluation` knows of
none. :mod:`~.folders` reads run folders, :mod:`~.sections` chooses what there is to show,
:mod:`~.figures` describes figures for Bokeh, and :mod:`~.page` writes the file by a template,
``page.html``, with ``page.css`` and ``page.js``.
"""

from playlist_pretrain.experiments.report.page import REPORT, write_report

__all__ = ["REPORT", "write_report"]
