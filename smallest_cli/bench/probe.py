"""A thread that asks to be woken and notes how late it was: what it waits for, a trial waits for too."""

from __future__ import annotations

import threading
import time
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from smallest_cli.bench.playback import SECOND
from smallest_cli.bench.stats.quantiles import quantile

PROBE_SECONDS = 0.005


@dataclass
class Probe:
    """How late a thread was woken, in nanoseconds, and how far the wall clock ran from the monotonic one."""

    late_ns: list[int] = field(default_factory=list)
    woken_ns: list[int] = field(default_factory=list)
    """When that was, by `perf_counter_ns`."""
    drift_s: float = 0.0

    def as_json(self) -> dict[str, float] | None:
        """The lags in ms."""
        return in_ms(self.late_ns)

    def late_at(self, at_ns: int) -> int | None:
        """How late the first wake after that moment was: whatever held it up held up that moment's work too.
        None where none came after it."""
        after = bisect_left(self.woken_ns, at_ns)
        return self.late_ns[after] if after < len(self.late_ns) else None

    def forget(self, before_ns: int) -> None:
        """Let go of wakes before that moment."""
        kept = bisect_left(self.woken_ns, before_ns)
        del self.woken_ns[:kept], self.late_ns[:kept]


@contextmanager
def probing(probe: Probe) -> Iterator[None]:
    """Let a probe run for as long as the context lasts."""
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

    thread = threading.Thread(target=run, name="lag probe", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
        probe.drift_s = (time.time() - wall) - (time.monotonic() - monotonic)


def in_ms(values: Sequence[int]) -> dict[str, float] | None:
    """Nanoseconds as p50, p99 and max in ms; None where there are none."""
    if not values:
        return None
    ordered = sorted(values)
    found = {name: quantile(ordered, p) / 1e6 for name, p in (("p50", 0.5), ("p99", 0.99))}
    return found | {"max": ordered[-1] / 1e6, "n": len(ordered)}
