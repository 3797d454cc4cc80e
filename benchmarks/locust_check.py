"""Check the accuracy of a distributed run: a master, two workers and the server, each on its own network.

The server uses TLS with a temporary certificate. The true value is its time from receiving a request to
sending the first audio. A deviation is not a failure if the run's own verdict is not ok. Exits with 1 if a
check fails.
"""

from __future__ import annotations

import argparse
import resource
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from benchmarks.crew import Entry, Load, RunOutput, run
from benchmarks.figures import Figure, report
from benchmarks.hosts import Host, open_hosts, unavailable_reason
from smallest_cli.bench.stats.quantiles import quantile

ADDRESSES = ("10.83.7.1", "10.83.7.2", "10.83.7.3", "10.83.7.4")
METRICS, QUANTILES = ("ttfb", "ttfa", "min_safe_buffer", "gap"), {"p50": 0.5, "p99": 0.99}
MERGE_TOLERANCE = 0.001
TRIES = 3
"""Attempts at a check while the host is too busy."""


def server_times(output: RunOutput) -> list[float]:
    """Return the server's time to first audio of the recorded trials, in ms, ascending.

    A request starts when it was sent, if that is earlier: under load it waits in the socket buffer.
    """
    entries = {entry["request_id"]: entry for entry in output.log}
    pairs = [(trial["sent_ns"], entries[trial["request_id"]]) for trial in output.trials()]
    return sorted((entry["first_audio_ns"] - min(sent, entry["received_ns"])) / 1e6 for sent, entry in pairs)


def verdict(output: RunOutput) -> str:
    """Return the run's own verdict, or "none" without a result."""
    return str(output.result["run"]["calibration"]["verdict"]) if output.result else "none"


def compare_with_merged(name: str, output: RunOutput) -> Iterator[Figure]:
    """Compare quantiles of the merged histograms with those of all raw trials."""
    assert output.result
    assert output.merged
    (arm,), (exact,) = output.result["arms"], output.merged["arms"]
    for metric in METRICS:
        for which in QUANTILES:
            found, true = arm["metrics"][metric][which]["v"], exact["metrics"][metric][which]["v"]
            error = abs(found - true) / true if true else abs(found)
            details = f"{error:8.3%}   {found:.3f} / {true:.3f} ms"
            passed = error <= MERGE_TOLERANCE
            yield Figure(
                f"{name}: {metric} {which}, off the union", error, details, "0.1 %", passed, not passed
            )
    counts = [arm["n"], exact["n"]]
    same = counts[0] == counts[1]
    yield Figure(f"{name}: trials, and in the union", counts[0], f"{counts}", "the same", same, not same)


def compare_with_server(name: str, output: RunOutput, true: Sequence[float]) -> Iterator[Figure]:
    """Check that the time to first audio is within 1 ms or 1 % of the server's, or the verdict is not ok."""
    assert output.result
    (arm,), run_verdict = output.result["arms"], verdict(output)
    for which, p in QUANTILES.items():
        found, server = arm["metrics"]["ttfb"][which]["v"], quantile(true, p)
        limit = max(1.0, 0.01 * server)
        within_limit = abs(found - server) <= limit
        details = f"{found - server:+8.2f} ms   {found:.2f}, the server {server:.2f} ms; {run_verdict}"
        goal = f"{limit:.1f} ms, or not ok"
        passed = within_limit or run_verdict in ("suspect", "invalid")
        yield Figure(
            f"{name}: ttfb {which}, off the server", found - server, details, goal, passed, not passed
        )


def check_complete(name: str, output: RunOutput) -> Iterator[Figure]:
    """Check a run in which both workers finished."""
    if output.result is None:
        yield missing_result(name, output)
        return
    arm = output.result["arms"][0]
    print_verdict(output)
    good = arm["ok"] / arm["n"]
    yield Figure(
        f"{name}: good trials", good, f"{good:8.2%}   {arm['ok']} of {arm['n']} {arm['errors'] or ''}"
    )
    yield from compare_with_merged(name, output)
    yield from compare_with_server(name, output, server_times(output))
    for process, usage in output.usage.items():
        yield Figure(
            f"{name}: CPU of the {process}",
            usage.cpu_share,
            f"{usage.cpu_share:8.0%} of a core",
        )


