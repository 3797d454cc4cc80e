"""Retry policy: whether a failed request is retried, after what wait and within what budget.

The policy only decides, from the failed attempt. The caller waits, rewinds the sinks and
charges the budget.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from typing import NamedTuple

from smallest_cli.errors import RemoteError

FIRST_WAIT_S = 0.5
MAX_WAIT_S = 30.0
MAX_TOTAL_WAIT_S = 60.0
FREE_CHARACTERS = 1000
RESENT_SHARE = 0.25
MAX_AMBIGUOUS = 1
AMBIGUOUS_STATUSES = frozenset({None, 500})


class Attempt(NamedTuple):
    """A failed request and what the run has spent on retries before it."""

    error: RemoteError
    characters: int
    """Characters that a retry would send and bill again."""
    retries: int = 0
    """Retries of this run so far."""
    ambiguous: int = 0
    """Those after an error that does not show whether the text was billed."""
    waited_s: float = 0.0

    @property
    def is_ambiguous(self) -> bool:
        """Whether the text may have been billed: a server error without a clear status."""
        return self.error.exit_code == 8 and self.error.status in AMBIGUOUS_STATUSES


class Budget:
    """Characters that a run may send again: 1000, or a quarter of what it sent, whichever is more.

    The rows and workers of a batch share one.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._sent = 0
        self.resent = 0

    def add_sent(self, characters: int) -> None:
        """Count characters that are sent for the first time."""
        with self._lock:
            self._sent += characters

    def allows(self, characters: int) -> bool:
        """Whether that many may be sent again."""
        return self.resent + characters <= max(FREE_CHARACTERS, RESENT_SHARE * self._sent)

    def take(self, characters: int) -> bool:
        """Count characters as sent again if they are allowed; return whether they are."""
        with self._lock:
            if not self.allows(characters):
                return False
            self.resent += characters
            return True

    def charge(self, characters: int) -> None:
        """Count characters as sent again whether or not they are allowed."""
        with self._lock:
            self.resent += characters


def _random() -> float:
    return int.from_bytes(os.urandom(4), "big") / 2**32


class RetryPolicy:
    """At most `retries` in a run, with waits that grow from 0.5 s with full jitter.

    A Retry-After is the minimum of a wait. All waits of a run together stay under `max_total_wait_s`.
    """

    def __init__(
        self,
        retries: int = 2,
        max_total_wait_s: float = MAX_TOTAL_WAIT_S,
        random: Callable[[], float] = _random,
    ) -> None:
        self.retries = retries
        self.max_total_wait_s = max_total_wait_s
        self.random = random

    def next_wait(self, attempt: Attempt, budget: Budget) -> float | None:
        """Return the seconds to wait before a retry; None if the request must not be retried."""
        error = attempt.error
        max_wait_s = min(MAX_WAIT_S, FIRST_WAIT_S * 2.0**attempt.retries)
        wait_s = max(error.retry_after or 0.0, self.random() * max_wait_s)
        left_s = min(self.max_total_wait_s, MAX_TOTAL_WAIT_S) - attempt.waited_s
        allowed = (
            error.retryable
            and attempt.retries < self.retries
            and not (attempt.is_ambiguous and attempt.ambiguous >= MAX_AMBIGUOUS)
            and wait_s <= left_s
            and budget.allows(attempt.characters)
        )
        return wait_s if allowed else None
