"""Where we write: what the system says of a place, as our errors; and stdout, which says it so by itself."""

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
def translated(name: str) -> Iterator[None]:
    """The system's errors about the place called `name`, as ours."""
    try:
        yield
    except BrokenPipeError:
        raise BrokenPipe("the reader left") from None
    except OSError as error:
        raise OutputError(f"cannot write {printable(name)}: {os_error_text(error)}") from None


def guard_stdout() -> None:
    """From here on whatever is printed raises BrokenPipe or OutputError where it cannot be written.

    As OSErrors, Typer would make exit code 1 of the first, and of the others nobody would make anything.
    """
    if sys.stdout is None:
        sys.stdout = io.TextIOWrapper(io.BufferedWriter(_Closed()), encoding="utf-8")
        return
    sys.stdout = io.TextIOWrapper(
        io.BufferedWriter(_Stdout(sys.stdout.fileno(), "w", closefd=False)),
        encoding=sys.stdout.encoding,
        errors=sys.stdout.errors,
        line_buffering=sys.stdout.isatty(),
    )


def stdout_kind() -> StdoutKind:
    """What stdout is: terminal (or another character device), file (a regular one), pipe, or closed."""
    try:
        mode = os.fstat(sys.stdout.fileno()).st_mode
    except (OSError, AttributeError):
        return "closed"
    if stat.S_ISCHR(mode):
        return "terminal"
    return "file" if stat.S_ISREG(mode) else "pipe"


class _Stdout(io.FileIO):
    def write(self, data: Any) -> int:
        """All of `data`. What fails is told once: what is still in buffers then goes nowhere."""
        left = memoryview(data).cast("B")
        try:
            with translated("stdout"):
                while left:
                    if (count := super().write(left)) is None:  # it would not block
                        select.select([], [self], [])
                    left = left[count or 0 :]
        except SmallestError:
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self.fileno())
            os.close(nowhere)
            raise
        return len(memoryview(data).cast("B"))


class _Closed(io.RawIOBase):
    def __init__(self) -> None:
        self._told = False

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        if not self._told:
            self._told = True
            raise OutputError("cannot write stdout: it is closed")
        return len(data)


EXHAUSTED = (errno.EMFILE, errno.ENFILE, errno.ENOMEM)
NO_THREAD = "can't start new thread"
"""What Python says where the system gives no more of them: it has no error of its own for that."""


def exhaustion_error(error: Exception) -> SettingsError | None:
    """The error to tell instead; None if that is not what it is about."""
    if lacking := _lacking(error):
        return SettingsError(f"this machine has no more to give: {lacking}", hint="see ulimit -a")
    return None


@contextmanager
def translate_exhaustion() -> Iterator[None]:
    """What the machine has no more of, as SettingsError; every other error passes as it is."""
    try:
        yield
    except Exception as error:
        if shortage := exhaustion_error(error):
            raise shortage from error
        raise


def _lacking(error: Exception) -> str:
    """What the machine has no more of; "" if that is not what the error is about."""
    match error:
        case OSError(errno=number) if number in EXHAUSTED:
            return os_error_text(error)
        case MemoryError():
            return os_error_text(OSError(errno.ENOMEM, os.strerror(errno.ENOMEM)))
        case RuntimeError() if str(error) == NO_THREAD:
            return NO_THREAD
    return ""
