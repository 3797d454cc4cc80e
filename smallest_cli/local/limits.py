"""How much one key may do at a time (waves/api.md, 4f)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager

SOCKETS_PER_SLOT = 5


class Busy(Exception):
    """The key has as much under way as it may."""


class Limits:
    """Counts syntheses, whatever their transport, and open sockets, for each key."""

    def __init__(self, concurrency: int) -> None:
        self._concurrency = concurrency
        self._slots: Counter[str] = Counter()
        self._sockets: Counter[str] = Counter()

    def slot(self, key: str) -> AbstractContextManager[None]:
        """One synthesis, for as long as the context lasts. Raises Busy."""
        return _counted(self._slots, key, self._concurrency)

    def socket(self, key: str) -> AbstractContextManager[None]:
        """One open WebSocket. Raises Busy."""
        return _counted(self._sockets, key, self._concurrency * SOCKETS_PER_SLOT)


@contextmanager
def _counted(counter: Counter[str], key: str, most: int) -> Iterator[None]:
    if counter[key] >= most:
        raise Busy
    counter[key] += 1
    try:
        yield
    finally:
        counter[key] -= 1
        if not counter[key]:
            del counter[key]
