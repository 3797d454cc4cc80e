"""Asking again, while nothing has been heard: how often, when, and at what cost.

One `Retries` serves a run. It stands still from the run's first audio on: what has left a pipe or a
loudspeaker cannot be taken back.
"""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Iterator

from smallest_cli.errors import RemoteError
from smallest_cli.speech import AudioChunk, Event, SpeechRequest

FIRST_WAIT_S = 0.5
LONGEST_WAIT_S = 30.0
WAITING_BUDGET_S = 60.0
FREE_CHARACTERS = 1000
RESENT_SHARE = 0.25
AGAIN_AFTER_UNKNOWN = 1
UNKNOWN_STATUSES = frozenset({None, 500})

Synthesize = Callable[[SpeechRequest], Iterator[Event]]


def _wait(seconds: float) -> None:
    threading.Event().wait(seconds)  # a signal ends it at once, unlike a lock held elsewhere


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
        luck: Callable[[], float] = random.random,
    ) -> None:
        self._left = most
        self._tell = tell
        self._patience_s = min(max_wait_s, WAITING_BUDGET_S)
        self._wait = wait
        self._luck = luck
        self._attempts = 0
        self._unknown = 0
        self._sent = 0
        self._heard = False
        self.resent = 0

    def over(self, request: SpeechRequest, synthesize: Synthesize) -> Iterator[Event]:
        """One segment, asked for again where that may help. Raises the last attempt's error."""
        self._sent += len(request.text)
        while True:
            try:
                for event in synthesize(request):
                    self._heard = self._heard or isinstance(event, AudioChunk)
                    yield event
                return
            except RemoteError as error:
                wait_s = self._wait_before_next(error, len(request.text))
                if wait_s is None:
                    raise
                self._tell(f"{error}; trying again in {wait_s:.1f} s")
            self._wait(wait_s)

    def _wait_before_next(self, error: RemoteError, characters: int) -> float | None:
        """Seconds to wait before another attempt, None where there is none; it is charged here."""
        least_s: float = getattr(error, "retry_after", None) or 0.0
        longest_s = min(LONGEST_WAIT_S, FIRST_WAIT_S * 2.0**self._attempts)
        wait_s = max(least_s, self._luck() * longest_s)
        unknown = error.exit_code == 8 and error.status in UNKNOWN_STATUSES
        allowed = max(FREE_CHARACTERS, RESENT_SHARE * self._sent)
        if (
            self._heard
            or not error.retryable
            or self._left <= 0
            or (unknown and self._unknown >= AGAIN_AFTER_UNKNOWN)
            or wait_s > self._patience_s
            or self.resent + characters > allowed
        ):
            return None
        self._left -= 1
        self._attempts += 1
        self._unknown += unknown
        self._patience_s -= wait_s
        self.resent += characters
        return wait_s
