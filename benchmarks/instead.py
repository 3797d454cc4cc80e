"""Compare `speak` with alternatives: wall time of writing a short text to a WAV, run alternately.

The vendor's command and SDK and edge-tts are installed into a separate venv, .venv-peers; the example
programs are those of the vendor's documentation. All use the same offline server, except edge-tts, which
supports only its own service: only its start-up is measured.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from time import perf_counter_ns

from benchmarks.figures import Figure, ratio, report
from smallest_cli.client.service import open_local_service
from smallest_cli.models import Service
from tests.support.seeds import TODAYS_EVENTS, WITH_WEBSOCKETS

PEERS = Path(".venv-peers")
PACKAGES = ("smallestai==5.14.0", "edge-tts==7.3.1", "websockets==15.0.1", "requests==2.32.5")
CLI_GOAL = 0.19
TEXT = "Hello there."
SDK = """
import os, sys
from smallestai import SmallestAI
from smallestai.environment import SmallestAIEnvironment

base_url, text, file_name = sys.argv[1:]
fields = {name: base_url for name in SmallestAIEnvironment.PRODUCTION.__dict__}
client = SmallestAI(environment=SmallestAIEnvironment(**fields), api_key=os.environ["SMALLEST_API_KEY"])
with open(file_name, "wb") as file:
    for piece in client.waves.synthesize_tts(text=text, voice_id="magnus", output_format="wav"):
        file.write(piece)
"""


def install() -> Path:
    """Install the compared packages into a venv if needed. Returns the path of its python."""
    python = PEERS / "bin" / "python"
    if not (PEERS / ".ready").exists():
        subprocess.run([sys.executable, "-m", "venv", PEERS], check=True)
        quiet = ("--quiet", "--disable-pip-version-check")
        subprocess.run([python, "-m", "pip", "install", *quiet, *PACKAGES], check=True)
        (PEERS / ".ready").touch()
    return python.absolute()


def commands(service: Service, python: Path, folder: Path) -> dict[str, list[str]]:
    """Return the commands to time, by name. The first three are `speak`."""
    http, ws = f"{service.base_url}/waves/v1/tts", f"{service.base_url}/waves/v1/tts/live"
    for name, program in (("ws.py", WITH_WEBSOCKETS), ("sse.py", TODAYS_EVENTS), ("sdk.py", SDK)):
        (folder / name).write_text(program)
    wav = str(folder / "out.wav")
    ours = [sys.executable, "-m", "smallest_cli", "speak", "-v", "magnus", TEXT, "-o", wav]
    vendor = [str(python.with_name("smallestai")), "models", "tts", TEXT, "--voice-id", "magnus", "-o", wav]
    found = {
        "speak, ws": [*ours, "--via", "ws"],
        "speak, sse": [*ours, "--via", "sse"],
        "speak, http": [*ours, "--via", "http"],
        "the vendor's command": vendor,
        "the vendor's SDK, http": [str(python), str(folder / "sdk.py"), service.base_url, TEXT, wav],
        "the page's program, websockets": [str(python), str(folder / "ws.py"), "ws" + ws[4:], TEXT, wav],
        "the page's program, requests": [str(python), str(folder / "sse.py"), ws, TEXT, wav],
        "edge-tts --version": [str(python.with_name("edge-tts")), "--version"],
    }
    if curl := shutil.which("curl"):
        body = json.dumps({"text": TEXT, "voice_id": "magnus", "output_format": "wav"})
        # curl reads the key from a file, because arguments are visible to other users.
        (folder / "head").write_text(f"Authorization: Bearer {service.key.reveal()}\n")
        heads = ["-H", f"@{folder / 'head'}", "-H", "Content-Type: application/json"]
        found["curl, http"] = [curl, "-sf", *heads, "-d", body, "-o", wav, http]
    return found


def measure(n: int) -> Iterator[Figure]:
    """Yield all figures once `n` rounds are complete."""
    python = install()
    with tempfile.TemporaryDirectory() as name, open_local_service() as service:
        folder = Path(name)
        env = os.environ | {
            "HOME": name,
            "SMALLEST_API_KEY": service.key.reveal(),
            "SMALLEST_BASE_URL": service.base_url,
            "SMALLESTAI_TELEMETRY": "0",
            "NO_PROXY": "*",
        }
        commands_by_name = commands(service, python, folder)
        times: dict[str, list[float]] = {name: [] for name in commands_by_name}
        for attempt in range(n + 1):
            for what, command in commands_by_name.items():
                start = perf_counter_ns()
                subprocess.run(
                    command, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, check=True
                )
                if attempt:  # the first round compiles bytecode
                    times[what].append((perf_counter_ns() - start) / 1e6)
    yield from evaluate(times)


def evaluate(times: dict[str, list[float]]) -> Iterator[Figure]:
    """Yield the ratio of `speak` to the vendor's command, then of each command to `speak` over ws."""
    vendor = times["the vendor's command"]
    for ours in ("speak, ws", "speak, sse", "speak, http"):
        yield ratio(f"{ours}, short text, wall / vendor's command", times[ours], vendor, CLI_GOAL)
    for name, each in times.items():
        reference_ms = statistics.median(times["speak, ws"])
        details = f"{statistics.median(each) / reference_ms:6.2f}   {statistics.median(each):7.1f} ms"
        yield Figure(f"{name} / speak, ws", statistics.median(each) / reference_ms, details)


def main() -> int:
    """Run the benchmark. Returns 1 if a figure gates."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("-n", type=int, default=7)
    parser.add_argument("--json")
    options = parser.parse_args()
    return report(measure(options.n), options.json)


if __name__ == "__main__":
    sys.exit(main())
