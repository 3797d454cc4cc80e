"""Compare `speak` with other tools at a distance: ms from process start to the first audio and to exit.

All say one short text over TLS through a relay that adds the round trip, alternately, and write to a pipe.
The tools are those of benchmarks/instead.py, in .venv-peers. `speak` trusts the authorities of the system, in
OpenSSL's hashed folder, the other tools a bundle of as many, as each does by default, and the floor, a bare
socket client, one certificate. edge-tts supports only its own service: only its start-up is measured.
With --svg FILE the medians are drawn.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks.far import BARE, ROUND_TRIPS_MS, Run
from benchmarks.figures import host_info
from benchmarks.instead import SDK, TEXT, install
from benchmarks.relay import open_relay
from benchmarks.startup import CLI, debian_trust, write_certificate
from smallest_cli.client.service import open_local_service

FLOOR = "bare sockets, sse (floor)"
START_ONLY = "edge-tts --version (no request)"
FIRST, EXIT = "#2f81f7", "#a371f7"
"""Colours of the bars, which can be told apart on white and on black."""
STYLE = "text{fill:#57606a} @media (prefers-color-scheme:dark){text{fill:#9da7b3}}"
WIDTH, LABELS, BAR, GAP = 900, 230, 16, 22


@dataclass(frozen=True)
class Times:
    """Times in ms of all runs of a tool at a distance; `first` is empty if it sends no request."""

    tool: str
    round_trip_ms: int
    first: list[float]
    exit: list[float]


def commands(url: str, key: str, folder: Path, python: Path) -> dict[str, tuple[list[str], dict[str, str]]]:
    """Return the command of each tool and its environment, the floor first."""
    http, (host, _, port) = f"{url}/waves/v1/tts", url.rpartition("/")[2].partition(":")
    bundle = str(folder / "bundle.pem")
    shared = {"HOME": str(folder), "SMALLEST_API_KEY": key, "SMALLEST_BASE_URL": url, "NO_PROXY": "*"}
    peers = shared | dict.fromkeys(("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"), bundle)
    peers |= {"SMALLESTAI_TELEMETRY": "0"}
    (folder / "sdk.py").write_text(SDK)
    vendor = [str(python.with_name("smallestai")), "models", "tts", TEXT, "--voice-id", "magnus"]
    found = {
        FLOOR: ([sys.executable, BARE, "sse", host, port, str(folder / "authority.pem"), TEXT], shared),
        "smallest speak": ([*CLI, "speak", "-v", "magnus", TEXT, "-o", "-"], shared | debian_trust(folder)),
        "vendor's command": ([*vendor, "-o", "/dev/stdout"], peers),
        "vendor's SDK, http": ([str(python), str(folder / "sdk.py"), url, TEXT, "/dev/stdout"], peers),
        START_ONLY: ([str(python.with_name("edge-tts")), "--version"], peers),
    }
    if curl := shutil.which("curl"):
        body = json.dumps({"text": TEXT, "voice_id": "magnus", "output_format": "wav"})
        (folder / "head").write_text(f"Authorization: Bearer {key}\n")
        heads = ["-H", f"@{folder / 'head'}", "-H", "Content-Type: application/json"]
        found["curl, http"] = ([curl, "-sSfN", *heads, "-d", body, http], peers)
    return found


def measure(n: int, round_trips_ms: Sequence[int]) -> Iterator[Times]:
    """Yield the times of all tools at each distance, after one warm-up run of each."""
    python = install()
    environ = {name: value for name, value in os.environ.items() if not name.startswith(("SSL_", "PYTHON"))}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        behaviour: dict[str, Any] = {"profile": "live", "concurrency": 100} | write_certificate(folder)
        with open_local_service(behaviour=behaviour) as service:
            for trip_ms in round_trips_ms:
                near = nullcontext(service.base_url)
                with open_relay(service.base_url, trip_ms / 1000) if trip_ms else near as url:
                    tools = commands(url, service.key.reveal(), folder, python)
                    yield from run_all(tools, environ, trip_ms, n)


def run_all(
    tools: Mapping[str, tuple[list[str], dict[str, str]]], environ: dict[str, str], trip_ms: int, n: int
) -> Iterator[Times]:
    """Run all tools alternately and yield their times. Raises SystemExit if one fails."""
    runs: dict[str, list[Run]] = {tool: [] for tool in tools}
    for _ in range(n + 1):
        for tool, (command, env) in tools.items():
            run = Run(command, environ | env)
            run.join()
            runs[tool].append(run)
    for tool, each in runs.items():
        first = [] if tool == START_ONLY else [run.first_ms for run in each[1:]]
        yield Times(tool, trip_ms, first, [run.exit_ms for run in each[1:]])


def rows(times: Sequence[Times]) -> Iterator[tuple[str, list[str]]]:
    """Yield the rows of the table: each tool, and `first / exit` at each distance."""
    for tool in dict.fromkeys(each.tool for each in times):
        cells = [each for each in times if each.tool == tool]
        shown = [f"{_median(each.first) or '-'} / {_median(each.exit)}" for each in cells]
        yield tool, shown


def _median(values: Sequence[float]) -> int:
    return round(statistics.median(values)) if values else 0


def draw(times: Sequence[Times]) -> str:
    """Draw a bar for each tool at each distance, up to the first audio and on to the exit."""
    scale = (WIDTH - LABELS - 120) / max(_median(each.exit) for each in times)
    parts: list[str] = []
    y = 30
    for trip_ms in dict.fromkeys(each.round_trip_ms for each in times):
        y += GAP + GAP // 2
        parts.append(f'<text x="4" y="{y}" font-weight="bold">{trip_ms} ms round trip</text>')
        for each in (each for each in times if each.round_trip_ms == trip_ms):
            y += GAP
            first, end = _median(each.first), _median(each.exit)
            label = f"{first} / {end} ms" if first else f"{end} ms"
            parts += [
                f'<text x="{LABELS - 8}" y="{y}" text-anchor="end">{each.tool}</text>',
                _bar(LABELS, y, end * scale, EXIT),
                _bar(LABELS, y, first * scale, FIRST),
                f'<text x="{LABELS + end * scale + 6:.1f}" y="{y}">{label}</text>',
            ]
    legend = [
        _bar(LABELS, 20, BAR, FIRST),
        f'<text x="{LABELS + 24}" y="20">process start to first audio</text>',
        _bar(LABELS + 240, 20, BAR, EXIT),
        f'<text x="{LABELS + 264}" y="20">to exit</text>',
    ]
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {y + GAP}"'
    head += ' font-family="sans-serif" font-size="13">'
    return "\n".join([head, f"<style>{STYLE}</style>", *legend, *parts, "</svg>\n"])


def _bar(x: float, y: float, width: float, fill: str) -> str:
    return f'<rect x="{x}" y="{y - 13}" width="{width:.1f}" height="{BAR}" fill="{fill}"/>'


def main() -> int:
    """Run the benchmark and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("-n", type=int, default=5, choices=range(1, 100), metavar="N")
    parser.add_argument("--round-trip", type=int, metavar="MS", action="append")
    parser.add_argument("--json", metavar="FILE")
    parser.add_argument("--svg", metavar="FILE")
    options = parser.parse_args()
    times = list(measure(options.n, options.round_trip or ROUND_TRIPS_MS))
    trips = dict.fromkeys(each.round_trip_ms for each in times)
    print(f"Medians of {options.n}, ms to first audio / to exit, over TLS:\n")
    print("| round trip |", " | ".join(f"{trip} ms" for trip in trips), "|")
    print("|---|" + "---|" * len(trips))
    for tool, cells in rows(times):
        print(f"| {tool} |", " | ".join(cells), "|")
    if options.json:
        document = host_info() | {"times": list(map(asdict, times))}
        Path(options.json).write_text(json.dumps(document, indent=1) + "\n")
    if options.svg:
        Path(options.svg).write_text(draw(times))
    return 0


if __name__ == "__main__":
    sys.exit(main())
