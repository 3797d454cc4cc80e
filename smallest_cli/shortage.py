"""A machine that has no more to give, told as our error: no bug of ours, and no doing of the service's."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager

from smallest_cli.errors import SettingsError
from smallest_cli.security import reason

EXHAUSTED = (errno.EMFILE, errno.ENFILE, errno.ENOMEM)
NO_THREAD = "can't start new thread"
"""What Python says where the system gives no more of them: it has no error of its own for that."""


def find_shortage(error: Exception) -> SettingsError | None:
    """The error to tell instead; None if that is not what it is about."""
    if lacking := _lacking(error):
        return SettingsError(f"this machine has no more to give: {lacking}", hint="see ulimit -a")
    return None


@contextmanager
def shortage_told() -> Iterator[None]:
    """What the machine has no more of, as SettingsError; every other error passes as it is."""
    try:
        yield
    except Exception as error:
        if shortage := find_shortage(error):
            raise shortage from error
        raise


def _lacking(error: Exception) -> str:
    """What the machine has no more of; "" if that is not what the error is about."""
    match error:
        case OSError(errno=number) if number in EXHAUSTED:
            return reason(error)
        case MemoryError():
            return reason(OSError(errno.ENOMEM, os.strerror(errno.ENOMEM)))
        case RuntimeError() if str(error) == NO_THREAD:
            return NO_THREAD
    return ""
