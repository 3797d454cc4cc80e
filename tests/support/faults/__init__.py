"""The server that misbehaves byte by byte: a process of its own, told what to do by a list of steps.

    head            the head of an HTTP reply (a WebSocket has had its upgrade)
    wav             44 bytes of RIFF header; only over plain HTTP
    wait MS         until so many milliseconds after the request came in; [MEDIAN, SIGMA] is lognormal
    sound MS        so much of a loud tone        silence MS    so much of silence
    half            one byte, half a sample       garbage       a message that nobody can read
    end             what the transport ends with  status CODE   a refusal instead of a reply
    close CODE      a close frame, or just a cut  cut           the connection goes
    hang            nothing more, ever            error TEXT    an error message

What is in SCENARIOS is a word for a whole list. Stamps are of the machine's monotonic clock.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.support import ROOT

Step = Sequence[Any]

_SLOW = [step for at in range(2, 6) for step in (["wait", 50 + 250 * at], ["sound", 100])]
SCENARIOS: dict[str, list[Step]] = {
    "prompt": [["head"], ["wav"], ["wait", 50], ["sound", 200], ["end"]],
    "early headers": [["head"], ["wait", 50], ["sound", 200], ["end"]],
    "early wav header": [["head"], ["wav"], ["wait", 50], ["sound", 200], ["end"]],
    "slow silence": [["head"], ["wav"], ["wait", 50], ["silence", 100], ["wait", 300], ["silence", 100],
                     *_SLOW, ["end"]],
    "lognormal": [["head"], ["wav"], ["wait", [100, 0.4]], ["sound", 100], ["end"]],
    "late": [["wait", 300], ["head"], ["wav"], ["sound", 100], ["end"]],
}  # fmt: skip


@dataclass(frozen=True)
class Faulty:
    """Where it listens, and what it stamped: a line for each request, in order."""

    base_url: str
    log_path: Path

    def log(self) -> list[dict[str, Any]]:
        """Entries have `received_ns`, `first_audio_ns` and `request_id`."""
        return [json.loads(line) for line in self.log_path.read_text().splitlines()]


@contextmanager
def start_faults(steps: str | Sequence[Step], folder: Path) -> Iterator[Faulty]:
    """The server, on a free port, for as long as the context lasts. It ends when its stdin does."""
    log_path = folder / "faults.jsonl"
    listed = SCENARIOS[steps] if isinstance(steps, str) else steps
    with subprocess.Popen(
        [sys.executable, "-m", "tests.support.faults", str(log_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=ROOT,
    ) as process:
        assert process.stdin
        assert process.stdout
        process.stdin.write(json.dumps(listed).encode() + b"\n")
        process.stdin.flush()
        port = int(process.stdout.readline())
        try:
            yield Faulty(f"http://127.0.0.1:{port}", log_path)
        finally:
            process.stdin.close()
            process.wait(10)
