"""The lock of the output device: the processes of a user do not play at the same time (`--overlap`).

Files in a private directory are locked by flock, so that a lock ends with its process, however that ends:
`playing` while an utterance is played; `waiting` (shared) by processes that wait for it; `interrupt` by one
that does not wait: the holder of `playing` checks it every POLL_S, and ends its playback. No signal is sent,
since a process id may be that of another process by then. Ids are in the files for messages only.

Children inherit no descriptor. A player whose process was killed plays the rest of its pipe and buffer, less
than a second, without the lock.
"""

from __future__ import annotations

import errno
import math
import os
import stat
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from smallest_cli.audio.sink import PlaybackSink, Sink
from smallest_cli.errors import DeviceError, SmallestError
from smallest_cli.files import SAFE_OPEN, lock
from smallest_cli.models import AudioFormat
from smallest_cli.security import os_error_text, printable
from smallest_cli.signals import running_s
from smallest_cli.voices import cache_folder

PLAYING, WAITING, INTERRUPT = "playing", "waiting", "interrupt"
POLL_S = 0.05
TAIL_S = 0.3
"""The lock is kept for this long after the audio: a player has read more than it has played."""
INTERRUPTED_WITHIN_S = 5.0
"""Limit for a holder to end its playback; it takes less than a second, unless it is suspended."""


class PlaybackLock:
    """The lock as one run sees it. Where no file can be locked, there is none, and `warn` gets a line."""

    def __init__(
        self, format: AudioFormat, warn: Callable[[str], None], check_time: Callable[[], None], overlap: str
    ) -> None:
        """`check_time` raises when a wait must end. `overlap`: wait, or interrupt another process."""
        self._format, self._warn, self._check_time = format, warn, check_time
        self._interrupts = overlap == "interrupt"
        self._sink: Sink | None = None
        self._error: DeviceError | None = None
        self._mutex = threading.Lock()
        self._held: int | None = None  # descriptor of `playing` while it is locked
        self._place: int | None = None  # of `waiting` or `interrupt`
        self._released = threading.Event()
        self._ended = self._announced = False
        self._last_frame: int | None = None
        self._ends_at = 0.0  # when the audio ends if it is played as it is written

    def take(self, timeout_s: float = math.inf) -> bool:
        """Wait until no other process plays; return False after `timeout_s`.

        Does nothing if the lock is held, or after the playback has ended. Raises DeviceError for a holder
        that does not end its playback.
        """
        with self._mutex:
            self._last_frame = None
            if self._held is not None or self._ended:
                return True
        began, pause = running_s(), threading.Event()
        try:
            while True:
                with self._mutex:
                    if self._ended or self._try():
                        break
                self._check_time()
                waited_s = running_s() - began
                if self._interrupts and waited_s > INTERRUPTED_WITHIN_S:
                    hint = "is it suspended? --overlap mix plays at the same time"
                    raise DeviceError(f"{self._holder(PLAYING)} does not end its playback", hint=hint)
                if not self._interrupts and not self._announced:
                    self._announced = True
                    self._warn(f"waiting until {self._holder(PLAYING)} has finished playing")
                if waited_s >= timeout_s:
                    return False
                pause.wait(POLL_S)
        except OSError as error:
            self.end()
            where, why = printable(error.filename), os_error_text(error)
            self._warn(f"cannot lock {where}: {why}; other processes may play at the same time")
            return True
        threading.Thread(target=self._watch, args=(self._released,), daemon=True).start()
        return True

    def finish(self, frames: int | None) -> None:
        """Release the lock when so many frames of the run were played, unless taken again; None: never."""
        with self._mutex:
            self._last_frame = frames

    def give_way(self, frames: int) -> None:
        """If another process waits, play this many frames of the run, and let it play."""
        if self.is_wanted():
            self.finish(frames)
            while not self._released.wait(POLL_S):
                pass
            threading.Event().wait(4 * POLL_S)  # it polls

    def is_wanted(self) -> bool:
        """Whether the lock is held, and another process waits for it."""
        return self._held is not None and self._is_locked(WAITING, shared=False)

    def end(self) -> None:
        """Release the lock; it is not taken again."""
        with self._mutex:
            self._ended = True
            self._release()

    def guard(self, sink: Sink) -> Sink:
        """Return a sink that plays through `sink`, and fails when the playback is interrupted."""
        self._sink = sink
        return _GuardedSink(sink, self)

    def check(self, pcm: bytes = b"") -> None:
        """Count audio that is written now. Raises DeviceError if the playback was interrupted."""
        if self._error:
            raise self._error
        self._ends_at = max(self._ends_at, running_s()) + self._format.duration(len(pcm))

    def _try(self) -> bool:
        """Take the lock if it is free, else show that it is wanted. Raises OSError."""
        may_take = self._interrupts or not self._is_locked(INTERRUPT)
        if may_take and (held := self._lock(PLAYING)) is not None:
            self._release()
            self._held, self._released = held, threading.Event()
            return True
        if self._place is None:
            self._place = self._lock(INTERRUPT) if self._interrupts else self._lock(WAITING, shared=True)
        return False

    def _watch(self, released: threading.Event) -> None:
        """Release the lock once the audio was played, or the playback is interrupted and has ended."""
        while not released.wait(POLL_S):
            is_asked = self._is_locked(INTERRUPT)
            with self._mutex:
                if self._has_played(0 if is_asked else TAIL_S):
                    self._release()
                if self._held is None or not is_asked:
                    continue
                self._error = DeviceError(f"{self._holder(INTERRUPT)} interrupted the playback")
            if self._sink:
                self._sink.abort()
            self.end()

    def _has_played(self, tail_s: float) -> bool:
        """Whether `finish` was called and the audio has ended, also by the clock: a player estimates it."""
        if self._last_frame is None or running_s() < self._ends_at + tail_s:
            return False
        try:
            return self._sink is None or self._sink.frames_played() >= self._last_frame
        except SmallestError:  # the next write raises it
            return True

    def _release(self) -> None:
        held, place = self._held, self._place
        self._held = self._place = self._last_frame = None
        self._released.set()
        _close(held)
        _close(place)

    def _lock(self, name: str, *, shared: bool = False) -> int | None:
        """Return the descriptor of a locked file, None if another process has locked it. Raises OSError."""
        descriptor = os.open(_open_folder() / name, os.O_RDWR | os.O_CREAT | SAFE_OPEN, 0o600)
        if not lock(descriptor, shared=shared):
            _close(descriptor)
            return None
        if not shared:
            with suppress(OSError):  # a full disk
                os.pwrite(descriptor, b"%-20d" % os.getpid(), 0)
        return descriptor

    def _is_locked(self, name: str, *, shared: bool = True) -> bool:
        """Whether another process has locked a file; locks it for a moment (shared: several may check)."""
        with suppress(OSError):  # out of descriptors
            if (descriptor := self._lock(name, shared=shared)) is None:
                return True
            _close(descriptor)
        return False

    def _holder(self, name: str) -> str:
        with suppress(OSError, ValueError):
            return f"process {int((_open_folder() / name).read_bytes())}"
        return "another process"


