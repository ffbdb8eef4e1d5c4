"""Which test follows which page, and the stage at which a reader of it is."""

from pages import PAGES, steps

GROUPS = {
    "start": {"README.md": "bare", "docs/index.md": "bare", "docs/platforms.md": "bare"},
    "collections": {
        "docs/guides/make_tfrecords.md": "bare",
        "docs/guides/import_mels.md": "bare",
        "docs/guides/check_collection.md": "groups",
        "docs/guides/match_playlists.md": "collection",
    },
    "training": {
        "docs/guides/pretrain.md": "groups",
        "docs/guides/finetune.md": "model",
        "docs/guides/tables.md": "bare",
    },
    "models": {
        "docs/guides/similarity.md": "model",
        "docs/guides/embed.md": "model",
        "docs/guides/search.md": "model",
        "docs/guides/export.md": "model",
    },
}
ELSEWHERE = {"docs/extending/": "test_extending.py", "docs/python.md": "test_python.py"}
"""Pages whose Python is files to write: a test of their own does, and runs their commands."""


def is_elsewhere(page):
    return page.startswith(tuple(ELSEWHERE))


OTHERS = [
    page
    for page in PAGES
    if not is_elsewhere(page) and not any(page in pages for pages in GROUPS.values())
]
"""Pages that need no check of their own; they find everything made, but for ``FROM_NOTHING``."""
FROM_NOTHING = ("docs/benchmarks.md",)
"""Pages that make the demo's run themselves."""


def with_steps(pages):
    """Those that tell a reader to type something."""
    return [page for page in pages if steps(page)]
