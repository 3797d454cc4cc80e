"""The queue of audio to the thread of a sink."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from typing import Generic, TypeVar

MAX_QUEUED = 64 * 1024 * 1024
"""Bytes of audio that may wait for a sink: 22 minutes at 24 kHz. A service may send faster than it writes."""
POLL_S = 0.1
"""Waits are bounded, since a signal that comes just before one is handled only after it."""


Item = TypeVar("Item")


class AudioQueue(Generic[Item]):
    """Audio, and other items without size, for the thread of a sink."""

    def __init__(self, has_ended: Callable[[], bool]) -> None:
        """`has_ended`: whether nothing will be taken any more."""
        self._has_ended = has_ended
        self._items: queue.SimpleQueue[Item] = queue.SimpleQueue()
        self._taken = threading.Event()
        self._put_bytes = self._taken_bytes = 0

    def put(self, item: Item) -> None:
        """Queue an item; audio waits while MAX_QUEUED bytes are queued."""
        if isinstance(item, bytes):
            while self._put_bytes - self._taken_bytes > MAX_QUEUED and not self._has_ended():
                self._taken.clear()
                self._taken.wait(POLL_S)
            self._put_bytes += len(item)
        self._items.put(item)

    def get(self, timeout: float | None = None) -> Item:
        """Take the next item. Raises queue.Empty after `timeout` seconds."""
        item = self._items.get(timeout=timeout)
        if isinstance(item, bytes):
            self._taken_bytes += len(item)
            self._taken.set()
        return item

    def qsize(self) -> int:
        """Return the number of queued items."""
        return self._items.qsize()
