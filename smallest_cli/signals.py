"""Signals as exceptions: the first unwinds the run, the next one ends the process.

Python runs signal handlers between bytecodes of the main thread. A signal that arrives just before a wait,
or in another thread, would be handled only after the wait, so a watcher thread interrupts the wait.
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
"""Set once the received signal was raised as Interrupted."""
_wakers: list[int] = []
"""The write end of the wakeup pipe (signal.set_wakeup_fd) while the watcher thread runs."""
_unwatched = threading.Event()


def catch_signals() -> None:
    """Install handlers: the first signal raises Interrupted in the main thread, at any point."""
    for number in SIGNALS:
        if signal.getsignal(number) is not signal.SIG_IGN:  # keep INT ignored for `cmd &` in a script
            signal.signal(number, _interrupt)
    sys.unraisablehook = _raise_again
    if WAKE is not None:
        with suppress(OSError, RuntimeError):  # out of descriptors or threads
            _watch(WAKE)


def restore_signals() -> None:
    """Restore default handlers, which end the process. Ignored signals stay ignored."""
    for number in SIGNALS:
        if signal.getsignal(number) is _interrupt:
            signal.signal(number, signal.SIG_DFL)
    if HAS_TIMER:
        signal.setitimer(signal.ITIMER_REAL, 0)


@contextmanager
def uninterrupted() -> Iterator[None]:
    """Delay Interrupted until after the context, for steps that must not be separated."""
    _holds.append(None)
    try:
        yield
    finally:
        _holds.pop()


def reraise_signal(number: int) -> NoReturn:
    """End the process by the signal itself, so that a shell sees it and stops its loops."""
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
    # Not threading.Thread, whose start() waits 0.5 ms for the thread to run.
    _thread.start_new_thread(_end_waits, (read, wake))


def _end_waits(came: int, wake: int) -> None:
    """Interrupt the main thread until Interrupted is raised. `came` has a byte for each signal received."""
    main = threading.main_thread().ident or 0
    while number := os.read(came, 1):
        while number[0] != wake and not _seen.wait(WAKE_EVERY_S):
            signal.pthread_kill(main, wake)
    _close(came)
    _unwatched.set()


def unwatch() -> None:
    """Stop the watcher thread of `catch_signals`, for a process that continues after its run."""
    while _wakers:
        signal.set_wakeup_fd(-1)
        _close(_wakers.pop())
        _unwatched.wait(UNWATCHED_WITHIN_S)


def _close(end: int) -> None:
    with suppress(OSError):  # close(2) releases the descriptor even when it fails
        os.close(end)


def _interrupt(number: int, frame: FrameType | None) -> None:
    restore_signals()
    _unwind(number, frame)


def _unwind(number: int, frame: FrameType | None) -> None:
    """Raise Interrupted; later if within an import, whose lock would stay held for other threads."""
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
    """Raise Interrupted again later if it was raised in a finalizer, where exceptions are lost."""
    if isinstance(unraisable.exc_value, Interrupted) and HAS_TIMER:
        _unwind_later(unraisable.exc_value.signal_number)
    else:
        sys.__unraisablehook__(unraisable)
