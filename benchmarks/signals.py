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

from benchmarks.figures import GATE, Figure, conclude, is_calm, limit
from tests.support.command import SMALLEST, environment
from tests.support.fault_server import FaultServer, Script, fault_server
from tests.support.fault_server.steps import RATE, Audio, Checkpoint, End, Reply
from tests.support.pulse import SAMPLE, Pulse, Recording, missing_packages, start_pulse

SILENCE_GOAL_MS, EXIT_GOAL_MS, END_GOAL_MS, SAFE_GOAL_MS = 100.0, 200.0, 20.0, 10.0
HUNG_S = 30.0
RUNS = 100
VIAS = ("ws", "sse", "http")
SPOKEN = 3 * RATE
HEARD = RATE // 4
ROOT = Path(__file__).parent.parent
DEAD_HOST = "https://resolver.invalid"
WAITING: Script = (Reply("chunked", SPOKEN), Checkpoint(), Audio(SPOKEN), End())
FLOWING: Script = (Reply("chunked", SPOKEN), Audio(SPOKEN), Checkpoint(), End())
DRAINING: Script = (Reply("chunked", SPOKEN), Audio(SPOKEN), End(), Checkpoint())


@dataclass(frozen=True)
class Place:
    """An audio destination: its name in figures, and its command-line arguments."""

    name: str
    arguments: tuple[str, ...]


FILE, PIPE, SPEAKER = (
    Place("a file", ("-o", "out.wav")),
    Place("a pipe", ("-o", "-")),
    Place("the output device", ("-p",)),
)


