"""Measure memory while writing an hour of audio to a WAV through each transport.

Memory does not depend on the load of the host, so a figure gates as soon as it misses its goal.
Linux only: reads /proc.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile
import wave
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from benchmarks.figures import Figure, limit, report
from smallest_cli.client.service import open_local_service
from smallest_cli.models import VIAS, Service

HOUR_S = 3600
GROWTH_GOAL, PEAK_GOAL_MB = 1.1, 27.0
SENTENCE = "This is sentence number {} of a long book, and no one has read it aloud before this evening. "
SENTENCES = 650  # slightly more than an hour with the offline voice
SAMPLE_INTERVAL_S = 0.05


def status_mb(pid: int, field: str) -> float | None:
    """Return a memory field of /proc/PID/status in MB, or None if the process has exited."""
    try:
        text = Path(f"/proc/{pid}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    found = re.search(rf"^{field}:\s+(\d+) kB", text, re.MULTILINE)
    return int(found[1]) / 1024 if found else None


def measure_run(via: str, service: Service, text: Path, folder: Path) -> tuple[float, float, float, float]:
    """Run `speak`. Returns seconds of audio, and memory in MB after a tenth, at the end and at the peak."""
    target = folder / f"{via}.wav"
    part = folder / f"{via}.wav.part"
    process = subprocess.Popen(
        [sys.executable, "-m", "smallest_cli", "speak", "--via", via, "--base-url", service.base_url,
         "-f", str(text), "-o", str(target)],
        env=os.environ | {"SMALLEST_API_KEY": service.key.reveal()},
    )  # fmt: skip
    samples: list[tuple[int, float]] = []
    peak = 0.0
    while True:
        with suppress(subprocess.TimeoutExpired):
            process.wait(SAMPLE_INTERVAL_S)
            break
        rss = status_mb(process.pid, "VmRSS")
        if rss is not None:
            peak = max(peak, status_mb(process.pid, "VmHWM") or 0.0)
            with suppress(FileNotFoundError):
                samples.append((part.stat().st_size, rss))
    if process.returncode:
        sys.exit(f"speak --via {via} ended with {process.returncode}")
    with wave.open(str(target)) as audio:
        seconds = audio.getnframes() / audio.getframerate()
    tenth = next(memory for size, memory in samples if size >= target.stat().st_size / 10)
    return seconds, tenth, samples[-1][1], peak


def measure() -> Iterator[Figure]:
    """Yield all figures. Raises SystemExit if the audio is shorter than an hour."""
    with tempfile.TemporaryDirectory() as name, open_local_service() as service:
        folder = Path(name)
        text = folder / "book.txt"
        text.write_text("".join(map(SENTENCE.format, range(SENTENCES))))
        for via in VIAS:
            seconds, tenth, end, peak = measure_run(via, service, text, folder)
            if seconds < HOUR_S:
                sys.exit(f"only {seconds:.0f} s of audio: the benchmark needs more text")
            growth, details = end / tenth, f"{end / tenth:6.2f}   {end:7.1f} MB / {tenth:.1f} MB"
            exceeded = growth > GROWTH_GOAL
            name = f"memory of an hour, end / first tenth, {via}"
            yield Figure(name, growth, details, f"{GROWTH_GOAL:g}", not exceeded, exceeded)
            yield limit(f"memory of an hour, peak, {via}", peak, PEAK_GOAL_MB, "MB", gate=1.5)


def main() -> int:
    """Run the benchmark. Returns 1 if a goal is missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json")
    return report(measure(), parser.parse_args().json)


if __name__ == "__main__":
    sys.exit(main())