class _GuardedSink(PlaybackSink):
    def __init__(self, sink: Sink, lock: PlaybackLock) -> None:
        self._sink, self._lock = sink, lock

    def write(self, pcm: bytes) -> None:
        self._lock.check(pcm)
        self._sink.write(pcm)

    def frames_played(self) -> int:
        self._lock.check()
        return self._sink.frames_played()

    def close(self) -> None:
        self._lock.check()
        self._lock.finish(None)  # a player ends some time after the audio
        self._sink.close()
        self._lock.check()  # an interrupted sink ends without an error of its own
        self._lock.end()

    def abort(self) -> Path | None:
        kept = self._sink.abort()
        self._lock.end()
        return kept


def _close(descriptor: int | None) -> None:
    if descriptor is not None:
        with suppress(OSError):  # close(2) releases the descriptor even when it fails
            os.close(descriptor)


def _open_folder() -> Path:
    """Return the private directory of the lock files, created if missing. Raises OSError."""
    folder, runtime = cache_folder() / "playback", os.environ.get("XDG_RUNTIME_DIR", "")
    with suppress(OSError):
        if os.path.isabs(runtime):
            folder = _check_private(Path(runtime)) / "smallest"
    folder.mkdir(0o700, parents=True, exist_ok=True)
    return _check_private(folder)


def _check_private(folder: Path) -> Path:
    status = folder.stat()
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.geteuid() or status.st_mode & 0o077:
        raise OSError(errno.EPERM, "not a private directory", str(folder))
    return folder
