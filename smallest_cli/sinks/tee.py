"""Several sinks at once, each on a thread of its own, so that none waits for another."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Sequence
from pathlib import Path

from smallest_cli.errors import SmallestError
from smallest_cli.sinks import Sink

PATIENCE_S = 0.08
"""How long an abort waits for what a file is still owed; what blocks longer is a pipe or a loudspeaker."""


class TeeSink:
    """Every sink gets every frame. One that fails is dropped and the others are finished.

    The first failure is raised by `close`, once they are; or by `write`, once no sink is left.
    """

    def __init__(self, sinks: Sequence[Sink]) -> None:
        self._branches = [_Branch(sink) for sink in sinks]

    def write(self, pcm: bytes) -> None:
        """Hand the frames to every branch that lives."""
        living = self._living()
        if not living:
            raise self._failures()[0]
        for branch in living:
            branch.put(pcm)

    def heard(self) -> int:
        """The frames of the slowest branch that lives."""
        return min((branch.sink.heard() for branch in self._living()), default=0)

    def close(self) -> None:
        """Wait for every branch to finish. Raises the first failure of any."""
        for branch in self._branches:
            branch.put(None)
        for branch in self._branches:
            branch.thread.join()
        if failures := self._failures():
            raise failures[0]

    def abort(self) -> Path | None:
        """Stop every branch. The file that keeps what had come, if one does."""
        for branch in self._branches:
            branch.cancel()
        deadline = time.monotonic() + PATIENCE_S
        kept = [branch.end(max(0.0, deadline - time.monotonic())) for branch in self._branches]
        return next((path for path in kept if path is not None), None)

    def _living(self) -> list[_Branch]:
        return [branch for branch in self._branches if branch.failure is None]

    def _failures(self) -> list[SmallestError]:
        return [branch.failure for branch in self._branches if branch.failure is not None]


class _Branch:
    def __init__(self, sink: Sink) -> None:
        self.sink = sink
        self.failure: SmallestError | None = None
        self._kept: Path | None = None
        self._cancelled = False
        self._ended = False
        self._queue: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        # A daemon, because a write to a pipe that nobody reads may never return.
        self.thread = threading.Thread(target=self._pour, daemon=True)
        self.thread.start()

    def put(self, pcm: bytes | None) -> None:
        self._queue.put(pcm)

    def cancel(self) -> None:
        self._cancelled = True
        self._queue.put(None)

    def end(self, patience_s: float) -> Path | None:
        """Abort the sink unless it has ended by itself; what it keeps."""
        self.thread.join(patience_s)
        if not self._ended:
            self._kept = self.sink.abort()
        return self._kept

    def _pour(self) -> None:
        try:
            while (pcm := self._queue.get()) is not None:
                self.sink.write(pcm)
            if not self._cancelled:
                self.sink.close()
                self._ended = True
        except SmallestError as error:
            self._kept = error.partial = self.sink.abort()
            self._ended = True
            self.failure = error
