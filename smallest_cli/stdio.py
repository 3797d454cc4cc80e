"""Standard output, and OS errors translated to SmallestError."""

from __future__ import annotations

import errno
import io
import os
import select
import stat
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal

from smallest_cli.errors import BrokenPipe, OutputError, SettingsError, SmallestError
from smallest_cli.security import os_error_text, printable

StdoutKind = Literal["terminal", "file", "pipe", "closed"]


@contextmanager
def output_errors(name: str) -> Iterator[None]:
    """Translate OSErrors about the output called `name`: BrokenPipe or OutputError."""
    try:
        yield
    except BrokenPipeError:
        raise BrokenPipe("the reader closed the pipe") from None
    except OSError as error:
        raise OutputError(f"cannot write {printable(name)}: {os_error_text(error)}") from None


def guard_stdout() -> None:
    """Replace sys.stdout by one that raises BrokenPipe or OutputError, and escapes what it cannot encode.

    Typer would turn a BrokenPipeError into exit code 1, and would not catch other OSErrors.
    """
    if sys.stdout is None:
        sys.stdout = io.TextIOWrapper(io.BufferedWriter(_Closed()), encoding="utf-8")
        return
    sys.stdout = io.TextIOWrapper(
        io.BufferedWriter(_Stdout(sys.stdout.fileno(), "w", closefd=False)),
        encoding=sys.stdout.encoding,
        errors="backslashreplace",
        line_buffering=sys.stdout.isatty(),
    )


def stdout_kind() -> StdoutKind:
    """Return what stdout is; `file` is a regular file, `terminal` any character device."""
    try:
        mode = os.fstat(sys.stdout.fileno()).st_mode
    except (OSError, AttributeError):
        return "closed"
    if stat.S_ISCHR(mode):
        return "terminal"
    return "file" if stat.S_ISREG(mode) else "pipe"


class _Stdout(io.FileIO):
    def write(self, data: Any) -> int:
        """Write all of `data`. An error is raised once; what is still in buffers is then discarded."""
        left = memoryview(data).cast("B")
        size = len(left)
        try:
            with output_errors("stdout"):
                while left:
                    if (count := super().write(left)) is None:  # a non-blocking pipe is full
                        select.select([], [self], [])
                    left = left[count or 0 :]
        except SmallestError:
            devnull = os.open(os.devnull, os.O_WRONLY)
            os.dup2(devnull, self.fileno())
            os.close(devnull)
            raise
        return size


class _Closed(io.RawIOBase):
    """A stdout that is closed: the first write raises, later ones are discarded."""

    _raised = False

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        if not self._raised:
            self._raised = True
            raise OutputError("cannot write stdout: it is closed")
        return len(data)


EXHAUSTED = (errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EAGAIN)  # the last: no more processes
NO_THREAD = "can't start new thread"
"""Python's message when the system refuses a thread; it has no exception of its own for that."""


def exhaustion_error(error: Exception) -> SettingsError | None:
    """Return the error to report instead if the system is out of descriptors, memory or threads."""
    match error:
        case OSError(errno=number) if number in EXHAUSTED:
            reason = os_error_text(error)
        case MemoryError():
            reason = os.strerror(errno.ENOMEM)
        case RuntimeError() if str(error) == NO_THREAD:
            reason = NO_THREAD
        case _:
            return None
    return SettingsError(f"out of resources: {reason}", hint="see ulimit -a")


@contextmanager
def translate_exhaustion() -> Iterator[None]:
    """Raise SettingsError if the system is out of resources; other errors pass unchanged."""
    try:
        yield
    except Exception as error:
        if translated := exhaustion_error(error):
            raise translated from error
        raise
