"""Several sinks at once, each on its own thread, so that none waits for another."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

from smallest_cli.audio.audio_queue import AudioQueue
from smallest_cli.audio.sink import Sink
from smallest_cli.errors import OutputError, SmallestError
from smallest_cli.signals import running_s

DRAIN_S = 1.0
"""How long an abort lets a branch write its queue: enough for a file, maybe not for a slow pipe."""
STUCK_S = 0.25
"""A branch without progress for this long, e.g. on a pipe without a reader, is aborted."""
COMPLETION_S = 3.0
"""Limit for an abort: a slow disk may take long to sync a file that is complete."""
POLL_S = 0.2
"""Waits are bounded, since a signal that comes just before a wait is handled only after it."""


class TeeSink:
    """Writes every frame to every sink. One that fails is dropped, and the others are finished.

    `close` raises the first failure; so do `write` and `frames_played` when no sink is left.
    """

    def __init__(self, sinks: Sequence[Sink]) -> None:
        self._failures: list[BaseException] = []
        self._branches = [_Branch(sink, self._failures) for sink in sinks]

    def write(self, pcm: bytes) -> None:
        """Queue the frames for every live branch; waits only for one that has very much to write."""
        for branch in self._live():
            branch.put(pcm)

    def frames_played(self) -> int:
        """Return the frames of the slowest live branch."""
        return min((frames for branch in self._live() for frames in branch.frames_played()), default=0)

    @property
    def can_rewind(self) -> bool:
        """Whether every branch can, also one that failed: what it wrote is final."""
        return all(branch.sink.can_rewind for branch in self._branches)

    def rewind(self, frames: int) -> None:
        """Queue a rewind for every live branch; does not wait."""
        for branch in self._live():
            branch.put(frames)

    def close(self) -> None:
        """Wait for every branch to finish. Raises the first failure."""
        for branch in self._branches:
            branch.put(None)
        for branch in self._branches:
            while not branch.ended.wait(POLL_S):
                pass
        if self._failures:
            raise self._failures[0]

    def abort(self) -> Path | None:
        """Stop every branch within a bounded time. Return the first partial file that is kept, if any."""
        now = running_s()
        for branch in self._branches:
            branch.cancel(now + DRAIN_S)
        for branch in self._branches:
            branch.interrupt_close()
        kept = [branch.end(now + COMPLETION_S) for branch in self._branches]
        return next((path for path in kept if path is not None), None)

    def _live(self) -> list[_Branch]:
        live = [branch for branch in self._branches if not branch.failed]
        if not live:
            raise self._failures[0]
        return live


class _Branch:
    """A sink, and the only thread that writes to it, closes it and, as a rule, aborts it."""

    def __init__(self, sink: Sink, failures: list[BaseException]) -> None:
        self.sink = sink
        self.failed = False
        self._failures = failures
        self._kept: Path | None = None
        self._deadline: float | None = None
        self._closing = False
        # An event, because after a `join` that a signal interrupted the thread counts as ended
        # (https://github.com/python/cpython/issues/90882, until 3.13).
        self.ended = threading.Event()
        self._queue: AudioQueue[bytes | int | None] = AudioQueue(self.ended.is_set)
        # A daemon, because a write to a pipe without a reader may never return.
        threading.Thread(target=self._run, daemon=True).start()

    def frames_played(self) -> Iterator[int]:
        """Yield the frames of the sink; if it failed, yield nothing and let a write fail on the thread."""
        try:
            yield self.sink.frames_played()
        except SmallestError:
            self.put(b"")

    def put(self, item: bytes | int | None) -> None:
        """Queue frames to write, a number of frames to rewind to, or None to close."""
        self._queue.put(item)

    def cancel(self, deadline: float) -> None:
        """Write what is queued until `deadline`, then abort; a sink that is being closed continues."""
        self._deadline = deadline
        self._queue.put(None)

    def interrupt_close(self) -> None:
        """Interrupt a sink that is being closed: it stops playback; a file ignores it."""
        if self._closing:
            self._abort_sink()

    def end(self, deadline: float) -> Path | None:
        """Wait while the thread makes progress, at most until `deadline`. Return the partial file."""
        left = self._queue.qsize()
        while not self.ended.wait(STUCK_S):
            before, left = left, self._queue.qsize()
            if running_s() > deadline or (left == before and not self._closing):
                self._abort_sink()
                break
        return self._kept

    def _abort_sink(self) -> None:
        """Abort the sink, from either thread, and record the partial file."""
        if kept := self.sink.abort():
            self._kept = kept

    def _run(self) -> None:
        try:
            self._write_queue()
        except BaseException as error:  # `close` raises it on the thread that waits
            self._failures.append(error)
            self.failed = True
            self._abort_sink()
        finally:
            self.ended.set()

    def _write_queue(self) -> None:
        while (item := self._queue.get()) is not None and not self._is_late():
            if isinstance(item, int):
                self.sink.rewind(item)
            else:
                self.sink.write(item)
        # Set before the check, and `cancel` is called before `interrupt_close`: no interrupt is missed.
        self._closing = True
        if self._deadline is not None:
            self._closing = False
            raise OutputError("the audio was not finished: the run was interrupted")
        self.sink.close()

    def _is_late(self) -> bool:
        return self._deadline is not None and running_s() > self._deadline
