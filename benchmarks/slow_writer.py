"""Measure the latency of `stream` for a sentence written after a long pause.

Writes a token every 50 ms, with pauses of 1, 6 and 20 seconds (also 70 with --long) between sentences, over
auto and TLS with a round trip of 100 ms. The service closes connections after 5 s without traffic. Overhead
is the time from a sentence's last byte on stdin to its first audio on stdout, minus the server's time (from
its log) and one round trip. A bare client (benchmarks/bare_client.py), which reconnects at each
sentence's first token, runs in parallel, started 300 ms later.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter_ns
from typing import Any

from benchmarks.figures import Figure, limit, report
from benchmarks.relay import open_relay
from benchmarks.startup import CLI, write_certificate
from smallest_cli.client.service import open_local_service

BARE = str(Path(__file__).with_name("bare_client.py"))
GOAL_MS = 5.0
"""Maximum overhead, as in `make bench-stream`."""
ROUND_TRIP_S, IDLE_S, TOKEN_S = 0.1, 5.0, 0.05
PAUSES_S, LONG_PAUSE_S = (1, 6, 20), 70
START_S, FLOOR_DELAY_S, TIMEOUT_S = 1.5, 0.3, 60
SENTENCES = (
    "Once upon a time there was a very small voice.",
    "It lived in a terminal, and it waited for text.",
    "Words came one by one, as they so often do.",
    "The voice did not wait for the end of them.",
    "It began to speak while the rest still came.",
)


@dataclass
class Writer:
    """Write sentences to a process and read its audio.

    `written` and `read` are the times in ns of the sentence ends and of the reads.
    """

    command: Sequence[str]
    env: dict[str, str]
    written: list[int] = field(default_factory=list)
    read: list[int] = field(default_factory=list)
    error: str = ""

    def run(self, pauses_s: Sequence[float], delay_s: float) -> None:
        """Write all sentences and read all audio."""
        pace = threading.Event()
        pace.wait(delay_s)
        with subprocess.Popen(
            self.command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=self.env,
            bufsize=0,
        ) as process:
            assert process.stdin
            assert process.stderr
            reader = threading.Thread(target=self._read, args=(process,))
            reader.start()
            pace.wait(START_S)
            try:
                for sentence, pause_s in zip(SENTENCES, (*pauses_s, 0), strict=False):
                    for word in sentence.split():
                        pace.wait(TOKEN_S)
                        process.stdin.write(f"{word} ".encode())
                    self.written.append(perf_counter_ns())
                    pace.wait(pause_s)
                process.stdin.close()
            except BrokenPipeError:
                pass  # the process failed; its stderr has the reason
            reader.join()
            self.error = process.stderr.read().decode()
            if process.wait(TIMEOUT_S):
                self.error = f"exit code {process.returncode}: {self.error}"

    def _read(self, process: subprocess.Popen[bytes]) -> None:
        assert process.stdout
        while os.read(process.stdout.fileno(), 65_536):
            self.read.append(perf_counter_ns())

    def overheads_ms(self, log: list[dict[str, Any]]) -> list[float]:
        """Return ms from each sentence's last byte to its audio, minus server time and round trip."""
        overheads = []
        for written, sentence in zip(self.written, SENTENCES, strict=False):
            first_audio = next(at for at in self.read if at > written)
            entry = next(each for each in log if each["received_ns"] > written and sentence in each["text"])
            server = entry["first_audio_ns"] - entry["received_ns"]
            overheads.append((first_audio - written - server) / 1e6 - ROUND_TRIP_S * 1000)
        return overheads


def measure(n: int, pauses_s: Sequence[float]) -> Iterator[Figure]:
    """Yield all figures once all runs are complete."""
    overheads: dict[str, list[list[float]]] = {"stream": [], "bare": []}
    errors: list[str] = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        log = folder / "log.jsonl"
        behaviour: dict[str, Any] = {
            "profile": "live",
            "concurrency": 10,
            "log": str(log),
        } | write_certificate(folder)
        with (
            open_local_service(behaviour=behaviour) as service,
            open_relay(service.base_url, ROUND_TRIP_S, IDLE_S) as url,
        ):
            host, _, port = url.rpartition("/")[2].partition(":")
            env = os.environ | {"SMALLEST_API_KEY": service.key.reveal()}
            tool = [*CLI, "stream", "--base-url", url, "--ca-file", str(folder / "bundle.pem"), "-o", "-"]
            bare = [sys.executable, BARE, "stream", host, port, str(folder / "authority.pem")]
            for _ in range(n):
                writers = {"stream": Writer(tool, env), "bare": Writer(bare, env)}
                threads = [
                    threading.Thread(target=writer.run, args=(pauses_s, number * FLOOR_DELAY_S))
                    for number, writer in enumerate(writers.values())
                ]
                for thread in threads:
                    thread.start()
                for thread in threads:
                    thread.join()
                errors += [writer.error for writer in writers.values() if writer.error]
                if errors:
                    break
                entries = sorted(
                    map(json.loads, log.read_text().splitlines()), key=lambda each: each["received_ns"]
                )
                for kind, writer in writers.items():
                    overheads[kind].append(writer.overheads_ms(entries))
    yield Figure(
        "errors and warnings",
        len(errors),
        f"{len(errors):6}   {' '.join(errors)}",
        "0",
        not errors,
        bool(errors),
    )
    for number, pause_s in enumerate(() if errors else (None, *pauses_s)):
        ours = [run[number] for run in overheads["stream"]]
        floor = statistics.median(run[number] for run in overheads["bare"])
        details = f"({min(ours):.1f} .. {max(ours):.1f}) of {n}; bare client {floor:.1f} ms"
        name = "sentence end to audio, " + (f"after {pause_s} s" if pause_s else "the first")
        yield limit(name, statistics.median(ours), GOAL_MS, "ms", details)


def main() -> int:
    """Run the benchmark. Returns 1 if a figure gates."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("-n", type=int, default=3)
    parser.add_argument("--long", action="store_true", help=f"also pause {LONG_PAUSE_S} s")
    parser.add_argument("--json", metavar="FILE")
    options = parser.parse_args()
    pauses_s = (*PAUSES_S, LONG_PAUSE_S) if options.long else PAUSES_S
    return report(measure(options.n, pauses_s), options.json)


if __name__ == "__main__":
    sys.exit(main())
