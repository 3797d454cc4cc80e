"""Asking again, while nothing has been heard: how often, when, and at what cost.

One `Retries` serves a run. From the run's first audio on it asks for a segment again only where all sinks
take back what they have of it: files of ours in a format that can be cut off (WAV, PCM). What has left a
pipe or a loudspeaker stays as it is, and the run ends there. A text of one segment is no exception: the
budget of characters decides.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from typing import Protocol

from smallest_cli.errors import RemoteError

FIRST_WAIT_S = 0.5
LONGEST_WAIT_S = 30.0
WAITING_BUDGET_S = 60.0
FREE_CHARACTERS = 1000
RESENT_SHARE = 0.25
AGAIN_AFTER_UNKNOWN = 1
REDOS = 2
"""The most attempts in a run that begin with taking audio back."""
UNKNOWN_STATUSES = frozenset({None, 500})


class Segment(Protocol):
    """What is tried. `begun` says whether the sinks have audio of this run."""

    @property
    def characters(self) -> int: ...
    @property
    def begun(self) -> bool: ...

    def attempt(self) -> None:
        """Raises RemoteError."""
        ...

    def take_back(self) -> bool:
        """Undo what the attempt left; False where that cannot be."""
        ...


def _wait(seconds: float) -> None:
    threading.Event().wait(seconds)  # a signal ends it at once, unlike a lock held elsewhere


def _luck() -> float:
    return int.from_bytes(os.urandom(4), "big") / 2**32


class Retries:
    """At most `most` further attempts for a run; `tell` hears of each.

    Waits grow from 0.5 s with full jitter, a Retry-After is the least of them, and together they stay
    under a minute or `max_wait_s`. Text that is sent again is paid for again: at most 1000 characters,
    or a quarter of what was sent, whichever is more. `resent` counts them.
    """

    def __init__(
        self,
        most: int,
        *,
        tell: Callable[[str], None],
        max_wait_s: float = WAITING_BUDGET_S,
        wait: Callable[[float], None] = _wait,
        luck: Callable[[], float] = _luck,
    ) -> None:
        self._left = most
        self._tell = tell
        self._patience_s = min(max_wait_s, WAITING_BUDGET_S)
        self._wait = wait
        self._luck = luck
        self._attempts = 0
        self._unknown = 0
        self._sent = 0
        self._redos = 0
        self.resent = 0

    def over(self, segment: Segment) -> None:
        """One segment, tried again where that may help. Raises the last attempt's error."""
        self._sent += segment.characters
        while True:
            try:
                segment.attempt()
                return
            except RemoteError as error:
                wait_s = self._wait_before_next(error, segment.characters)
                if wait_s is None or not self._take_back(segment):
                    raise
                self._charge(error, wait_s, segment.characters)
                self._tell(f"{error}; trying again in {wait_s:.1f} s")
            self._wait(wait_s)

    def _wait_before_next(self, error: RemoteError, characters: int) -> float | None:
        """Seconds to wait before another attempt, None where the budgets do not allow one."""
        least_s: float = getattr(error, "retry_after", None) or 0.0
        longest_s = min(LONGEST_WAIT_S, FIRST_WAIT_S * 2.0**self._attempts)
        wait_s = max(least_s, self._luck() * longest_s)
        allowed = max(FREE_CHARACTERS, RESENT_SHARE * self._sent)
        if (
            not error.retryable
            or self._left <= 0
            or (_is_unknown(error) and self._unknown >= AGAIN_AFTER_UNKNOWN)
            or wait_s > self._patience_s
            or self.resent + characters > allowed
        ):
            return None
        return wait_s

    def _take_back(self, segment: Segment) -> bool:
        if not segment.begun:
            return True
        if self._redos >= REDOS or not segment.take_back():
            return False
        self._redos += 1
        return True

    def _charge(self, error: RemoteError, wait_s: float, characters: int) -> None:
        self._left -= 1
        self._attempts += 1
        self._unknown += _is_unknown(error)
        self._patience_s -= wait_s
        self.resent += characters


def _is_unknown(error: RemoteError) -> bool:
    return error.exit_code == 8 and error.status in UNKNOWN_STATUSES
