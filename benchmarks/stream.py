"""Measure the overhead of `stream` from a sentence's last byte on stdin to its first audio on stdout.

Text is written at 30 tokens per second to `smallest stream`, with the offline server. The server's time from
request to first audio, as logged, is subtracted. All times are monotonic. With --svg FILE one run is drawn
instead: tokens and audio on a time axis.
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
from collections.abc import Iterator
from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from time import perf_counter_ns

from benchmarks.figures import Figure, limit, report
from smallest_cli.client.service import open_local_service
from smallest_cli.models import Service

GOAL_MS = 5.0
TOKENS_PER_S = 30
TEXT = (
    "Once upon a time there was a very small voice. It lived in a terminal, and it waited for text. "
    "Words came one by one, as they do! The voice did not wait for the end. It began to speak. "
)
BYTE_RATE = 48_000
SHADES = ("#9bd", "#7ac")


@dataclass
class Run:
    """Events of a run in monotonic ns: tokens written, audio bytes read so far, and the server's log."""

    tokens: list[tuple[int, str]] = field(default_factory=list)
    audio: list[tuple[int, int]] = field(default_factory=list)
    log: list[dict[str, int]] = field(default_factory=list)


def read_audio(process: subprocess.Popen[bytes], run: Run) -> None:
    """Read audio from stdout until it closes."""
    assert process.stdout
    count = 0
    while data := os.read(process.stdout.fileno(), 65_536):
        count += len(data)
        run.audio.append((perf_counter_ns(), count))


def run_once(service: Service, log: Path) -> Run:
    """Write the text word by word, each followed by a space, and read the audio."""
    run = Run()
    log.write_text("")
    command = [sys.executable, "-m", "smallest_cli", "stream", "--base-url", service.base_url]
    env = os.environ | {"SMALLEST_API_KEY": service.key.reveal()}
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=env, bufsize=0
    ) as process:
        reader = threading.Thread(target=read_audio, args=(process, run))
        reader.start()
        assert process.stdin
        pace = threading.Event()
        pace.wait(0.6)  # time to start and connect, as before a model's first token
        for word in TEXT.split():
            pace.wait(1 / TOKENS_PER_S)
            process.stdin.write(f"{word} ".encode())
            run.tokens.append((perf_counter_ns(), word))
        process.stdin.close()
        reader.join()
    run.log = [json.loads(line) for line in log.read_text().splitlines()]
    return run


def overhead_ms(run: Run) -> float:
    """Return the ms from the end of the first sentence to its first audio, minus the server's time."""
    written = next(at for at, word in run.tokens if word[-1] in ".!?")
    server = run.log[0]["first_audio_ns"] - run.log[0]["received_ns"]
    return (run.audio[0][0] - written - server) / 1e6


def draw(run: Run) -> str:
    """Draw the run as an SVG: words at the time of writing, segments at the time of playback."""
    start = run.tokens[0][0]
    segments, played_s = [], 0.0
    for entry in run.log:
        start_s = max(played_s, (entry["first_audio_ns"] - start) / 1e9)
        seconds = entry["characters"] * (run.audio[-1][1] / BYTE_RATE) / sum(e["characters"] for e in run.log)
        played_s = start_s + seconds
        segments.append((start_s, played_s, str(entry["text"])))
    scale, left, words_end = 1160 / played_s, 20, (run.tokens[-1][0] - start) / 1e9
    parts = [
        '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 1200 190" '
        'font-family="sans-serif" font-size="13">',
        '<rect width="1200" height="190" fill="white"/>',
        f'<text x="{left}" y="20">text, a word at a time ({words_end:.1f} s)</text>',
        f'<text x="{left}" y="100">sound, as it can be heard ({played_s:.1f} s; the first '
        f"{(segments[0][0]) * 1000:.0f} ms after the first word)</text>",
    ]
    for at, word in run.tokens:
        x = left + (at - start) / 1e9 * scale
        ends = word[-1] in ".!?"
        parts.append(
            f'<line x1="{x:.1f}" x2="{x:.1f}" y1="30" y2="{60 if ends else 50}"'
            f' stroke="{"#c33" if ends else "#888"}" stroke-width="{3 if ends else 1}"/>'
        )
    for number, (start_s, ends_s, text) in enumerate(segments):
        x, width = left + start_s * scale, (ends_s - start_s) * scale
        parts.append(
            f'<rect x="{x:.1f}" y="110" width="{width:.1f}" height="28" fill="{SHADES[number % 2]}"/>'
            f'<text x="{x + 4:.1f}" y="129" font-size="11">{escape(text[: int(width / 6)])}</text>'
        )
    for second in range(int(played_s) + 1):
        x = left + second * scale
        parts.append(f'<text x="{x:.1f}" y="165" fill="#555">{second} s</text>')
    return "\n".join([*parts, "</svg>\n"])


def measure(n: int) -> Iterator[Figure]:
    """Yield the median overhead of `n` runs."""
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder, "log.jsonl")
        with open_local_service(behaviour={"log": str(log)}) as service:
            overheads = sorted(overhead_ms(run_once(service, log)) for _ in range(n))
    details = f"({overheads[0]:.2f} .. {overheads[-1]:.2f}) of {n}"
    yield limit(
        "stream: a sentence's end to its first audio", statistics.median(overheads), GOAL_MS, "ms", details
    )


def main() -> int:
    """Run the benchmark. Returns 1 if a figure gates."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("-n", type=int, default=20)
    parser.add_argument("--json")
    parser.add_argument("--svg")
    options = parser.parse_args()
    if not options.svg:
        return report(measure(options.n), options.json)
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder, "log.jsonl")
        with open_local_service(behaviour={"log": str(log)}) as service:
            Path(options.svg).write_text(draw(run_once(service, log)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
