"""Check the accuracy of `smallest bench` against the timestamps of the servers that it measures.

Servers run as separate processes. The true value is the logged time from receiving a request to sending its
first audio, not the configured delay. A check whose verdict reports a noisy host is repeated up to three
times and then skipped. Exits with 1 if a check fails.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import random
import subprocess
import sys
import tempfile
from array import array
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.compare_check import CHANGE, MAX_FALSE, MIN_FOUND, NOISES, share
from smallest_cli.audio import wav
from smallest_cli.bench.stats.quantiles import estimate, quantile
from smallest_cli.client.service import open_local_service
from smallest_cli.models import VIAS, AudioFormat
from tests.support.fault_server import FaultProcess, Script, start_fault_server
from tests.support.fault_server.steps import TONE_PEAK, End, Reply, Tone, Wait

HEAD = Reply("chunked", wav=b"")
WAV_HEAD = Reply("chunked", wav=wav.header(AudioFormat(24_000)))
CLIPPED = 40_000
CANCELLED = "Hello there, this is a somewhat longer text, which is going to be interrupted."
CANCEL_MS = 200
SCENARIOS: dict[str, Script] = {
    "early headers": (HEAD, Wait(50), Tone(200), End()),
    "early wav header": (WAV_HEAD, Wait(50), Tone(200), End()),
    "slow silence": (
        *(WAV_HEAD, Wait(50), Tone(100, peak=0), Wait(300), Tone(100, peak=0)),
        *(step for at in range(2, 6) for step in (Wait(50 + 250 * at), Tone(100))),
        End(),
    ),
    "lognormal": (WAV_HEAD, Wait(100, sigma=0.4), Tone(100), End()),
    "late": (Wait(300), WAV_HEAD, Tone(100), End()),
    "silence": (WAV_HEAD, Wait(50), Tone(123, peak=0), Tone(500), Tone(77, peak=0), End()),
    "clipping": (WAV_HEAD, Wait(50), Tone(500, peak=CLIPPED), End()),
}
TRIES = 3
KEY = "sk_check_0123456789abcdef"
SMALLEST = [sys.executable, "-P", "-m", "smallest_cli"]
Run = dict[str, Any]


@dataclass(frozen=True)
class CheckResult:
    """Result of a check: its figures as text, whether they are within the limits, and the bench verdict."""

    details: str
    passed: bool
    verdict: str = "ok"


def bench(base_url: str, key: str, folder: Path, *options: str) -> tuple[Run, list[dict[str, Any]]]:
    """Run `smallest bench`. Returns its JSON result and the raw trials of the measurement phase."""
    raw = folder / "raw.jsonl"
    command = [
        *SMALLEST,
        "bench",
        "--base-url",
        base_url,
        "--yes",
        "--json",
        "--no-calibrate",
        "--max-chars",
        "0",
    ]
    completed = subprocess.run(
        [*command, "--jsonl", str(raw), *options],
        env=os.environ | {"SMALLEST_API_KEY": key, "SMALLEST_CONFIG_DIR": str(folder / "config")},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        check=False,
    )
    trials = [json.loads(line)["trial"] for line in raw.read_text().splitlines()[1:]]
    return json.loads(completed.stdout), [trial for trial in trials if trial["phase"] == "measure"]


def server_times(trials: list[dict[str, Any]], log: Path, origin_ns: int | None = None) -> list[float]:
    """Return the server's time to first audio of each successful trial, in ms, ascending.

    With the run's `origin_ns`, a request starts when the client sent it, if that is earlier: under load it
    waits in the server's socket buffer, where the server cannot timestamp it.
    """
    *complete, _ = log.read_text().split("\n")  # a line may be half-written
    entries = {entry["request_id"]: entry for entry in map(json.loads, complete)}
    pairs = [entries[trial["request_id"]] for trial in trials if not trial["error"]]
    starts = [entry["received_ns"] for entry in pairs]
    if origin_ns is not None:
        sent = [origin_ns + trial["sent_ns"] for trial in trials if not trial["error"]]
        starts = [min(pair) for pair in zip(starts, sent, strict=True)]
    return sorted((entry["first_audio_ns"] - start) / 1e6 for entry, start in zip(pairs, starts, strict=True))


@contextmanager
def server(concurrency: int, first_byte_ms: float, sigma: float = 0.0) -> Iterator[tuple[Any, Path]]:
    """Start the offline server. Yields the service and the path of its log."""
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder, "log.jsonl")
        behaviour = {
            "log": str(log),
            "concurrency": concurrency,
            "first_byte_ms": first_byte_ms,
            "first_byte_sigma": sigma,
            "seed": 7,
        }
        with open_local_service(behaviour=behaviour) as service:
            yield service, log


def measure(
    concurrency: int, delay: tuple[float, float], *options: str
) -> tuple[float, float, float, float, Run]:
    """Return measured p50 and p99, p50 and p99 logged by the server (all in ms), and the run."""
    with tempfile.TemporaryDirectory() as folder, server(concurrency, *delay) as (service, log):
        run, trials = bench(
            service.base_url,
            service.key.reveal(),
            Path(folder),
            "-c",
            str(concurrency),
            "--text",
            "Hi.",
            *options,
        )
        true = server_times(trials, log, run["run"]["origin_ns"] if concurrency > 1 else None)
    ttfb = run["arms"][0]["metrics"]["ttfb"]
    return ttfb["p50"]["v"], ttfb["p99"]["v"], quantile(true, 0.5), quantile(true, 0.99), run


def check_fixed(via: str) -> CheckResult:
    p50, p99, true50, true99, run = measure(1, (50, 0), "--transport", via, "--conn", "warm", "-n", "100")
    details = (
        f"p50 {p50:.2f} (true {true50:.2f}, error {p50 - true50:+.2f})  p99 {p99:.2f} (true {true99:.2f})"
    )
    return CheckResult(details, abs(p50 - true50) <= 1.0 and p99 - true99 <= 3.0, verdict(run))


def verdict(run: Run) -> str:
    return str(run["run"]["calibration"]["verdict"])


def check_lognormal(via: str) -> CheckResult:
    return check_error(*measure(20, (100, 0.4), "--transport", via, "--conn", "warm", "-n", "2000"))


def scenario_server(name: str, folder: str) -> AbstractContextManager[FaultProcess]:
    return start_fault_server(Path(folder), *SCENARIOS[name])


def check_light_server(via: str) -> CheckResult:
    """Like `check_lognormal`, with a server that only sleeps."""
    with (
        tempfile.TemporaryDirectory() as folder,
        scenario_server("lognormal", folder) as faulty,
    ):
        run, trials = bench(
            faulty.base_url,
            KEY,
            Path(folder),
            "-c",
            "20",
            "-n",
            "2000",
            "--transport",
            via,
            "--conn",
            "warm",
        )
        true = server_times(trials, faulty.log_path)
    ttfb = run["arms"][0]["metrics"]["ttfb"]
    return check_error(ttfb["p50"]["v"], ttfb["p99"]["v"], quantile(true, 0.5), quantile(true, 0.99), run)


def check_error(p50: float, p99: float, true50: float, true99: float, run: Run) -> CheckResult:
    """Check that p50 and p99 are within 1 ms or 1 % of the true values."""
    passed = all(abs(a - b) <= max(1.0, b / 100) for a, b in ((p50, true50), (p99, true99)))
    return CheckResult(
        f"p50 {p50:.2f} (true {true50:.2f})  p99 {p99:.2f} (true {true99:.2f})", passed, verdict(run)
    )


def check_hundred() -> CheckResult:
    p50, p99, true50, true99, run = measure(100, (100, 0), "--transport", "ws", "--conn", "warm", "-n", "600")
    run_verdict = verdict(run)
    details = f"p50 {p50:.2f} (true {true50:.2f})  p99 {p99:.2f} (true {true99:.2f})  verdict {run_verdict}"
    return CheckResult(details, p50 - true50 <= 3.0 or run_verdict != "ok")


def check_scenario(scenario: str, via: str, limits: dict[str, tuple[float, float]]) -> CheckResult:
    with (
        tempfile.TemporaryDirectory() as folder,
        scenario_server(scenario, folder) as faulty,
    ):
        run, _ = bench(
            faulty.base_url,
            KEY,
            Path(folder),
            "--transport",
            via,
            "--conn",
            "warm",
            "-n",
            "20",
        )
    metrics = run["arms"][0]["metrics"]
    values = {name: metrics[name]["p50"]["v"] for name in limits}
    passed = all(abs(values[name] - goal) <= margin for name, (goal, margin) in limits.items())
    return CheckResult(
        "  ".join(f"{name} {value:.2f}" for name, value in values.items()), passed, verdict(run)
    )


def check_silence(via: str) -> CheckResult:
    """Check silence at both ends, and the level of what is between them."""
    level = 20 * math.log10(TONE_PEAK / math.sqrt(2) / 32_768)
    limits = {"lead_silence": (123, 5), "trail_silence": (77, 5), "rms": (level, 0.1), "clipped": (0, 0)}
    return check_scenario("silence", via, {name: (float(a), float(b)) for name, (a, b) in limits.items()})


def check_clipping(via: str) -> CheckResult:
    values = array("h", Tone(500, peak=CLIPPED).pcm())
    true = sum(abs(value) >= 32_767 for value in values)
    return check_scenario("clipping", via, {"clipped": (true, 0)})


def check_truncated(via: str) -> CheckResult:
    """Check that a trial with a third of its audio is found, although its end marker came."""
    with tempfile.TemporaryDirectory() as folder:
        behaviour = {"fail": ["short:6"], "fail_times": 1, "concurrency": 1}
        with open_local_service(behaviour=behaviour) as service:
            options = ("--transport", via, "--conn", "warm", "--warmup", "0", "-n", "10", "--text", CANCELLED)
            run, _ = bench(service.base_url, service.key.reveal(), Path(folder), *options)
    errors = run["arms"][0]["errors"]
    return CheckResult(f"errors {errors}", errors == {"truncated": 1})


def check_cancel(via: str) -> CheckResult:
    """Check when trials are cancelled and end, and the audio sent after it, by the log of the server."""
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder, "log.jsonl")
        with open_local_service(behaviour={"realtime_factor": 4, "log": str(log)}) as service:
            options = ("--transport", via, "--conn", "warm", "-n", "20", "--text", CANCELLED)
            cancel = ("--cancel-after", str(CANCEL_MS))
            run, trials = bench(service.base_url, service.key.reveal(), Path(folder), *options, *cancel)
        *complete, _ = log.read_text().split("\n")  # a line may be half-written
        entries = {entry["request_id"]: entry for entry in map(json.loads, complete)}
    late, errors, missing = [], [], 0
    for trial in trials:
        entry, cancelled = entries[trial["request_id"]], trial["cancellation"]
        at_ns = run["run"]["origin_ns"] + trial["sent_ns"] + cancelled["at_ns"]
        late.append((at_ns - entry["first_audio_ns"]) / 1e6 - CANCEL_MS)
        errors.append((entry["ended_ns"] - at_ns - (cancelled["last_byte_ns"] - cancelled["at_ns"])) / 1e6)
        frames = sum(frames for _, frames in trial["chunks"]) + cancelled["frames"]
        missing += entry["audio_bytes"] - 2 * frames
    details = f"late p50 {quantile(sorted(late), 0.5):.2f}  end p50 {quantile(sorted(errors), 0.5):+.2f}"
    passed = all(abs(quantile(sorted(each), 0.5)) <= 5.0 for each in (late, errors)) and not missing
    return CheckResult(f"{details}  {missing} bytes missing", passed, verdict(run))


def check_coverage() -> CheckResult:
    rng = random.Random(1)
    shares = {}
    for p, n in ((0.5, 100), (0.9, 100), (0.95, 100), (0.99, 500)):
        true, hits, runs = p, 0, 2000
        for _ in range(runs):
            interval = estimate(sorted(rng.random() for _ in range(n)), p)
            hits += (interval.lo is None or interval.lo <= true) and (
                interval.hi is None or true <= interval.hi
            )
        shares[f"p{p * 100:g}"] = hits / runs
    details = "  ".join(f"{name} {share:.1%}" for name, share in shares.items())
    return CheckResult(details, all(0.93 <= share <= 0.999 for share in shares.values()))


def check_comparisons() -> CheckResult:
    noise, rng = NOISES[0], random.Random(2)
    false = {n: share(noise, rng, n, 400, 1.0)[1] for n in (30, 100)}
    found = share(noise, rng, 300, 300, CHANGE)[0]
    rates = ", ".join(f"{rate:.1%} at n={n}" for n, rate in false.items())
    details = f"false verdicts {rates}; a 10 % shift found {found:.1%} at n=300"
    return CheckResult(details, max(false.values()) <= MAX_FALSE and found >= MIN_FOUND)


CHECKS: dict[str, Callable[[], CheckResult]] = {
    **{f"fixed 50 ms, {via}": partial(check_fixed, via) for via in VIAS},
    **{f"lognormal 100 ms, 20 at once, {via}": partial(check_lognormal, via) for via in VIAS},
    **{f"the same, a light server, {via}": partial(check_light_server, via) for via in VIAS},
    "100 at once": check_hundred,
    "early headers, sse": lambda: check_scenario("early headers", "sse", {"ttfb": (50, 2)}),
    "early WAV header, http": lambda: check_scenario("early wav header", "http", {"ttfb": (50, 2)}),
    "slow silence, ws": lambda: check_scenario(
        "slow silence", "ws", {"ttfa": (550, 5), "min_safe_buffer": (750, 5)}
    ),
    "slow silence, http": lambda: check_scenario(
        "slow silence", "http", {"ttfa": (550, 5), "min_safe_buffer": (750, 5)}
    ),
    **{f"silence, {via}": partial(check_silence, via) for via in ("ws", "sse", "http")},
    "clipping, ws": lambda: check_clipping("ws"),
    **{f"truncated, {via}": partial(check_truncated, via) for via in ("ws", "sse", "http")},
    **{f"cancelled, {via}": partial(check_cancel, via) for via in ("ws", "sse")},
    "interval coverage": check_coverage,
    "comparisons": check_comparisons,
}


def main() -> int:
    """Run the checks. Returns 1 if one fails on a quiet host."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("checks", nargs="*", help="only those whose names hold one of these words")
    selected = parser.parse_args().checks
    failures = 0
    for name, check in CHECKS.items():
        if selected and not any(word in name for word in selected):
            continue
        for attempt in range(1, TRIES + 1):
            result = check()
            note = "" if result.verdict == "ok" else f"  (the host was noisy: {result.verdict})"
            noisy = not result.passed and result.verdict != "ok"
            retry = noisy and attempt < TRIES
            state = "ok" if result.passed else "again" if retry else "not judged" if noisy else "FAIL"
            print(f"{name:<34} {result.details}  {state}{note}", flush=True)
            if not retry:
                break
        failures += not result.passed and not noisy
    return int(failures > 0)


if __name__ == "__main__":
    sys.exit(main())
