"""The command in a world that misbehaves: functions of the standard library are replaced, then it runs.

python -m tests.support.launch HOW[:FD] speak ...

no-resolver     getaddrinfo says so on the descriptor, and never answers
slow-start      the first import says so on the descriptor, and waits
slow-disk=N     the first N calls of fsync say so on the descriptor, and wait until interrupted
no-rename       the new file cannot take its name
no-thread=N     the N-th thread cannot be started (0: all can)
hasty           a wait for text lasts a thousandth of its time
late-signal     a signal comes when a batch has looked for one, and its sink is aborted before it is closed
signal-in-writing  a signal comes while a sink writes, and has been seen before it has written
no-link=NAME    a file system without hard links, which says so by the error of that name
no-name         as no-link, and the new file cannot take its name either
clock           every look at the wall clock is a day away from the one before
fail=N          the N-th call that can fail does (0: none); at the end the descriptor has their names
"""

from __future__ import annotations

import _thread
import errno
import io
import itertools
import os
import queue
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable
from importlib.abc import MetaPathFinder
from types import FrameType
from typing import Any

from smallest_cli.__main__ import main as run_smallest

DAY_S = 86_400.0
NO_THREAD = RuntimeError("can't start new thread")
THREADS: list[tuple[Any, str, Exception]] = [
    (_thread, "start_new_thread", NO_THREAD),
    (threading, "_start_new_thread" if sys.version_info < (3, 13) else "_start_joinable_thread", NO_THREAD),
]
FAILURES: list[tuple[Any, str, Exception]] = [
    (socket, "getaddrinfo", socket.gaierror(socket.EAI_AGAIN, "try again")),
    (socket.socket, "connect_ex", OSError(errno.ENETUNREACH, "unreachable")),
    (socket.socket, "recv", ConnectionResetError(errno.ECONNRESET, "reset")),
    (socket.socket, "recv_into", ConnectionResetError(errno.ECONNRESET, "reset")),
    (socket.socket, "send", BrokenPipeError(errno.EPIPE, "gone")),
    (socket.socket, "sendall", BrokenPipeError(errno.EPIPE, "gone")),
    (os, "open", OSError(errno.EMFILE, os.strerror(errno.EMFILE))),
    (os, "write", OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))),
    (os, "pwrite", OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))),
    (os, "fsync", OSError(errno.EIO, os.strerror(errno.EIO))),
    (os, "replace", OSError(errno.EIO, os.strerror(errno.EIO))),
    (os, "close", OSError(errno.EIO, os.strerror(errno.EIO))),
    (io, "open", OSError(errno.EMFILE, os.strerror(errno.EMFILE))),
    *THREADS,
]


class Torture:
    """Counts the calls that can fail, in this process and all its threads, and fails one."""

    def __init__(self, turn: int) -> None:
        self._turn = turn
        self._lock = threading.Lock()
        self.calls: list[str] = []

    def wrap(self, place: Any, name: str, failure: Exception) -> None:
        """Have a function counted. It fails without having done anything, as the system's do."""
        real: Callable[..., Any] = getattr(place, name)

        def fallible(*arguments: Any, **options: Any) -> Any:
            with self._lock:
                self.calls.append(name)
                fails = len(self.calls) == self._turn
            if fails:
                if name == "connect_ex" and isinstance(failure, OSError):
                    return failure.errno
                if name == "close":
                    real(*arguments)  # the descriptor is gone all the same
                raise failure
            return real(*arguments, **options)

        setattr(place, name, fallible)


class SlowImport(MetaPathFinder):
    """Says so when the command line is imported, and waits."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def find_spec(self, fullname: str, *_: object) -> None:
        """Finds nothing."""
        if fullname == "smallest_cli.cli.app":
            announce(self._descriptor)
            threading.Event().wait()


class LateSignal:
    """Watches calls as a debugger does, and has the signal come when nobody looks for it any more."""

    def __init__(self) -> None:
        self._aborted = threading.Event()

    def watch_thread(self, frame: FrameType, *_: object) -> Callable[..., None] | None:
        """The look for a signal that comes behind the last sound of an item."""
        is_last = frame.f_code.co_qualname == "Session.run"
        return self._after_looking if is_last else None

    def watch_main(self, frame: FrameType, *_: object) -> Callable[..., None] | None:
        """Sinks that are aborted."""
        return self._after_aborting if frame.f_code.co_qualname.endswith("Sink.abort") else None

    def _after_looking(self, _: FrameType, event: str, __: object) -> None:
        if event == "return":
            self._come()

    def _come(self) -> None:
        if not self._aborted.is_set():
            os.kill(os.getpid(), signal.SIGTERM)
            self._aborted.wait()

    def _after_aborting(self, _: FrameType, event: str, __: object) -> None:
        if event == "return":
            self._aborted.set()


class SignalInWriting(LateSignal):
    """Has it come while a sink is at work, which then cannot be aborted by another thread."""

    def watch_thread(self, frame: FrameType, *_: object) -> None:
        """The first sound that goes into a WAV."""
        if frame.f_code.co_qualname == "WavEncoder.write":
            self._come()


def announce(descriptor: int) -> None:
    """Tell whoever waits for it that we are there."""
    os.write(descriptor, b"!")


def misbehave(how: str, descriptor: int) -> Torture | None:
    """Replace what is to be replaced."""
    match how.partition("="):
        case ("no-resolver", _, _):

            def dead(*_: Any, **__: Any) -> None:
                announce(descriptor)
                threading.Event().wait()

            socket.getaddrinfo = dead
        case ("slow-start", _, _):
            sys.meta_path.insert(0, SlowImport(descriptor))
        case ("slow-disk", _, count):
            sync, left = os.fsync, itertools.count(int(count), -1)

            def slow(file: int) -> None:
                if next(left) > 0:
                    announce(descriptor)
                    threading.Event().wait()
                sync(file)

            os.fsync = slow
        case ("no-rename", _, _):
            Torture(1).wrap(os, "replace", OSError(errno.ESTALE, os.strerror(errno.ESTALE)))
        case ("no-thread", _, turn):
            torture = Torture(int(turn))
            for place, name, failure in THREADS:
                torture.wrap(place, name, failure)
        case ("hasty", _, _):
            get = queue.Queue.get

            def hurried(waiting: Any, block: bool = True, timeout: float | None = None) -> Any:
                return get(waiting, block, timeout and timeout / 1000)

            queue.Queue.get = hurried
        case ("late-signal" | "signal-in-writing", _, _):
            late = LateSignal() if how == "late-signal" else SignalInWriting()
            threading.settrace(late.watch_thread)
            sys.settrace(late.watch_main)
        case ("no-link", _, name):
            number = getattr(errno, name)
            Torture(1).wrap(os, "link", OSError(number, os.strerror(number)))
        case ("no-name", _, _):
            misbehave("no-link=EPERM", descriptor)
            misbehave("no-rename", descriptor)
        case ("clock", _, _):
            now, turns = time.time, itertools.count()
            time.time = lambda: now() + DAY_S * (-1) ** next(turns)
        case ("fail", _, turn):
            torture = Torture(int(turn))
            for place, name, failure in FAILURES:
                torture.wrap(place, name, failure)
            return torture
    return None


def main() -> None:
    """Set the stage, then be the command."""
    how, _, descriptor = sys.argv[1].partition(":")
    sys.argv[:2] = ["smallest"]
    write = os.write
    torture = misbehave(how, int(descriptor or -1))
    try:
        run_smallest()
    finally:
        if torture and descriptor:
            write(int(descriptor), " ".join(torture.calls).encode())


if __name__ == "__main__":
    main()
