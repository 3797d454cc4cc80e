"""Measure start-up time as a ratio to `python -c pass`, run alternately.

The arrival of a text is the timestamp in the offline server's log.
"""

from __future__ import annotations

import argparse
import json
import os
import pty
import ssl
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from time import perf_counter_ns

import trustme

from benchmarks.figures import MAX_QUARTILE_RATIO, Figure, is_stable, limit, ratio, report
from benchmarks.relay import ADDRESSES, open_relay
from smallest_cli.client.service import open_local_service
from smallest_cli.models import VIAS, Via

TABLE_GOAL = 14
TEXT_GOAL = 7.6
TLS_GOALS: dict[Via, float] = {"ws": 8.2, "sse": 7.5}
FAR_GOALS = {30: 1.8, 100: 1.3, 200: 1.14}
"""Round trip in ms -> goal of the first audio over TLS and sse, which takes three: TCP, TLS, the request."""
ROUND_TRIPS = 3
LOCAL_GOAL_MS = 300.0
CLI = [sys.executable, "-m", "smallest_cli"]
Timer = Callable[[], float]
"""Runs something once and returns the elapsed ms."""


def wall_ms(*command: str) -> Timer:
    """Time a process from start to exit."""

    def measure_once() -> float:
        start = perf_counter_ns()
        subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, check=True)
        return (perf_counter_ns() - start) / 1e6

    return measure_once


def on_terminal(*command: str) -> Timer:
    """Time a process whose stdout is a terminal."""

    def measure_once() -> float:
        parent, child = pty.openpty()
        start = perf_counter_ns()
        with subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=child,
            env=os.environ | {"TERM": "xterm", "COLUMNS": "120", "PAGER": "cat", "SMALLEST_API_KEY": ""},
        ):
            os.close(child)
            try:
                while os.read(parent, 65_536):
                    pass
            except OSError:
                pass  # EIO: the child closed the terminal
        os.close(parent)
        return (perf_counter_ns() - start) / 1e6

    return measure_once


def text_at_server(
    base_url: str, key: str, log: Path, via: Via, trusted: dict[str, str] | None = None
) -> Timer:
    """Time `speak` with output to a WAV, from process start to the arrival of the text at the server."""
    command = [
        *CLI,
        "speak",
        "--base-url",
        base_url,
        "Hello.",
        "-o",
        str(log.with_name("out.wav")),
        "--via",
        via,
    ]
    env = os.environ | {"SMALLEST_API_KEY": key} | (trusted or {})

    def measure_once() -> float:
        log.write_text("")
        start = perf_counter_ns()
        subprocess.run(command, stdin=subprocess.DEVNULL, env=env, check=True)
        received_ns: int = json.loads(log.read_text().splitlines()[0])["received_ns"]
        return (received_ns - start) / 1e6

    return measure_once


def first_audio(*options: str, key: str = "", trusted: dict[str, str] | None = None) -> Timer:
    """Time `speak` from process start to the first audio on its stdout."""
    env = os.environ | {"SMALLEST_API_KEY": key} | (trusted or {})

    def measure_once() -> float:
        start = perf_counter_ns()
        with subprocess.Popen(
            [*CLI, "speak", "Hello.", "-o", "-", *options], stdout=subprocess.PIPE, env=env
        ) as process:
            assert process.stdout
            os.read(process.stdout.fileno(), 1)
            elapsed = perf_counter_ns() - start
            process.stdout.read()
        return elapsed / 1e6

    return measure_once


def write_certificate(folder: Path) -> dict[str, str]:
    """Write a loopback certificate, and a CA bundle of the system's authorities plus the issuer.

    Returns the TLS settings of the offline server.
    """
    authority = trustme.CA()
    chain = authority.issue_cert("127.0.0.1", *ADDRESSES).private_key_and_cert_chain_pem
    chain.write_to_path(str(folder / "cert.pem"))
    authority.cert_pem.write_to_path(str(folder / "authority.pem"))
    authorities = ssl.get_default_verify_paths().cafile or "/etc/ssl/certs/ca-certificates.crt"
    system_authorities = Path(authorities).read_bytes() if Path(authorities).exists() else b""
    (folder / "bundle.pem").write_bytes(system_authorities + authority.cert_pem.bytes())
    return {"tls_cert": str(folder / "cert.pem"), "tls_key": str(folder / "cert.pem")}


