"""Signals as exceptions: the first unwinds the run, the next one ends the process.

Python runs signal handlers between bytecodes of the main thread. A signal that arrives just before a wait,
or in another thread, would be handled only after the wait, so a watcher thread interrupts the wait. It also
keeps `running_s`, the clock of deadlines, which stands still while the process is stopped.
"""

from __future__ import annotations

import _thread
import math
import os
import select
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import TYPE_CHECKING, NoReturn, TypeVar

from smallest_cli.errors import Interrupted

if TYPE_CHECKING:
    from sys import UnraisableHookArgs

T = TypeVar("T")
SIGNALS = (signal.SIGINT, signal.SIGTERM, getattr(signal, "SIGHUP", signal.SIGTERM))
SIGPIPE = getattr(signal, "SIGPIPE", signal.SIGTERM)
LATER_S = 0.001
HAS_TIMER = hasattr(signal, "setitimer")
WAKE = getattr(signal, "SIGURG", None)
"""Interrupts a wait of the main thread. No other program sends it, and its handler does nothing."""
WAKE_EVERY_S = 0.01
UNWATCHED_WITHIN_S = 0.1
SIMULTANEOUS = "ignored due to race condition"
"""Python's message for a signal whose handler was removed by that of another one, which came with it."""
TICK_S = 0.2
MAX_TICK_S = 0.5
"""A longer time between two ticks of the watcher thread was a stop, or a wait for a processor."""
STOP = getattr(signal, "SIGTSTP", None)

stopped_with_us: set[int] = set()
"""Process groups that Ctrl-Z stops, and `fg` continues, together with this process."""
_tick = (math.inf, 0.0)
"""When the watcher thread ticked last (inf: it does not run), and the seconds stopped before."""

_holds: list[None] = []
_deferred: list[int] = []
"""The received signal while it is not yet raised as Interrupted."""
_seen = threading.Event()
"""Set once the received signal was raised as Interrupted."""
_wakers: list[int] = []
"""The write end of the wakeup pipe (signal.set_wakeup_fd) while the watcher thread runs."""
_unwatched = threading.Event()


def catch_signals() -> None:
    """Install handlers: the first signal raises Interrupted in the main thread, at any point."""
    sys.unraisablehook = _raise_again
    for number in SIGNALS:
        if signal.getsignal(number) is not signal.SIG_IGN:  # keep INT ignored for `cmd &` in a script
            signal.signal(number, _interrupt)
    if STOP is not None and signal.getsignal(STOP) is signal.SIG_DFL:
        signal.signal(STOP, _stop)
    if WAKE is not None:
        with suppress(OSError, RuntimeError):  # out of descriptors or threads
            _watch(WAKE)


def running_s() -> float:
    """Return time.monotonic() without the time in which the process was stopped.

    A stop (Ctrl-Z, a frozen container) counts as MAX_TICK_S at most, if `catch_signals` was called.
    """
    ticked_at, stopped_s = _tick
    now = time.monotonic()
    return now - stopped_s - max(0.0, now - ticked_at - MAX_TICK_S)


def wait_running(wait: Callable[[float], T], seconds: float) -> T:
    """Call `wait` with a timeout until its result is true, or `seconds` have passed by `running_s`."""
    until = running_s() + seconds
    while not (result := wait(max(0.0, until - running_s()))) and running_s() < until:
        pass
    return result


def restore_signals() -> None:
    """Restore default handlers, which end the process. Raises Interrupted for a signal that was deferred."""
    _restore_signals()
    if _deferred:
        raise Interrupted(_deferred.pop())


def _restore_signals() -> None:
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
    global _tick
    main = threading.main_thread().ident or 0
    try:
        while True:
            _count_stop()
            if not select.select([came], [], [], TICK_S)[0]:
                continue
            if not (received := os.read(came, 1)):
                return
            while received[0] not in (wake, STOP) and not _seen.wait(WAKE_EVERY_S):
                _count_stop()
                signal.pthread_kill(main, wake)
    finally:
        _tick = (math.inf, _tick[1])
        _close(came)
        _unwatched.set()


def _count_stop() -> None:
    """Tick: count the time since the last tick as stopped, except for the part that may be a usual delay."""
    global _tick
    ticked_at, stopped_s = _tick
    now = time.monotonic()
    _tick = (now, stopped_s + max(0.0, now - ticked_at - MAX_TICK_S))


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
    _restore_signals()
    _unwind(number, frame)


def _stop(number: int, _: FrameType | None) -> None:
    """Stop the players and this process; continue the players when it is continued."""
    import termios

    terminal = None
    with suppress(termios.error):
        terminal = termios.tcgetattr(0)
    _signal_groups(signal.SIGSTOP)
    try:
        signal.signal(number, signal.SIG_DFL)
        signal.raise_signal(number)  # returns when the process is continued
        signal.signal(number, _stop)
        if terminal and not terminal[3] & termios.ECHO and os.tcgetpgrp(0) == os.getpgrp():
            termios.tcsetattr(0, termios.TCSANOW, terminal)  # a shell turned on echo: a key is typed
    finally:
        _signal_groups(signal.SIGCONT)


def _signal_groups(number: int) -> None:
    for group in tuple(stopped_with_us):
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(group, number)


def _unwind(number: int, frame: FrameType | None) -> None:
    """Raise Interrupted; later if within an import, whose lock would stay held for other threads."""
    importing = frame is not None and frame.f_code.co_filename.startswith("<frozen importlib")
    if HAS_TIMER and (importing or _holds):
        _unwind_later(number)
    else:
        _seen.set()
        _deferred.clear()
        raise Interrupted(number)


def _unwind_later(number: int) -> None:
    _seen.clear()
    _deferred[:] = [number]
    signal.signal(signal.SIGALRM, lambda _, frame: _unwind(number, frame))
    signal.setitimer(signal.ITIMER_REAL, LATER_S)


def _raise_again(unraisable: UnraisableHookArgs) -> None:
    """Raise Interrupted again later if it was raised in a finalizer, where exceptions are lost."""
    if isinstance(unraisable.exc_value, Interrupted) and HAS_TIMER:
        _unwind_later(unraisable.exc_value.signal_number)
    elif SIMULTANEOUS not in str(unraisable.exc_value):
        sys.__unraisablehook__(unraisable)
