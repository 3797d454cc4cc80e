"""When each block is sent: at once, or at the times of a service that is somewhere else."""

from __future__ import annotations

import asyncio
import math
import random
from time import perf_counter

from smallest_cli.local.behaviour import Behaviour


class Pace:
    """The times of one request's blocks, from the second at which it was received.

    The first is lognormal about its median; each later one is due when the audio before it would be
    used up at `realtime_factor`; jitter comes on top.
    """

    def __init__(self, behaviour: Behaviour, luck: random.Random, received: float) -> None:
        self._behaviour = behaviour
        self._luck = luck
        self._due = received + self._first_byte_s()

    def _first_byte_s(self) -> float:
        if not (median := self._behaviour.first_byte_ms / 1000):
            return 0.0
        return median * math.exp(self._luck.gauss(0.0, self._behaviour.first_byte_sigma))

    async def next(self, seconds: float) -> None:
        """Wait until a block may go; `seconds` is how long it sounds."""
        jitter = self._luck.uniform(0, self._behaviour.jitter_ms / 1000) if self._behaviour.jitter_ms else 0.0
        wait = self._due + jitter - perf_counter()
        if wait > 0:
            await asyncio.sleep(wait)
        if self._behaviour.realtime_factor:
            self._due = max(self._due, perf_counter() - jitter) + seconds / self._behaviour.realtime_factor
