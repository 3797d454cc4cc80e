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

from benchmarks.figures import Figure, conclude, limit
from smallest_cli.client.service import open_local_service
from smallest_cli.models import Service

GOAL_MS = 5.0
TOKENS_PER_S = 30
STORY = (
    "Once upon a time there was a very small voice. It lived in a terminal, and it waited for text. "
    "Words came one by one, as they do! The voice did not wait for the end. It began to speak. "
)
BYTE_RATE = 48_000
SHADES = ("#9bd", "#7ac")


@dataclass
class Run:
    """Events of a run in monotonic ns: tokens written, audio bytes read so far, and the server's log."""

    tokens: list[tuple[int, str]] = field(default_factory=list)
    sound: list[tuple[int, int]] = field(default_factory=list)
    log: list[dict[str, int]] = field(default_factory=list)


def listen(process: subprocess.Popen[bytes], run: Run) -> None:
    """Read audio from stdout until it closes."""
    assert process.stdout
    count = 0
    while data := os.read(process.stdout.fileno(), 65_536):
        count += len(data)
        run.sound.append((perf_counter_ns(), count))


def run_once(service: Service, log: Path) -> Run:
    """Write the text word by word, each followed by a space, and read the audio."""
    run = Run()
    log.write_text("")
    command = [sys.executable, "-m", "smallest_cli", "stream", "--base-url", service.base_url]
    env = os.environ | {"SMALLEST_API_KEY": service.key.reveal()}
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=env, bufsize=0
    ) as process:
        listener = threading.Thread(target=listen, args=(process, run))
        listener.start()
        assert process.stdin
        pace = threading.Event()
        pace.wait(0.6)  # time to start and connect, as before a model's first token
        for word in STORY.split():
            pace.wait(1 / TOKENS_PER_S)
            process.stdin.write(f"{word} ".encode())
            run.tokens.append((perf_counter_ns(), word))
        process.stdin.close()
        listener.join()
    run.log = [json.loads(line) for line in log.read_text().splitlines()]
    return run


def share_ms(run: Run) -> float:
    """Return the ms from the end of the first sentence to its first audio, minus the server's time."""
    written = next(at for at, word in run.tokens if word[-1] in ".!?")
    server = run.log[0]["first_audio_ns"] - run.log[0]["received_ns"]
    return (run.sound[0][0] - written - server) / 1e6


def draw(run: Run) -> str:
    """Draw the run as an SVG: words at the time of writing, segments at the time of playback."""
    began = run.tokens[0][0]
    heard, plays = [], 0.0
    for entry in run.log:
        starts = max(plays, (entry["first_audio_ns"] - began) / 1e9)
        seconds = entry["characters"] * (run.sound[-1][1] / BYTE_RATE) / sum(e["characters"] for e in run.log)
        plays = starts + seconds
        heard.append((starts, plays, str(entry["text"])))
    scale, left, words_end = 1160 / plays, 20, (run.tokens[-1][0] - began) / 1e9
    parts = [
        '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 1200 190" '
        'font-family="sans-serif" font-size="13">',
        '<rect width="1200" height="190" fill="white"/>',
        f'<text x="{left}" y="20">text, a word at a time ({words_end:.1f} s)</text>',
        f'<text x="{left}" y="100">sound, as it can be heard ({plays:.1f} s; the first '
        f"{(heard[0][0]) * 1000:.0f} ms after the first word)</text>",
    ]
    for at, word in run.tokens:
        x = left + (at - began) / 1e9 * scale
        ends = word[-1] in ".!?"
        parts.append(
            f'<line x1="{x:.1f}" x2="{x:.1f}" y1="30" y2="{60 if ends else 50}"'
            f' stroke="{"#c33" if ends else "#888"}" stroke-width="{3 if ends else 1}"/>'
        )
    for number, (starts, ends_s, text) in enumerate(heard):
        x, width = left + starts * scale, (ends_s - starts) * scale
        parts.append(
            f'<rect x="{x:.1f}" y="110" width="{width:.1f}" height="28" fill="{SHADES[number % 2]}"/>'
            f'<text x="{x + 4:.1f}" y="129" font-size="11">{escape(text[: int(width / 6)])}</text>'
        )
    for second in range(int(plays) + 1):
        x = left + second * scale
        parts.append(f'<text x="{x:.1f}" y="165" fill="#555">{second} s</text>')
    return "\n".join([*parts, "</svg>\n"])


def measure(n: int) -> Iterator[Figure]:
    """Yield the median overhead of `n` runs."""
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder, "log.jsonl")
        with open_local_service(behaviour={"log": str(log)}) as service:
            shares = sorted(share_ms(run_once(service, log)) for _ in range(n))
    words = f"({shares[0]:.2f} .. {shares[-1]:.2f}) of {n}"
    yield limit(
        "stream: a sentence's end to its first audio", statistics.median(shares), GOAL_MS, "ms", words
    )


def main() -> int:
    """Run the benchmark. Returns 1 if a figure gates."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("-n", type=int, default=20)
    parser.add_argument("--json")
    parser.add_argument("--svg")
    options = parser.parse_args()
    if not options.svg:
        return conclude(measure(options.n), options.json)
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder, "log.jsonl")
        with open_local_service(behaviour={"log": str(log)}) as service:
            Path(options.svg).write_text(draw(run_once(service, log)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
