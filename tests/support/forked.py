"""Start the offline server quickly: fork it from a process that has imported it already.

Most of a start is the import of aiohttp, 0.3 s of CPU time. What runs is `smallest_cli.server.__main__.main`
with pipes as its stdin and stdout, as when it is started by `smallest --local`.
"""

from __future__ import annotations

import multiprocessing
import os
import sys
from multiprocessing.connection import Connection
from pathlib import Path

import smallest_cli.server.run  # noqa: F401  (imported before the fork)
from smallest_cli.server.__main__ import main

CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload([__name__])


class ForkedServer:
    """The server process. It writes its stderr to a file and ends when its stdin is closed."""

    def __init__(self, first_line: bytes, stderr: Path) -> None:
        theirs_in, self._stdin = CONTEXT.Pipe(duplex=False)
        self._stdout, theirs_out = CONTEXT.Pipe(duplex=False)
        with theirs_in, theirs_out:
            self._process = CONTEXT.Process(target=_run, args=(theirs_in, theirs_out, stderr), daemon=True)
            self._process.start()
        os.write(self._stdin.fileno(), first_line)
        assert self._process.pid
        self.pid = self._process.pid

    def read_line(self) -> bytes:
        """Read a line of its stdout."""
        line = b""
        while not line.endswith(b"\n") and (data := os.read(self._stdout.fileno(), 65_536)):
            line += data
        return line

    def send_signal(self, number: int) -> None:
        os.kill(self.pid, number)

    def wait(self, timeout_s: float) -> int:
        """Wait for its exit. Returns the exit code, negative for a signal."""
        self._process.join(timeout_s)
        assert self._process.exitcode is not None, "the server did not end"
        return self._process.exitcode

    def close_stdin(self) -> None:
        self._stdin.close()

    def close(self) -> None:
        """Release everything; a server that still runs is killed."""
        self._stdin.close()
        self._stdout.close()
        self._process.kill()
        self._process.join()
        self._process.close()


def _run(stdin: Connection, stdout: Connection, stderr: Path) -> None:
    with stdin, stdout, stderr.open("ab") as errors:
        for number, file in enumerate((stdin, stdout, errors)):
            os.dup2(file.fileno(), number)
    sys.exit(main())
