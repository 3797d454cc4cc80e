"""Sinks on threads of their own, so that none waits for another. It knows no format and no device."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from smallest_cli.audio.sink import Sink
from smallest_cli.errors import OutputError, SmallestError

DRAIN_S = 1.0
"""How long an abort lets a branch write what it is still owed: a file takes it all, a slow pipe may not."""
STUCK_S = 0.25
"""A branch that takes nothing for so long is held up by a pipe that nobody reads, and is left behind."""
COMPLETION_S = 3.0
"""The most that an abort takes: a disk may sync slowly a file that has its last byte."""
LOOK_EVERY_S = 0.2
"""A signal that comes just before a wait without end would not be seen until the next one."""


class TeeSink:
    """Every sink gets every frame. One that fails is dropped and the others are finished.

    The first failure is raised by `close`, or by `write` and `frames_played` once no sink is left.
    """

    def __init__(self, sinks: Sequence[Sink]) -> None:
        self._failures: list[BaseException] = []
        self._branches = [_Branch(sink, self._failures) for sink in sinks]

    def write(self, pcm: bytes) -> None:
        """Hand the frames to every branch that lives; does not wait."""
        for branch in self._living():
            branch.put(pcm)

    def frames_played(self) -> int:
        """The frames of the slowest branch that lives."""
        return min((frames for branch in self._living() for frames in branch.frames_played()), default=0)

    @property
    def can_rewind(self) -> bool:
        """Where every branch can; one that failed counts, as what it wrote is out."""
        return all(branch.sink.can_rewind for branch in self._branches)

    def rewind(self, frames: int) -> None:
        """Have every branch that lives take back what comes after its first `frames`; does not wait."""
        for branch in self._living():
            branch.put(frames)

    def close(self) -> None:
        """Wait for every branch to finish. Raises the first failure of any, an abort's among them."""
        for branch in self._branches:
            branch.put(None)
        for branch in self._branches:
            while not branch.over.wait(LOOK_EVERY_S):
                pass
        if self._failures:
            raise self._failures[0]

    def abort(self) -> Path | None:
        """Stop every branch, within a bounded time. The first file that keeps what had come, if one does."""
        now = time.monotonic()
        for branch in self._branches:
            branch.cancel(now + DRAIN_S)
        for branch in self._branches:
            branch.hurry()
        kept = [branch.end(now + COMPLETION_S) for branch in self._branches]
        return next((path for path in kept if path is not None), None)

    def _living(self) -> list[_Branch]:
        living = [branch for branch in self._branches if not branch.failed]
        if not living:
            raise self._failures[0]
        return living


class _Branch:
    """A sink, and the thread that alone writes to it, finishes it or, as a rule, aborts it."""

    def __init__(self, sink: Sink, failures: list[BaseException]) -> None:
        self.sink = sink
        self.failed = False
        self._failures = failures
        self._kept: Path | None = None
        self._deadline: float | None = None
        self._completing = False
        self._queue: queue.SimpleQueue[bytes | int | None] = queue.SimpleQueue()
        # An event, because a `join` that a signal interrupts takes the thread for ended from then on
        # (https://github.com/python/cpython/issues/90882, until 3.13).
        self.over = threading.Event()
        # A daemon, because a write to a pipe that nobody reads may never return.
        threading.Thread(target=self._run, daemon=True).start()

    def frames_played(self) -> Iterator[int]:
        """The frames of its sink; of one that died none, and its thread is to learn of it."""
        try:
            yield self.sink.frames_played()
        except SmallestError:
            self.put(b"")

    def put(self, order: bytes | int | None) -> None:
        """Frames to write, a number of frames to go back to, or None for the end."""
        self._queue.put(order)

    def cancel(self, deadline: float) -> None:
        """Write what is owed until `deadline`, then abort; what is being completed is not held up by this."""
        self._deadline = deadline
        self._queue.put(None)

    def hurry(self) -> None:
        """A loudspeaker may take long to finish: silence it. A file that is being finished ignores this."""
        if self._completing:
            self._cut_short()

    def end(self, deadline: float) -> Path | None:
        """Wait while the thread gets on, and not beyond `deadline`. What the sink keeps."""
        left = self._queue.qsize()
        while not self.over.wait(STUCK_S):
            before, left = left, self._queue.qsize()
            if time.monotonic() > deadline or (left == before and not self._completing):
                self._cut_short()
                break
        return self._kept

    def _cut_short(self) -> None:
        """Abort the sink, from whichever thread; what another has kept counts."""
        if kept := self.sink.abort():
            self._kept = kept

    def _run(self) -> None:
        try:
            self._pour()
        except BaseException as error:  # whatever it is, the thread that waits for us is to have it
            self._failures.append(error)
            self.failed = True
            self._cut_short()
        finally:
            self.over.set()

    def _pour(self) -> None:
        while (order := self._queue.get()) is not None and not self._is_late():
            if isinstance(order, int):
                self.sink.rewind(order)
            else:
                self.sink.write(order)
        self._completing = True  # before the question, as `cancel` comes before `hurry`: one sees the other
        if self._deadline is not None:
            self._completing = False
            raise OutputError("the sound was not finished: the run was interrupted")
        self.sink.close()

    def _is_late(self) -> bool:
        return self._deadline is not None and time.monotonic() > self._deadline