def debian_trust(folder: Path) -> dict[str, str]:
    """Return the environment in which OpenSSL's hashed folder is trusted as by default, and the issuer."""
    authorities = ssl.get_default_verify_paths().openssl_capath
    return {"SSL_CERT_FILE": str(folder / "authority.pem"), "SSL_CERT_DIR": authorities}


def measure(n: int) -> Iterator[Figure]:
    """Yield all figures once `n` rounds are complete."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        log, secure_log = folder / "log.jsonl", folder / "secure.jsonl"
        plain = stack.enter_context(open_local_service(behaviour={"log": str(log)}))
        secure = stack.enter_context(
            open_local_service(behaviour={"log": str(secure_log)} | write_certificate(folder))
        )
        key, secure_key, trusted = plain.key.reveal(), secure.key.reveal(), debian_trust(folder)
        timers: dict[str, Timer] = {
            "pass": wall_ms(sys.executable, "-c", "pass"),
            "--version": wall_ms(*CLI, "--version"),
            "--help": wall_ms(*CLI, "--help"),
            "voices": on_terminal(*CLI, "voices"),
            **{via: text_at_server(plain.base_url, key, log, via) for via in VIAS},
            **{
                f"TLS {via}": text_at_server(secure.base_url, secure_key, secure_log, via, trusted)
                for via in TLS_GOALS
            },
            "served": first_audio("--base-url", plain.base_url, key=key),
            "local": first_audio("--local"),
        }
        for ms, address in zip(FAR_GOALS, ADDRESSES, strict=True):
            far_url = stack.enter_context(open_relay(secure.base_url, ms / 1000, address=address))
            timers[f"{ms} ms"] = first_audio("--base-url", far_url, key=secure_key, trusted=trusted)
        times: dict[str, list[float]] = {name: [] for name in timers}
        for _ in range(n):
            for name, measure_once in timers.items():
                times[name].append(measure_once())
    yield from evaluate(times)


def evaluate(times: dict[str, list[float]]) -> Iterator[Figure]:
    """Yield the figures for the measured times."""
    floor = times["pass"]
    yield Figure("python -c pass", 1.0, f"{'':6}   {statistics.median(floor):7.1f} ms")
    yield ratio("--version / pass", times["--version"], floor, 1.4)
    yield ratio("--help / pass", times["--help"], floor, 6)
    yield ratio("table of all voices / pass", times["voices"], floor, TABLE_GOAL)
    for via in VIAS:
        yield ratio(f"speak over {via}, start to text at server", times[via], floor, TEXT_GOAL)
    for via, goal in TLS_GOALS.items():
        yield ratio(f"the same over {via} and TLS", times[f"TLS {via}"], floor, goal)
    for ms, goal in FAR_GOALS.items():
        bound = [time + ROUND_TRIPS * ms for time in floor]
        name = f"first audio, {ms} ms away / (pass + 3 trips)"
        yield ratio(name, times[f"{ms} ms"], bound, goal, reference=floor)
    extra_ms = statistics.median(times["local"]) - statistics.median(times["served"])
    details = f"{statistics.median(times['local']):.0f} ms, {statistics.median(times['served']):.0f} ms"
    yield limit("speak --local, first audio: more than with serve", extra_ms, LOCAL_GOAL_MS, "ms", details)
    if not is_stable(floor):
        print(f"the floor was not calm (quartiles more than {MAX_QUARTILE_RATIO} apart): nothing of it gates")


def main() -> int:
    """Run the benchmark. Returns 1 if a figure gates."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("-n", type=int, default=15)
    parser.add_argument("--json")
    options = parser.parse_args()
    return report(measure(options.n), options.json)


if __name__ == "__main__":
    sys.exit(main())
