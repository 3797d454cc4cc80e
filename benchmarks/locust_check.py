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

from benchmarks.crew import Entry, Load, Ran, run
from benchmarks.figures import Figure, conclude
from benchmarks.hosts import Host, joined, why_not
from smallest_cli.bench.stats.quantiles import quantile

ADDRESSES = ("10.83.7.1", "10.83.7.2", "10.83.7.3", "10.83.7.4")
METRICS, QUANTILES = ("ttfb", "ttfa", "min_safe_buffer", "gap"), {"p50": 0.5, "p99": 0.99}
AS_UNION = 0.001
TRIES = 3
"""Attempts at a check while the host is too busy."""


def truths(ran: Ran) -> list[float]:
    """Return the server's time to first audio of the recorded trials, in ms, ascending.

    A request starts when it was sent, if that is earlier: under load it waits in the socket buffer.
    """
    entries = {entry["request_id"]: entry for entry in ran.log}
    pairs = [(trial["sent_ns"], entries[trial["request_id"]]) for trial in ran.trials()]
    return sorted((entry["first_audio_ns"] - min(sent, entry["received_ns"])) / 1e6 for sent, entry in pairs)


def verdict(ran: Ran) -> str:
    """Return the run's own verdict, or "none" without a result."""
    return str(ran.result["run"]["calibration"]["verdict"]) if ran.result else "none"


def against_union(name: str, ran: Ran) -> Iterator[Figure]:
    """Compare quantiles of the merged histograms with those of all raw trials."""
    assert ran.result
    assert ran.union
    (arm,), (exact,) = ran.result["arms"], ran.union["arms"]
    for metric in METRICS:
        for which in QUANTILES:
            found, true = arm["metrics"][metric][which]["v"], exact["metrics"][metric][which]["v"]
            off = abs(found - true) / true if true else abs(found)
            words = f"{off:8.3%}   {found:.3f} / {true:.3f} ms"
            holds = off <= AS_UNION
            yield Figure(f"{name}: {metric} {which}, off the union", off, words, "0.1 %", holds, not holds)
    counts = [arm["n"], exact["n"]]
    same = counts[0] == counts[1]
    yield Figure(f"{name}: trials, and in the union", counts[0], f"{counts}", "the same", same, not same)


def against_server(name: str, ran: Ran, true: Sequence[float]) -> Iterator[Figure]:
    """Check that the time to first audio is within 1 ms or 1 % of the server's, or the verdict is not ok."""
    assert ran.result
    (arm,), said = ran.result["arms"], verdict(ran)
    for which, p in QUANTILES.items():
        found, server = arm["metrics"]["ttfb"][which]["v"], quantile(true, p)
        limit = max(1.0, 0.01 * server)
        near = abs(found - server) <= limit
        words = f"{found - server:+8.2f} ms   {found:.2f}, the server {server:.2f} ms; {said}"
        goal = f"{limit:.1f} ms, or not ok"
        holds = near or said in ("suspect", "invalid")
        yield Figure(f"{name}: ttfb {which}, off the server", found - server, words, goal, holds, not holds)


def complete(name: str, ran: Ran) -> Iterator[Figure]:
    """Check a run in which both workers finished."""
    if ran.result is None:
        yield unfinished(name, ran)
        return
    arm = ran.result["arms"][0]
    print_verdict(ran)
    good = arm["ok"] / arm["n"]
    yield Figure(
        f"{name}: good trials", good, f"{good:8.2%}   {arm['ok']} of {arm['n']} {arm['errors'] or ''}"
    )
    yield from against_union(name, ran)
    yield from against_server(name, ran, truths(ran))
    for who, use in ran.used.items():
        yield Figure(f"{name}: CPU of the {who}", use.core, f"{use.core:8.0%} of a core")


