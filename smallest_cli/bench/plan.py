"""Plan a run: arms in randomised blocks, their texts, and when each trial is due."""

from __future__ import annotations

import random
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, count, islice
from math import ceil
from typing import Literal, NamedTuple, TypeVar

from msgspec import UNSET

from smallest_cli.bench.corpus import CORPORA
from smallest_cli.bench.playback import SECOND
from smallest_cli.bench.schema import Arm, Conn
from smallest_cli.errors import UsageError
from smallest_cli.models import SEGMENT_CHARS, VIAS, Api, Service, SpeechRequest, Via
from smallest_cli.security import printable
from smallest_cli.text.segments import write_script

CONNS: tuple[Conn, ...] = ("warm", "cold")
Arrival = Literal["poisson", "constant"]
MAX_CHARS = 20_000  # default limit of characters sent to a service that bills them
BUFFERS = "0,50,100,200"  # default prebuffers of the simulated player, in ms
MAX_BUFFER_MS = 60_000
OPEN_IN_FLIGHT = 5
"""Default limit of trials in flight in an open loop: the socket limit of the smallest account."""
MAX_CONCURRENCY = 1000
ROUND_TRIALS = 4
"""Trials of a round of a sweep for each that is in flight: the end of a round has fewer in flight."""
_NOT_IN_ID = re.compile(r"[^A-Za-z0-9_.+-]+")


