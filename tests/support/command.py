"""The command line as a person runs it: a process with an environment of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

KEPT = ("PATH", "LANG", "LC_ALL", "COVERAGE_PROCESS_CONFIG")
SMALLEST = [sys.executable, "-m", "smallest_cli"]
LAUNCH = [sys.executable, "-m", "tests.support.faults.launch"]


@dataclass(frozen=True)
class Ran:
    """How a command ended: its exit code (negative for a signal), and what it wrote, apart."""

    code: int
    out: bytes
    err: str

    @property
    def lines(self) -> list[str]:
        return self.err.splitlines()


def environment(home: Path, **more: str) -> dict[str, str]:
    """Nothing of whoever runs the tests but where programs are; `home` holds the settings."""
    kept = {name: os.environ[name] for name in KEPT if name in os.environ}
    return kept | {"HOME": str(home), "SMALLEST_CONFIG_DIR": str(home / "config")} | more


def smallest(
    home: Path,
    *arguments: str,
    stdin: bytes = b"",
    env: dict[str, str] | None = None,
    command: Sequence[str] = SMALLEST,
    **options: Any,
) -> Ran:
    """Run it to its end."""
    options.setdefault("cwd", home)
    done = subprocess.run(
        [*command, *arguments],
        input=stdin,
        capture_output=True,
        env=environment(home, **(env or {})),
        timeout=50,
        **options,
    )
    return Ran(done.returncode, done.stdout, done.stderr.decode())