class Running:
    """Run `speak` in a given folder, reading its stdout in a thread."""

    def __init__(self, folder: Path, url: str, via: str, place: Place, how: str = "", **env: str) -> None:
        self.folder = folder
        self.place = place
        self.ready, ready_writer = os.pipe()
        command = [sys.executable, "-m", "tests.support.launch", f"{how}:{ready_writer}"] if how else SMALLEST
        mine = {"SMALLEST_API_KEY": "sk_bench", "PYTHONPATH": str(ROOT), "PYTHONFAULTHANDLER": "1"}
        given = environment(folder, **mine) | env
        self.process = subprocess.Popen(
            [*command, "speak", "Hello.", "--base-url", url, "--via", via, *place.arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=given,
            cwd=folder,
            pass_fds=[ready_writer],
        )
        os.close(ready_writer)
        self._heard = threading.Event()
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout
        come = 0
        while piece := os.read(self.process.stdout.fileno(), 1 << 16):
            come += len(piece)
            if come >= SPOKEN * SAMPLE:
                self._heard.set()

    def until_ready(self) -> None:
        """Wait until the launcher reports that its stage is reached."""
        assert select.select([self.ready], [], [], HUNG_S)[0], "never got there"

    def until_written(self) -> None:
        """Wait until all audio is in the partial file, or was read from the pipe."""
        if self.place is PIPE:
            assert self._heard.wait(HUNG_S), "never got there"
            return
        part, deadline, pause = self.folder / "out.wav.part", time.monotonic() + HUNG_S, threading.Event()
        while not part.exists() or part.stat().st_size < SPOKEN * SAMPLE:
            assert time.monotonic() < deadline, "never got there"
            pause.wait(0.002)

    def interrupt(self) -> int:
        """Send SIGINT. Returns the time in monotonic ns."""
        stamp = time.monotonic_ns()
        self.process.send_signal(signal.SIGINT)
        return stamp

    def ms_to_death(self, since: int, code: int) -> float:
        """Return the ms from `start_ns` to exit. Raises AssertionError if the exit code is not `code`."""
        ended = _death(self.process)
        said = self.process.stderr.read() if self.process.stderr else b""
        self._reader.join()
        assert self.process.wait() == code, said
        for pipe in (self.process.stdout, self.process.stderr):
            assert pipe
            pipe.close()
        os.close(self.ready)
        return (ended - since) / 1e6


def _death(process: subprocess.Popen[bytes]) -> int:
    descriptor = os.pidfd_open(process.pid)
    try:
        if not select.select([descriptor], [], [], HUNG_S)[0]:
            process.send_signal(signal.SIGABRT)  # faulthandler prints the stack of each thread
            assert process.stderr
            raise AssertionError(f"it does not end: {process.stderr.read().decode()}")
        return time.monotonic_ns()
    finally:
        os.close(descriptor)


@contextmanager
def at_stage(script: Script) -> Iterator[FaultServer]:
    """Start a fault server whose audio starts with a non-silent sample."""
    with fault_server(script, seed=1) as server:
        yield server


def ms_while_resolving(folder: Path, via: str) -> float:
    running = Running(folder, DEAD_HOST, via, FILE, "no-resolver")
    running.until_ready()
    return running.ms_to_death(running.interrupt(), -signal.SIGINT)


def ms_at(script: Script, folder: Path, via: str, place: Place) -> float:
    """Return the ms from Ctrl-C to exit, with output to a file or a pipe, at the checkpoint of `script`."""
    with at_stage(script) as server:
        running = Running(folder, server.base_url, via, place)
        assert server.reached.wait(HUNG_S)
        if script is FLOWING:
            running.until_written()
        return running.ms_to_death(running.interrupt(), -signal.SIGINT)


def ms_after_marker(folder: Path, via: str, place: Place) -> float:
    """Return the ms from the service's last message, after all audio is written, to a successful exit."""
    with at_stage(FLOWING) as server:
        running = Running(folder, server.base_url, via, place)
        assert server.reached.wait(HUNG_S)
        running.until_written()
        stamp = time.monotonic_ns()
        server.release.set()
        return running.ms_to_death(stamp, 0)


def ms_heard(script: Script, folder: Path, via: str, pulse: Pulse) -> tuple[float, float]:
    """Return the ms from Ctrl-C during playback to silence at the monitor, and to exit."""
    with at_stage(script) as server, pulse.recording() as recording:
        running = Running(folder, server.base_url, via, SPEAKER, **pulse.env | {"HOME": pulse.env["HOME"]})
        assert server.reached.wait(HUNG_S)
        recording.wait_for_sound(HEARD * SAMPLE)
        stamp = running.interrupt()
        to_exit = running.ms_to_death(stamp, -signal.SIGINT)
        recording.wait_for(HEARD * SAMPLE)
        return _ms_to_silence(recording, stamp), to_exit


def _ms_to_silence(recording: Recording, stamp: int) -> float:
    end = recording.sound_to()
    assert end < (recording.sound_from() + SPOKEN * SAMPLE) * 3 // 4, "it was played to its end"
    return max(0.0, (recording.arrived(end) - stamp) / 1e6)


def ms_bare(_: Path) -> float:
    """Return the run time of `python -c pass` in ms."""
    began = time.monotonic_ns()
    with subprocess.Popen([sys.executable, "-c", "pass"], stderr=subprocess.PIPE) as process:
        return (_death(process) - began) / 1e6


def each(count: int, *ways: Callable[[Path], float]) -> list[float]:
    """Run the variants in turn. Returns at least `count` times in ms."""
    times = []
    for number in range(-(-count // len(ways)) * len(ways)):
        with tempfile.TemporaryDirectory() as name:
            times.append(ways[number % len(ways)](Path(name)))
    return times


def measure(count: int) -> Iterator[Figure]:
    """Yield all figures, each of about `count` runs."""
    bare = each(max(count // 4, 8), ms_bare)
    calm = is_calm(bare)
    yield p99("python -c pass, for comparison", bare)
    yield p99(
        "Ctrl-C to exit, no resolver answers",
        each(count, *(lambda folder, via=via: ms_while_resolving(folder, via) for via in VIAS)),
        EXIT_GOAL_MS,
        calm,
    )
    for place in (FILE, PIPE):
        ways = [
            lambda folder, script=script, via=via, place=place: ms_at(script, folder, via, place)
            for script in (WAITING, FLOWING)
            for via in VIAS
        ]
        yield p99(f"Ctrl-C to exit, into {place.name}", each(count, *ways), EXIT_GOAL_MS, calm)
    medians = []
    for place in (FILE, PIPE):
        ends = [lambda folder, via=via, place=place: ms_after_marker(folder, via, place) for via in VIAS]
        times = each(count, *ends)
        medians.append(statistics.median(times))
        yield typical(f"the service's last word to exit, into {place.name}", times, END_GOAL_MS, calm)
    name = "what a file is synced and renamed for, median"
    yield limit(name, medians[0] - medians[1], SAFE_GOAL_MS, "ms")
    yield from measure_speaker(count, calm)


def measure_speaker(count: int, calm: bool) -> Iterator[Figure]:
    """Yield the figures of Ctrl-C while audio is received, and while the device plays buffered audio."""
    if missing := missing_packages():
        print(f"the output device is not measured: {missing} is not installed")
        return
    silences: list[float] = []

    def measure(folder: Path, script: Script, via: str, pulse: Pulse) -> float:
        silence, to_exit = ms_heard(script, folder, via, pulse)
        silences.append(silence)
        return to_exit

    with start_pulse(RATE) as pulse:
        ways = [
            lambda folder, script=script, via=via: measure(folder, script, via, pulse)
            for script in (FLOWING, DRAINING)
            for via in VIAS
        ]
        exits = each(count, *ways)
    yield p99("Ctrl-C to silence at the output device", silences, SILENCE_GOAL_MS, calm)
    yield p99("Ctrl-C to exit, at the output device", exits, EXIT_GOAL_MS, calm)


def p99(name: str, times: list[float], goal: float | None = None, calm: bool = True) -> Figure:
    """Return the 99th percentile, with median and maximum. On a noisy host it does not gate."""
    found = statistics.quantiles(times, n=100, method="inclusive")[98]
    median, worst = statistics.median(times), max(times)
    words = f"{found:6.1f} ms p99   median {median:.1f}   worst {worst:.1f} of {len(times)}"
    if goal is None:
        return Figure(name, found, words)
    shown = f"{goal:g} ms{'' if calm else ', noisy machine'}"
    return Figure(name, found, words, shown, found <= goal, calm and found > GATE * goal)


def typical(name: str, times: list[float], goal: float, calm: bool) -> Figure:
    """Return the median, with the 99th percentile. On a noisy host it does not gate."""
    found, tail = statistics.median(times), statistics.quantiles(times, n=100, method="inclusive")[98]
    words = f"{found:6.1f} ms median   p99 {tail:.1f} of {len(times)}"
    shown = f"{goal:g} ms{'' if calm else ', noisy machine'}"
    return Figure(name, found, words, shown, found <= goal, calm and found > GATE * goal)


def main() -> int:
    """Run the benchmark. Returns 1 if a figure gates."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("-n", type=int, default=RUNS, help="runs of each")
    parser.add_argument("--json")
    options = parser.parse_args()
    # Shell scripts start `&` jobs with SIGINT ignored, which child processes inherit.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    return conclude(measure(options.n), options.json)


if __name__ == "__main__":
    sys.exit(main())
