"""Fixtures of the tests of commands."""

import resource

import pytest


@pytest.fixture
def processor_seconds():
    """Callable: processor time of all processes that have ended, which no other work lengthens."""

    def seconds():
        usage = resource.getrusage(resource.RUSAGE_CHILDREN)
        return usage.ru_utime + usage.ru_stime

    return seconds
