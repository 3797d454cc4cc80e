"""The real offline server as a child, for every test that needs a service."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

KEY = "sk_test_0123456789abcdef"


@dataclass(frozen=True)
class Offline:
    """A server that runs: where it is, which key it takes, what it has seen."""

    base_url: str
    key: str
    process: subprocess.Popen[bytes]
    log_path: Path

    @property
    def ws_url(self) -> str:
        return self.base_url.replace("http", "ws", 1)

    @property
    def address(self) -> tuple[str, int]:
        host, _, port = self.base_url.rpartition("/")[2].rpartition(":")
        return host, int(port)

    @property
    def auth(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.key}"}

    def log(self) -> list[dict[str, Any]]:
        """What the server wrote of each request that has ended, oldest first."""
        return [json.loads(line) for line in self.log_path.read_text().splitlines()]


def launch(behaviour: dict[str, Any], **options: Any) -> tuple[subprocess.Popen[bytes], dict[str, Any]]:
    """Start the child and read its one line."""
    process = subprocess.Popen(
        [sys.executable, "-m", "smallest_cli.local"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        **options,
    )
    assert process.stdin
    assert process.stdout
    process.stdin.write(json.dumps(behaviour).encode() + b"\n")
    process.stdin.flush()
    return process, json.loads(process.stdout.readline())


@contextmanager
def start_offline(**behaviour: Any) -> Iterator[Offline]:
    """A server of that behaviour, on a free port, with the key `KEY` unless a token is given.

    It must end by itself when its stdin ends, quietly, with exit code 0.
    """
    with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryFile() as said:
        log_path = Path(folder, "log.jsonl")
        process, answer = launch({"token": KEY, "log": str(log_path)} | behaviour, stderr=said)
        assert process.stdin
        assert process.stdout
        try:
            yield Offline(answer["base_url"], answer["key"], process, log_path)
        finally:
            process.stdin.close()
            process.stdout.close()
            code = process.wait(10)
        said.seek(0)
        assert (code, said.read()) == (0, b"")
