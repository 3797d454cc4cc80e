"""What will be asked, of whom and in which order: arms in randomised blocks, and when each trial is due."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from smallest_cli.bench.playback import SECOND
from smallest_cli.models import SpeechRequest, Via

Conn = Literal["warm", "cold"]
CONNS: tuple[Conn, ...] = ("warm", "cold")
Arrival = Literal["poisson", "constant"]
OPEN_IN_FLIGHT = 5
"""How many trials may be under way in an open loop: the sockets that the smallest account may hold."""


@dataclass(frozen=True, slots=True)
class Arm:
    """One set-up: a transport, and whether its connection is kept or opened for each trial."""

    via: Via
    conn: Conn


@dataclass(frozen=True, slots=True)
class Text:
    """A text under the name that it has in the results."""

    name: str
    words: str

    @property
    def digest(self) -> str:
        """What two runs compare, to know that they spoke the same."""
        return hashlib.sha256(self.words.encode()).hexdigest()[:16]


@dataclass(frozen=True, slots=True)
class Job:
    """One trial to make. `due_ns` counts from the begin of the window; None is as soon as a lane is free."""

    index: int
    arm: Arm
    block: int
    text: Text
    due_ns: int | None = None


@dataclass(frozen=True, kw_only=True)
class Plan:
    """A whole run. `count` trials for each arm, or `seconds` of them; `rate` (a second, of all arms) is an
    open loop."""

    arms: tuple[Arm, ...]
    texts: tuple[Text, ...]
    template: SpeechRequest
    count: int | None = 30
    seconds: float | None = None
    concurrency: int = 1
    rate: float | None = None
    arrival: Arrival = "poisson"
    warmups: int = 1
    seed: int = 1
    max_chars: int = 0

    @property
    def load(self) -> str:
        """The load as an arm's name has it."""
        return f"c{self.concurrency}" if self.rate is None else f"r{self.rate:g}"

    def name(self, arm: Arm) -> str:
        """An arm's id in the results."""
        return f"{arm.via}/{arm.conn}/{self.load}"

    @property
    def lanes(self) -> int:
        """How many trials may be under way at once."""
        return self.concurrency

    @property
    def trials(self) -> int | None:
        """How many trials it takes, None where the time decides."""
        return None if self.count is None else self.count * len(self.arms)

    def warm_up(self, lane: int) -> Iterator[Job]:
        """A lane's warm-ups: each connection that is kept is used before it counts; a cold arm's first lane
        only."""
        for turn in range(self.warmups):
            for arm in self.arms:
                if arm.conn == "warm" or lane == 0:
                    yield Job(-1, arm, -1, self.texts[turn % len(self.texts)])

    def jobs(self) -> Iterator[Job]:
        """Every trial in order: in each block every arm once, shuffled, all with the same text.

        The seed fixes it all, whatever happens on the way.
        """
        order, arrivals = random.Random(self.seed), random.Random(self.seed + 1)
        due, index, block = 0.0, 0, 0
        texts: list[Text] = []
        while self.count is None or block < self.count:
            texts = texts or order.sample(self.texts, len(self.texts))
            text = texts.pop()
            for arm in order.sample(self.arms, len(self.arms)):
                if self.rate is not None:
                    due += arrivals.expovariate(self.rate) if self.arrival == "poisson" else 1 / self.rate
                yield Job(index, arm, block, text, None if self.rate is None else round(due * SECOND))
                index += 1
            block += 1

    def characters(self) -> int | None:
        """What the run will be charged for, warm-ups included; None where the time decides."""
        if self.count is None:
            return None
        return self._warm_characters() + sum(len(job.text.words) for job in self.jobs())

    def least_characters(self) -> int:
        """What it takes to measure anything: the warm-ups and the first trial."""
        return self._warm_characters() + len(next(self.jobs()).text.words)

    def _warm_characters(self) -> int:
        return sum(len(job.text.words) for lane in range(self.lanes) for job in self.warm_up(lane))
