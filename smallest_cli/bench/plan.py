"""Plan a run: arms in randomised blocks, their texts, and when each trial is due."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from typing import Literal, TypeVar

from smallest_cli.bench.corpus import CORPORA
from smallest_cli.bench.playback import SECOND
from smallest_cli.bench.schema import ArmId
from smallest_cli.errors import UsageError
from smallest_cli.models import SEGMENT_CHARS, VIAS, SpeechRequest, Via
from smallest_cli.security import printable
from smallest_cli.text.segments import write_script

Conn = Literal["warm", "cold"]
CONNS: tuple[Conn, ...] = ("warm", "cold")
Arrival = Literal["poisson", "constant"]
MAX_CHARS = 20_000  # default limit of characters sent to a service that bills them
BUFFERS = "0,50,100,200"  # default prebuffers of the simulated player, in ms
MAX_BUFFER_MS = 60_000
OPEN_IN_FLIGHT = 5
"""Default limit of trials in flight in an open loop: the socket limit of the smallest account."""


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


@dataclass(frozen=True, slots=True)
class Job:
    """One trial to run. `due_ns` counts from the start of the window; None: as soon as a worker is free."""

    index: int
    arm: Arm
    block: int
    text: Text
    due_ns: int | None = None


@dataclass(frozen=True, kw_only=True)
class Plan:
    """A run: `count` trials for each arm, or `seconds` of them.

    `rate`, in trials per second over all arms, makes it an open loop."""

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
    cancel_after_ms: float | None = None

    def arm_id(self, arm: Arm) -> ArmId:
        """Return an arm's id in the results."""
        return ArmId(arm.via, arm.conn, f"c{self.concurrency}" if self.rate is None else f"r{self.rate:g}")

    @property
    def trials(self) -> int | None:
        """How many trials the run has, None if its duration decides."""
        return None if self.count is None else self.count * len(self.arms)

    def warm_up(self, worker: int) -> Iterator[Job]:
        """Yield the warm-ups of a worker, one per warm connection; for the first worker also cold arms."""
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

    def characters(self, trials: int | None = None) -> int | None:
        """Return the characters of that many trials (default: all) and the warm-ups; None if unknown."""
        if self.count is None and trials is None:
            return None
        warm_ups = (job for worker in range(self.concurrency) for job in self.warm_up(worker))
        return sum(len(job.text.words) for job in chain(warm_ups, islice(self.jobs(), trials)))


Choice = TypeVar("Choice", bound=str)


def _parse_choices(text: str, known: Sequence[Choice], flag: str) -> list[Choice]:
    """Parse a comma-separated list; the result is in the order of `known`. Raises UsageError."""
    chosen = {each.strip() for each in text.split(",") if each.strip()}
    if not chosen or not chosen <= set(known):
        raise UsageError(f"{flag}: {printable(text, 40)} is not a list of {', '.join(known)}")
    return [each for each in known if each in chosen]


def parse_arms(vias: str, conns: str, flag: str) -> tuple[Arm, ...]:
    """Parse lists of transports (of the option `flag`) and connections into arms. Raises UsageError."""
    chosen = _parse_choices(vias, VIAS, flag), _parse_choices(conns, CONNS, "--conn")
    return tuple(Arm(via, conn) for via in chosen[0] for conn in chosen[1])


def parse_buffers(text: str) -> list[float]:
    """Parse the milliseconds of --buffer. Raises UsageError."""
    try:
        numbers = [float(each) for each in text.split(",")]
    except ValueError:
        numbers = []
    if not numbers or not all(0 <= number <= MAX_BUFFER_MS for number in numbers):
        raise UsageError(f"--buffer: {printable(text, 40)} is not a list of milliseconds")
    return numbers


def make_texts(given: Sequence[str], corpus: str, template: SpeechRequest) -> tuple[Text, ...]:
    """Return the texts, or those of a corpus if none are given. A long text is split into requests."""
    if not given:
        return tuple(Text(f"{corpus}{n:02}", each) for n, each in enumerate(CORPORA[corpus]))
    script = write_script(list(given), template, split=SEGMENT_CHARS, pause_s=0)
    pieces = [item.text for item in script.items if isinstance(item, SpeechRequest)]
    return tuple(Text(f"text{n:02}", each) for n, each in enumerate(pieces))
