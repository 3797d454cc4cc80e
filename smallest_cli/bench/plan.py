"""Plan a run: arms in randomised blocks, their texts, and when each trial is due."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from smallest_cli.bench.playback import SECOND
from smallest_cli.bench.schema import ArmId
from smallest_cli.models import SpeechRequest, Via

Conn = Literal["warm", "cold"]
CONNS: tuple[Conn, ...] = ("warm", "cold")
Arrival = Literal["poisson", "constant"]
OPEN_IN_FLIGHT = 5
"""Default limit of trials in flight in an open loop: the sockets that the smallest account may hold."""


@dataclass(frozen=True, slots=True)
class Arm:
    """A transport, and whether its connection is kept (warm) or opened for each trial (cold)."""

    via: Via
    conn: Conn


@dataclass(frozen=True, slots=True)
class Text:
    """A text and its name in the results."""

    name: str
    words: str

    @property
    def digest(self) -> str:
        """A hash, by which runs are checked to have spoken the same text."""
        return hashlib.sha256(self.words.encode()).hexdigest()[:16]


@dataclass(frozen=True, slots=True)
class Job:
    """One trial to run. `due_ns` counts from the start of the window; None is as soon as a worker is free."""

    index: int
    arm: Arm
    block: int
    text: Text
    due_ns: int | None = None


@dataclass(frozen=True, kw_only=True)
class Plan:
    """A run: `count` trials for each arm, or `seconds` of them.

    `rate`, in trials a second over all arms, makes it an open loop."""

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

    def arm_id(self, arm: Arm) -> ArmId:
        """Return an arm's id in the results."""
        return ArmId(arm.via, arm.conn, f"c{self.concurrency}" if self.rate is None else f"r{self.rate:g}")

    @property
    def trials(self) -> int | None:
        """How many trials the run has, None if its duration decides."""
        return None if self.count is None else self.count * len(self.arms)

    def warm_up(self, worker: int) -> Iterator[Job]:
        """Yield a worker's warm-ups: one for each warm connection; for cold arms, only the first worker's."""
        for turn in range(self.warmups):
            for arm in self.arms:
                if arm.conn == "warm" or worker == 0:
                    yield Job(-1, arm, -1, self.texts[turn % len(self.texts)])

    def jobs(self) -> Iterator[Job]:
        """Yield every trial in order: each block has every arm once, shuffled, all with the same text.

        The seed determines order, texts and arrival times.
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
        """Return the characters that the run will be billed for, warm-ups included; None if unknown."""
        if self.count is None:
            return None
        return self._warm_up_characters() + sum(len(job.text.words) for job in self.jobs())

    def min_characters(self) -> int:
        """Return what it takes to measure anything: the warm-ups and the first trial."""
        return self._warm_up_characters() + len(next(self.jobs()).text.words)

    def _warm_up_characters(self) -> int:
        return sum(len(job.text.words) for worker in range(self.concurrency) for job in self.warm_up(worker))
