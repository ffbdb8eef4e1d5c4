"""A page about a plan: its tables, and figures of the run folders of its cells.

:mod:`~.folders` reads run folders, :mod:`~.sections` makes the sections of them, :mod:`~.figures`
describes figures for Bokeh, and :mod:`~.page` writes the file by a template, ``page.html``, with
``page.css`` and ``page.js``.
"""