class Variant(NamedTuple):
    """What else differs between arms: voice, model, API and service."""

    voice: str
    model: str | None = None
    api: Api = "unified"
    base_url: str = ""


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

    The rate of the arms, in trials per second over all of them, makes it an open loop. Arms of more than one
    concurrency are a sweep.
    """

    arms: tuple[Arm, ...]
    texts: tuple[Text, ...]
    template: SpeechRequest
    count: int | None = 30
    seconds: float | None = None
    arrival: Arrival = "poisson"
    warmups: int = 1
    seed: int = 1
    max_chars: int = 0
    cancel_after_ms: float | None = None

    @property
    def levels(self) -> list[int]:
        """The concurrencies of the arms, ascending."""
        return sorted({arm.concurrency for arm in self.arms})

    @property
    def concurrency(self) -> int:
        """The highest concurrency."""
        return self.levels[-1]

    @property
    def rate(self) -> float | None:
        """Trials per second over all arms, None in a closed loop."""
        return self.arms[0].rate

    def request(self, job: Job) -> SpeechRequest:
        """Return the request of a trial."""
        own = {name: each for name in ("voice", "model") if (each := getattr(job.arm, name)) is not UNSET}
        return self.template._replace(text=job.text.words, **own)

    def everywhere(self, service: Service) -> dict[str, Service]:
        """Return the service of each arm id, if it is the same for all arms."""
        return dict.fromkeys((arm.id for arm in self.arms), service)

    @property
    def trials(self) -> int | None:
        """How many trials the run has, None if its duration decides."""
        return None if self.count is None else self.count * len(self.arms)

    def warm_up(self, worker: int) -> Iterator[Job]:
        """Yield the warm-ups of a worker, one per warm connection; for the first worker also cold arms."""
        highest = self.concurrency  # the arms of other levels use the same connections
        for turn in range(self.warmups):
            for arm in self.arms:
                if arm.concurrency == highest and (arm.conn == "warm" or worker == 0):
                    yield Job(-1, arm, -1, self.texts[turn % len(self.texts)])

    def jobs(self) -> Iterator[Job]:
        """Yield every trial in order: each block has every arm once, shuffled, all with the same text.

        The seed determines order, texts and arrival times.
        """
        return chain.from_iterable(jobs for _, jobs in self.rounds())

    def rounds(self) -> Iterator[tuple[int, Iterator[Job]]]:
        """Yield the concurrency and the trials of each round, to be taken before the next.

        In a sweep, levels take turns in shuffled order, at least twice: what changes over time affects all of
        them. Each has the same texts. Without a sweep there is one round.
        """
        levels, numbers = self.levels, count()
        blocks = {
            level: self._blocks([arm for arm in self.arms if arm.concurrency == level], numbers)
            for level in levels
        }
        if len(levels) == 1:
            yield levels[0], chain.from_iterable(islice(blocks[levels[0]], self.count))
            return
        arms, order = len(self.arms) // len(levels), random.Random(self.seed + 2)
        rounds = 1
        if self.count is not None:
            rounds = max(min(2, self.count), self.count * arms // (ROUND_TRIALS * levels[-1]))
        for done in count() if self.count is None else range(rounds):
            for level in order.sample(levels, len(levels)):
                size = ceil(ROUND_TRIALS * level / arms)
                if self.count is not None:
                    size = self.count * (done + 1) // rounds - self.count * done // rounds
                yield level, chain.from_iterable(islice(blocks[level], size))

    def _blocks(self, arms: Sequence[Arm], numbers: Iterator[int]) -> Iterator[list[Job]]:
        order, arrivals, due = random.Random(self.seed), random.Random(self.seed + 1), 0.0
        texts: list[Text] = []
        for block in count():
            texts = texts or order.sample(self.texts, len(self.texts))
            text, jobs = texts.pop(), []
            for arm in order.sample(arms, len(arms)):
                due_ns = None
                if arm.rate is not None:
                    due += arrivals.expovariate(arm.rate) if self.arrival == "poisson" else 1 / arm.rate
                    due_ns = round(due * SECOND)
                jobs.append(Job(next(numbers), arm, block, text, due_ns))
            yield jobs

    def characters(self, trials: int | None = None) -> int | None:
        """Return the characters of that many trials (default: all) and the warm-ups; None if unknown."""
        if self.count is None and trials is None:
            return None
        warm_ups = (job for worker in range(self.concurrency) for job in self.warm_up(worker))
        return sum(len(job.text.words) for job in chain(warm_ups, islice(self.jobs(), trials)))


Choice = TypeVar("Choice", bound=str)
Number = TypeVar("Number", int, float)


def split_list(given: str | Sequence[str], flag: str) -> list[str]:
    """Return the distinct items of comma-separated lists, in order. Raises UsageError if there are none."""
    joined = given if isinstance(given, str) else ",".join(given)
    items = [each.strip() for each in joined.split(",")]
    if not all(items):
        raise UsageError(f"{flag}: {printable(joined, 40)!r} is not a list", hint="separate items by commas")
    return list(dict.fromkeys(items))


def _parse_choices(given: str | Sequence[str], known: Sequence[Choice], flag: str) -> list[Choice]:
    """Parse comma-separated lists; the result is in the order of `known`. Raises UsageError."""
    chosen = set(split_list(given, flag))
    if not chosen <= set(known):
        unknown = printable(", ".join(sorted(chosen - set(known))), 40)
        raise UsageError(f"{flag}: {unknown} is not a list of {', '.join(known)}")
    return [each for each in known if each in chosen]


def _parse_numbers(
    given: str | Sequence[str], kind: type[Number], low: int, high: int, flag: str, what: str
) -> list[Number]:
    items = split_list(given, flag)
    try:
        numbers = [kind(each) for each in items]
    except ValueError:
        numbers = []
    if not numbers or not all(low <= number <= high for number in numbers):
        raise UsageError(f"{flag}: {printable(', '.join(items), 40)} is not a list of {what}")
    return list(dict.fromkeys(numbers))


def parse_kinds(
    vias: str | Sequence[str], conns: str | Sequence[str], flag: str
) -> tuple[list[Via], list[Conn]]:
    """Parse lists of transports (of the option `flag`) and connections. Raises UsageError."""
    return _parse_choices(vias, VIAS, flag), _parse_choices(conns, CONNS, "--conn")


def make_arms(
    vias: Sequence[Via],
    conns: Sequence[Conn],
    levels: Sequence[int] = (1,),
    rate: float | None = None,
    variants: Sequence[Variant] = (),
) -> tuple[Arm, ...]:
    """Make an arm of each combination; its id ends with what differs between the variants.

    A model is not in the id if the rest tells the arms apart, as with voices that each have their own model.
    """
    variants = list(dict.fromkeys(variants)) or [Variant("")]
    varied = [name for name in Variant._fields if len({getattr(each, name) for each in variants}) > 1]
    shown = [name for name in varied if name != "model"]
    if len({tuple(getattr(each, name) for name in shown) for each in variants}) < len(variants):
        shown = varied
    labels = {name: _label(str(getattr(each, name)) for each in variants) for name in shown}
    return tuple(
        Arm(
            id="/".join([via, conn, load, *(labels[name][str(getattr(variant, name))] for name in shown)]),
            via=via,
            conn=conn,
            concurrency=level,
            rate=rate,
            **{name: getattr(variant, name) for name in varied},
        )
        for via in vias
        for conn in conns
        for variant in variants
        for level in levels
        for load in [f"c{level}" if rate is None else f"r{rate:g}"]
    )


def _label(values: Iterable[str]) -> dict[str, str]:
    """Return a distinct label for each value, of characters that an id may have."""
    labels: dict[str, str] = {}
    for value in dict.fromkeys(values):
        plain = _NOT_IN_ID.sub("-", value.partition("://")[2] or value).strip("-")[:60] or "other"
        free = (f"{plain}-{number}" if number > 1 else plain for number in count(1))
        labels[value] = next(label for label in free if label not in labels.values())
    return labels


def parse_levels(given: str | Sequence[str]) -> list[int]:
    """Parse the concurrencies of -c, ascending. Raises UsageError."""
    what = f"numbers from 1 to {MAX_CONCURRENCY}"
    return sorted(_parse_numbers(given, int, 1, MAX_CONCURRENCY, "--concurrency", what))


def parse_buffers(given: str | Sequence[str]) -> list[float]:
    """Parse the milliseconds of --buffer. Raises UsageError."""
    return _parse_numbers(given, float, 0, MAX_BUFFER_MS, "--buffer", "milliseconds")


def make_texts(given: Sequence[str], corpus: str, template: SpeechRequest) -> tuple[Text, ...]:
    """Return the texts, or those of a corpus if none are given. A long text is split into requests."""
    if not given:
        return tuple(Text(f"{corpus}{n:02}", each) for n, each in enumerate(CORPORA[corpus]))
    script = write_script(list(given), template, split=SEGMENT_CHARS, pause_s=0)
    pieces = [item.text for item in script.items if isinstance(item, SpeechRequest)]
    return tuple(Text(f"text{n:02}", each) for n, each in enumerate(pieces))
