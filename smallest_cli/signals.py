"""Signals as exceptions: the first unwinds the run, the next one ends the process.

Python looks for signals between two of its own steps. One that comes after the last look before a wait, or
to another thread, would be seen only when that wait ends: so a thread ends the waits until it is seen.
"""

from __future__ import annotations

import _thread
import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import TYPE_CHECKING, NoReturn

from smallest_cli.errors import Interrupted

if TYPE_CHECKING:
    from sys import UnraisableHookArgs

SIGNALS = (signal.SIGINT, signal.SIGTERM, getattr(signal, "SIGHUP", signal.SIGTERM))
SIGPIPE = getattr(signal, "SIGPIPE", signal.SIGTERM)
LATER_S = 0.001
HAS_TIMER = hasattr(signal, "setitimer")
WAKE = getattr(signal, "SIGURG", None)
"""Interrupts a wait of the main thread. No other program sends it, and its handler does nothing."""
WAKE_EVERY_S = 0.01
UNWATCHED_WITHIN_S = 0.1

_holds: list[None] = []
_seen = threading.Event()
"""Whether the signal that came has been raised."""
_wakers: list[int] = []
"""Where Python writes a byte for each signal, while we watch."""
_unwatched = threading.Event()


def catch_signals() -> None:
    """From here on the first signal raises Interrupted in the main thread, wherever that is."""
    for number in SIGNALS:
        if signal.getsignal(number) is not signal.SIG_IGN:  # `cmd &` in a script has INT ignored: so it stays
            signal.signal(number, _interrupt)
    sys.unraisablehook = _raise_again
    if WAKE is not None:
        with suppress(OSError, RuntimeError):  # of a machine without descriptors or threads
            _watch(WAKE)


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


def reraise_signal(number: int) -> NoReturn:
    """End by the signal itself, so that the shell sees it and its loops stop."""
    devnull = os.open(os.devnull, os.O_WRONLY)
    os.dup2(devnull, 1)  # Python flushes stdout at exit, and its reader may be gone
    signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)
    sys.exit(128 + number)


def _watch(wake: int) -> None:
    read, write = os.pipe()
    os.set_blocking(write, False)
    signal.signal(wake, lambda *_: None)
    signal.set_wakeup_fd(write, warn_on_full_buffer=False)
    _wakers.append(write)
    _unwatched.clear()
    # Not as a Thread, whose start waits until it runs: half a millisecond.
    _thread.start_new_thread(_end_waits, (read, wake))


def _end_waits(came: int, wake: int) -> None:
    """Each signal that Python has taken from the system is a byte."""
    main = threading.main_thread().ident or 0
    while number := os.read(came, 1):
        while number[0] != wake and not _seen.wait(WAKE_EVERY_S):
            signal.pthread_kill(main, wake)
    _close(came)
    _unwatched.set()


def unwatch() -> None:
    """Let go of what `catch_signals` took, for a process that goes on after its run."""
    while _wakers:
        signal.set_wakeup_fd(-1)
        _close(_wakers.pop())
        _unwatched.wait(UNWATCHED_WITHIN_S)


def _close(end: int) -> None:
    with suppress(OSError):  # no run depends on it, and the descriptor is gone all the same
        os.close(end)


def _interrupt(number: int, frame: FrameType | None) -> None:
    restore_signals()
    _unwind(number, frame)


def _unwind(number: int, frame: FrameType | None) -> None:
    """Raise, but not within Python's own importing, whose lock would stay held for every other thread."""
    importing = frame is not None and frame.f_code.co_filename.startswith("<frozen importlib")
    if HAS_TIMER and (importing or _holds):
        _unwind_later(number)
    else:
        _seen.set()
        raise Interrupted(number)


def _unwind_later(number: int) -> None:
    _seen.clear()
    signal.signal(signal.SIGALRM, lambda _, frame: _unwind(number, frame))
    signal.setitimer(signal.ITIMER_REAL, LATER_S)


def _raise_again(unraisable: UnraisableHookArgs) -> None:
    """What is raised in a finalizer is lost, but a signal must not be."""
    if isinstance(unraisable.exc_value, Interrupted) and HAS_TIMER:
        _unwind_later(unraisable.exc_value.signal_number)
    else:
        sys.__unraisablehook__(unraisable)
