"""Measure the CPU, memory and files that one Locust worker needs for N paced streams over TLS.

The figures are used in docs/load.md. Streams run in real time; server and master share the host. Only rows
with the verdict ok advise how many streams a worker can time.
"""

from __future__ import annotations

import argparse
import resource
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from benchmarks.crew import Load, run
from benchmarks.figures import Figure, report
from benchmarks.hosts import Host, open_hosts, unavailable_reason
from benchmarks.locust_check import ADDRESSES, missing_result, server_times, verdict
from smallest_cli.bench.stats.quantiles import quantile

STREAMS = (25, 50, 100, 200, 400)
SECONDS = 60


def measure(hosts: Sequence[Host], corpus: str, streams: Sequence[int]) -> Iterator[Figure]:
    """Run once per number of streams, all started within ten seconds. Yields the figures of each run."""
    for users in streams:
        load = Load(users, SECONDS, 300, 0.2, 1, corpus, spawn_rate=users / 10)
        name = f"{corpus}, {users} streams"
        with tempfile.TemporaryDirectory() as folder:
            output = run(hosts, load, Path(folder))
        if output.result is None:
            yield missing_result(name, output)
            continue
        usage, (arm,) = output.usage["worker 1"], output.result["arms"]
        yield Figure(
            f"{name}: a worker's CPU", usage.cpu_share,
            f"{usage.cpu_share:6.1%} of a core, {usage.cpu_share / users:.3%} each;"
            f" the server {output.usage['server'].cpu_share:.1%}",
        )  # fmt: skip
        yield Figure(
            f"{name}: its memory", usage.megabytes, f"{usage.megabytes:6.0f} MB, {usage.files} open files"
        )
        ttfb, true = arm["metrics"]["ttfb"], server_times(output)
        errors = [ttfb["p50"]["v"] - quantile(true, 0.5), ttfb["p99"]["v"] - quantile(true, 0.99)]
        calibration = output.result["run"]["calibration"]
        delay_ms = calibration.get("stamped_ms") or {"p50": 0.0, "p99": 0.0}
        advises = "" if calibration["verdict"] == "ok" else " (does not advise)"
        yield Figure(f"{name}: {verdict(output)}{advises}, of {arm['n']} trials", errors[0],
                     f"ttfb off by {errors[0]:+.1f} ms at p50, {errors[1]:+.1f} at p99; "
                     f"woken {delay_ms['p50']:.1f} and {delay_ms['p99']:.1f} ms late")  # fmt: skip


def main() -> int:
    """Run the benchmark. Returns 1 if a run had no result."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("corpus", nargs="?", choices=("long", "short"), default="long")
    parser.add_argument("streams", nargs="*", type=int, default=STREAMS)
    options = parser.parse_args()
    if reason := unavailable_reason():
        print(f"not measured: {reason}")
        return 0
    _, hard_limit = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard_limit, hard_limit))
    with open_hosts(ADDRESSES[:3]) as hosts:
        return report(measure(hosts, options.corpus, options.streams))


if __name__ == "__main__":
    sys.exit(main())
