"""What the processes of a load run send to the one that aggregates, and the totals of what one of them sent.

Each message holds what is new since the one before, so that a process that is cut off loses only its last
seconds.
"""

from __future__ import annotations

from collections.abc import Iterable

from msgspec import Struct
from msgspec.msgpack import Decoder, encode

from smallest_cli.bench.calibration import SelfTest, evaluate_delays
from smallest_cli.bench.distribution import STEPS, Distribution
from smallest_cli.bench.schema import Calibration, Conditions, Warmups, decode_hook
from smallest_cli.bench.tally import Tally


def distribution_of(values_ns: Iterable[int] = ()) -> Distribution:
    """Return the distribution of nanoseconds; negative ones count as 0."""
    found = Distribution(STEPS["ms"])
    for ns in values_ns:
        found.add(max(ns, 0))
    return found


class Message(Struct, kw_only=True):
    """What is new in one process. `last` says that no message will follow."""

    conditions: Conditions | None  # None if the process cannot run any trial; `problem` then says why
    problem: str | None
    self_test: SelfTest
    cut_short: str | None  # the option that ended its part early
    drift_s: float
    window_ns: int
    last: bool
    arms: dict[str, Tally]
    warmups: Warmups
    lag: Distribution
    stamped: Distribution

    def encode(self) -> bytes:
        """Return the message as bytes, which Locust sends as they are."""
        return encode(self, enc_hook=str)

    @staticmethod
    def decode(data: bytes) -> Message:
        """Decode the bytes that another process encoded."""
        return Decoder(Message, dec_hook=decode_hook).decode(data)


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
        """Return this process's own verdict, by the same rules as for any run."""
        return evaluate_delays(
            self.lag.as_delays(),
            self.latest.drift_s,
            self.latest.self_test,
            self.ttfb.quantiles(0.5)[0] / 1e6 if self.ttfb.n else None,
            self.stamped.as_delays(),
        )
