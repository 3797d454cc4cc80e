"""Run the command with replaced functions of the standard library.

python -m tests.support.launch HOW[:FD] speak ...

no-resolver     getaddrinfo announces itself on FD and never returns
slow-start      the first import announces itself on FD and waits
slow-disk=N     the first N calls of fsync announce themselves on FD and wait for a signal
no-rename       os.replace fails
no-thread=N     the N-th thread cannot be started (0: all can)
hasty           a wait for text takes a thousandth of its time
late-signal     a signal arrives after the last check for one; the sink is aborted before it is closed
signal-in-writing  a signal arrives while a sink writes, and is handled before the write ends
no-link=NAME    os.link fails with this error
no-name         as no-link, and os.replace fails too
clock           the wall clock jumps by a day at every reading
fail=N          the N-th fallible call fails (0: none); their names are written to FD at the end
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


class CallFailer:
    """Count the fallible calls in all threads, and let the `turn`-th fail."""

    def __init__(self, turn: int) -> None:
        self._turn = turn
        self._lock = threading.Lock()
        self.calls: list[str] = []

    def wrap(self, owner: Any, name: str, failure: Exception) -> None:
        """Count the calls of a function. A call that fails does nothing, as in the system."""
        real: Callable[..., Any] = getattr(owner, name)

        def fallible(*arguments: Any, **options: Any) -> Any:
            with self._lock:
                self.calls.append(name)
                fails = len(self.calls) == self._turn
            if fails:
                if name == "connect_ex" and isinstance(failure, OSError):
                    return failure.errno
                if name == "close":
                    real(*arguments)  # close(2) releases the descriptor even when it fails
                raise failure
            return real(*arguments, **options)

        setattr(owner, name, fallible)


class SlowImport(MetaPathFinder):
    """Announce the import of the command line, and wait."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def find_spec(self, fullname: str, *_: object) -> None:
        """Return nothing, so that the next finder is used."""
        if fullname == "smallest_cli.cli.app":
            announce(self._descriptor)
            threading.Event().wait()


class LateSignal:
    """Trace calls, and send the signal after the last check of the run for signals."""

    def __init__(self) -> None:
        self._aborted = threading.Event()

    def watch_thread(self, frame: FrameType, *_: object) -> Callable[..., None] | None:
        """Trace the end of the last run of an item, which checks for a signal after its audio."""
        is_last = frame.f_code.co_qualname == "Session.run"
        return self._on_run_return if is_last else None

    def watch_main(self, frame: FrameType, *_: object) -> Callable[..., None] | None:
        """Trace the abort of a sink."""
        return self._on_abort_return if frame.f_code.co_qualname.endswith("Sink.abort") else None

    def _on_run_return(self, _: FrameType, event: str, __: object) -> None:
        if event == "return":
            self._send_signal()

    def _send_signal(self) -> None:
        if not self._aborted.is_set():
            os.kill(os.getpid(), signal.SIGTERM)
            self._aborted.wait()

    def _on_abort_return(self, _: FrameType, event: str, __: object) -> None:
        if event == "return":
            self._aborted.set()


class SignalInWriting(LateSignal):
    """Send the signal while a sink writes, so that no other thread can abort it."""

    def watch_thread(self, frame: FrameType, *_: object) -> None:
        """Send the signal at the first audio written to a WAV."""
        if frame.f_code.co_qualname == "WavEncoder.write":
            self._send_signal()


def announce(descriptor: int) -> None:
    """Report to the test that the stage is reached."""
    os.write(descriptor, b"!")


def patch(how: str, descriptor: int) -> CallFailer | None:
    """Replace functions as `how` says."""
    match how.partition("="):
        case ("no-resolver", _, _):

            def hang(*_: Any, **__: Any) -> None:
                announce(descriptor)
                threading.Event().wait()

            socket.getaddrinfo = hang
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
            CallFailer(1).wrap(os, "replace", OSError(errno.ESTALE, os.strerror(errno.ESTALE)))
        case ("no-thread", _, turn):
            failer = CallFailer(int(turn))
            for owner, name, failure in THREADS:
                failer.wrap(owner, name, failure)
        case ("hasty", _, _):
            get = queue.Queue.get

            def short_get(waiting: Any, block: bool = True, timeout: float | None = None) -> Any:
                return get(waiting, block, timeout and timeout / 1000)

            queue.Queue.get = short_get
        case ("late-signal" | "signal-in-writing", _, _):
            signaller = LateSignal() if how == "late-signal" else SignalInWriting()
            threading.settrace(signaller.watch_thread)
            sys.settrace(signaller.watch_main)
        case ("no-link", _, name):
            number = getattr(errno, name)
            CallFailer(1).wrap(os, "link", OSError(number, os.strerror(number)))
        case ("no-name", _, _):
            patch("no-link=EPERM", descriptor)
            patch("no-rename", descriptor)
        case ("clock", _, _):
            now, turns = time.time, itertools.count()
            time.time = lambda: now() + DAY_S * (-1) ** next(turns)
        case ("fail", _, turn):
            failer = CallFailer(int(turn))
            for owner, name, failure in FAILURES:
                failer.wrap(owner, name, failure)
            return failer
    return None


def main() -> None:
    """Replace functions, then run the command."""
    how, _, descriptor = sys.argv[1].partition(":")
    sys.argv[:2] = ["smallest"]
    write = os.write
    failer = patch(how, int(descriptor or -1))
    try:
        run_smallest()
    finally:
        if failer and descriptor:
            write(int(descriptor), " ".join(failer.calls).encode())


if __name__ == "__main__":
    main()
