"""Start the offline server and commands quickly: fork them from a process that has imported them already.

Most of a start is imports: 0.3 s of CPU time for the server, 0.1 to 0.6 s for a command. What runs is the
`main` of `smallest_cli.server.__main__` or `smallest_cli.__main__`, in a process of its own, with pipes as
stdin, stdout and stderr.
"""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.connection import Connection
from pathlib import Path

from smallest_cli.__main__ import main as run_command
from smallest_cli.server.__main__ import main as run_server

CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(["tests.support.preloaded"])


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
    sys.exit(run_server())


def run_forked(
    arguments: Sequence[str | bytes], *, stdin: bytes, env: dict[str, str], cwd: str | Path, timeout_s: float
) -> tuple[int, bytes, bytes]:
    """Run a command to its end. Returns its exit code (negative for a signal), stdout and stderr."""
    words = [os.fsdecode(each) for each in arguments]
    pipes = [CONTEXT.Pipe(duplex=False) for _ in range(3)]
    (their_in, our_in), (our_out, their_out), (our_err, their_err) = pipes
    with our_in, our_out, our_err, ThreadPoolExecutor(3) as threads:
        with their_in, their_out, their_err:
            theirs = (their_in, their_out, their_err)
            process = CONTEXT.Process(target=_run_command, args=(words, env, str(cwd), theirs), daemon=True)
            process.start()
        threads.submit(_write, our_in, stdin)
        out, err = (threads.submit(_read, each) for each in (our_out, our_err))
        process.join(timeout_s)
        code = process.exitcode
        process.kill()  # does nothing if it has ended
        if code is None:
            raise subprocess.TimeoutExpired(words, timeout_s)
        return code, out.result(timeout_s), err.result(timeout_s)


def _write(pipe: Connection, data: bytes) -> None:
    left = memoryview(data)
    try:
        while left:
            left = left[os.write(pipe.fileno(), left) :]
    except BrokenPipeError:
        pass  # the command does not read all of it
    pipe.close()


def _read(pipe: Connection) -> bytes:
    return b"".join(iter(lambda: os.read(pipe.fileno(), 65_536), b""))


def _run_command(
    arguments: list[str], env: dict[str, str], folder: str, pipes: tuple[Connection, Connection, Connection]
) -> None:
    for number, pipe in enumerate(pipes):
        os.dup2(pipe.fileno(), number)
        pipe.close()
    encoding, errors = sys.stdout.encoding, sys.stdout.errors
    sys.stdin = os.fdopen(0, encoding=encoding, errors=errors, closefd=False)
    sys.stdout = os.fdopen(1, "w", encoding=encoding, errors=errors, closefd=False)
    sys.stderr = os.fdopen(2, "w", 1, encoding=encoding, errors="backslashreplace", closefd=False)
    os.environ.clear()
    os.environ.update(env)
    os.chdir(folder)
    sys.argv = ["smallest", *arguments]
    run_command()
