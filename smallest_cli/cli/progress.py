"""Progress on stderr: a line that is drawn again on a terminal, or a line for each event with --debug."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from smallest_cli import models


class Progress:
    """Observes the events of a run."""

    def __init__(
        self, format: models.AudioFormat, *, drawn: bool, debug: Callable[[str], None] | None
    ) -> None:
        """`drawn`: whether the terminal is free for the line; `debug` gets a line for each event."""
        self._format = format
        self._drawn = drawn
        self._debug = debug
        self._status: Any = None
        self._byte_count = 0
        self._start_ns: int | None = None

    def on_event(self, event: models.Event) -> None:
        """Show one event."""
        if self._debug:
            if self._start_ns is None:
                self._start_ns = event.at_ns
            self._debug(f"{(event.at_ns - self._start_ns) / 1e6:10.3f} ms  {_describe(event)}")
        elif self._drawn and isinstance(event, models.AudioChunk):
            if self._status is None:
                # Imported while the service is at work: rich takes 40 ms.
                from rich.console import Console as RichConsole

                self._status = RichConsole(stderr=True).status("")
                self._status.start()
            self._byte_count += len(event.pcm)
            self._status.update(f"{self._format.duration(self._byte_count):.1f} s of audio")

    def stop(self) -> None:
        """Remove the line."""
        if self._status is not None:
            self._status.stop()


def _describe(event: models.Event) -> str:
    match event:
        case models.Opened(reused=True):
            return "the connection is still open"
        case models.Opened(phases=phases):
            return f"connected  {describe_phases(phases)}"
        case models.Sent():
            return "request sent"
        case models.AudioChunk(pcm=pcm, cached=cached):
            return f"{len(pcm)} bytes of audio{', cached' if cached else ''}"
        case models.WordTiming(word=word, start=start, end=end):
            return f'word "{word}"  {start * 1000:.0f} to {end * 1000:.0f} ms'
        case models.AudioEnded():
            return "audio of the next request follows"
        case models.Refused(error=error):
            return f"refused  {error}"
        case models.Completed(request_id=request_id):
            return f"complete  request id {request_id}" if request_id else "complete"


def describe_phases(phases: models.Phases) -> str:
    """How long each step of connecting took."""
    steps = {"dns": phases.dns, "tcp": phases.tcp, "tls": phases.tls, "upgrade": phases.upgrade}
    return "  ".join(f"{name} {ns / 1e6:.1f} ms" for name, ns in steps.items())