def cut(name: str, ran: Ran) -> Iterator[Figure]:
    """Check a run that lost a worker: the worker is named, and all counted trials were answered."""
    if ran.result is None:
        yield unfinished(name, ran)
        return
    calibration, workers = ran.result["run"]["calibration"], ran.result["run"]["workers"]
    print_verdict(ran)
    lost = [each for each in workers if each["state"] == "cut off"]
    named = len(lost) == 1 and any(lost[0]["id"] in why for why in calibration["reasons"])
    words = ", ".join(f"{each['state']} after {each['trials']}" for each in workers)
    yield Figure(f"{name}: workers; the lost one is named", len(lost), words, "1 cut off", named, not named)
    honest = calibration["verdict"] != "ok" and not ran.result["run"]["complete"]
    yield Figure(
        f"{name}: not called ok, nor complete", int(honest), verdict(ran), "not ok", honest, not honest
    )
    yield from counted(name, ran, lost, workers)
    answered = [entry for entry in ran.log if entry["first_audio_ns"]]
    true = sorted((entry["first_audio_ns"] - entry["received_ns"]) / 1e6 for entry in answered)
    found, server = ran.result["arms"][0]["metrics"]["ttfb"]["p50"]["v"], quantile(true, 0.5)
    limit, off = max(1.0, 0.01 * server), found - server
    words = f"{off:+8.2f} ms   {found:.2f}, the server {server:.2f} ms, of all it answered"
    yield Figure(f"{name}: ttfb p50, off the server", off, words, f"{limit:.1f} ms", abs(off) <= limit)


def counted(name: str, ran: Ran, lost: Sequence[Entry], workers: Sequence[Entry]) -> Iterator[Figure]:
    """Check the counts: all trials of the remaining worker, and at most the answered ones of the lost one."""
    assert ran.result
    raw = {worker: len(trials) for worker, trials in ran.raw.items()}
    survivor = all(raw.get(each["id"]) == each["trials"] for each in workers if each not in lost)
    yield Figure(f"{name}: the survivor, and its raw trials", sum(raw.values()), f"{list(raw.values())}",
                 "the same", survivor, not survivor)  # fmt: skip
    own = {trial["request_id"] for trial in ran.trials()}
    others = sum(1 for entry in ran.log if entry["completed_ns"] and entry["request_id"] not in own)
    arrived = sum(each["trials"] for each in lost)
    right = 0 < arrived <= others and ran.result["arms"][0]["n"] == sum(raw.values()) + arrived
    words = f"{arrived} counted, {others} answered to it or in warm-ups"
    yield Figure(f"{name}: of the lost one", arrived, words, "no more", right, not right)


def unfinished(name: str, ran: Ran) -> Figure:
    """Print the log of a run without a result. Returns a failing figure."""
    print(ran.said[-3000:], file=sys.stderr)
    return Figure(f"{name}: a result", 0, f"none; exit {ran.code}", "one", holds=False, gates=True)


def print_verdict(ran: Ran) -> None:
    """Print the run's own verdict."""
    assert ran.result
    reasons = ran.result["run"]["calibration"]["reasons"]
    print(f"  exit {ran.code}, {verdict(ran)}{': ' if reasons else ''}{'; '.join(reasons)}", flush=True)


Check = Callable[[str, Ran], Iterator[Figure]]
CHECKS: dict[str, tuple[Check, Load]] = {
    "lognormal": (complete, Load(20, 30, 150, 0.3, 4)),
    "killed": (cut, Load(20, 20, 100, 0.2, 4, lose_after=60)),
    "unplugged": (cut, Load(20, 30, 100, 0.2, 4, lose_after=60, loss="unplugged")),
    "at once": (complete, Load(100, 40, 300, 0.2, 1, "long", spawn_rate=1000)),
    "crowd": (complete, Load(500, 40, 300, 0.2, 1, "long")),
}


def measure(hosts: Sequence[Host], chosen: Sequence[str]) -> Iterator[Figure]:
    """Yield the figures of the chosen checks."""
    for name in chosen:
        check, load = CHECKS[name]
        for attempt in range(1, TRIES + 1):
            print(f"{name}: {load.users} users, {load.seconds} s, first byte {load.first_byte_ms:g} ms, "
                  f"sigma {load.sigma:g}, {load.realtime_factor:g} times real time", flush=True)  # fmt: skip
            with tempfile.TemporaryDirectory() as folder:
                ran = run(hosts, load, Path(folder))
            if name != "lognormal" or verdict(ran) == "ok" or attempt == TRIES:
                break
            print(f"  {verdict(ran)}: again", flush=True)
        yield from check(name, ran)


def main() -> int:
    """Return 1 if a check fails."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("checks", nargs="*", help=f"of {', '.join(CHECKS)}; all of them")
    chosen = parser.parse_args().checks or list(CHECKS)
    if why := why_not():
        print(f"not checked: {why}")
        return 0
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    with joined(ADDRESSES) as hosts:
        return conclude(measure(hosts, chosen))


if __name__ == "__main__":
    sys.exit(main())
