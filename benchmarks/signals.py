"""Measure the time from Ctrl-C to silence and to exit, and from the end of the audio to exit.

Times are measured from the signal to the exit of the process, as reported by a pidfd, or to the first block
of silence at the monitor of a null sink (see tests/support/pulse.py for the Debian packages). The service is
the fault server of the tests, so that the signal is sent at a known stage. With 100 runs the 99th percentile
is the second worst, which requires an idle host: checked by the run time of `python -c pass`.
"""

from __future__ import annotations

import argparse
import os
import select
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.figures import GATE, Figure, is_stable, limit, report
from tests.support.command import SMALLEST, environment
from tests.support.fault_server import FaultServer, Script, fault_server
from tests.support.fault_server.steps import RATE, Audio, Checkpoint, End, Reply
from tests.support.pulse import SAMPLE, Pulse, Recording, missing_packages, start_pulse

SILENCE_GOAL_MS, EXIT_GOAL_MS, END_GOAL_MS, SAFE_GOAL_MS = 100.0, 200.0, 20.0, 10.0
HANG_TIMEOUT_S = 30.0
RUNS = 100
VIAS = ("ws", "sse", "http")
SPOKEN = 3 * RATE
PLAYED = RATE // 4
ROOT = Path(__file__).parent.parent
DEAD_HOST = "https://resolver.invalid"
WAITING: Script = (Reply("chunked", SPOKEN), Checkpoint(), Audio(SPOKEN), End())
FLOWING: Script = (Reply("chunked", SPOKEN), Audio(SPOKEN), Checkpoint(), End())
DRAINING: Script = (Reply("chunked", SPOKEN), Audio(SPOKEN), End(), Checkpoint())


@dataclass(frozen=True)
class Destination:
    """An audio destination: its name in figures, and its command-line arguments."""

    name: str
    arguments: tuple[str, ...]


FILE, PIPE, SPEAKER = (
    Destination("a file", ("-o", "out.wav")),
    Destination("a pipe", ("-o", "-")),
    Destination("the output device", ("-p",)),
)


