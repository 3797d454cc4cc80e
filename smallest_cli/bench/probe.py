"""Measure the scheduler delay: a thread sleeps and records how late it was woken, as a trial would be."""

from __future__ import annotations

import threading
import time
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from smallest_cli.bench.playback import SECOND
from smallest_cli.bench.schema import Delays
from smallest_cli.bench.stats.quantiles import quantile

PROBE_SECONDS = 0.005


@dataclass
class Probe:
    """Scheduler delays in nanoseconds, and how far the wall clock drifted from the monotonic one."""

    late_ns: list[int] = field(default_factory=list)
    woken_ns: list[int] = field(default_factory=list)  # when the thread was woken, by `perf_counter_ns`
    drift_s: float = 0.0

    def delay_at(self, at_ns: int) -> int | None:
        """Return the delay of the first wake-up after `at_ns`, None if there was none.

        What delayed that wake-up also delayed work at `at_ns`.
        """
        after = bisect_left(self.woken_ns, at_ns)
        return self.late_ns[after] if after < len(self.late_ns) else None

    def discard(self, before_ns: int) -> None:
        """Discard wake-ups before `before_ns`."""
        count = bisect_left(self.woken_ns, before_ns)
        del self.woken_ns[:count], self.late_ns[:count]


@contextmanager
def probing(probe: Probe) -> Iterator[None]:
    """Run a probe within the context."""
    stop = threading.Event()
    wall, monotonic = time.time(), time.monotonic()

    def run() -> None:
        while True:
            due = time.perf_counter_ns() + round(PROBE_SECONDS * SECOND)
            if stop.wait(PROBE_SECONDS):
                return
            woken = time.perf_counter_ns()
            probe.late_ns.append(woken - due)
            probe.woken_ns.append(woken)

    thread = threading.Thread(target=run, name="scheduler probe", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
        probe.drift_s = (time.time() - wall) - (time.monotonic() - monotonic)


def in_ms(values_ns: Sequence[int]) -> Delays | None:
    """Summarise nanoseconds in ms; None if there are none."""
    if not values_ns:
        return None
    ordered = sorted(values_ns)
    p50, p99 = (quantile(ordered, p) / 1e6 for p in (0.5, 0.99))
    return Delays(p50, p99, ordered[-1] / 1e6, len(ordered))
