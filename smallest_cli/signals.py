"""A signal as an exception: the first unwinds the run, the next one ends it at once."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import TYPE_CHECKING, NoReturn

from smallest_cli.errors import Interrupted

if TYPE_CHECKING:
    from sys import UnraisableHookArgs

SIGNALS = (signal.SIGINT, signal.SIGTERM, getattr(signal, "SIGHUP", signal.SIGTERM))
SIGPIPE = getattr(signal, "SIGPIPE", signal.SIGTERM)
LATER_S = 0.001
HAS_TIMER = hasattr(signal, "setitimer")

_holds: list[None] = []


def catch_signals() -> None:
    """From here on the first signal raises Interrupted in the main thread, wherever that is."""
    for number in SIGNALS:
        if signal.getsignal(number) is not signal.SIG_IGN:  # `cmd &` in a script has INT ignored: so it stays
            signal.signal(number, _interrupt)
    sys.unraisablehook = _raise_again


def restore_signals() -> None:
    """From here on a signal ends us at once; what was ignored stays so."""
    for number in SIGNALS:
        if signal.getsignal(number) is _interrupt:
            signal.signal(number, signal.SIG_DFL)
    if HAS_TIMER:
        signal.setitimer(signal.ITIMER_REAL, 0)


@contextmanager
def uninterrupted() -> Iterator[None]:
    """The first signal raises behind this: for what must be done and noted, or not at all."""
    _holds.append(None)
    try:
        yield
    finally:
        _holds.pop()


def die(number: int) -> NoReturn:
    """End by the signal itself, so that the shell sees it and its loops stop."""
    devnull = os.open(os.devnull, os.O_WRONLY)
    os.dup2(devnull, 1)  # Python flushes stdout at its end, and nobody reads it any more
    signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)
    sys.exit(128 + number)


def _interrupt(number: int, frame: FrameType | None) -> None:
    restore_signals()
    _unwind(number, frame)


def _unwind(number: int, frame: FrameType | None) -> None:
    """Raise, but not within Python's own importing, whose lock would stay taken for every other thread."""
    importing = frame is not None and frame.f_code.co_filename.startswith("<frozen importlib")
    if HAS_TIMER and (importing or _holds):
        _unwind_later(number)
    else:
        raise Interrupted(number)


def _unwind_later(number: int) -> None:
    signal.signal(signal.SIGALRM, lambda _, frame: _unwind(number, frame))
    signal.setitimer(signal.ITIMER_REAL, LATER_S)


def _raise_again(unraisable: UnraisableHookArgs) -> None:
    """What is raised in a finalizer is lost, but a signal must not be."""
    if isinstance(unraisable.exc_value, Interrupted) and HAS_TIMER:
        _unwind_later(unraisable.exc_value.signal_number)
    else:
        sys.__unraisablehook__(unraisable)
