"""Messages from the processes of a load run to the aggregating one, and their totals per process.

Each message is a delta to the previous one: a process that is cut off loses only its last
seconds.
"""

from __future__ import annotations

from collections.abc import Iterable

from msgspec import Struct, field
from msgspec.msgpack import Decoder, encode

from smallest_cli import __version__
from smallest_cli.bench.calibration import SelfTest, evaluate_delays
from smallest_cli.bench.distribution import STEPS, Distribution
from smallest_cli.bench.plan import make_arms
from smallest_cli.bench.schema import Arm, Calibration, Conditions, Warmups
from smallest_cli.bench.tally import Tally


def distribution_of(values_ns: Iterable[int] = ()) -> Distribution:
    """Return the distribution of nanoseconds; negative values count as 0."""
    found = Distribution(STEPS["ms"])
    for ns in values_ns:
        found.add(max(ns, 0))
    return found


def version_mismatch(worker: str | None, master: str | None) -> str | None:
    """Return why a worker cannot take part in a run: figures of two versions may not mean the same."""
    if worker == master:
        return None
    versions = f"the worker runs smallest {worker or '(unknown)'}, the master {master or '(unknown)'}"
    return f"{versions}: install the same version on both"


def with_users(arms: Iterable[Arm], users: int) -> dict[str, Arm]:
    """Return the arms with the number of users of a run, by the ids that they had before it was known."""
    return {arm.id: make_arms([arm.via], [arm.conn], [users])[0] for arm in arms}


class _Versioned(Struct):
    version: str | None = None


class Message(Struct, kw_only=True):
    """New data of one process. `last`: no message will follow."""

    version: str = __version__
    conditions: Conditions | None  # None if the process cannot run trials; `problem` is the reason
    problem: str | None
    self_test: SelfTest
    cut_short: str | None = None  # the option that ended it early
    drift_s: float = 0.0
    window_ns: int = 0
    last: bool
    arms: dict[str, Tally] = {}
    warmups: Warmups = field(default_factory=lambda: Warmups(0, {}))
    lag: Distribution = field(default_factory=distribution_of)
    stamped: Distribution = field(default_factory=distribution_of)

    def encode(self) -> bytes:
        """Return the message as bytes, which Locust does not encode again."""
        return encode(self)

    @staticmethod
    def decode(data: bytes) -> Message:
        """Decode the bytes that another process encoded; of another version's, keep only the problem."""
        if problem := version_mismatch(Decoder(_Versioned).decode(data).version, __version__):
            return Message(conditions=None, problem=problem, self_test=SelfTest(None), last=True)
        return Decoder(Message).decode(data)


class Totals:
    """All that one process has sent so far."""

    latest: Message

    def __init__(self) -> None:
        self.lag, self.stamped, self.ttfb = distribution_of(), distribution_of(), distribution_of()
        self.trials = self.ok = 0

    def add(self, message: Message) -> None:
        """Add the next message."""
        self.latest = message
        self.lag.merge(message.lag)
        self.stamped.merge(message.stamped)
        for tally in message.arms.values():
            self.trials, self.ok = self.trials + tally.n, self.ok + tally.ok
            if found := tally.metrics.get("ttfb"):
                self.ttfb.merge(found)

    def calibration(self) -> Calibration:
        """Return the verdict on this process, by the same rules as for a run."""
        return evaluate_delays(
            self.lag.as_delays(),
            self.latest.drift_s,
            self.latest.self_test,
            self.ttfb.quantiles(0.5)[0] / 1e6 if self.ttfb.n else None,
            self.stamped.as_delays(),
        )
