"""Measure the overhead of `stream` from a sentence's last byte on stdin to its first audio on stdout.

Text is written at 30 tokens per second to `smallest stream`, with the offline server. The server's time from
request to first audio, as logged, is subtracted. All times are monotonic. With --svg FILE one run is drawn
instead, at fewer words per second: words and audio on a time axis, and a `speak` that starts when the text is
complete.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from time import perf_counter_ns
from typing import Any

from benchmarks.figures import Figure, limit, report
from smallest_cli.client.service import open_local_service
from smallest_cli.models import Service

GOAL_MS = 5.0
TOKENS_PER_S = 30
DRAWN_PER_S = 8
TEXT = (
    "Once upon a time there was a very small voice. It lived in a terminal, and it waited for text. "
    "Words came one by one, as they do! The voice did not wait for the end. It began to speak. "
)
BYTE_RATE = 48_000
WIDTH, HEIGHT, LEFT = 800, 372, 24
STYLE = """<style>
svg{font:20px system-ui,"Segoe UI",Helvetica,Arial,sans-serif}
.paper{fill:#fff;stroke:#d0d7de} text,.ink{fill:#1f2328} .faint{fill:#59636e} .grid{stroke:#d0d7de}
.word{fill:#8c959f} .end{fill:#cf222e} .a{fill:#54aeff} .b{fill:#218bff} .c{fill:#c8d1da} .d{fill:#afb8c1}
.in{fill:#0d1117}
@media(prefers-color-scheme:dark){
.paper{fill:#0d1117;stroke:#3d444d} text,.ink{fill:#f0f6fc} .faint{fill:#9198a1} .grid{stroke:#3d444d}
.word{fill:#8b949e} .end{fill:#ff7b72} .c{fill:#6e7681} .d{fill:#8b949e} .in{fill:#0d1117}}
</style>"""


@dataclass
class Run:
    """Events of a run in monotonic ns: tokens written, audio bytes read so far, and the server's log."""

    tokens: list[tuple[int, str]] = field(default_factory=list)
    audio: list[tuple[int, int]] = field(default_factory=list)
    log: list[dict[str, Any]] = field(default_factory=list)


def read_audio(process: subprocess.Popen[bytes], run: Run) -> None:
    """Read audio from stdout until it closes."""
    assert process.stdout
    count = 0
    while data := os.read(process.stdout.fileno(), 65_536):
        count += len(data)
        run.audio.append((perf_counter_ns(), count))


def run_once(service: Service, log: Path, rate: float = TOKENS_PER_S) -> Run:
    """Write the text word by word, `rate` per second, each followed by a space, and read the audio."""
    run = Run()
    with read_command(run, service, log, "stream") as process:
        assert process.stdin
        pace = threading.Event()
        pace.wait(0.6)  # time to start and connect, as before a model's first token
        for word in TEXT.split():
            pace.wait(1 / rate)
            process.stdin.write(f"{word} ".encode())
            run.tokens.append((perf_counter_ns(), word))
        process.stdin.close()
    return run


def speak_once(service: Service, log: Path) -> Run:
    """Speak the complete text. Its one token is the text, at the start of the command."""
    run = Run(tokens=[(perf_counter_ns(), TEXT)])
    with read_command(run, service, log, "speak", TEXT):
        pass
    return run


@contextmanager
def read_command(run: Run, service: Service, log: Path, *arguments: str) -> Iterator[subprocess.Popen[bytes]]:
    """Run a command, and read its audio and the log of the server until it ends."""
    log.write_text("")
    command = [sys.executable, "-m", "smallest_cli", *arguments, "--base-url", service.base_url]
    env = os.environ | {"SMALLEST_API_KEY": service.key.reveal()}
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, env=env, bufsize=0) as process:
        reader = threading.Thread(target=read_audio, args=(process, run))
        reader.start()
        yield process
        reader.join()
    if process.returncode:
        raise RuntimeError(f"{arguments[0]} exited with {process.returncode}")
    while not run.log or not str(run.log[-1]["text"]).rstrip().endswith(
        TEXT.split()[-1]
    ):  # later than the reply
        time.sleep(0.01)
        *complete, _ = log.read_text().split("\n")  # a line may be half-written
        run.log = [json.loads(line) for line in complete]


def overhead_ms(run: Run) -> float:
    """Return the ms from the end of the first sentence to its first audio, minus the server's time."""
    written = next(at for at, word in run.tokens if word[-1] in ".!?")
    server: int = run.log[0]["first_audio_ns"] - run.log[0]["received_ns"]
    return (run.audio[0][0] - written - server) / 1e6


Segments = list[tuple[float, float, str]]
"""Seconds of the start and the end of the playback of each sentence, and its text."""


def played(run: Run, start_ns: int) -> Segments:
    """Return when each sentence can be played at the earliest, in seconds since `start_ns`."""
    segments: Segments = []
    bytes_per_character = run.audio[-1][1] / sum(entry["characters"] for entry in run.log)
    for entry in run.log:
        start_s = max(segments[-1][1] if segments else 0.0, (entry["first_audio_ns"] - start_ns) / 1e9)
        seconds = entry["characters"] * bytes_per_character / BYTE_RATE
        segments.append((start_s, start_s + seconds, str(entry["text"])))
    return segments


def draw(streamed: Run, spoken: Run) -> str:
    """Draw both runs as an SVG: words when they are written, sentences when they are played."""
    start_ns, end_ns = streamed.tokens[0][0], streamed.tokens[-1][0]
    written_s = (end_ns - start_ns) / 1e9
    rows = [
        ("smallest stream: each sentence as soon as it is complete", played(streamed, start_ns), "ab"),
        (
            "Without streaming: speak, once the complete text is there",
            [(a + written_s, b + written_s, text) for a, b, text in played(spoken, spoken.tokens[0][0])],
            "cd",
        ),
    ]
    scale = (WIDTH - 2 * LEFT) / max(segments[-1][1] for _, segments, _ in rows)
    at = [LEFT + (token_ns - start_ns) / 1e9 * scale for token_ns, _ in streamed.tokens]
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}">{STYLE}',
        f'<rect class="paper" x=".5" y=".5" width="{WIDTH - 1}" height="{HEIGHT - 1}" rx="8"/>',
    ]
    for second in range(int((WIDTH - 2 * LEFT) / scale) + 1):
        x = LEFT + second * scale
        parts.append(f'<line class="grid" x1="{x:.1f}" x2="{x:.1f}" y1="48" y2="292"/>')
        if second % 2 == 0:
            parts.append(f'<text class="faint" x="{x:.1f}" y="314" text-anchor="middle">{second}</text>')
    parts.append(f'<text x="{LEFT}" y="34">Text: words as they are written, {DRAWN_PER_S} per second</text>')
    for x, (_, word) in zip(at, streamed.tokens, strict=True):
        ends = word[-1] in ".!?"
        parts.append(
            f'<rect class="{"end" if ends else "word"}" x="{x - 2:.1f}" y="48"'
            f' width="{5 if ends else 3}" height="{36 if ends else 24}"/>'
        )
    for y, (title, segments, shades) in zip((116, 212), rows, strict=True):
        parts.append(f'<text x="{LEFT}" y="{y}">{title}</text>')
        count = 0
        for number, (start_s, ends_s, text) in enumerate(segments):
            first, count = count + 1, count + len(re.findall(r"[.!?](?= |$)", text))
            x, width = LEFT + start_s * scale, (ends_s - start_s) * scale
            parts.append(
                f'<rect class="{shades[number % 2]}" x="{x:.1f}" y="{y + 12}" '
                f'width="{width:.1f}" height="44"><title>{escape(text)}</title></rect>'
                f'<text class="in" x="{x + width / 2:.1f}" y="{y + 41}" text-anchor="middle">'
                f"{f'{first} to {count}' if count > first else first}</text>"
            )
    first_s, other_s = (segments[0][0] for _, segments, _ in rows)
    parts += [
        f'<text class="faint" x="{WIDTH - LEFT}" y="34" text-anchor="end">seconds</text>',
        f'<rect class="word" x="{LEFT}" y="334" width="3" height="18"/>',
        f'<text class="faint" x="{LEFT + 10}" y="351">word</text>',
        f'<rect class="end" x="{LEFT + 76}" y="334" width="5" height="18"/>',
        f'<text class="faint" x="{LEFT + 88}" y="351">sentence end</text>',
        f'<text x="{WIDTH - LEFT}" y="351" text-anchor="end">'
        f"first audio after {first_s:.1f} s; without streaming {other_s:.1f} s</text>",
    ]
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
            picture = draw(run_once(service, log, DRAWN_PER_S), speak_once(service, log))
            Path(options.svg).write_text(picture)
    return 0


if __name__ == "__main__":
    sys.exit(main())