def check_lost_worker(name: str, output: RunOutput) -> Iterator[Figure]:
    """Check a run that lost a worker: the worker is named, and all counted trials were answered."""
    if output.result is None:
        yield missing_result(name, output)
        return
    calibration, workers = output.result["run"]["calibration"], output.result["run"]["workers"]
    print_verdict(output)
    lost = [each for each in workers if each["state"] == "cut off"]
    named = len(lost) == 1 and any(lost[0]["id"] in reason for reason in calibration["reasons"])
    details = ", ".join(f"{each['state']} after {each['trials']}" for each in workers)
    yield Figure(f"{name}: workers; the lost one is named", len(lost), details, "1 cut off", named, not named)
    not_ok = calibration["verdict"] != "ok" and not output.result["run"]["complete"]
    yield Figure(
        f"{name}: not called ok, nor complete", int(not_ok), verdict(output), "not ok", not_ok, not not_ok
    )
    yield from check_counts(name, output, lost, workers)
    answered = [entry for entry in output.log if entry["first_audio_ns"]]
    true = sorted((entry["first_audio_ns"] - entry["received_ns"]) / 1e6 for entry in answered)
    found, server = output.result["arms"][0]["metrics"]["ttfb"]["p50"]["v"], quantile(true, 0.5)
    limit, error = max(1.0, 0.01 * server), found - server
    details = f"{error:+8.2f} ms   {found:.2f}, the server {server:.2f} ms, of all it answered"
    yield Figure(f"{name}: ttfb p50, off the server", error, details, f"{limit:.1f} ms", abs(error) <= limit)


def check_counts(
    name: str, output: RunOutput, lost: Sequence[Entry], workers: Sequence[Entry]
) -> Iterator[Figure]:
    """Check the counts: all trials of the remaining worker, and at most the answered ones of the lost one."""
    assert output.result
    raw = {worker: len(trials) for worker, trials in output.raw.items()}
    survivor = all(raw.get(each["id"]) == each["trials"] for each in workers if each not in lost)
    yield Figure(f"{name}: the survivor, and its raw trials", sum(raw.values()), f"{list(raw.values())}",
                 "the same", survivor, not survivor)  # fmt: skip
    own = {trial["request_id"] for trial in output.trials()}
    unrecorded = sum(1 for entry in output.log if entry["completed_ns"] and entry["request_id"] not in own)
    counted = sum(each["trials"] for each in lost)
    consistent = 0 < counted <= unrecorded and output.result["arms"][0]["n"] == sum(raw.values()) + counted
    details = f"{counted} counted, {unrecorded} answered to it or in warm-ups"
    yield Figure(f"{name}: of the lost one", counted, details, "no more", consistent, not consistent)


def missing_result(name: str, output: RunOutput) -> Figure:
    """Print the log of a run without a result. Returns a failing figure."""
    print(output.locust_log[-3000:], file=sys.stderr)
    return Figure(f"{name}: a result", 0, f"none; exit {output.code}", "one", passed=False, gates=True)


def print_verdict(output: RunOutput) -> None:
    """Print the run's own verdict."""
    assert output.result
    reasons = output.result["run"]["calibration"]["reasons"]
    print(f"  exit {output.code}, {verdict(output)}{': ' if reasons else ''}{'; '.join(reasons)}", flush=True)


Check = Callable[[str, RunOutput], Iterator[Figure]]
CHECKS: dict[str, tuple[Check, Load]] = {
    "lognormal": (check_complete, Load(20, 30, 150, 0.3, 4)),
    "killed": (check_lost_worker, Load(20, 20, 100, 0.2, 4, lose_after=60)),
    "unplugged": (check_lost_worker, Load(20, 30, 100, 0.2, 4, lose_after=60, loss="unplugged")),
    "at once": (check_complete, Load(100, 40, 300, 0.2, 1, "long", spawn_rate=1000)),
    "crowd": (check_complete, Load(500, 40, 300, 0.2, 1, "long")),
}


def measure(hosts: Sequence[Host], selected: Sequence[str]) -> Iterator[Figure]:
    """Yield the figures of the chosen checks."""
    for name in selected:
        check, load = CHECKS[name]
        for attempt in range(1, TRIES + 1):
            print(f"{name}: {load.users} users, {load.seconds} s, first byte {load.first_byte_ms:g} ms, "
                  f"sigma {load.sigma:g}, {load.realtime_factor:g} times real time", flush=True)  # fmt: skip
            with tempfile.TemporaryDirectory() as folder:
                output = run(hosts, load, Path(folder))
            if name != "lognormal" or verdict(output) == "ok" or attempt == TRIES:
                break
            print(f"  {verdict(output)}: again", flush=True)
        yield from check(name, output)


def main() -> int:
    """Return 1 if a check fails."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("checks", nargs="*", help=f"of {', '.join(CHECKS)}; all of them")
    selected = parser.parse_args().checks or list(CHECKS)
    if reason := unavailable_reason():
        print(f"not checked: {reason}")
        return 0
    _, hard_limit = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard_limit, hard_limit))
    with open_hosts(ADDRESSES) as hosts:
        return report(measure(hosts, selected))


if __name__ == "__main__":
    sys.exit(main())
