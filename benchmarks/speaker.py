"""Benchmark playback on an output device: exactness, latency, time to silence, underruns on a busy host.

Plays to a private PulseAudio server with a null sink (see tests/support/pulse.py for the Debian packages) and
records its monitor. Times are measured from the call to the arrival at the recorder, which records in blocks
of 5 ms. `SpeakerSink` is compared with a callback-based sink. Figures are the median and the maximum; run on
an idle host.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any, Protocol

from benchmarks.figures import GATE, Figure, report
from smallest_cli.audio.speaker import LATENCY_S, SpeakerSink
from smallest_cli.models import AudioFormat
from tests.support.pulse import SAMPLE, Pulse, Recording, missing_packages, start_pulse

RATE = 24_000
FIRST_GOAL_MS, SILENCE_GOAL_MS = 20.0, 100.0
RUNS = 7
BUSY_RUNS, BUSY_S = 2, 10
STALL_S = 0.5


class Player(Protocol):
    underruns: int

    def write(self, pcm: bytes) -> None: ...
    def close(self) -> None: ...
    def abort(self) -> None: ...


class CallbackSink:
    """Sink that feeds PortAudio from a callback, with silence when no audio is available."""

    def __init__(self) -> None:
        import sounddevice

        self.underruns = 0
        self._pcm = bytearray()
        self._position = 0
        self._closing = False
        self._stopped = threading.Event()
        self._stop = sounddevice.CallbackStop
        self._stream = sounddevice.RawOutputStream(
            RATE, channels=1, dtype="int16", latency=LATENCY_S,
            callback=self._fill, finished_callback=self._stopped.set,
        )  # fmt: skip

    def _fill(self, buffer: Any, _frames: int, _time: Any, status: Any) -> None:
        self.underruns += bool(status.output_underflow)
        chunk = self._pcm[self._position : self._position + len(buffer)]
        buffer[:] = chunk.ljust(len(buffer), b"\0")
        self._position += len(chunk)
        if self._closing and self._position == len(self._pcm):
            raise self._stop

    def write(self, pcm: bytes) -> None:
        self._pcm += pcm
        if not self._stream.active:
            self._stream.start()

    def close(self) -> None:
        self._pcm += bytes(round((self._stream.latency + 0.1) * RATE) * SAMPLE)
        self._closing = True
        self._stopped.wait()
        self._stream.close()

    def abort(self) -> None:
        self._stream.abort()


MODES: dict[str, Callable[[], Player]] = {
    "SpeakerSink": lambda: SpeakerSink(AudioFormat(RATE)),
    "callback": CallbackSink,
}


# Player process: for each line on stdin it prints a timestamp, then takes the next action.


def print_time() -> None:
    sys.stdin.readline()
    print(time.monotonic_ns(), flush=True)


def play(mode: str, scenario: str, path: str) -> None:
    """Play a file completely, or its second half on request, or abort it on request."""
    pcm = Path(path).read_bytes()
    half = len(pcm) // 4 * 2 if scenario == "halves" else len(pcm)
    sink: Player = MODES[mode]()
    print_time()
    sink.write(pcm[:half])
    if scenario == "abort":
        print_time()
        sink.abort()
        sys.stdin.readline()
        return
    if scenario == "halves":
        print_time()
        sink.write(pcm[half:])
    sink.close()
    print(sink.underruns, flush=True)


# Recording and evaluation


@dataclass
class Times:
    """Times in ms, number of runs with a wrong sample, and underruns reported by the device."""

    first: list[float] = field(default_factory=list)
    after_stall: list[float] = field(default_factory=list)
    silence: list[float] = field(default_factory=list)
    mismatched_runs: int = 0
    underruns: int = 0


@contextmanager
def player(server: Pulse, mode: str, scenario: str, path: Path) -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen(
        [sys.executable, "-m", "benchmarks.speaker", mode, scenario, str(path)],
        env=server.env,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    ) as child:  # fmt: skip
        yield child


def request_time(child: subprocess.Popen[str]) -> int:
    assert child.stdin
    assert child.stdout
    print(file=child.stdin, flush=True)
    return int(child.stdout.readline())


def ms_since(stamp: int, recording: Recording, position: int) -> float:
    return (recording.arrived(position) - stamp) / 1e6


def measure_starts(server: Pulse, mode: str, path: Path, times: Times) -> None:
    """Measure the latency of the first write and of a write after a stall, and check all samples."""
    pcm = path.read_bytes()
    half = len(pcm) // 4 * 2
    with server.recording() as recording, player(server, mode, "halves", path) as child:
        first = request_time(child)
        recording.wait_for_audio(half + round(STALL_S * RATE) * SAMPLE)
        second = request_time(child)
        child.communicate()
    at_first, at_second = recording.pcm.find(pcm[:half]), recording.pcm.find(pcm[half:])
    if (
        at_first < 0
        or at_second < 0
        or any(recording.pcm[at_first + half : at_second])
        or recording.audio_end() != at_second + half
    ):
        times.mismatched_runs += 1
        return
    times.first.append(ms_since(first, recording, at_first))
    times.after_stall.append(ms_since(second, recording, at_second))


def measure_abort(server: Pulse, mode: str, path: Path, times: Times) -> None:
    with server.recording() as recording, player(server, mode, "abort", path) as child:
        request_time(child)
        recording.wait_for_audio(RATE * SAMPLE)
        stamp = request_time(child)
        recording.wait_for(RATE * SAMPLE)
        child.communicate("\n")
    times.silence.append(ms_since(stamp, recording, recording.audio_end()))  # the first block of silence


@contextmanager
def every_core_busy() -> Iterator[None]:
    hogs = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(os.cpu_count() or 1)]
    try:
        yield
    finally:
        for hog in hogs:
            hog.kill()
            hog.wait()


def measure_busy(server: Pulse, mode: str, path: Path, times: Times) -> None:
    with server.recording() as recording, every_core_busy(), player(server, mode, "whole", path) as child:
        request_time(child)
        assert child.stdout
        times.underruns += int(child.stdout.readline())
    times.mismatched_runs += path.read_bytes() not in recording.pcm


def measure_mode(server: Pulse, mode: str, folder: Path) -> Times:
    times = Times()
    short, long = folder / "short.pcm", folder / "long.pcm"
    for path, seconds in ((short, 0.6), (long, BUSY_S)):
        path.write_bytes(os.urandom(round(seconds * RATE) * SAMPLE).replace(b"\0", b"\1"))
    for _ in range(RUNS):
        measure_starts(server, mode, short, times)
        measure_abort(server, mode, long, times)
    for _ in range(BUSY_RUNS):
        measure_busy(server, mode, long, times)
    return times


def measure() -> Iterator[Figure]:
    """Yield the figures of both sinks. Only SpeakerSink has goals."""
    with tempfile.TemporaryDirectory() as name, start_pulse(RATE) as server:
        for mode in MODES:
            times = measure_mode(server, mode, Path(name))
            has_goal = mode == "SpeakerSink"
            yield latency_figure(
                f"{mode}: first write to the monitor", times.first, FIRST_GOAL_MS if has_goal else None
            )
            yield latency_figure(f"{mode}: the same after a stall", times.after_stall, None)
            yield latency_figure(
                f"{mode}: abort to silence", times.silence, SILENCE_GOAL_MS if has_goal else None
            )
            details = (
                f"{times.underruns} underruns in {BUSY_RUNS * BUSY_S} s, "
                f"wrong samples in {times.mismatched_runs} runs"
            )
            errors = times.underruns + times.mismatched_runs
            yield Figure(
                f"{mode}: every core busy",
                errors,
                details,
                "0" if has_goal else "",
                not errors,
                bool(errors and has_goal),
            )


def latency_figure(name: str, times: list[float], goal: float | None) -> Figure:
    if not times:
        return Figure(name, float("inf"), "never", f"{goal:g} ms" if goal else "", False, goal is not None)
    value, details = median(times), f"{median(times):6.1f} ms   worst {max(times):.1f}"
    if goal is None:
        return Figure(name, value, details)
    return Figure(name, value, details, f"{goal:g} ms", value <= goal, value > GATE * goal)


def main() -> int:
    """Run the benchmark. Returns 1 if a figure gates."""
    if missing := missing_packages():
        sys.exit(f"not installed: {missing}")
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json")
    return report(measure(), parser.parse_args().json)


if __name__ == "__main__":
    if sys.argv[1:2] and sys.argv[1] in MODES:
        play(*sys.argv[1:])
    else:
        sys.exit(main())
