"""Measure the CPU, memory and files that one Locust worker needs for N paced streams over TLS.

The figures are used in docs/load.md. Streams run in real time; server and master share the host.
"""

from __future__ import annotations

import argparse
import resource
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from benchmarks.crew import Load, run
from benchmarks.figures import Figure, conclude
from benchmarks.hosts import Host, joined, why_not
from benchmarks.locust_check import ADDRESSES, truths, unfinished, verdict
from smallest_cli.bench.stats.quantiles import quantile

STREAMS = (25, 50, 100, 200, 400)
SECONDS = 60


def measure(hosts: Sequence[Host], corpus: str, streams: Sequence[int]) -> Iterator[Figure]:
    """Run once per number of streams, all started within ten seconds. Yields the figures of each run."""
    for users in streams:
        load = Load(users, SECONDS, 300, 0.2, 1, corpus, spawn_rate=users / 10)
        name = f"{corpus}, {users} streams"
        with tempfile.TemporaryDirectory() as folder:
            ran = run(hosts, load, Path(folder))
        if ran.result is None:
            yield unfinished(name, ran)
            continue
        use, (arm,) = ran.used["worker 1"], ran.result["arms"]
        yield Figure(
            f"{name}: a worker's CPU", use.core,
            f"{use.core:6.1%} of a core, {use.core / users:.3%} each;"
            f" the server {ran.used['server'].core:.1%}",
        )  # fmt: skip
        yield Figure(f"{name}: its memory", use.megabytes, f"{use.megabytes:6.0f} MB, {use.files} open files")
        ttfb, true = arm["metrics"]["ttfb"], truths(ran)
        off = [ttfb["p50"]["v"] - quantile(true, 0.5), ttfb["p99"]["v"] - quantile(true, 0.99)]
        lags = ran.result["run"]["calibration"]
        stamped = lags.get("stamped_ms") or {"p50": 0.0, "p99": 0.0}
        yield Figure(f"{name}: {verdict(ran)}, of {arm['n']} trials", off[0],
                     f"ttfb off by {off[0]:+.1f} ms at p50, {off[1]:+.1f} at p99; "
                     f"woken {stamped['p50']:.1f} and {stamped['p99']:.1f} ms late")  # fmt: skip


def main() -> int:
    """Run the benchmark. Returns 1 if a run had no result."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("corpus", nargs="?", choices=("long", "short"), default="long")
    parser.add_argument("streams", nargs="*", type=int, default=STREAMS)
    options = parser.parse_args()
    if why := why_not():
        print(f"not measured: {why}")
        return 0
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    with joined(ADDRESSES[:3]) as hosts:
        return conclude(measure(hosts, options.corpus, options.streams))


if __name__ == "__main__":
    sys.exit(main())
