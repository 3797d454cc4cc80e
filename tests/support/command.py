"""Run the command line as a user does: as a process with a separate environment."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from tests.support.forked import run_forked
from tests.support.offline import KEY

MEASURED = "COVERAGE_PROCESS_CONFIG"  # coverage starts with the interpreter
KEPT = ("PATH", "LANG", "LC_ALL", MEASURED)
AT_START = ("LANG", "LC_", "PYTHON")  # variables that the interpreter reads when it starts
SMALLEST = [sys.executable, "-m", "smallest_cli"]
LAUNCH = [sys.executable, "-m", "tests.support.launch"]


class Server(Protocol):
    """Any test double of the service."""

    @property
    def base_url(self) -> str: ...


@dataclass(frozen=True)
class Ran:
    """How a command ended: its exit code (negative for a signal), its stdout and its stderr."""

    code: int
    out: bytes
    err: str

    @property
    def lines(self) -> list[str]:
        return self.err.splitlines()


def environment(home: Path, **more: str) -> dict[str, str]:
    """Environment of a command: PATH and locale of the test run, settings in `home`, then `more`."""
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
    """Run the command line to its end, forked unless options of the process or the interpreter are given."""
    given, cwd = environment(home, **(env or {})), options.pop("cwd", home)
    read_at_start = {name: value for name, value in given.items() if name.startswith(AT_START)}
    can_fork = read_at_start.items() <= os.environ.items() and MEASURED not in given
    if command is SMALLEST and not options and can_fork:
        code, out, err = run_forked(arguments, stdin=stdin, env=given, cwd=cwd, timeout_s=50)
        return Ran(code, out, err.decode())
    done = subprocess.run(
        [*command, *arguments], input=stdin, capture_output=True, env=given, cwd=cwd, timeout=50, **options
    )
    return Ran(done.returncode, done.stdout, done.stderr.decode())


def speak(
    home: Path, server: Server, *arguments: str, command: str = "speak", stdin: bytes = b"", **env: str
) -> Ran:
    """Run `speak`, or another `command` of the service, against `server` with its key."""
    given = {"SMALLEST_API_KEY": KEY} | env
    return smallest(home, command, "--base-url", server.base_url, *arguments, stdin=stdin, env=given)


def on_terminal(home: Path, *arguments: str, stdin: bytes | None = None, **env: str) -> Ran:
    """Run the command line with stderr, and stdin unless it is given, on a terminal."""
    ours, theirs = pty.openpty()
    command = [*SMALLEST, *arguments]
    out = home / "stdout"
    given = environment(home, **{"TERM": "xterm"} | env)
    with out.open("wb") as stdout:
        pipe = theirs if stdin is None else subprocess.PIPE
        with subprocess.Popen(command, env=given, cwd=home, stdin=pipe, stderr=theirs, stdout=stdout) as run:
            os.close(theirs)
            if run.stdin:
                run.stdin.write(stdin or b"")
                run.stdin.close()
            shown = b""
            with suppress(OSError):  # EIO, once the other end is closed
                while data := os.read(ours, 65_536):
                    shown += data
    os.close(ours)
    return Ran(run.returncode, out.read_bytes(), shown.decode().replace("\r\n", "\n"))
