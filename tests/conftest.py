"""Fixtures and marks of every test, from whatever directory the suite is started."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

TESTS = Path(__file__).parent
LONG = ("faults",)
"""Folders whose tests take minutes: `make test` leaves them out."""


def pytest_configure() -> None:
    """Restore default signal handlers: a suite in the background of a script inherits ignored signals."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for number in (signal.SIGHUP, signal.SIGTERM, signal.SIGQUIT):
        signal.signal(number, signal.SIG_DFL)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark each test by its folder, before `-m` selects."""
    for item in items:
        folder = item.path.relative_to(TESTS).parts[0]
        item.add_marker(folder)
        if folder in LONG:
            item.add_marker("long")
