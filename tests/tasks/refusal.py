"""Readers that refuse settings or files in one line."""

import pytest

from playlist_pretrain.tasks import read_task


def refused(settings, kind, *words, read=read_task, **options):
    """Assert that the task is refused with the words; returns the message."""
    with pytest.raises(kind) as caught:
        read(settings, **options)
    text = str(caught.value)
    assert text.isprintable() and all(str(word) in text for word in words), text
    return text