class Running:
    """Run `speak` in a given folder, reading its stdout in a thread."""

    def __init__(
        self, folder: Path, url: str, via: str, destination: Destination, launcher: str = "", **env: str
    ) -> None:
        self.folder = folder
        self.destination = destination
        self.ready, ready_writer = os.pipe()
        command = (
            [sys.executable, "-m", "tests.support.launch", f"{launcher}:{ready_writer}"]
            if launcher
            else SMALLEST
        )
        defaults = {"SMALLEST_API_KEY": "sk_bench", "PYTHONPATH": str(ROOT), "PYTHONFAULTHANDLER": "1"}
        variables = environment(folder, **defaults) | env
        self.process = subprocess.Popen(
            [*command, "speak", "Hello.", "--base-url", url, "--via", via, *destination.arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=variables,
            cwd=folder,
            pass_fds=[ready_writer],
        )
        os.close(ready_writer)
        self._all_read = threading.Event()
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout
        received = 0
        while chunk := os.read(self.process.stdout.fileno(), 1 << 16):
            received += len(chunk)
            if received >= SPOKEN * SAMPLE:
                self._all_read.set()

    def wait_until_ready(self) -> None:
        """Wait until the launcher reports that its stage is reached."""
        assert select.select([self.ready], [], [], HANG_TIMEOUT_S)[0], "never got there"

    def wait_until_written(self) -> None:
        """Wait until all audio is in the partial file, or was read from the pipe."""
        if self.destination is PIPE:
            assert self._all_read.wait(HANG_TIMEOUT_S), "never got there"
            return
        partial, deadline, pause = (
            self.folder / "out.wav.part",
            time.monotonic() + HANG_TIMEOUT_S,
            threading.Event(),
        )
        while not partial.exists() or partial.stat().st_size < SPOKEN * SAMPLE:
            assert time.monotonic() < deadline, "never got there"
            pause.wait(0.002)

    def interrupt(self) -> int:
        """Send SIGINT. Returns the time in monotonic ns."""
        stamp = time.monotonic_ns()
        self.process.send_signal(signal.SIGINT)
        return stamp

    def ms_to_exit(self, start_ns: int, code: int) -> float:
        """Return the ms from `start_ns` to exit. Raises AssertionError if the exit code is not `code`."""
        ended = _wait_for_exit(self.process)
        stderr_text = self.process.stderr.read() if self.process.stderr else b""
        self._reader.join()
        assert self.process.wait() == code, stderr_text
        for pipe in (self.process.stdout, self.process.stderr):
            assert pipe
            pipe.close()
        os.close(self.ready)
        return (ended - start_ns) / 1e6


def _wait_for_exit(process: subprocess.Popen[bytes]) -> int:
    descriptor = os.pidfd_open(process.pid)
    try:
        if not select.select([descriptor], [], [], HANG_TIMEOUT_S)[0]:
            process.send_signal(signal.SIGABRT)  # faulthandler prints the stack of each thread
            assert process.stderr
            raise AssertionError(f"it does not end: {process.stderr.read().decode()}")
        return time.monotonic_ns()
    finally:
        os.close(descriptor)


@contextmanager
def start_server(script: Script) -> Iterator[FaultServer]:
    """Start a fault server whose audio starts with a non-silent sample."""
    with fault_server(script, seed=1) as server:
        yield server


def ms_while_resolving(folder: Path, via: str) -> float:
    running = Running(folder, DEAD_HOST, via, FILE, "no-resolver")
    running.wait_until_ready()
    return running.ms_to_exit(running.interrupt(), -signal.SIGINT)


def ms_at(script: Script, folder: Path, via: str, destination: Destination) -> float:
    """Return the ms from Ctrl-C to exit, with output to a file or a pipe, at the checkpoint of `script`."""
    with start_server(script) as server:
        running = Running(folder, server.base_url, via, destination)
        assert server.reached.wait(HANG_TIMEOUT_S)
        if script is FLOWING:
            running.wait_until_written()
        return running.ms_to_exit(running.interrupt(), -signal.SIGINT)


def ms_after_marker(folder: Path, via: str, destination: Destination) -> float:
    """Return the ms from the service's last message, after all audio is written, to a successful exit."""
    with start_server(FLOWING) as server:
        running = Running(folder, server.base_url, via, destination)
        assert server.reached.wait(HANG_TIMEOUT_S)
        running.wait_until_written()
        stamp = time.monotonic_ns()
        server.release.set()
        return running.ms_to_exit(stamp, 0)


def ms_while_playing(script: Script, folder: Path, via: str, pulse: Pulse) -> tuple[float, float]:
    """Return the ms from Ctrl-C during playback to silence at the monitor, and to exit."""
    with start_server(script) as server, pulse.recording() as recording:
        running = Running(folder, server.base_url, via, SPEAKER, **pulse.env | {"HOME": pulse.env["HOME"]})
        assert server.reached.wait(HANG_TIMEOUT_S)
        recording.wait_for_audio(PLAYED * SAMPLE)
        stamp = running.interrupt()
        to_exit = running.ms_to_exit(stamp, -signal.SIGINT)
        recording.wait_for(PLAYED * SAMPLE)
        return _ms_to_silence(recording, stamp), to_exit


def _ms_to_silence(recording: Recording, stamp: int) -> float:
    end = recording.audio_end()
    assert end < (recording.audio_start() + SPOKEN * SAMPLE) * 3 // 4, "it was played to its end"
    return max(0.0, (recording.arrived(end) - stamp) / 1e6)


def ms_bare(_: Path) -> float:
    """Return the run time of `python -c pass` in ms."""
    start = time.monotonic_ns()
    with subprocess.Popen([sys.executable, "-c", "pass"], stderr=subprocess.PIPE) as process:
        return (_wait_for_exit(process) - start) / 1e6


def repeat(count: int, *variants: Callable[[Path], float]) -> list[float]:
    """Run the variants in turn. Returns at least `count` times in ms."""
    times = []
    for number in range(-(-count // len(variants)) * len(variants)):
        with tempfile.TemporaryDirectory() as name:
            times.append(variants[number % len(variants)](Path(name)))
    return times


def measure(count: int) -> Iterator[Figure]:
    """Yield all figures, each of about `count` runs."""
    bare = repeat(max(count // 4, 8), ms_bare)
    stable = is_stable(bare)
    yield p99_figure("python -c pass, for comparison", bare)
    yield p99_figure(
        "Ctrl-C to exit, no resolver answers",
        repeat(count, *(lambda folder, via=via: ms_while_resolving(folder, via) for via in VIAS)),
        EXIT_GOAL_MS,
        stable,
    )
    for destination in (FILE, PIPE):
        variants = [
            lambda folder, script=script, via=via, destination=destination: ms_at(
                script, folder, via, destination
            )
            for script in (WAITING, FLOWING)
            for via in VIAS
        ]
        yield p99_figure(
            f"Ctrl-C to exit, into {destination.name}", repeat(count, *variants), EXIT_GOAL_MS, stable
        )
    medians = []
    for destination in (FILE, PIPE):
        end_variants = [
            lambda folder, via=via, destination=destination: ms_after_marker(folder, via, destination)
            for via in VIAS
        ]
        times = repeat(count, *end_variants)
        medians.append(statistics.median(times))
        yield median_figure(
            f"the service's last word to exit, into {destination.name}", times, END_GOAL_MS, stable
        )
    name = "what a file is synced and renamed for, median"
    yield limit(name, medians[0] - medians[1], SAFE_GOAL_MS, "ms")
    yield from measure_speaker(count, stable)


def measure_speaker(count: int, stable: bool) -> Iterator[Figure]:
    """Yield the figures of Ctrl-C while audio is received, and while the device plays buffered audio."""
    if missing := missing_packages():
        print(f"the output device is not measured: {missing} is not installed")
        return
    silences: list[float] = []

    def measure(folder: Path, script: Script, via: str, pulse: Pulse) -> float:
        silence, to_exit = ms_while_playing(script, folder, via, pulse)
        silences.append(silence)
        return to_exit

    with start_pulse(RATE) as pulse:
        variants = [
            lambda folder, script=script, via=via: measure(folder, script, via, pulse)
            for script in (FLOWING, DRAINING)
            for via in VIAS
        ]
        exits = repeat(count, *variants)
    yield p99_figure("Ctrl-C to silence at the output device", silences, SILENCE_GOAL_MS, stable)
    yield p99_figure("Ctrl-C to exit, at the output device", exits, EXIT_GOAL_MS, stable)


def p99_figure(name: str, times: list[float], goal: float | None = None, stable: bool = True) -> Figure:
    """Return the 99th percentile, with median and maximum. On a noisy host it does not gate."""
    value = statistics.quantiles(times, n=100, method="inclusive")[98]
    median, worst = statistics.median(times), max(times)
    details = f"{value:6.1f} ms p99   median {median:.1f}   worst {worst:.1f} of {len(times)}"
    if goal is None:
        return Figure(name, value, details)
    goal_text = f"{goal:g} ms{'' if stable else ', noisy machine'}"
    return Figure(name, value, details, goal_text, value <= goal, stable and value > GATE * goal)


def median_figure(name: str, times: list[float], goal: float, stable: bool) -> Figure:
    """Return the median, with the 99th percentile. On a noisy host it does not gate."""
    value, tail = statistics.median(times), statistics.quantiles(times, n=100, method="inclusive")[98]
    details = f"{value:6.1f} ms median   p99 {tail:.1f} of {len(times)}"
    goal_text = f"{goal:g} ms{'' if stable else ', noisy machine'}"
    return Figure(name, value, details, goal_text, value <= goal, stable and value > GATE * goal)


def main() -> int:
    """Run the benchmark. Returns 1 if a figure gates."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("-n", type=int, default=RUNS, help="runs of each")
    parser.add_argument("--json")
    options = parser.parse_args()
    # Shell scripts start `&` jobs with SIGINT ignored, which child processes inherit.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    return report(measure(options.n), options.json)


if __name__ == "__main__":
    sys.exit(main())
