"""Fixtures of the offline server's own tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.offline import Offline, start_offline


@pytest.fixture(scope="session")
def server() -> Iterator[Offline]:
    """A server with every default, above all one request at a time."""
    with start_offline() as offline:
        yield offline
