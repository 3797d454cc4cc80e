"""TODO."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, BinaryIO

from smallest_cli.models import AudioChunk, AudioFormat, Completed, Event, Opened, Phases, Sent, WordTiming


class Progress:
    """Looks at events as they pass: a line that is drawn anew, or a line for each where --debug asks."""

    def __init__(self, format: AudioFormat, *, watched: bool, tell: Callable[[str], None]) -> None:
        self._format = format
        self._watched = watched
        self._tell = tell
        self._status: Any = None
        self._byte_count = 0
        self._began_ns: int | None = None

    def follow(self, events: Iterable[Event]) -> Iterator[Event]:
        """The same events, each passed on before it is looked at."""
        for event in events:
            yield event
            self._tell(self._line(event))
            if self._watched and isinstance(event, AudioChunk):
                self._show(event)

    def _line(self, event: Event) -> str:
        if self._began_ns is None:
            self._began_ns = event.at_ns
        return f"{(event.at_ns - self._began_ns) / 1e6:10.3f} ms  {_told(event)}"

    def _show(self, chunk: AudioChunk) -> None:
        self._byte_count += len(chunk.pcm)
        if self._status is None:
            # Only now, while the service is at work: rich takes its time to import.
            from rich.console import Console as RichConsole

            self._status = RichConsole(stderr=True).status("")
            self._status.start()
        self._status.update(f"{self._format.duration(self._byte_count):.1f} s of audio")

    def stop(self) -> None:
        """Take the line away."""
        if self._status is not None:
            self._status.stop()


def _told(event: Event) -> str:
    match event:
        case Opened(reused=True):
            return "the connection is still open"
        case Opened(phases=phases):
            return f"connected  {steps_of(phases)}"
        case Sent():
            return "request sent"
        case AudioChunk(pcm=pcm, cached=cached):
            return f"{len(pcm)} bytes of audio{', cached' if cached else ''}"
        case WordTiming(word=word, start=start, end=end):
            return f'word "{word}"  {start * 1000:.0f} to {end * 1000:.0f} ms'
        case Completed(request_id=request_id):
            return f"complete  request id {request_id}" if request_id else "complete"


def steps_of(phases: Phases) -> str:
    """How long each step of connecting took."""
    steps = {"dns": phases.dns, "tcp": phases.tcp, "tls": phases.tls, "upgrade": phases.upgrade}
    return "  ".join(f"{name} {ns / 1e6:.1f} ms" for name, ns in steps.items())


@contextmanager
def progress_of(data: bytes, what: str) -> Iterator[BinaryIO]:
    """`data` as a file; somebody at a terminal sees how far it has been read."""
    file = io.BytesIO(data)
    if sys.stderr is None or not sys.stderr.isatty():
        yield file
        return
    from rich.console import Console as RichConsole
    from rich.progress import wrap_file

    with wrap_file(
        file, len(data), description=what, console=RichConsole(stderr=True), transient=True
    ) as watched:
        yield watched
