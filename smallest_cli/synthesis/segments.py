"""Where the items of a run come from: a finished text, or one that is still arriving."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

from smallest_cli.models import Silence, SpeechRequest


class Segments(Protocol):
    """Where the items of a run come from: a finished text, or one that is still arriving."""

    ended: bool
    """Nothing more will come, and everything was taken."""

    def next(self) -> SpeechRequest | Silence | None:
        """The next item, None where none is ready."""
        ...

    def due_s(self) -> float | None:
        """Seconds until an item is ready even if nothing arrives; None where it depends on what arrives."""
        ...

    def wait(self, timeout_s: float) -> bool:
        """Wait until an item may be ready; False after `timeout_s` without any text."""
        ...

    def fileno(self) -> int:
        """A descriptor that is readable when text has arrived."""
        ...


class FinishedSegments:
    """The items of a finished text, each as late as it is taken."""

    def __init__(self, items: Iterable[SpeechRequest | Silence]) -> None:
        self._items = iter(items)
        self.ended = False

    def next(self) -> SpeechRequest | Silence | None:
        """The next item."""
        item = next(self._items, None)
        self.ended = item is None
        return item

    def due_s(self) -> float | None:
        """There is always an item, or the end."""
        return 0.0

    def wait(self, timeout_s: float) -> bool:
        """There is always an item, or the end."""
        return True

    def fileno(self) -> int:
        """Nothing arrives: there is nothing to wait for."""
        return -1
